//! Mood and urgency by word lists: Italian and English, with negation.

use trama_proto::case::v1::Mood;

const NEGATIVE: &[&str] = &[
    "pessimo",
    "pessima",
    "pessimi",
    "vergogna",
    "vergognoso",
    "vergognosa",
    "scandaloso",
    "deluso",
    "delusa",
    "delusione",
    "arrabbiato",
    "arrabbiata",
    "furioso",
    "furiosa",
    "incazzato",
    "incazzata",
    "schifo",
    "schifoso",
    "terribile",
    "orribile",
    "inaccettabile",
    "assurdo",
    "assurda",
    "ridicolo",
    "ridicola",
    "truffa",
    "truffatori",
    "incompetenti",
    "disastro",
    "stufo",
    "stufa",
    "basta",
    "inutile",
    "inutili",
    "reclamo",
    "denuncia",
    "avvocato",
    "male",
    "peggio",
    "peggiore",
    "insoddisfatto",
    "insoddisfatta",
    "lamentela",
    "indecente",
    "ladri",
    "odio",
    "sbagliato",
    "awful",
    "terrible",
    "horrible",
    "angry",
    "furious",
    "disgusting",
    "ridiculous",
    "unacceptable",
    "disappointed",
    "disappointing",
    "useless",
    "worst",
    "bad",
    "scam",
    "fed",
    "hate",
    "incompetent",
    "shame",
    "shameful",
    "complaint",
    "lawyer",
    "annoyed",
    "frustrated",
    "unhappy",
    "upset",
    "poor",
];
const POSITIVE: &[&str] = &[
    "ottimo",
    "ottima",
    "ottimi",
    "perfetto",
    "perfetta",
    "eccellente",
    "fantastico",
    "fantastica",
    "bravi",
    "bravissimi",
    "bravissima",
    "bravo",
    "felice",
    "contento",
    "contenta",
    "soddisfatto",
    "soddisfatta",
    "gentilissimi",
    "gentilissima",
    "gentile",
    "gentili",
    "splendido",
    "meraviglioso",
    "grazie",
    "complimenti",
    "adoro",
    "bene",
    "great",
    "excellent",
    "perfect",
    "wonderful",
    "amazing",
    "awesome",
    "happy",
    "satisfied",
    "love",
    "thanks",
    "good",
    "fantastic",
    "kind",
    "helpful",
];
const NEGATION: &[&str] = &[
    "non", "not", "no", "mai", "never", "senza", "without", "isn", "wasn", "don", "poco", "nessun", "nessuna",
];
/// What sounds negative although none of its words does.
const NEGATIVE_PAIRS: &[(&str, &str)] = &[
    ("non", "va"),
    ("ne", "posso"),
    ("mai", "più"),
    ("ancora", "niente"),
    ("nessuno", "risponde"),
    ("terza", "volta"),
    ("quarta", "volta"),
    ("third", "time"),
    ("nobody", "answers"),
    ("give", "up"),
];
/// How much each word adds to urgency.
const URGENT: &[(&str, f64)] = &[
    ("urgente", 0.5),
    ("urgentemente", 0.5),
    ("urgenza", 0.5),
    ("subito", 0.3),
    ("immediatamente", 0.4),
    ("oggi", 0.1),
    ("entro", 0.15),
    ("bloccato", 0.3),
    ("bloccata", 0.3),
    ("truffa", 0.4),
    ("frode", 0.5),
    ("rubata", 0.5),
    ("rubato", 0.5),
    ("avvocato", 0.4),
    ("legale", 0.3),
    ("reclamo", 0.3),
    ("agcom", 0.4),
    ("arera", 0.4),
    ("garante", 0.4),
    ("disdetta", 0.25),
    ("recesso", 0.25),
    ("rimborso", 0.2),
    ("vergogna", 0.2),
    ("furioso", 0.3),
    ("furiosa", 0.3),
    ("emergenza", 0.5),
    ("pericolo", 0.5),
    ("incendio", 0.6),
    ("fumo", 0.4),
    ("urgent", 0.5),
    ("urgently", 0.5),
    ("asap", 0.5),
    ("immediately", 0.4),
    ("fraud", 0.5),
    ("stolen", 0.5),
    ("lawyer", 0.4),
    ("complaint", 0.3),
    ("cancel", 0.25),
    ("refund", 0.2),
    ("emergency", 0.5),
    ("now", 0.1),
    ("fire", 0.5),
    ("smoke", 0.4),
    ("danger", 0.5),
    ("today", 0.1),
];
const THANKS: &[&str] = &[
    "grazie",
    "thanks",
    "thank",
    "thx",
    "ringrazio",
    "perfetto",
    "ottimo",
    "gentilissimi",
    "gentilissima",
    "gentilissimo",
];
const POLITE: &[&str] = &[
    "mille",
    "tante",
    "molte",
    "infinite",
    "ancora",
    "di",
    "del",
    "della",
    "cuore",
    "ok",
    "va",
    "bene",
    "gentile",
    "molto",
    "vi",
    "la",
    "ti",
    "lei",
    "voi",
    "te",
    "a",
    "per",
    "tutto",
    "tutti",
    "l",
    "aiuto",
    "risposta",
    "buona",
    "buon",
    "giornata",
    "serata",
    "lavoro",
    "you",
    "very",
    "much",
    "so",
    "great",
    "perfect",
    "for",
    "the",
    "your",
    "help",
    "all",
    "everything",
    "a",
    "lot",
    "many",
    "e",
    "and",
    "ciao",
    "siete",
    "stati",
    "è",
    "stata",
    "stato",
];

