use std::collections::BTreeMap;

use chrono::Days;
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;
use crate::staffing::calendar::{Step, weekday_number};

/// SplitMix64: the same numbers everywhere.
struct Dice(u64);

impl Dice {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.share()).ln()).sqrt() * (2.0 * std::f64::consts::PI * self.share()).cos()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        let mut count = 0.0;
        let mut left = mean;
        while left > 0.0 {
            left += (1.0 - self.share()).ln();
            if left > 0.0 {
                count += 1.0;
            }
        }
        count
    }
}

/// A year of a series whose seasons are known: two peaks a day, quiet Saturdays, closed Sundays, a summer dip, growth, days
/// that are busier or quieter than their kind by `day_spread`, holidays with a fifth of the volume.
struct Year {
    calendar: Calendar,
    history: History,
    /// What came in after the history, day by day: the expected rate and the outcome.
    future: Vec<(Vec<f64>, Vec<f64>)>,
    from: NaiveDate,
}

fn year(seed: u64, peak: f64, day_spread: f64, days: u64) -> Year {
    let first = NaiveDate::from_ymd_opt(2025, 1, 6).unwrap();
    let holidays: BTreeMap<NaiveDate, String> = [
        "2025-04-21",
        "2025-05-01",
        "2025-06-02",
        "2025-08-15",
        "2025-11-01",
        "2025-12-08",
        "2025-12-25",
    ]
    .into_iter()
    .map(|date| (date.parse().unwrap(), "holiday".to_owned()))
    .collect();
    let calendar = Calendar::new(Tz::Europe__Rome, Step::Half, holidays);
    let mut dice = Dice(seed);
    let mut all = Vec::new();
    for number in 0..days + 14 {
        let date = first + Days::new(number);
        let day_type = calendar.day_type(date);
        let week = [1.15, 1.05, 1.0, 1.0, 0.95, 0.4, 0.0][usize::from(weekday_number(date))];
        let special = if matches!(day_type, DayType::Special(_)) {
            0.2
        } else {
            1.0
        };
        let season = 1.0
            + 0.15 * (number as f64 / 365.0 * 2.0 * std::f64::consts::PI).cos()
            + 0.2 * number as f64 / 365.0;
        let rates: Vec<f64> = (0..48_u32)
            .map(|slot| {
                let hour = f64::from(slot) / 2.0;
                let open = f64::from(u8::from((8.0..20.0).contains(&hour)));
                let peaks = (-(hour - 10.5).powi(2) / 4.0).exp() + 0.7 * (-(hour - 16.0).powi(2) / 5.0).exp();
                peak * open * (0.15 + peaks) * week * special * season
            })
            .collect();
        let busy = (1.0 + day_spread * dice.normal()).max(0.1);
        let contacts: Vec<f64> = rates.iter().map(|rate| dice.poisson(rate * busy)).collect();
        all.push((date, day_type, rates, contacts));
    }
    let future = all.split_off(usize::try_from(days).unwrap());
    Year {
        from: future[0].0,
        history: History {
            days: all
                .into_iter()
                .map(|(date, day_type, _, contacts)| Day {
                    date,
                    day_type,
                    slots: contacts.into_iter().map(Some).collect(),
                })
                .collect(),
        },
        future: future
            .into_iter()
            .map(|(_, _, rates, contacts)| (rates, contacts))
            .collect(),
        calendar,
    }
}

impl Year {
    fn forecast(&self) -> Forecast {
        forecast(&self.history, &self.calendar, self.from, 14).unwrap()
    }
}

fn score_of(forecast: &Forecast, method: Method) -> Score {
    *forecast
        .scores
        .iter()
        .find(|score| score.method == method)
        .unwrap()
}

#[test]
fn on_a_year_of_known_seasons_smoothing_beats_the_baseline_and_bands_hold() {
    let mut report = String::new();
    for (seed, peak, spread) in [(1, 3.0, 0.05), (2, 12.0, 0.08), (3, 40.0, 0.1), (4, 150.0, 0.06)] {
        let year = year(seed, peak, spread, 330);
        let got = year.forecast();
        let naive = score_of(&got, Method::SeasonalNaive);
        let smoothed = score_of(&got, Method::HoltWinters);
        let best = year
            .future
            .iter()
            .flat_map(|(rates, contacts)| rates.iter().copied().zip(contacts.iter().copied()));
        report += &format!(
            "peak {peak}: {naive:?}\n{smoothed:?}\nknown rates on the future: {:.4}\n",
            wape_of(best)
        );
        assert_eq!(got.method, Method::HoltWinters, "{report}");
        assert!(smoothed.wape < 0.96 * naive.wape, "{report}");
        for score in [naive, smoothed] {
            assert!((0.76..0.92).contains(&score.coverage_80), "{report}");
            assert!((0.91..0.99).contains(&score.coverage_95), "{report}");
        }
    }
    println!("{report}");
}

#[test]
fn the_future_falls_into_the_bands_as_often_as_they_say() {
    let (mut in_80, mut in_95, mut judged) = (0.0, 0.0, 0.0);
    for seed in 10..16 {
        let year = year(seed, 25.0, 0.08, 300);
        let got = year.forecast();
        let outcomes = year.future.iter().flat_map(|(_, contacts)| contacts);
        for (point, contacts) in got
            .points
            .iter()
            .zip(outcomes)
            .filter(|(point, _)| point.mean >= LEAST_JUDGED)
        {
            judged += 1.0;
            in_80 += f64::from(u8::from(point.band_80.contains(*contacts)));
            in_95 += f64::from(u8::from(point.band_95.contains(*contacts)));
        }
    }
    println!(
        "coverage of the future: {:.3} {:.3} of {judged}",
        in_80 / judged,
        in_95 / judged
    );
    assert!((0.77..0.88).contains(&(in_80 / judged)) && (0.92..0.985).contains(&(in_95 / judged)));
}

