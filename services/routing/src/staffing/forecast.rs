//! What will come in, how sure that is, and how good such forecasts were.

mod band;
mod holt_winters;
mod seasonal_naive;

use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};

pub use band::Band;

use self::holt_winters::{Gains, HoltWinters};
use super::{
    calendar::{Calendar, DayType},
    volume::{Day, History},
};

/// Days that one fold of the comparison forecasts.
const FOLD_DAYS: usize = 14;
const MOST_FOLDS: usize = 6;
/// The dispersion assumed where a history is too short to show one: about a third of the mean up or down.
const ASSUMED_DISPERSION: f64 = 0.1;
/// Intervals in which less is expected say nothing about a band: nothing came in, and the band said so.
const LEAST_JUDGED: f64 = 1.0;

/// How a forecast is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Median of the same slot on the last six like days.
    SeasonalNaive,
    /// Double-seasonal Holt-Winters with factors for special days.
    HoltWinters,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SeasonalNaive => "median of the last six like days",
            Self::HoltWinters => "double-seasonal Holt-Winters",
        })
    }
}

/// How a method did on days it had not seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Method.
    pub method: Method,
    /// Sum of absolute errors over sum of contacts, interval by interval.
    pub wape: f64,
    /// The same for whole days, which is what a roster feels.
    pub daily_wape: f64,
    /// Share of outcomes in the 80 % band, whose width was learnt on the other folds; intervals in which at least one
    /// contact was expected.
    pub coverage_80: f64,
    /// Share of outcomes in the 95 % band.
    pub coverage_95: f64,
    /// Intervals that were compared.
    pub intervals: usize,
    /// Forecasts that were made for it, each of 14 days.
    pub folds: usize,
}

/// One interval to come.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// When it starts.
    pub start: DateTime<Utc>,
    /// Local day.
    pub date: NaiveDate,
    /// Contacts expected.
    pub mean: f64,
    /// Range of 80 % of outcomes.
    pub band_80: Band,
    /// Range of 95 % of outcomes.
    pub band_95: Band,
}

/// What will come in.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// How it was made.
    pub method: Method,
    /// Why so.
    pub why: String,
    /// What the reader should know besides.
    pub notes: Vec<String>,
    /// Variance of the rate, as a multiple of the squared mean.
    pub dispersion: f64,
    /// The same for the volume of a whole day.
    pub daily_dispersion: f64,
    /// How the methods did on the past; empty where the history is too short to tell.
    pub scores: Vec<Score>,
    /// The intervals.
    pub points: Vec<Point>,
}

/// Nothing to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no contact was counted in this series, so there is nothing to forecast from")]
pub struct NothingCounted;

/// Forecasts `days` local days from `from`, with the method that did best on the past.
pub fn forecast(
    history: &History,
    calendar: &Calendar,
    from: NaiveDate,
    days: u32,
) -> Result<Forecast, NothingCounted> {
    let slots = calendar.step().per_day();
    let past = &history.days;
    let counted = past
        .iter()
        .filter(|day| day.slots.iter().any(Option::is_some))
        .count();
    if counted == 0 {
        return Err(NothingCounted);
    }
    let comparison = Comparison::of(past, slots);
    let (method, why) = comparison.choice(past.len(), counted);
    let model = Model::of(method, past, slots);
    let (dispersion, daily_dispersion) = comparison.dispersions(method);
    let mut notes = Vec::new();
    if comparison.folds == 0 {
        notes.push(format!(
            "the bands assume a dispersion of {ASSUMED_DISPERSION}, because the history is too short to measure one"
        ));
    }
    let mut points = Vec::new();
    let mut unseen = Vec::new();
    for date in from
        .iter_days()
        .take(usize::try_from(days).unwrap_or(usize::MAX).min(370))
    {
        let day_type = calendar.day_type(date);
        let is_unseen = past.iter().all(|day| day.day_type != day_type);
        if is_unseen && !unseen.contains(&day_type) {
            notes.push(format!(
                "no day of the kind `{day_type}` was seen; it is taken for an ordinary one"
            ));
            unseen.push(day_type.clone());
        }
        let expected = model.predict(past, date, &day_type, slots);
        for interval in calendar.intervals_of(date) {
            let mean = expected.get(interval.slot).copied().unwrap_or(0.0);
            points.push(point(interval.start, date, mean, dispersion));
        }
    }
    Ok(Forecast {
        method,
        why,
        notes,
        dispersion,
        daily_dispersion,
        scores: comparison.scores(),
        points,
    })
}

