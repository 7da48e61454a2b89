//! Days and intervals as people live them: local time with its missing and its doubled hours, holidays as days of their own.

use std::collections::BTreeMap;

use chrono::{
    DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Timelike, Utc, Weekday,
};
use chrono_tz::Tz;

/// How finely a day is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// 15 minutes.
    Quarter,
    /// 30 minutes.
    Half,
    /// 60 minutes.
    Hour,
}

impl Step {
    /// The step of so many minutes, where there is one.
    pub const fn of_minutes(minutes: u32) -> Option<Self> {
        match minutes {
            15 => Some(Self::Quarter),
            30 => Some(Self::Half),
            60 => Some(Self::Hour),
            _ => None,
        }
    }

    /// Its minutes.
    pub const fn minutes(self) -> u32 {
        match self {
            Self::Quarter => 15,
            Self::Half => 30,
            Self::Hour => 60,
        }
    }

    /// Its seconds.
    pub fn seconds(self) -> f64 {
        f64::from(self.minutes() * 60)
    }

    /// Its hours.
    pub fn hours(self) -> f64 {
        f64::from(self.minutes()) / 60.0
    }

    /// Its length.
    pub fn length(self) -> TimeDelta {
        TimeDelta::minutes(i64::from(self.minutes()))
    }

    /// Steps in a day of 24 hours.
    pub const fn per_day(self) -> usize {
        (24 * 60 / self.minutes()) as usize
    }
}

/// Days that resemble each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DayType {
    /// An ordinary day, by its number from Monday = 0.
    Ordinary(u8),
    /// A special day, by the name of its kind (`holiday`, `sale`).
    Special(String),
}

impl std::fmt::Display for DayType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ordinary(number) => match Weekday::try_from(*number) {
                Ok(weekday) => weekday.fmt(f),
                Err(_) => f.write_str("day"),
            },
            Self::Special(name) => f.write_str(name),
        }
    }
}

/// One interval of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// When it starts.
    pub start: DateTime<Utc>,
    /// Its place in a local day of 24 hours. Twice the same on the day the clock is set back.
    pub slot: usize,
}

/// A local time that a clock shows never or twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LocalTimeProblem {
    /// The clock is set forward over it.
    #[error("the clock never shows this time on that day, because it is set forward")]
    Skipped,
    /// The clock is set back and shows it again.
    #[error("the clock shows this time twice on that day, because it is set back; write it with its offset")]
    Doubled,
}

/// A tenant's days.
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: Tz,
    step: Step,
    special_days: BTreeMap<NaiveDate, String>,
}

impl Calendar {
    /// Days of this time zone, cut into steps, some of them special.
    pub fn new(zone: Tz, step: Step, special_days: BTreeMap<NaiveDate, String>) -> Self {
        Self {
            zone,
            step,
            special_days,
        }
    }

    /// How days are cut.
    pub fn step(&self) -> Step {
        self.step
    }

    /// What kind of day this is.
    pub fn day_type(&self, date: NaiveDate) -> DayType {
        match self.special_days.get(&date) {
            Some(name) => DayType::Special(name.clone()),
            None => DayType::Ordinary(weekday_number(date)),
        }
    }

    /// The local day and the slot of an instant.
    pub fn place(&self, at: DateTime<Utc>) -> (NaiveDate, usize) {
        let local = at.with_timezone(&self.zone).naive_local();
        (local.date(), self.slot(local.time()))
    }

    fn slot(&self, time: NaiveTime) -> usize {
        (time.num_seconds_from_midnight() / 60 / self.step.minutes()) as usize
    }

    /// Whether an interval may start here.
    pub fn is_start_of_interval(&self, at: DateTime<Utc>) -> bool {
        let time = at.with_timezone(&self.zone).time();
        time.num_seconds_from_midnight()
            .is_multiple_of(self.step.minutes() * 60)
            && time.nanosecond() == 0
    }

    /// The start of the interval that an instant is in.
    pub fn interval_of(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        let time = at.with_timezone(&self.zone).time();
        let into = time.num_seconds_from_midnight() % (self.step.minutes() * 60);
        at - TimeDelta::seconds(i64::from(into))
            - TimeDelta::nanoseconds(i64::from(at.timestamp_subsec_nanos()))
    }

    /// Local midnight, or the first time after it where the clock is set forward at midnight.
    pub fn start_of(&self, date: NaiveDate) -> Option<DateTime<Utc>> {
        self.first_instant(date)
    }

    /// The same days cut otherwise.
    #[must_use]
    pub fn cut(&self, step: Step) -> Self {
        Self { step, ..self.clone() }
    }

