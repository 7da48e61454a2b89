//! When we are there.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use chrono::{Datelike as _, Days, NaiveDate, TimeDelta};
use chrono_tz::Tz;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Validate, by_name, check};

const MINUTES_OF_A_DAY: u16 = 24 * 60;

/// Opening hours: a week, and the days that differ from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BusinessHoursSpec {
    /// Whose clock: a name of the IANA database such as `Europe/Rome`.
    pub time_zone: TimeZone,
    /// Opening times by day of the week: `monday: ["09:00-13:00", "14:00-18:00"]`. A day that is not named is closed.
    pub weekly: BTreeMap<Weekday, Vec<TimeRange>>,
    /// Holidays and special openings. The first that names a date decides.
    #[serde(default)]
    pub days: Vec<SpecialDay>,
}

/// A day that differs from its week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpecialDay {
    /// For explanations.
    pub name: String,
    /// `2026-08-14`, or `12-25` for every year.
    #[serde(default)]
    pub date: Option<Date>,
    /// Last day, when it is more than one. Of the same shape as `date`.
    #[serde(default)]
    pub through: Option<Date>,
    /// Instead of a date: days after Easter Sunday of every year, such as 1 for Easter Monday, -2 for Good Friday.
    #[serde(default)]
    pub easter: Option<i32>,
    /// Opening times of the day; closed when empty.
    #[serde(default)]
    pub open: Vec<TimeRange>,
}

/// Days of the week, as YAML writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Weekday {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

impl<'de> Deserialize<'de> for Weekday {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        by_name(deserializer, &Self::ALL, Self::NAMES)
    }
}

impl Weekday {
    const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// All, as YAML writes them, Monday first.
    pub const NAMES: &'static [&'static str] = &[
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ];

    /// As YAML writes it.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl From<chrono::Weekday> for Weekday {
    fn from(day: chrono::Weekday) -> Self {
        match day {
            chrono::Weekday::Mon => Weekday::Monday,
            chrono::Weekday::Tue => Weekday::Tuesday,
            chrono::Weekday::Wed => Weekday::Wednesday,
            chrono::Weekday::Thu => Weekday::Thursday,
            chrono::Weekday::Fri => Weekday::Friday,
            chrono::Weekday::Sat => Weekday::Saturday,
            chrono::Weekday::Sun => Weekday::Sunday,
        }
    }
}

/// A time zone of the IANA database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeZone(pub Tz);

impl FromStr for TimeZone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        name.parse::<Tz>().map(Self).map_err(|_| {
            format!("`{name}` is no time zone of the IANA database; write a name such as Europe/Rome")
        })
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// From one time of day to another, `09:00-13:00`; `22:00-06:00` ends on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// Minutes from midnight.
    pub from: u16,
    /// Minutes from the same midnight; more than a day's when it ends on the next day.
    pub until: u16,
}

impl FromStr for TimeRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no opening time; write 09:00-13:00");
        let (from, until) = text.split_once('-').ok_or_else(wrong)?;
        let (from, until) = (
            minutes(from).ok_or_else(wrong)?,
            minutes(until).ok_or_else(wrong)?,
        );
        if from == until || from == MINUTES_OF_A_DAY {
            return Err(format!("`{text}` has no length; the whole day is 00:00-24:00"));
        }
        let until = if until < from {
            until + MINUTES_OF_A_DAY
        } else {
            until
        };
        Ok(Self { from, until })
    }
}

fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |part: &str| {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u16>().ok())
    };
    let (hour, minute) = (two(hour)??, two(minute)??);
    (minute < 60 && hour * 60 + minute <= MINUTES_OF_A_DAY).then_some(hour * 60 + minute)
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = if self.until > MINUTES_OF_A_DAY {
            self.until - MINUTES_OF_A_DAY
        } else {
            self.until
        };
        write!(
            f,
            "{:02}:{:02}-{:02}:{:02}",
            self.from / 60,
            self.from % 60,
            until / 60,
            until % 60
        )
    }
}

/// A date, of one year or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Date {
    /// `2026-08-14`
    Single(NaiveDate),
    /// `12-25`
    Yearly {
        /// 1 to 12.
        month: u32,
        /// 1 to 31.
        day: u32,
    },
}

impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no date; write 2026-08-14, or 12-25 for every year");
        if let Ok(date) = text.parse::<NaiveDate>() {
            return Ok(Self::Single(date));
        }
        let (month, day) = text.split_once('-').ok_or_else(wrong)?;
        let (month, day) = (
            month.parse().map_err(|_| wrong())?,
            day.parse().map_err(|_| wrong())?,
        );
        // A leap year, so that 29 February is a date: it then exists every fourth year.
        NaiveDate::from_ymd_opt(2024, month, day).ok_or_else(wrong)?;
        Ok(Self::Yearly { month, day })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(date) => date.fmt(f),
            Self::Yearly { month, day } => write!(f, "{month:02}-{day:02}"),
        }
    }
}