/// How the customer sounds. No words, no mood.
pub fn mood(words: &[String]) -> Mood {
    if words.is_empty() {
        return Mood::Unspecified;
    }
    let mut score = 0_i32;
    for (at, word) in words.iter().enumerate() {
        let before = &words[at.saturating_sub(2)..at];
        let negated = before.iter().any(|w| NEGATION.contains(&w.as_str()));
        let worth = if NEGATIVE.contains(&word.as_str()) {
            -2
        } else if POSITIVE.contains(&word.as_str()) {
            // "grazie" and "bene" are politeness more often than joy.
            if matches!(
                word.as_str(),
                "grazie" | "thanks" | "bene" | "good" | "gentile" | "kind"
            ) {
                1
            } else {
                2
            }
        } else {
            0
        };
        score += match (worth, negated) {
            (worth, false) => worth,
            (worth, true) if worth > 0 => -2,
            // "non male" is faint praise.
            (worth, true) => -worth / 2,
        };
    }
    for pair in words.windows(2) {
        if NEGATIVE_PAIRS.iter().any(|(a, b)| pair[0] == *a && pair[1] == *b) {
            score -= 1;
        }
    }
    match score {
        i32::MIN..=-2 => Mood::Negative,
        -1..=1 => Mood::Neutral,
        2.. => Mood::Positive,
    }
}

/// From 0 calm to 1 urgent: words, capitals, exclamation marks, and what the intent is worth by itself.
#[expect(clippy::cast_precision_loss, reason = "a text has few letters")]
pub fn urgency(text: &str, words: &[String], by_intent: f64) -> f64 {
    let mut score: f64 = words
        .iter()
        .filter_map(|w| URGENT.iter().find(|(word, _)| w == word).map(|(_, worth)| *worth))
        .sum();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let capitals = text.chars().filter(|c| c.is_uppercase()).count();
    if letters >= 12 && capitals as f64 / letters as f64 > 0.6 {
        score += 0.2;
    }
    if text.contains("!!") {
        score += 0.15;
    }
    if mood(words) == Mood::Negative {
        score += 0.1;
    }
    score.max(by_intent).clamp(0.0, 1.0)
}

/// Whether it only says thanks: nobody needs to act on it.
pub fn is_courtesy(text: &str) -> bool {
    let words = super::features::words(text);
    (1..=10).contains(&words.len())
        && !text.contains('?')
        && words.iter().any(|w| THANKS.contains(&w.as_str()))
        && words
            .iter()
            .all(|w| THANKS.contains(&w.as_str()) || POLITE.contains(&w.as_str()))
}

#[cfg(test)]
mod tests {
    use super::{super::features::words, *};

    #[test]
    fn moods_are_heard_through_negation() {
        for (text, wanted) in [
            ("la macchina del caffè perde acqua, ordine 4711", Mood::Neutral),
            ("vorrei parlare con una persona", Mood::Neutral),
            ("quali sono gli orari? grazie", Mood::Neutral),
            ("servizio pessimo, sono furiosa", Mood::Negative),
            ("non sono soddisfatta", Mood::Negative),
            ("this is ridiculous", Mood::Negative),
            ("not happy at all", Mood::Negative),
            ("siete stati bravissimi, complimenti", Mood::Positive),
            ("non male", Mood::Neutral),
            ("", Mood::Unspecified),
        ] {
            assert_eq!(mood(&words(text)), wanted, "{text}");
        }
    }

    #[test]
    fn urgency_grows_with_words_capitals_and_marks() {
        let urgency = |text: &str| super::urgency(text, &words(text), 0.0);
        assert!(urgency("quali sono gli orari?") < 0.05);
        assert!(urgency("è urgente") >= 0.5);
        assert!(urgency("RISPONDETEMI ADESSO PER FAVORE!!") > urgency("rispondetemi adesso per favore"));
        assert!(super::urgency("la macchina", &words("la macchina"), 0.6) >= 0.6);
        assert!(urgency("urgente urgente urgente frode!!") <= 1.0);
    }

    #[test]
    fn thanks_are_told_from_needs() {
        for text in [
            "grazie",
            "Grazie mille!",
            "ok perfetto, grazie",
            "thank you very much",
            "grazie a voi, buona giornata",
        ] {
            assert!(is_courtesy(text), "{text}");
        }
        for text in [
            "",
            "ok",
            "grazie ma la macchina perde ancora acqua",
            "grazie, e la domenica?",
            "non perfetto",
        ] {
            assert!(!is_courtesy(text), "{text}");
        }
    }
}
