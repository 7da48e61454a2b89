//! Parts of addresses and foreign attributes.

use super::{Level, name::slips};

/// Words: streets, towns, buildings.
#[must_use]
pub fn texts(a: &str, b: &str) -> Level {
    if a.is_empty() || b.is_empty() {
        return Level::Missing;
    }
    if a == b {
        return Level::Exact;
    }
    let shorter = a.len().min(b.len());
    // Not Jaro–Winkler: `via` in front of every street would make all streets alike.
    if shorter >= 4 && slips(a, b) <= 1 + shorter / 8 {
        return Level::Close;
    }
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short.len() >= 5 && long.contains(short) {
        Level::Close
    } else {
        Level::Different
    }
}

/// Codes: postal codes, where the order of signs matters.
#[must_use]
pub fn codes(a: &str, b: &str) -> Level {
    if a.is_empty() || b.is_empty() {
        Level::Missing
    } else if a == b {
        Level::Exact
    } else if slips(a, b) <= 1 {
        Level::Close
    } else {
        Level::Different
    }
}

/// House numbers: `12` and `12/a` are close, `12` and `13` are not.
#[must_use]
pub fn house_numbers(a: &str, b: &str) -> Level {
    if a.is_empty() || b.is_empty() {
        return Level::Missing;
    }
    if a == b {
        return Level::Exact;
    }
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (x, y) = (digits(a), digits(b));
    if x > 0 && x == y && a.get(..x) == b.get(..y) || a.len().max(b.len()) >= 3 && slips(a, b) <= 1 {
        Level::Close
    } else {
        Level::Different
    }
}