impl SpecialDay {
    /// Whether it is about this date.
    pub fn names(&self, date: NaiveDate) -> bool {
        if let Some(after) = self.easter {
            return easter_sunday(date.year())
                .and_then(|sunday| sunday.checked_add_signed(TimeDelta::days(i64::from(after))))
                .is_some_and(|day| day == date);
        }
        let month_and_day = |date: NaiveDate| (date.month(), date.day());
        match (self.date, self.through) {
            (None, _) => false,
            (Some(Date::Single(first)), Some(Date::Single(last))) => (first..=last).contains(&date),
            (Some(Date::Single(first)), _) => first == date,
            (Some(Date::Yearly { month, day }), Some(Date::Yearly { month: m, day: d })) => {
                let (first, last, date) = ((month, day), (m, d), month_and_day(date));
                if first <= last {
                    (first..=last).contains(&date)
                } else {
                    // 12-24 through 01-06
                    date >= first || date <= last
                }
            }
            (Some(Date::Yearly { month, day }), _) => (month, day) == month_and_day(date),
        }
    }
}

/// The Gregorian computus (Meeus, Jones, Butcher).
fn easter_sunday(year: i32) -> Option<NaiveDate> {
    let golden = year.rem_euclid(19);
    let (century, rest) = (year.div_euclid(100), year.rem_euclid(100));
    let correction = (century + 8) / 25;
    let moon = (century - (century - correction + 1) / 3 - century / 4 + 19 * golden + 15).rem_euclid(30);
    let weekday = (32 + 2 * (century % 4) + 2 * (rest / 4) - moon - rest % 4).rem_euclid(7);
    let shift = (golden + 11 * moon + 22 * weekday) / 451;
    // 22 March is the earliest Easter.
    let after = moon + weekday - 7 * shift;
    NaiveDate::from_ymd_opt(year, 3, 22)?.checked_add_days(Days::new(u64::try_from(after).ok()?))
}

impl Validate for BusinessHoursSpec {
    fn validate(&self) -> Result<(), String> {
        check(
            self.weekly.values().any(|ranges| !ranges.is_empty()),
            "spec.weekly has no opening time: work would wait for ever",
        )?;
        for (day, ranges) in &self.weekly {
            apart(ranges).map_err(|e| format!("spec.weekly.{}: {e}", day.name()))?;
        }
        for (number, day) in self.days.iter().enumerate() {
            let at = format!("spec.days[{number}]");
            check(
                day.date.is_some() != day.easter.is_some(),
                &format!("{at} must have either date or easter"),
            )?;
            check(
                day.easter.is_none_or(|after| (-100..=100).contains(&after)),
                &format!("{at}.easter must be from -100 to 100 days"),
            )?;
            match (day.date, day.through) {
                (_, None) | (Some(Date::Yearly { .. }), Some(Date::Yearly { .. })) => {}
                (Some(Date::Single(first)), Some(Date::Single(last))) => {
                    check(first <= last, &format!("{at}.through is before date"))?;
                }
                (None, Some(_)) => return Err(format!("{at}.through needs a date")),
                (Some(Date::Single(_)), Some(Date::Yearly { .. }))
                | (Some(Date::Yearly { .. }), Some(Date::Single(_))) => {
                    return Err(format!(
                        "{at}: date and through must both have a year, or neither"
                    ));
                }
            }
            apart(&day.open).map_err(|e| format!("{at}.open: {e}"))?;
        }
        Ok(())
    }
}

/// The ranges of one day stand in order and do not overlap.
fn apart(ranges: &[TimeRange]) -> Result<(), String> {
    for pair in ranges.windows(2) {
        if pair[0].until > pair[1].from {
            return Err(format!(
                "{} and {} overlap or stand in the wrong order",
                pair[0], pair[1]
            ));
        }
    }
    Ok(())
}

/// Written as text, checked when read.
macro_rules! as_text {
    ($type:ident, $description:literal, $pattern:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "description": $description, "pattern": $pattern})
            }
        }
    };
}

as_text!(
    TimeZone,
    "Name of the IANA database such as Europe/Rome.",
    "^[A-Za-z0-9_+/-]+$"
);
as_text!(
    TimeRange,
    "Opening time such as 09:00-13:00.",
    "^[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}$"
);
as_text!(
    Date,
    "2026-08-14, or 12-25 for every year.",
    "^([0-9]{4}-)?[0-9]{1,2}-[0-9]{1,2}$"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn easter_is_where_the_church_has_it() {
        for (year, month, day) in [
            (2000, 4, 23),
            (2008, 3, 23),
            (2011, 4, 24),
            (2024, 3, 31),
            (2026, 4, 5),
            (2038, 4, 25),
            (2285, 3, 22),
        ] {
            assert_eq!(easter_sunday(year), NaiveDate::from_ymd_opt(year, month, day));
        }
    }

    #[test]
    fn what_is_written_comes_back() {
        for text in ["09:00-13:00", "00:00-24:00", "22:00-06:00"] {
            assert_eq!(
                text.parse::<TimeRange>().map(|r| r.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["2026-08-14", "12-25", "02-29"] {
            assert_eq!(text.parse::<Date>().map(|d| d.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn holidays_over_new_year_are_one_stretch() {
        let closed = SpecialDay {
            name: "Holidays".into(),
            date: "12-24".parse().ok(),
            through: "01-06".parse().ok(),
            easter: None,
            open: vec![],
        };
        let on = |text: &str| closed.names(text.parse().unwrap());
        assert!(on("2026-12-24") && on("2027-01-01") && on("2027-01-06"));
        assert!(!on("2026-12-23") && !on("2027-01-07"));
    }
}
