//! Dates of birth, in the many ways people and systems write them.

use super::family;
use crate::matching::{
    facts::Keyed,
    hash::{StableHasher, ValueKey},
};

/// Which comes first when a date of only numbers could be read both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateOrder {
    /// 3/4 is the third of April.
    #[default]
    DayFirst,
    /// 3/4 is the fourth of March.
    MonthFirst,
}

/// A date of birth; 31 February is kept, because a wrong date still tells people apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Birth {
    /// 1850 to 2099.
    pub year: u16,
    /// 1 to 12, or more when it was written so.
    pub month: u8,
    /// 1 to 31, or more when it was written so.
    pub day: u8,
}

impl Birth {
    /// Reads `1980-02-31`, `19800231`, `31/02/1980`, `31.2.80` and the like.
    #[must_use]
    pub fn parse(text: &str, order: DateOrder) -> Option<Self> {
        let text = text.trim();
        let text = text.split_once('T').map_or(text, |(date, _)| date);
        let parts: Vec<&str> = text
            .split(|c: char| !c.is_ascii_digit())
            .filter(|p| !p.is_empty())
            .collect();
        let (year, month, day) = match parts.as_slice() {
            [all] if all.len() == 8 => {
                let (front, back) = (number(all.get(..4)?)?, number(all.get(4..)?)?);
                if (1850..2100).contains(&front) {
                    (front, back / 100, back % 100)
                } else {
                    let (first, second) = (front / 100, front % 100);
                    ordered(back, first, second, order)
                }
            }
            [year, month, day] if year.len() == 4 => (number(year)?, number(month)?, number(day)?),
            [first, second, year] if year.len() == 4 => {
                ordered(number(year)?, number(first)?, number(second)?, order)
            }
            _ => return None,
        };
        // Placeholders: 1900-01-01 and 1970-01-01 are what systems write when nobody said.
        if !(1850..2100).contains(&year)
            || matches!((year, month, day), (1900 | 1970, 1, 1))
            || month == 0
            || day == 0
        {
            return None;
        }
        Some(Self {
            year,
            month: u8::try_from(month).ok()?,
            day: u8::try_from(day).ok()?,
        })
    }

    /// Its eight digits.
    #[must_use]
    pub const fn digits(self) -> [u8; 8] {
        let (y, m, d) = (self.year, self.month, self.day);
        [
            (y / 1000 % 10) as u8,
            (y / 100 % 10) as u8,
            (y / 10 % 10) as u8,
            (y % 10) as u8,
            m / 10 % 10,
            m % 10,
            d / 10 % 10,
            d % 10,
        ]
    }
}

fn ordered(year: u16, first: u16, second: u16, order: DateOrder) -> (u16, u16, u16) {
    let day_first = match order {
        DateOrder::DayFirst => second <= 12 || first > 12,
        DateOrder::MonthFirst => first > 12,
    };
    if day_first {
        (year, second, first)
    } else {
        (year, first, second)
    }
}

fn number(digits: &str) -> Option<u16> {
    digits.parse().ok()
}

impl Keyed for Birth {
    fn key(&self) -> ValueKey {
        StableHasher::new(family::BIRTH).bytes(&self.digits()).value()
    }
}