fn point(start: DateTime<Utc>, date: NaiveDate, mean: f64, dispersion: f64) -> Point {
    Point {
        start,
        date,
        mean,
        band_80: band::band(mean, dispersion, 0.8),
        band_95: band::band(mean, dispersion, 0.95),
    }
}

impl Forecast {
    /// The count that is exceeded in one of so many intervals: staffing for it keeps the promise on busier days too.
    pub fn quantile(&self, point: &Point, probability: f64) -> f64 {
        band::quantile(point.mean, self.dispersion, probability)
    }

    /// The rest of a day after what came in so far: the ratio of seen to expected, believed as far as days are known to
    /// differ from their forecast (the posterior mean of a gamma rate).
    pub fn revised(&self, date: NaiveDate, now: DateTime<Utc>, seen: f64) -> Vec<Point> {
        let of_day = || self.points.iter().filter(|point| point.date == date);
        let expected: f64 = of_day()
            .filter(|point| point.start < now)
            .map(|point| point.mean)
            .sum();
        let belief = 1.0 / self.daily_dispersion.max(1e-6);
        let seen = if seen.is_finite() { seen.max(0.0) } else { expected };
        let factor = (belief + seen) / (belief + expected);
        of_day()
            .filter(|later| later.start >= now)
            .map(|later| point(later.start, date, later.mean * factor, self.dispersion))
            .collect()
    }
}

/// A method that has learnt.
enum Model {
    SeasonalNaive,
    HoltWinters(HoltWinters),
}

impl Model {
    fn of(method: Method, days: &[Day], slots: usize) -> Self {
        match method {
            Method::SeasonalNaive => Self::SeasonalNaive,
            Method::HoltWinters => holt_winters::best_gains(days, slots)
                .and_then(|gains| HoltWinters::of(days, gains, slots))
                .map_or(Self::SeasonalNaive, Self::HoltWinters),
        }
    }

    fn predict(&self, days: &[Day], date: NaiveDate, day_type: &DayType, slots: usize) -> Vec<f64> {
        match self {
            Self::SeasonalNaive => seasonal_naive::predict(days, date, day_type, slots),
            Self::HoltWinters(model) => model.predict(date, day_type),
        }
    }
}

/// One expectation and its outcome.
#[derive(Clone, Copy)]
struct Pair {
    fold: usize,
    day: NaiveDate,
    expected: f64,
    contacts: f64,
}

/// Forecasts of the past by all methods.
struct Comparison {
    folds: usize,
    naive: Vec<Pair>,
    /// Empty where the history is too short.
    holt_winters: Vec<Pair>,
}

impl Comparison {
    /// Forecasts the last weeks from the days before them, fold by fold.
    fn of(days: &[Day], slots: usize) -> Self {
        let folds = (days.len().saturating_sub(holt_winters::LEAST_DAYS) / FOLD_DAYS).min(MOST_FOLDS);
        let first = days.len() - folds * FOLD_DAYS;
        let mut naive = Vec::new();
        let mut smoothed = Vec::new();
        // Gains are chosen once, on what is before all folds, so that no fold is judged with what it taught.
        let gains: Option<Gains> = if folds > 0 {
            holt_winters::best_gains(&days[..first], slots)
        } else {
            None
        };
        for fold in 0..folds {
            let (seen, ahead) = days.split_at(first + fold * FOLD_DAYS);
            let ahead = &ahead[..FOLD_DAYS];
            collect(&mut naive, fold, ahead, |day| {
                seasonal_naive::predict(seen, day.date, &day.day_type, slots)
            });
            if let Some(model) = gains.and_then(|gains| HoltWinters::of(seen, gains, slots)) {
                collect(&mut smoothed, fold, ahead, |day| {
                    model.predict(day.date, &day.day_type)
                });
            }
        }
        Self {
            folds,
            naive,
            holt_winters: smoothed,
        }
    }

