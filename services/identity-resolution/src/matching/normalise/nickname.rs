//! Short names. Italian list: written for this project. English list: PyPI `nicknames` 1.0.1 (Apache-2.0), see `data/ORIGIN.md`.

use std::{collections::HashMap, sync::LazyLock};

use super::fold;
use crate::matching::hash::StableHasher;

/// Formal names by name; itself first when it is one.
static FORMAL: LazyLock<HashMap<Box<str>, Entry>> = LazyLock::new(load);

#[derive(Default)]
struct Entry {
    formal: Vec<Box<str>>,
    is_formal: bool,
}

/// More readings than this say nothing.
const MOST_READINGS: usize = 6;

fn load() -> HashMap<Box<str>, Entry> {
    let mut entries: HashMap<Box<str>, Entry> = HashMap::new();
    let letters = |s: &str| -> Box<str> {
        fold(s)
            .chars()
            .filter(char::is_ascii_alphabetic)
            .collect::<String>()
            .into()
    };
    let mut add = |formal: &str, short: &str| {
        let (formal, short) = (letters(formal), letters(short));
        if formal.is_empty() || short.is_empty() || formal == short {
            return;
        }
        entries.entry(formal.clone()).or_default().is_formal = true;
        let entry = entries.entry(short).or_default();
        if !entry.formal.contains(&formal) {
            entry.formal.push(formal);
        }
    };
    for line in include_str!("data/nicknames.it.tsv")
        .lines()
        .filter(|l| !l.starts_with('#'))
    {
        let mut words = line.split_whitespace();
        if let Some(formal) = words.next() {
            words.for_each(|short| add(formal, short));
        }
    }
    for line in include_str!("data/nicknames.en.csv").lines().skip(1) {
        let mut columns = line.split(',');
        if let (Some(formal), Some(_), Some(short)) = (columns.next(), columns.next(), columns.next()) {
            add(formal, short);
        }
    }
    entries
}

/// What is known of a name.
pub(super) struct Known {
    /// The one name it is short for.
    pub root: Option<&'static str>,
    /// The hashes of all that it may be short for, itself among them, sorted.
    pub relatives: Box<[u64]>,
    /// Others are short for it.
    pub is_formal: bool,
}

/// The hash by which a name stands among relatives.
pub(super) fn hash(name: &str) -> u64 {
    StableHasher::new(0).part(name).finish()
}

/// What is known of a name.
pub(super) fn lookup(name: &str) -> Known {
    let Some(entry) = FORMAL.get(name) else {
        return Known {
            root: None,
            relatives: Box::new([hash(name)]),
            is_formal: false,
        };
    };
    let root = match entry.formal.as_slice() {
        [only] if !entry.is_formal => Some(&**only),
        _ => None,
    };
    let readings = if entry.formal.len() > MOST_READINGS {
        &[][..]
    } else {
        &entry.formal
    };
    let mut relatives: Vec<u64> = readings.iter().map(|f| hash(f)).chain([hash(name)]).collect();
    relatives.sort_unstable();
    relatives.dedup();
    Known {
        root,
        relatives: relatives.into(),
        is_formal: entry.is_formal,
    }
}
