//! Names: nicknames, initials, slips, and given name and surname that changed places.

use super::Level;
use crate::matching::normalise::Name;

/// Same sound or one slip: nobody would call it another name.
const CLOSE: f64 = 0.92;
/// Worth a look.
const SIMILAR: f64 = 0.80;
/// Below it two written-out given names are of two people.
const CONTRADICTION: f64 = 0.75;

/// Given names.
#[must_use]
pub fn given_names(a: &Name, b: &Name) -> Level {
    if a.key == b.key {
        return if a.is_initial() {
            Level::Initial
        } else {
            Level::Exact
        };
    }
    if a.is_initial() || b.is_initial() {
        return if first(a) == first(b) {
            Level::Initial
        } else {
            Level::Different
        };
    }
    if related(a, b) {
        return Level::Nickname;
    }
    match alikeness(a, b) {
        // Brett and Brodie: the ear that forgives spelling hears one name, the eye sees two.
        Level::Close if similarity(&a.text, &b.text) < SIMILAR => Level::Similar,
        // Mario and Maria, Daniele and Daniela: one letter apart, and two people in most families.
        Level::Close if differ_in_ending(&a.text, &b.text) => Level::Similar,
        Level::Similar | Level::Different if is_part(a, b, 3) => Level::Part,
        level => level,
    }
}

/// Surnames.
#[must_use]
pub fn surnames(a: &Name, b: &Name) -> Level {
    if a.key == b.key {
        return if a.is_initial() {
            Level::Initial
        } else {
            Level::Exact
        };
    }
    if a.is_initial() || b.is_initial() {
        return if first(a) == first(b) {
            Level::Initial
        } else {
            Level::Different
        };
    }
    match alikeness(a, b) {
        Level::Similar | Level::Different if is_part(a, b, 4) => Level::Part,
        level => level,
    }
}

/// The given name of one is the surname of the other and the other way round. A name that one has in both places, because
/// somebody swapped it before, says nothing of the other.
#[must_use]
pub fn swapped(given_a: &Name, surname_a: &Name, given_b: &Name, surname_b: &Name) -> Level {
    let said_twice = |given: &Name, surname: &Name| cross(given, surname) != Level::Different;
    if said_twice(given_a, surname_a) || said_twice(given_b, surname_b) {
        return Level::Different;
    }
    let (x, y) = (cross(given_a, surname_b), cross(given_b, surname_a));
    match (x, y) {
        (Level::Exact, Level::Exact) => Level::Exact,
        (Level::Exact | Level::Close, Level::Exact | Level::Close) => Level::Close,
        _ => Level::Different,
    }
}

/// Two written-out given names that cannot be the same: three letters or more, none part of the other, not related, not alike.
#[must_use]
pub fn given_names_contradict(a: &Name, b: &Name) -> bool {
    a.text.len() >= 3
        && b.text.len() >= 3
        && a.key != b.key
        && !is_part(a, b, 3)
        && !related(a, b)
        && a.sound != b.sound
        && similarity(&a.text, &b.text) < CONTRADICTION
        && similarity(&a.root, &b.root) < CONTRADICTION
}

/// A given name against a surname, by their letters.
pub(crate) fn cross(given: &Name, surname: &Name) -> Level {
    if given.text == surname.text {
        Level::Exact
    } else if given.is_initial() || surname.is_initial() {
        Level::Different
    } else {
        alikeness(given, surname)
    }
}

fn alikeness(a: &Name, b: &Name) -> Level {
    if a.sound.len() >= 3 && a.sound == b.sound || a.metaphone.len() >= 3 && a.metaphone == b.metaphone {
        return if first(a) == first(b) || similarity(&a.text, &b.text) >= SIMILAR {
            Level::Close
        } else {
            Level::Similar
        };
    }
    let alike = similarity(&a.text, &b.text);
    if alike >= CLOSE
        || (alike >= CONTRADICTION && a.text.len().min(b.text.len()) >= 4 && slips(&a.text, &b.text) <= 1)
    {
        Level::Close
    } else if alike >= SIMILAR
        || (first(a) == first(b) && a.text.len().min(b.text.len()) >= 3 && slips(&a.text, &b.text) <= 1)
    {
        Level::Similar
    } else {
        Level::Different
    }
}

/// One is short for the other, or both for a third: Beppe and Pino. But Emma and Millie, who may both be Emmelines, are more
/// likely sisters, because Emma is a name in its own right.
fn related(a: &Name, b: &Name) -> bool {
    // Sorted, and short.
    let holds = |of: &Name, x: &u64| of.relatives.binary_search(x).is_ok();
    holds(a, &b.own_hash)
        || holds(b, &a.own_hash)
        || !a.is_formal && !b.is_formal && a.relatives.iter().any(|x| holds(b, x))
}

fn is_part(a: &Name, b: &Name, least: usize) -> bool {
    let (short, long) = if a.text.len() <= b.text.len() {
        (&a.text, &b.text)
    } else {
        (&b.text, &a.text)
    };
    short.len() >= least && (long.starts_with(&**short) || long.ends_with(&**short))
}

fn differ_in_ending(a: &str, b: &str) -> bool {
    let vowel = |c: &u8| matches!(c, b'a' | b'e' | b'i' | b'o' | b'u');
    match (a.as_bytes().split_last(), b.as_bytes().split_last()) {
        (Some((x, front_a)), Some((y, front_b))) => front_a == front_b && x != y && vowel(x) && vowel(y),
        (Some(_) | None, _) => false,
    }
}

fn first(name: &Name) -> Option<u8> {
    name.text.bytes().next()
}

/// Jaro–Winkler of ASCII texts.
pub(super) fn similarity(a: &str, b: &str) -> f64 {
    rapidfuzz::distance::jaro_winkler::similarity(a.bytes(), b.bytes())
}

/// Slips of the keyboard between two ASCII texts: one letter more, less, other, or two that changed places.
pub(super) fn slips(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 4 {
        return a.len().abs_diff(b.len());
    }
    rapidfuzz::distance::osa::distance(a.bytes(), b.bytes())
}
