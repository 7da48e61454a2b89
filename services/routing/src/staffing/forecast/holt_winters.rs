//! Double-seasonal Holt-Winters after Taylor (2003, "Short-term electricity demand forecasting using double seasonal
//! exponential smoothing"): a level, a cycle within the day, a cycle within the week, all multiplied.
//!
//! Counts are small and often zero, so the steps are those of normalised least squares instead of the ratios of the
//! original, which divide by the other cycle: where a factor is near zero it learns nothing, where it is one, a step is
//! Holt-Winters' own. There is no trend: carried forward two weeks it does more harm than good. Outliers are cut. Special
//! days teach nothing to the cycles; their own factors are learnt from how they differed from an ordinary day.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use crate::staffing::{
    calendar::{DayType, weekday_number},
    volume::Day,
};

/// Days from which the first level and cycles are taken.
const FIRST_DAYS: usize = 21;
/// The shortest history this method is used for.
pub(super) const LEAST_DAYS: usize = 28;
/// Days over which smoothing is judged: as far ahead as rosters are made.
const JUDGED_DAYS: usize = 14;
/// How near zero a factor must be for its partner to stop learning.
const SMALL: f64 = 0.01;
/// A special day's slot weighs as much as this many contacts at the day's common factor.
const SPECIAL_PRIOR_CONTACTS: f64 = 10.0;

const LEVEL_GAINS: [f64; 7] = [0.0, 0.01, 0.03, 0.06, 0.12, 0.2, 0.35];
const DAY_GAINS: [f64; 6] = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2];
const WEEK_GAINS: [f64; 7] = [0.0, 0.02, 0.05, 0.1, 0.18, 0.3, 0.45];

/// How fast the parts follow the news.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gains {
    /// Of the level, per day.
    level: f64,
    /// Of the cycle within the day, per day.
    day: f64,
    /// Of the cycle within the week, per week.
    week: f64,
}

/// What is known after some days.
#[derive(Debug, Clone)]
struct Smoothed {
    level: f64,
    day: Vec<f64>,
    week: Vec<f64>,
}

/// A model that has seen a history.
#[derive(Debug, Clone)]
pub(super) struct HoltWinters {
    now: Smoothed,
    special: BTreeMap<String, Vec<f64>>,
}

impl Smoothed {
    /// The averages of the first weeks. `None` where nothing came in.
    fn of_first(days: &[Day], slots: usize) -> Option<Self> {
        let mut sums = vec![(0.0, 0.0); 7 * slots];
        for day in days.iter().take(FIRST_DAYS).filter(|day| is_ordinary(day)) {
            let offset = usize::from(weekday_number(day.date)) * slots;
            for (cell, contacts) in sums[offset..offset + slots].iter_mut().zip(&day.slots) {
                if let Some(contacts) = contacts {
                    cell.0 += contacts;
                    cell.1 += 1.0;
                }
            }
        }
        let mean = |(sum, count): (f64, f64)| (count > 0.0).then(|| sum / count);
        let average = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            mean((sum, count))
        };
        let of_slot: Vec<Option<f64>> = (0..slots)
            .map(|slot| average(&mut (0..7).filter_map(|weekday| mean(sums[weekday * slots + slot]))))
            .collect();
        let level = average(&mut of_slot.iter().flatten().copied()).filter(|level| *level > 0.0)?;
        let day: Vec<f64> = of_slot
            .iter()
            .map(|slot| slot.map_or(1.0, |mean| mean / level))
            .collect();
        let week = (0..7 * slots)
            .map(|cell| {
                let ordinary = level * day[cell % slots];
                match mean(sums[cell]) {
                    Some(mean) if ordinary > 0.0 => mean / ordinary,
                    _ => 1.0,
                }
            })
            .collect();
        Some(Self { level, day, week })
    }

    fn expected(&self, date: NaiveDate) -> impl Iterator<Item = f64> {
        let slots = self.day.len();
        let offset = usize::from(weekday_number(date)) * slots;
        self.day
            .iter()
            .zip(&self.week[offset..offset + slots])
            .map(|(day, week)| self.level * day * week)
    }

    fn learn(&mut self, seen: &Day, gains: Gains) {
        let slots = self.day.len();
        let offset = usize::from(weekday_number(seen.date)) * slots;
        for (slot, contacts) in seen.slots.iter().enumerate().take(slots) {
            let Some(contacts) = contacts else { continue };
            let (day, week) = (self.day[slot], self.week[offset + slot]);
            let expected = self.level * day * week;
            let most = 3.0 * expected + 4.0 * (expected + 1.0).sqrt();
            let surprise = (contacts - expected).clamp(-most, most);
            let relative = surprise / self.level;
            self.day[slot] = (day + gains.day * relative * week / (week * week + SMALL)).max(0.0);
            self.week[offset + slot] = (week + gains.week * relative * day / (day * day + SMALL)).max(0.0);
            // The floor keeps a series that pauses from dying: it has to be able to divide.
            self.level = (self.level + gains.level * surprise / slots as f64).max(1e-3);
        }
    }
}

