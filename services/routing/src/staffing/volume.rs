//! What came in: contacts per interval, by channel, intent and language.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use chrono::{DateTime, Days, NaiveDate, Utc};
use trama_proto::resources::Kind;

use super::{
    calendar::{Calendar, DayType},
    rows::Row,
};

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// Kind of channel.
    pub channel: Kind,
    /// Intent, empty for all or unknown.
    pub intent: String,
    /// Language, empty for all or unknown.
    pub language: String,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.channel.name())?;
        for part in [&self.intent, &self.language] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        Ok(())
    }
}

/// What was counted in one interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Count {
    /// Contacts that came in.
    pub contacts: f64,
    /// Mean time an agent worked on one, where known.
    pub handle_seconds: Option<f64>,
}

/// What an interval without a count means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nobody counted: the interval teaches nothing.
    Unknown,
    /// Nothing came in, as in exports that leave out empty intervals.
    Zero,
}

/// Counts of all series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Volumes {
    counts: BTreeMap<Series, BTreeMap<DateTime<Utc>, Count>>,
}

/// A stretch nobody counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Its first interval.
    pub from: DateTime<Utc>,
    /// The end of its last interval.
    pub to: DateTime<Utc>,
    /// Number of intervals.
    pub intervals: usize,
}

/// One local day of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Day {
    /// Date.
    pub date: NaiveDate,
    /// Kind of day.
    pub day_type: DayType,
    /// Contacts by slot; `None` where nobody counted or the clock was set forward. An hour that the clock shows twice is
    /// the mean of both, so that a slot is always one interval's worth.
    pub slots: Vec<Option<f64>>,
}

/// The days of one series without holes between them, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Days.
    pub days: Vec<Day>,
}

impl Volumes {
    /// Adds what came in; later counts of the same interval add up, their handling times by weight.
    pub fn add(&mut self, series: Series, start: DateTime<Utc>, count: Count) {
        match self.counts.entry(series).or_default().entry(start) {
            Entry::Vacant(vacant) => {
                vacant.insert(count);
            }
            Entry::Occupied(mut occupied) => {
                let before = *occupied.get();
                let contacts = before.contacts + count.contacts;
                let handle_seconds = match (before.handle_seconds, count.handle_seconds) {
                    (Some(a), Some(b)) if contacts > 0.0 => {
                        Some((a * before.contacts + b * count.contacts) / contacts)
                    }
                    (a, b) => a.or(b),
                };
                occupied.insert(Count {
                    contacts,
                    handle_seconds,
                });
            }
        }
    }

    /// The series counted here.
    pub fn series(&self) -> impl Iterator<Item = &Series> {
        self.counts.keys()
    }

    /// What was counted in an interval.
    pub fn count(&self, series: &Series, start: DateTime<Utc>) -> Option<Count> {
        self.counts.get(series)?.get(&start).copied()
    }

    /// Counts brought to the steps of a calendar: finer ones add up, coarser ones spread evenly over their time.
    pub fn of(rows: impl IntoIterator<Item = Row>, calendar: &Calendar) -> Self {
        let mut volumes = Self::default();
        let step = calendar.step();
        for row in rows {
            let parts = (row.step.minutes() / step.minutes()).max(1);
            let count = Count {
                contacts: row.count.contacts / f64::from(parts),
                ..row.count
            };
            for part in 0..parts {
                let start = row.start + step.length() * i32::try_from(part).unwrap_or(0);
                volumes.add(row.series.clone(), calendar.interval_of(start), count);
            }
        }
        volumes
    }

    /// Mean time an agent worked on a contact of these series, where any is known.
    pub fn mean_handle_seconds(&self, wanted: impl Fn(&Series) -> bool) -> Option<f64> {
        let counts = self
            .counts
            .iter()
            .filter(|(series, _)| wanted(series))
            .flat_map(|(_, counts)| counts.values());
        let known = counts.filter_map(|count| Some((count.contacts, count.handle_seconds?)));
        let (contacts, seconds) = known.fold((0.0, 0.0), |(contacts, sum), (n, mean)| {
            (contacts + n, sum + n * mean)
        });
        (contacts > 0.0).then(|| seconds / contacts)
    }

    /// The last `days` local days of a series up to and with `last`, from the first day that was counted. `None` where
    /// nothing was.
    pub fn history(
        &self,
        series: &Series,
        calendar: &Calendar,
        missing: Missing,
        last: NaiveDate,
        days: u32,
    ) -> Option<History> {
        let counts = self.counts.get(series)?;
        let first_counted = calendar.place(*counts.keys().next()?).0;
        let earliest = last
            .checked_sub_days(Days::new(u64::from(days.saturating_sub(1))))
            .unwrap_or(NaiveDate::MIN);
        let mut date = first_counted.max(earliest);
        let mut history = Vec::new();
        while date <= last {
            history.push(day(counts, calendar, missing, date));
            date = date.succ_opt()?;
        }
        (!history.is_empty()).then_some(History { days: history })
    }

    /// The stretches nobody counted between the first and the last count of a series.
    pub fn gaps(&self, series: &Series, calendar: &Calendar) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let Some(counts) = self.counts.get(series) else {
            return gaps;
        };
        let step = calendar.step().length();
        for (before, after) in counts.keys().zip(counts.keys().skip(1)) {
            let from = *before + step;
            if from < *after {
                let minutes = (*after - from).num_minutes() / step.num_minutes();
                gaps.push(Gap {
                    from,
                    to: *after,
                    intervals: usize::try_from(minutes).unwrap_or(0),
                });
            }
        }
        gaps
    }
}

fn day(
    counts: &BTreeMap<DateTime<Utc>, Count>,
    calendar: &Calendar,
    missing: Missing,
    date: NaiveDate,
) -> Day {
    let mut sums = vec![(0.0, 0.0); calendar.step().per_day()];
    for interval in calendar.intervals_of(date) {
        let contacts = match (counts.get(&interval.start), missing) {
            (Some(count), _) => count.contacts,
            (None, Missing::Zero) => 0.0,
            (None, Missing::Unknown) => continue,
        };
        if let Some((sum, intervals)) = sums.get_mut(interval.slot) {
            *sum += contacts;
            *intervals += 1.0;
        }
    }
    Day {
        date,
        day_type: calendar.day_type(date),
        slots: sums
            .into_iter()
            .map(|(sum, intervals)| (intervals > 0.0).then(|| sum / intervals))
            .collect(),
    }
}

#[cfg(test)]
#[path = "volume_tests.rs"]
mod tests;
