//! Dates, mail addresses, telephone numbers, ids.

use super::{Level, name::slips};
use crate::matching::normalise::{Birth, Email, Identifier, IdentifierClass, Phone};

/// Dates of birth.
#[must_use]
pub fn births(a: Birth, b: Birth) -> Level {
    if a == b {
        return Level::Exact;
    }
    if a.year == b.year && a.month == b.day && a.day == b.month {
        return Level::Swapped;
    }
    let (x, y) = (a.digits(), b.digits());
    let differing = x.iter().zip(&y).filter(|(p, q)| p != q).count();
    let neighbours_swapped = differing == 2
        && (0..7).any(|i| x.get(i) == y.get(i + 1) && x.get(i + 1) == y.get(i) && x.get(i) != y.get(i));
    match differing {
        1 => Level::OneSlip,
        2 if neighbours_swapped => Level::OneSlip,
        2 => Level::TwoSlips,
        // One of the three parts wrong in all its digits, or 2001 for 1901: the other two still say much.
        _ if usize::from(a.year == b.year)
            + usize::from(a.month == b.month)
            + usize::from(a.day == b.day)
            >= 2
            && a.year.abs_diff(b.year).is_multiple_of(100) =>
        {
            Level::TwoSlips
        }
        _ => Level::Different,
    }
}

/// Mail addresses.
#[must_use]
pub fn emails(a: &Email, b: &Email) -> Level {
    if a.key == b.key {
        return if a.shared {
            Level::SharedExact
        } else {
            Level::Exact
        };
    }
    if a.shared || b.shared {
        return Level::Missing;
    }
    let (x, y) = (a.local(), b.local());
    if x == y {
        return if x.len() >= 6 {
            Level::SameLocal
        } else {
            Level::Different
        };
    }
    // `mario.rossi` and `mario_rossi` at one provider: the second came when the first was taken, often by the father.
    if letters(x).eq(letters(y)) {
        return Level::Different;
    }
    if a.domain() == b.domain() && x.len() >= 6 && differ_in_letters(x, y) && slips(x, y) <= 1 {
        return Level::Close;
    }
    Level::Different
}

fn letters(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes().filter(u8::is_ascii_alphanumeric)
}

/// `mario.rossi1` and `mario.rossi2` are two people; `mario.rosssi` is a slip.
fn differ_in_letters(a: &str, b: &str) -> bool {
    let digits = |s: &str| s.bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>();
    digits(a) == digits(b)
}

/// Telephone numbers.
#[must_use]
pub fn phones(a: &Phone, b: &Phone) -> Level {
    if a.key == b.key {
        return if a.fixed { Level::SharedExact } else { Level::Exact };
    }
    if a.fixed || b.fixed {
        return Level::Missing;
    }
    if slips(&a.e164, &b.e164) <= 1 {
        Level::Close
    } else {
        Level::Different
    }
}

/// Ids; `None` when they are of different systems and say nothing about each other.
#[must_use]
pub fn identifiers(a: &Identifier, b: &Identifier) -> Option<Level> {
    if a.key == b.key {
        return Some(Level::Exact);
    }
    if a.namespace != b.namespace {
        return None;
    }
    Some(match a.class {
        IdentifierClass::Exclusive | IdentifierClass::Account => Level::Different,
        // People have several devices: another one is no news.
        IdentifierClass::Device => Level::Missing,
        IdentifierClass::National if slips(&a.value, &b.value) <= 1 => Level::Close,
        IdentifierClass::National => Level::Different,
    })
}
