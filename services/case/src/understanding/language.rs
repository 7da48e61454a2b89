//! Which language a text is in.

use std::collections::BTreeSet;

/// Fewer words than this say nothing about their language.
const FEWEST: usize = 3;

/// The language of a text; `prior` when it is too short or in a language that nobody expects.
pub fn detect(text: &str, words: &[String], prior: &str, expected: &BTreeSet<String>) -> String {
    if words
        .iter()
        .filter(|w| w.chars().any(char::is_alphabetic))
        .count()
        < FEWEST
    {
        return prior.to_owned();
    }
    let found = code(whichlang::detect_language(text));
    let short = prior.split('-').next().unwrap_or(prior);
    if found == short
        || (!expected.is_empty() && !expected.iter().any(|l| l.split('-').next() == Some(found)))
    {
        prior.to_owned()
    } else {
        found.to_owned()
    }
}

const fn code(language: whichlang::Lang) -> &'static str {
    use whichlang::Lang;
    match language {
        Lang::Ara => "ar",
        Lang::Cmn => "zh",
        Lang::Deu => "de",
        Lang::Eng => "en",
        Lang::Fra => "fr",
        Lang::Hin => "hi",
        Lang::Ita => "it",
        Lang::Jpn => "ja",
        Lang::Kor => "ko",
        Lang::Nld => "nl",
        Lang::Por => "pt",
        Lang::Rus => "ru",
        Lang::Spa => "es",
        Lang::Swe => "sv",
        Lang::Tur => "tr",
        Lang::Vie => "vi",
    }
}

#[cfg(test)]
mod tests {
    use super::super::features::words;

    fn detect(text: &str, prior: &str) -> String {
        super::detect(
            text,
            &words(text),
            prior,
            &["it".to_owned(), "en".to_owned()].into(),
        )
    }

    #[test]
    fn sentences_speak_for_themselves_and_single_words_do_not() {
        assert_eq!(detect("la macchina del caffè perde acqua da ieri", "en"), "it");
        assert_eq!(
            detect("my coffee machine has been leaking since yesterday", "it"),
            "en"
        );
        assert_eq!(detect("ok thanks", "it"), "it");
        assert_eq!(detect("la macchina perde acqua", "it-CH"), "it-CH");
    }

    #[test]
    fn a_language_that_nobody_expects_is_a_mistake() {
        assert_eq!(detect("das ist eine andere Sprache als sonst", "it"), "it");
    }
}