    /// An instant as the local clock shows it, with its offset.
    pub fn written(&self, at: DateTime<Utc>) -> String {
        at.with_timezone(&self.zone)
            .format("%Y-%m-%dT%H:%M:%S%:z")
            .to_string()
    }

    /// The instant at which a local clock shows this.
    pub fn instant(&self, local: NaiveDateTime) -> Result<DateTime<Utc>, LocalTimeProblem> {
        match self.zone.from_local_datetime(&local) {
            chrono::LocalResult::Single(at) => Ok(at.with_timezone(&Utc)),
            chrono::LocalResult::None => Err(LocalTimeProblem::Skipped),
            chrono::LocalResult::Ambiguous(_, _) => Err(LocalTimeProblem::Doubled),
        }
    }

    /// The intervals of a local day: 46, 48 or 50 half hours, where summer time changes the clock by one hour.
    pub fn intervals_of(&self, date: NaiveDate) -> Vec<Interval> {
        let (Some(start), Some(end)) = (
            self.first_instant(date),
            date.succ_opt().and_then(|next| self.first_instant(next)),
        ) else {
            return Vec::new();
        };
        let mut intervals = Vec::with_capacity(self.step.per_day() + 2);
        let mut at = start;
        while at < end {
            let slot = self.slot(at.with_timezone(&self.zone).time());
            intervals.push(Interval { start: at, slot });
            at += self.step.length();
        }
        intervals
    }

    /// Midnight, or the first time after it where the clock is set forward at midnight.
    fn first_instant(&self, date: NaiveDate) -> Option<DateTime<Utc>> {
        let midnight = date.and_time(NaiveTime::MIN);
        (0..=12)
            .filter_map(|quarters| midnight.checked_add_signed(TimeDelta::minutes(15 * quarters)))
            .find_map(|local| self.zone.from_local_datetime(&local).earliest())
            .map(|at| at.with_timezone(&Utc))
    }
}

/// Monday = 0.
pub(super) fn weekday_number(date: NaiveDate) -> u8 {
    // 0 to 6.
    date.weekday().num_days_from_monday() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rome(step: Step) -> Calendar {
        let holidays = [(day(2026, 12, 25), "holiday".to_owned())].into();
        Calendar::new(Tz::Europe__Rome, step, holidays)
    }

    fn day(year: i32, month: u32, day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(year, month, day).unwrap()
    }

    #[test]
    fn a_day_has_as_many_intervals_as_its_clock_has_hours() {
        for (step, ordinary, spring, autumn) in [
            (Step::Quarter, 96, 92, 100),
            (Step::Half, 48, 46, 50),
            (Step::Hour, 24, 23, 25),
        ] {
            let calendar = rome(step);
            assert_eq!(calendar.intervals_of(day(2026, 3, 28)).len(), ordinary);
            assert_eq!(calendar.intervals_of(day(2026, 3, 29)).len(), spring);
            assert_eq!(calendar.intervals_of(day(2026, 10, 25)).len(), autumn);
        }
    }

    #[test]
    fn slots_follow_the_local_clock_over_both_changes() {
        let calendar = rome(Step::Hour);
        let spring: Vec<_> = calendar
            .intervals_of(day(2026, 3, 29))
            .iter()
            .map(|i| i.slot)
            .collect();
        assert_eq!(spring[..4], [0, 1, 3, 4]);
        let autumn: Vec<_> = calendar
            .intervals_of(day(2026, 10, 25))
            .iter()
            .map(|i| i.slot)
            .collect();
        assert_eq!(autumn[..5], [0, 1, 2, 2, 3]);
        for interval in calendar.intervals_of(day(2026, 10, 25)) {
            assert_eq!(calendar.place(interval.start), (day(2026, 10, 25), interval.slot));
            assert!(calendar.is_start_of_interval(interval.start));
        }
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_starts_later() {
        let cairo = Calendar::new(Tz::Africa__Cairo, Step::Half, BTreeMap::new());
        let intervals = cairo.intervals_of(day(2025, 4, 25));
        assert_eq!((intervals.len(), intervals[0].slot), (46, 2));
    }

    #[test]
    fn a_holiday_is_a_kind_of_its_own() {
        let calendar = rome(Step::Half);
        assert_eq!(
            calendar.day_type(day(2026, 12, 25)),
            DayType::Special("holiday".to_owned())
        );
        assert_eq!(calendar.day_type(day(2026, 12, 24)).to_string(), "Thu");
    }

    #[test]
    fn the_ends_of_time_have_no_intervals() {
        assert!(rome(Step::Half).intervals_of(NaiveDate::MAX).is_empty());
        let _ = rome(Step::Half).intervals_of(NaiveDate::MIN);
    }
}