/// The gains that would have forecast this history best, two weeks ahead.
pub(super) fn best_gains(days: &[Day], slots: usize) -> Option<Gains> {
    let first = Smoothed::of_first(days, slots)?;
    let mut best = Gains {
        level: 0.06,
        day: 0.02,
        week: 0.1,
    };
    let mut least = misses(&first, days, best);
    // One gain after the other, twice: the three hardly depend on each other.
    for _ in 0..2 {
        let tries = LEVEL_GAINS
            .map(|level| (Some(level), None, None))
            .into_iter()
            .chain(DAY_GAINS.map(|day| (None, Some(day), None)))
            .chain(WEEK_GAINS.map(|week| (None, None, Some(week))));
        for (level, day, week) in tries {
            let gains = Gains {
                level: level.unwrap_or(best.level),
                day: day.unwrap_or(best.day),
                week: week.unwrap_or(best.week),
            };
            let miss = misses(&first, days, gains);
            if miss < least {
                (best, least) = (gains, miss);
            }
        }
    }
    Some(best)
}

/// The sum of absolute errors of forecasts made every week for the next two.
fn misses(first: &Smoothed, days: &[Day], gains: Gains) -> f64 {
    let mut now = first.clone();
    let mut sum = 0.0;
    for (number, day) in days.iter().enumerate() {
        if number >= FIRST_DAYS && number.is_multiple_of(7) {
            for ahead in days[number..]
                .iter()
                .take(JUDGED_DAYS)
                .filter(|day| is_ordinary(day))
            {
                for (expected, contacts) in now.expected(ahead.date).zip(&ahead.slots) {
                    sum += contacts.map_or(0.0, |contacts| (contacts - expected).abs());
                }
            }
        }
        if is_ordinary(day) {
            now.learn(day, gains);
        }
    }
    sum
}

impl HoltWinters {
    /// Learns from days, oldest first. `None` where nothing came in.
    pub(super) fn of(days: &[Day], gains: Gains, slots: usize) -> Option<Self> {
        let mut now = Smoothed::of_first(days, slots)?;
        let mut seen_special: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for day in days {
            match &day.day_type {
                DayType::Ordinary(_) => now.learn(day, gains),
                DayType::Special(name) => {
                    let sums = seen_special
                        .entry(name.clone())
                        .or_insert_with(|| vec![(0.0, 0.0); slots]);
                    for ((sum, contacts), expected) in
                        sums.iter_mut().zip(&day.slots).zip(now.expected(day.date))
                    {
                        if let Some(contacts) = contacts {
                            sum.0 += contacts;
                            sum.1 += expected;
                        }
                    }
                }
            }
        }
        let special = seen_special
            .into_iter()
            .map(|(name, sums)| (name, factors(&sums)))
            .collect();
        Some(Self { now, special })
    }

    /// Contacts by slot of a day of this kind.
    pub(super) fn predict(&self, date: NaiveDate, day_type: &DayType) -> Vec<f64> {
        let ordinary = self.now.expected(date);
        match day_type {
            DayType::Ordinary(_) => ordinary.collect(),
            DayType::Special(name) => match self.special.get(name) {
                Some(factors) => ordinary
                    .zip(factors)
                    .map(|(expected, factor)| expected * factor)
                    .collect(),
                None => ordinary.collect(),
            },
        }
    }
}

/// How special days of a kind differ, slot by slot, as far as there is enough to see it.
fn factors(sums: &[(f64, f64)]) -> Vec<f64> {
    let (contacts, expected) = sums
        .iter()
        .fold((0.0, 0.0), |all, sum| (all.0 + sum.0, all.1 + sum.1));
    let common = if expected > 0.0 { contacts / expected } else { 1.0 };
    sums.iter()
        .map(|(contacts, expected)| {
            (contacts + common * SPECIAL_PRIOR_CONTACTS) / (expected + SPECIAL_PRIOR_CONTACTS)
        })
        .collect()
}

fn is_ordinary(day: &Day) -> bool {
    matches!(day.day_type, DayType::Ordinary(_))
}
