//! What the persona would say differently.

use trama_proto::resources::{Register, Tone};

use super::words::find_phrase;

/// One thing the persona would say differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static str,
    /// What was found.
    pub found: String,
    /// What to write instead.
    pub suggestion: String,
    /// The text may not leave like this.
    pub blocking: bool,
}

/// Words that address somebody as *tu*.
const TU: [&str; 9] = ["tu", "ti", "te", "tuo", "tua", "tuoi", "tue", "hai", "puoi"];
/// Words that address somebody as *Lei*, when written with a capital inside a sentence.
const LEI: [&str; 7] = ["Lei", "Le", "La", "Suo", "Sua", "Suoi", "Sue"];
/// Capital words that are at least so long shout; shorter ones are acronyms.
const SHOUT_LETTERS: usize = 4;

/// Checks a body against a tone.
pub fn check(text: &str, language: &str, tone: &Tone) -> Vec<Finding> {
    let mut findings = Vec::new();
    for phrase in &tone.forbidden {
        for (start, end) in find_phrase(text, phrase) {
            let found = text[start..end].to_owned();
            findings.push(finding("forbidden_phrase", found, "leave it out".into(), true));
        }
    }
    for sentence in sentences(text) {
        let words = sentence.split_whitespace().count();
        if words > tone.max_sentence_words {
            let found: String = sentence.split_whitespace().take(6).collect::<Vec<_>>().join(" ");
            let advice = format!(
                "at most {} words in a sentence; this one has {words}",
                tone.max_sentence_words
            );
            findings.push(finding("long_sentence", format!("{found} …"), advice, false));
        }
    }
    findings.extend(shouting(text));
    if text.contains("!!") {
        findings.push(finding(
            "exclamation_marks",
            "!!".into(),
            "one is enough".into(),
            false,
        ));
    }
    if language.split('-').next() == Some("it") {
        findings.extend(register(text, tone.register));
    }
    findings
}

fn finding(rule: &'static str, found: String, suggestion: String, blocking: bool) -> Finding {
    Finding {
        rule,
        found,
        suggestion,
        blocking,
    }
}

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split(['.', '!', '?', '\n', '…'])
        .map(str::trim)
        .filter(|s| !s.is_empty())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|w| !w.is_empty())
}

/// Two capital words in a row shout; one may be a name or an acronym.
fn shouting(text: &str) -> Option<Finding> {
    let loud = |word: &&str| word.chars().count() >= SHOUT_LETTERS && word.chars().all(char::is_uppercase);
    let all: Vec<&str> = words(text).collect();
    let pair = all.windows(2).find(|pair| pair.iter().all(loud))?;
    Some(finding(
        "shouting",
        pair.join(" "),
        "write it in small letters".into(),
        false,
    ))
}

/// *tu* and *Lei* in one text, or the form that is not the persona's.
fn register(text: &str, wanted: Register) -> Option<Finding> {
    let mut tu = None;
    let mut lei = None;
    for sentence in sentences(text) {
        for (position, word) in words(sentence).enumerate() {
            if TU.contains(&word.to_lowercase().as_str()) {
                tu.get_or_insert_with(|| word.to_owned());
            }
            // At the start of a sentence a capital says nothing.
            if position > 0 && LEI.contains(&word) {
                lei.get_or_insert_with(|| word.to_owned());
            }
        }
    }
    match (tu, lei, wanted) {
        (Some(tu), Some(lei), _) => Some(finding(
            "register_mixed",
            format!("{tu} / {lei}"),
            "address the customer in one form".into(),
            false,
        )),
        (Some(tu), None, Register::Formal) => Some(finding(
            "register",
            tu,
            "address the customer as Lei".into(),
            false,
        )),
        (None, Some(lei), Register::Informal) => Some(finding(
            "register",
            lei,
            "address the customer as tu".into(),
            false,
        )),
        (Some(_), None, Register::Informal) | (None, Some(_), Register::Formal) | (None, None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tone(register: Register) -> Tone {
        Tone {
            register,
            greeting: String::new(),
            closing: String::new(),
            prefer: BTreeMap::new(),
            forbidden: vec!["garantiamo".into()],
            max_sentence_words: 8,
        }
    }

    fn rules(text: &str, register: Register) -> Vec<&'static str> {
        check(text, "it", &tone(register))
            .into_iter()
            .map(|f| f.rule)
            .collect()
    }

    #[test]
    fn each_rule_finds_its_case_and_nothing_else() {
        assert_eq!(
            rules("Il tuo ordine è partito.", Register::Informal),
            Vec::<&str>::new()
        );
        assert_eq!(rules("Il tuo ordine è partito.", Register::Formal), ["register"]);
        assert_eq!(
            rules("La ringrazio, ti scrivo per il Suo ordine.", Register::Formal),
            ["register_mixed"]
        );
        assert_eq!(
            rules("Il codice IBAN va bene", Register::Formal),
            Vec::<&str>::new()
        );
        assert_eq!(rules("ATTENZIONE LEGGERE subito", Register::Formal), ["shouting"]);
        assert_eq!(rules("Bene!!", Register::Formal), ["exclamation_marks"]);
        assert_eq!(
            rules("uno due tre quattro cinque sei sette otto nove", Register::Formal),
            ["long_sentence"]
        );
        assert_eq!(rules("Lo garantiamo.", Register::Formal), ["forbidden_phrase"]);
    }
}
