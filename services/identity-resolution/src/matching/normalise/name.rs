//! Names of people and companies.

use super::{family, fold, nickname, phonetic};
use crate::matching::{
    facts::Keyed,
    hash::{StableHasher, ValueKey},
};

/// Given name or surname.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// What the parents chose.
    Given,
    /// What the family, or the company, is called.
    Surname,
}

/// A name in one spelling, with what it sounds like and what it is short for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Letters only, a to z, words joined.
    pub text: Box<str>,
    /// The given name it is short for when there is only one such (`beppe` → `giuseppe`), else the text.
    pub root: Box<str>,
    /// What an Italian ear keeps of it.
    pub sound: Box<str>,
    /// What an English ear keeps of it (Double Metaphone).
    pub metaphone: Box<str>,
    /// Names it may be short for, hashed and sorted, itself among them. Empty for surnames.
    pub relatives: Box<[u64]>,
    /// Itself, as it stands among relatives.
    pub own_hash: u64,
    /// Others are short for it.
    pub is_formal: bool,
    /// Hash of the text.
    pub key: ValueKey,
    /// Hash of the root; of the text for surnames.
    pub root_key: ValueKey,
}

const TITLES: &[&str] = &[
    "mr", "mrs", "ms", "miss", "dr", "prof", "sig", "sigra", "dott", "dottssa", "ing", "avv", "geom", "rag",
];
const COMPANY_FORMS: &[&str] = &[
    "srl", "srls", "spa", "snc", "sas", "ltd", "llc", "plc", "gmbh", "inc", "pty",
];

impl Name {
    /// Reads a name.
    #[must_use]
    pub fn parse(text: &str, kind: NameKind) -> Option<Self> {
        let folded = fold(text);
        let mut letters = String::with_capacity(folded.len());
        let mut words = 0;
        for word in folded.split(|c: char| c.is_whitespace() || c == '-' || c == '_' || c == ',') {
            let start = letters.len();
            letters.extend(word.chars().filter(char::is_ascii_alphabetic));
            if letters.len() == start {
                continue;
            }
            // A title is no name, unless there is nothing else.
            let dropped = match kind {
                NameKind::Given => words == 0 && TITLES.contains(&&letters[start..]),
                NameKind::Surname => words > 0 && COMPANY_FORMS.contains(&&letters[start..]),
            };
            if dropped && (kind == NameKind::Surname || has_more_words(&folded, word)) {
                letters.truncate(start);
            } else {
                words += 1;
            }
        }
        if letters.is_empty() {
            None
        } else {
            Some(Self::of_letters(letters, kind))
        }
    }

    fn of_letters(text: String, kind: NameKind) -> Self {
        let known = match kind {
            NameKind::Given => nickname::lookup(&text),
            NameKind::Surname => nickname::Known {
                root: None,
                relatives: Box::default(),
                is_formal: false,
            },
        };
        let root: Box<str> = known.root.unwrap_or(&text).into();
        let (plain, rooted) = match kind {
            NameKind::Given => (family::GIVEN, family::GIVEN_ROOT),
            NameKind::Surname => (family::SURNAME, family::SURNAME),
        };
        Self {
            sound: phonetic::italian_sound(&root).into(),
            metaphone: phonetic::english_sound(&root).into(),
            own_hash: nickname::hash(&text),
            relatives: known.relatives,
            is_formal: known.is_formal,
            key: StableHasher::new(plain).part(&text).value(),
            root_key: StableHasher::new(rooted).part(&root).value(),
            text: text.into(),
            root,
        }
    }

    /// One letter only.
    #[must_use]
    pub fn is_initial(&self) -> bool {
        self.text.len() == 1
    }
}

impl Keyed for Name {
    fn key(&self) -> ValueKey {
        self.key
    }
}

fn has_more_words(folded: &str, word: &str) -> bool {
    folded.bytes().filter(u8::is_ascii_alphabetic).count()
        > word.bytes().filter(u8::is_ascii_alphabetic).count()
}

/// Splits what stands in one field: `Rossi, Mario` and `Mario Rossi` give (`Mario`, `Rossi`).
#[must_use]
pub fn split_full_name(text: &str) -> (String, String) {
    let text = text.trim();
    if let Some((surname, given)) = text.split_once(',') {
        return (given.trim().to_owned(), surname.trim().to_owned());
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let Some((last, before)) = words.split_last() else {
        return (String::new(), String::new());
    };
    if before.is_empty() {
        return ((*last).to_owned(), String::new());
    }
    // Particles belong to the surname: Maria *De Luca*, Ludwig *van Beethoven*.
    let particle = |w: &str| {
        [
            "de", "di", "da", "del", "della", "dal", "d'", "lo", "la", "van", "von", "der", "den", "le",
            "mac",
        ]
        .contains(&w.to_lowercase().as_str())
    };
    let from = before
        .iter()
        .skip(1)
        .position(|w| particle(w))
        .map_or(before.len(), |at| at + 1);
    let surname = words.get(from..).unwrap_or(std::slice::from_ref(last)).join(" ");
    (words.get(..from).unwrap_or(before).join(" "), surname)
}
