//! The baseline that must be beaten: the median of the same slot on the last like days.

use chrono::NaiveDate;

use crate::staffing::{calendar::DayType, volume::Day};

/// How many like days the median takes.
const LIKE_DAYS: usize = 6;

/// Contacts by slot of a day of this kind.
pub(super) fn predict(days: &[Day], date: NaiveDate, day_type: &DayType, slots: usize) -> Vec<f64> {
    let like = like_days(days, day_type, |day| day.day_type == *day_type);
    if !like.is_empty() {
        return medians(&like, slots);
    }
    // A kind of day never seen is like the weekday it falls on; a weekday never seen like any ordinary day.
    let weekday = DayType::Ordinary(crate::staffing::calendar::weekday_number(date));
    let like = like_days(days, &weekday, |day| day.day_type == weekday);
    if !like.is_empty() {
        return medians(&like, slots);
    }
    medians(&like_days(days, &weekday, |_| true), slots)
}

fn like_days<'a>(days: &'a [Day], wanted: &DayType, is_like: impl Fn(&Day) -> bool) -> Vec<&'a Day> {
    let is_ordinary = |day: &Day| matches!(day.day_type, DayType::Ordinary(_));
    days.iter()
        .rev()
        .filter(|day| is_like(day) && day.slots.iter().any(Option::is_some))
        .filter(|day| is_ordinary(day) || day.day_type == *wanted)
        .take(LIKE_DAYS)
        .collect()
}

fn medians(days: &[&Day], slots: usize) -> Vec<f64> {
    (0..slots)
        .map(|slot| {
            let mut seen: Vec<f64> = days
                .iter()
                .filter_map(|day| day.slots.get(slot).copied().flatten())
                .collect();
            seen.sort_by(f64::total_cmp);
            match seen.len() {
                0 => 0.0,
                count if count.is_multiple_of(2) => f64::midpoint(seen[count / 2 - 1], seen[count / 2]),
                count => seen[count / 2],
            }
        })
        .collect()
}