    fn scores(&self) -> Vec<Score> {
        [
            (Method::SeasonalNaive, &self.naive),
            (Method::HoltWinters, &self.holt_winters),
        ]
        .into_iter()
        .filter(|(_, pairs)| !pairs.is_empty())
        .map(|(method, pairs)| score(method, pairs, self.folds))
        .collect()
    }

    fn choice(&self, days: usize, counted: usize) -> (Method, String) {
        if self.folds == 0 {
            let needed = holt_winters::LEAST_DAYS + FOLD_DAYS;
            let why = format!(
                "the history has {counted} counted days in {days}; a comparison of methods needs {needed}, so the simplest one is used"
            );
            return (Method::SeasonalNaive, why);
        }
        if self.holt_winters.is_empty() {
            let why = "nothing came in during the first weeks, so there is no cycle to smooth".to_owned();
            return (Method::SeasonalNaive, why);
        }
        let (naive, smoothed) = (wape(&self.naive), wape(&self.holt_winters));
        let (method, better, worse) = if smoothed < naive {
            (Method::HoltWinters, smoothed, naive)
        } else {
            (Method::SeasonalNaive, naive, smoothed)
        };
        let why = format!(
            "it missed by {:.1} % over the last {} weeks, the other method by {:.1} %",
            better * 100.0,
            2 * self.folds,
            worse * 100.0
        );
        (method, why)
    }

    fn dispersions(&self, method: Method) -> (f64, f64) {
        if self.folds == 0 {
            return (ASSUMED_DISPERSION, ASSUMED_DISPERSION);
        }
        let pairs = match method {
            Method::SeasonalNaive => &self.naive,
            Method::HoltWinters => &self.holt_winters,
        };
        let by_interval = band::dispersion(pairs.iter().map(|pair| (pair.expected, pair.contacts)));
        (by_interval, band::dispersion(by_day(pairs).into_iter()))
    }
}

fn collect(pairs: &mut Vec<Pair>, fold: usize, ahead: &[Day], predict: impl Fn(&Day) -> Vec<f64>) {
    for day in ahead {
        for (contacts, expected) in day.slots.iter().zip(predict(day)) {
            pairs.extend(contacts.map(|contacts| Pair {
                fold,
                day: day.date,
                expected,
                contacts,
            }));
        }
    }
}

fn by_day(pairs: &[Pair]) -> Vec<(f64, f64)> {
    pairs
        .chunk_by(|a, b| a.day == b.day)
        .map(|day| {
            day.iter().fold((0.0, 0.0), |sum, pair| {
                (sum.0 + pair.expected, sum.1 + pair.contacts)
            })
        })
        .collect()
}

fn wape(pairs: &[Pair]) -> f64 {
    wape_of(pairs.iter().map(|pair| (pair.expected, pair.contacts)))
}

fn wape_of(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (errors, contacts) = pairs.fold((0.0, 0.0), |(errors, sum), (expected, contacts)| {
        (errors + (contacts - expected).abs(), sum + contacts)
    });
    // Where nothing came in at all, every contact forecast is one too many.
    if contacts > 0.0 { errors / contacts } else { errors }
}

fn score(method: Method, pairs: &[Pair], folds: usize) -> Score {
    let (mut in_80, mut in_95, mut judged) = (0.0, 0.0, 0.0);
    for fold in pairs.chunk_by(|a, b| a.fold == b.fold) {
        let of_others = || pairs.iter().filter(|pair| pair.fold != fold[0].fold);
        let dispersion = if folds > 1 {
            band::dispersion(of_others().map(|pair| (pair.expected, pair.contacts)))
        } else {
            ASSUMED_DISPERSION
        };
        for pair in fold.iter().filter(|pair| pair.expected >= LEAST_JUDGED) {
            judged += 1.0;
            in_80 += f64::from(u8::from(
                band::band(pair.expected, dispersion, 0.8).contains(pair.contacts),
            ));
            in_95 += f64::from(u8::from(
                band::band(pair.expected, dispersion, 0.95).contains(pair.contacts),
            ));
        }
    }
    let share = |count: f64| if judged > 0.0 { count / judged } else { 1.0 };
    Score {
        method,
        wape: wape(pairs),
        daily_wape: wape_of(by_day(pairs).into_iter()),
        coverage_80: share(in_80),
        coverage_95: share(in_95),
        intervals: pairs.len(),
        folds,
    }
}

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;
