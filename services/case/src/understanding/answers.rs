//! Answers to survey questions, as people write them.

use super::features::tokens;

/// Words after a number that make it something else than a score.
const UNITS: &[&str] = &[
    "giorni",
    "giorno",
    "ore",
    "ora",
    "minuti",
    "settimane",
    "mesi",
    "anni",
    "volte",
    "euro",
    "pezzi",
    "macchine",
    "days",
    "day",
    "hours",
    "hour",
    "minutes",
    "weeks",
    "months",
    "times",
    "years",
    "pieces",
    "€",
    "%",
    "kg",
    "am",
    "pm",
];

/// The number that a short text says, if it is on the scale.
///
/// It must be all there is (`9`, `9!`, `direi 9`, `nove`, `9/10`), or come first and be followed by a comment
/// (`9, tutto bene`). Anything else is an ordinary message with a number in it.
pub fn survey_score(text: &str, min: i32, max: i32) -> Option<i32> {
    let tokens = tokens(text);
    let words: Vec<&str> = tokens
        .iter()
        .map(String::as_str)
        .filter(|t| t.chars().any(char::is_alphanumeric))
        .collect();
    if words.iter().any(|w| UNITS.contains(w))
        || tokens.iter().any(|t| matches!(t.as_str(), "€" | "%" | "-" | "−"))
    {
        return None;
    }
    // "9/10", "9 su 10", "9 out of 10": the second number is the scale.
    let scale = max.to_string();
    let words: Vec<&str> = match words.as_slice() {
        [first, rest @ ..] if rest.iter().take(3).any(|w| *w == scale) && rest.len() <= 4 => vec![first],
        all => all.to_vec(),
    };
    let numbers: Vec<i32> = words.iter().filter_map(|w| number(w)).collect();
    let first_is_number = words.first().is_some_and(|w| number(w).is_some());
    let comment_follows = first_is_number
        && tokens
            .get(1)
            .is_some_and(|t| matches!(t.as_str(), "," | "." | "!" | ";" | ":"));
    match numbers.as_slice() {
        [score] if (words.len() <= 4 || comment_follows) && (min..=max).contains(score) => Some(*score),
        [score, ..] if comment_follows && words.len() > 2 && (min..=max).contains(score) => Some(*score),
        _ => None,
    }
}

fn number(word: &str) -> Option<i32> {
    if !word.is_empty() && word.len() <= 3 && word.bytes().all(|b| b.is_ascii_digit()) {
        return word.parse().ok();
    }
    Some(match word {
        "zero" => 0,
        "uno" | "one" => 1,
        "due" | "two" => 2,
        "tre" | "three" => 3,
        "quattro" | "four" => 4,
        "cinque" | "five" => 5,
        "sei" | "six" => 6,
        "sette" | "seven" => 7,
        "otto" | "eight" => 8,
        "nove" | "nine" => 9,
        "dieci" | "ten" => 10,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::survey_score;

    #[test]
    fn scores_are_read_however_they_are_written() {
        for text in [
            "9",
            "9!",
            " 9 ",
            "direi 9",
            "nove",
            "Nove.",
            "9/10",
            "9 su 10",
            "un bel 9",
            "9, tutto perfetto e veloce",
            "nine",
        ] {
            assert_eq!(survey_score(text, 0, 10), Some(9), "{text}");
        }
    }

    #[test]
    fn other_messages_with_numbers_are_no_scores() {
        for text in [
            "ordine 4711",
            "9 giorni fa ho scritto",
            "11",
            "-3",
            "",
            "grazie",
            "mi servono 3 macchine del caffè per l'ufficio",
            "tra 5 e 7",
            "3 euro",
        ] {
            assert_eq!(survey_score(text, 0, 10), None, "{text}");
        }
        assert_eq!(survey_score("9", 1, 5), None);
        assert_eq!(survey_score("0", 1, 5), None);
    }

    proptest! {
        #[test]
        fn a_score_is_always_on_the_scale(text in "\\PC{0,40}") {
            if let Some(score) = survey_score(&text, 1, 5) {
                prop_assert!((1..=5).contains(&score));
            }
        }
    }
}
