//! Replacing and tidying words.

use std::collections::BTreeMap;

/// Puts the preferred words in place of the avoided ones; whole words only, a capital stays a capital.
pub fn replace_avoided(text: &str, prefer: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    for (avoided, preferred) in prefer.iter().filter(|(avoided, _)| !avoided.trim().is_empty()) {
        let mut out = String::with_capacity(text.len());
        let mut rest = 0;
        for (start, end) in find_phrase(&text, avoided) {
            out.push_str(&text[rest..start]);
            if text[start..end].chars().next().is_some_and(char::is_uppercase) {
                let mut letters = preferred.chars();
                out.extend(letters.next().into_iter().flat_map(char::to_uppercase));
                out.push_str(letters.as_str());
            } else {
                out.push_str(preferred);
            }
            rest = end;
        }
        out.push_str(&text[rest..]);
        text = out;
    }
    text
}

/// Where a phrase stands as whole words, in any case: byte ranges, left to right, without overlap.
pub fn find_phrase(text: &str, phrase: &str) -> Vec<(usize, usize)> {
    let wanted: Vec<char> = phrase.trim().chars().flat_map(char::to_lowercase).collect();
    let mut found = Vec::new();
    if wanted.is_empty() {
        return found;
    }
    let letters: Vec<(usize, char)> = text.char_indices().collect();
    let mut at = 0;
    while at < letters.len() {
        let before_is_word = at > 0 && letters[at - 1].1.is_alphanumeric() && wanted[0].is_alphanumeric();
        match if before_is_word {
            None
        } else {
            matches_at(&letters[at..], &wanted)
        } {
            Some(length) => {
                let end = letters.get(at + length).map_or(text.len(), |(byte, _)| *byte);
                let after_is_word = letters.get(at + length).is_some_and(|(_, c)| c.is_alphanumeric());
                if after_is_word && wanted.last().is_some_and(|c| c.is_alphanumeric()) {
                    at += 1;
                } else {
                    found.push((letters[at].0, end));
                    at += length.max(1);
                }
            }
            None => at += 1,
        }
    }
    found
}

/// How many letters of the text the phrase covers here, if it stands here.
fn matches_at(letters: &[(usize, char)], wanted: &[char]) -> Option<usize> {
    let mut matched = 0;
    for (count, (_, letter)) in letters.iter().enumerate() {
        for lower in letter.to_lowercase() {
            if wanted.get(matched) != Some(&lower) {
                return None;
            }
            matched += 1;
        }
        if matched == wanted.len() {
            return Some(count + 1);
        }
    }
    None
}

/// Takes away the gap that an empty name leaves: `Ciao !` becomes `Ciao!`.
pub fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.trim().chars() {
        if matches!(letter, ',' | '!' | '.' | '?' | ';' | ':') {
            out.truncate(out.trim_end_matches(' ').len());
        }
        if letter == ' ' && out.ends_with(' ') {
            continue;
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_are_replaced() {
        let prefer = BTreeMap::from([("utente".to_owned(), "cliente".to_owned())]);
        assert_eq!(
            replace_avoided("Utente e utente, non utenteria", &prefer),
            "Cliente e cliente, non utenteria"
        );
        assert_eq!(find_phrase("à È colpa", "è").len(), 1);
        assert_eq!(tidy("Ciao  , bene"), "Ciao, bene");
    }
}