#[test]
fn a_holiday_is_forecast_as_the_holidays_before() {
    let year = year(5, 40.0, 0.05, 347); // the next days are 19 December to 1 January
    let got = year.forecast();
    let of = |date: &str| -> f64 {
        let date: NaiveDate = date.parse().unwrap();
        got.points
            .iter()
            .filter(|point| point.date == date)
            .map(|point| point.mean)
            .sum()
    };
    let share = of("2025-12-25") / (of("2025-12-24") * 1.0);
    assert!((0.1..0.35).contains(&share), "{share}");
}

#[test]
fn a_kind_of_day_never_seen_is_an_ordinary_one_and_said_to_be() {
    let mut year = year(6, 40.0, 0.05, 120);
    year.calendar = Calendar::new(
        Tz::Europe__Rome,
        Step::Half,
        [(year.from, "sale".to_owned())].into(),
    );
    let got = year.forecast();
    assert!(
        got.notes.iter().any(|note| note.contains("`sale`")),
        "{:?}",
        got.notes
    );
    assert!(got.points[..48].iter().map(|point| point.mean).sum::<f64>() > 100.0);
}

#[test]
fn a_short_history_says_so_and_uses_the_simplest_method() {
    let year = year(7, 20.0, 0.05, 10);
    let got = year.forecast();
    assert_eq!(got.method, Method::SeasonalNaive);
    assert!(
        got.why.contains("10 counted days") && got.notes[0].contains("assume a dispersion"),
        "{got:?}"
    );
    assert!(got.scores.is_empty());
}

#[test]
fn the_days_of_clock_changes_have_their_own_number_of_intervals() {
    let year = year(8, 20.0, 0.05, 283); // the next days hold 26 October 2025
    let got = year.forecast();
    assert_eq!(got.points.len(), 14 * 48 + 2);
    let starts: Vec<_> = got.points.iter().map(|point| point.start).collect();
    assert!(
        starts
            .windows(2)
            .all(|pair| pair[1] - pair[0] == Step::Half.length())
    );
}

#[test]
fn a_busy_morning_raises_the_rest_of_the_day_as_far_as_days_differ() {
    let year = year(9, 40.0, 0.15, 200);
    let got = year.forecast();
    let date = got.points[0].date + Days::new(1);
    let noon = got
        .points
        .iter()
        .filter(|p| p.date == date)
        .nth(24)
        .unwrap()
        .start;
    let expected: f64 = got
        .points
        .iter()
        .filter(|p| p.date == date && p.start < noon)
        .map(|p| p.mean)
        .sum();
    let rest = |seen: f64| got.revised(date, noon, seen).iter().map(|p| p.mean).sum::<f64>();
    let factor = rest(expected * 1.3) / rest(expected);
    assert!((1.1..1.3).contains(&factor), "{factor}");
    assert!(rest(f64::NAN).is_finite());
}

#[test]
fn what_was_not_counted_teaches_nothing() {
    let mut year = year(12, 40.0, 0.05, 200);
    let complete = year.forecast();
    for day in &mut year.history.days[100..110] {
        day.slots.fill(None);
    }
    let with_gap = year.forecast();
    let sum = |f: &Forecast| f.points.iter().map(|p| p.mean).sum::<f64>();
    assert!((sum(&complete) / sum(&with_gap) - 1.0).abs() < 0.05);
}

#[test]
fn a_series_without_counts_is_refused_and_one_of_zeros_is_zero() {
    let mut year = year(13, 20.0, 0.05, 100);
    for day in &mut year.history.days {
        day.slots.fill(Some(0.0));
    }
    assert!(
        year.forecast()
            .points
            .iter()
            .all(|point| point.mean == 0.0 && point.band_95.high == 0.0)
    );
    for day in &mut year.history.days {
        day.slots.fill(None);
    }
    assert_eq!(
        forecast(&year.history, &year.calendar, year.from, 14),
        Err(NothingCounted)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_history_makes_it_fail_or_give_impossible_numbers(
        slots in prop::collection::vec(prop::option::of(prop_oneof![Just(0.0), 0.0..5.0_f64, Just(1e6)]), 24 * 50),
        days in 1_usize..50,
    ) {
        let first = NaiveDate::from_ymd_opt(2025, 3, 20).unwrap();
        let calendar = Calendar::new(Tz::Europe__Rome, Step::Hour, [(first + Days::new(5), "sale".to_owned())].into());
        let history = History {
            days: slots.chunks(24).take(days).zip(first.iter_days()).map(|(slots, date)| Day {
                date,
                day_type: calendar.day_type(date),
                slots: slots.to_vec(),
            }).collect(),
        };
        if let Ok(got) = forecast(&history, &calendar, first + Days::new(60), 7) {
            for point in &got.points {
                prop_assert!(point.mean.is_finite() && point.mean >= 0.0);
                prop_assert!(point.band_95.low <= point.band_80.low && point.band_80.high <= point.band_95.high);
            }
        }
    }
}
