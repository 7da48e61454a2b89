//! Clock arithmetic with opening hours. Right over changes of the clock: what counts is time that passes, not what
//! the wall says.

use std::iter;

use chrono::{DateTime, Datelike as _, Days, LocalResult, NaiveDate, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use trama_proto::resources::{BusinessHoursSpec, TimeRange};

/// Days looked at before we say that it never opens again: two years of holidays.
const HORIZON_DAYS: usize = 731;

/// Whether the hours are open.
pub fn is_open(hours: &BusinessHoursSpec, at: DateTime<Utc>) -> bool {
    openings(hours, at)
        .next()
        .is_some_and(|(opens_at, _)| opens_at <= at)
}

/// When they are open next: `at` itself when they are. `None` when that is not within two years.
pub fn next_opening(hours: &BusinessHoursSpec, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    openings(hours, at).next().map(|(opens_at, _)| opens_at.max(at))
}

/// When they open or close next. `None` when that is not within two years.
pub fn next_change(hours: &BusinessHoursSpec, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (opens_at, closes_at) = openings(hours, at).next()?;
    Some(if opens_at <= at { closes_at } else { opens_at })
}

/// The first moment by which so much open time has passed. `None` when that is not within two years.
pub fn add_open_time(
    hours: &BusinessHoursSpec,
    start: DateTime<Utc>,
    time: TimeDelta,
) -> Option<DateTime<Utc>> {
    let mut left = time;
    if left <= TimeDelta::zero() {
        return Some(start);
    }
    for (opens_at, closes_at) in openings(hours, start) {
        let opens_at = opens_at.max(start);
        let length = closes_at - opens_at;
        if left <= length {
            return Some(opens_at + left);
        }
        left -= length;
    }
    None
}

/// Open time between two moments; none when the second is not after the first. Exact within two years.
pub fn open_between(hours: &BusinessHoursSpec, from: DateTime<Utc>, until: DateTime<Utc>) -> TimeDelta {
    openings(hours, from)
        .take_while(|(opens_at, _)| *opens_at < until)
        .map(|(opens_at, closes_at)| closes_at.min(until) - opens_at.max(from))
        .fold(TimeDelta::zero(), |sum, length| sum + length)
}

/// The name of the special day that it is, if it is one.
pub fn special_day(hours: &BusinessHoursSpec, at: DateTime<Utc>) -> Option<&str> {
    let date = at.with_timezone(&hours.time_zone.0).date_naive();
    hours.days.iter().find(|d| d.names(date)).map(|d| d.name.as_str())
}

/// Openings that end after a moment, in order and apart.
fn openings(
    hours: &BusinessHoursSpec,
    after: DateTime<Utc>,
) -> impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)> {
    let zone = hours.time_zone.0;
    // Yesterday's opening may last past midnight.
    let first = after.with_timezone(&zone).date_naive().pred_opt();
    let dates = iter::successors(first, |date| date.checked_add_days(Days::new(1)));
    let mut closed_until = DateTime::<Utc>::MIN_UTC;
    dates
        .take(HORIZON_DAYS)
        .flat_map(move |date| ranges(hours, date).iter().map(move |range| (date, *range)))
        .filter_map(move |(date, range)| {
            let opens_at = moment(zone, date, range.from)?.earliest()?;
            let closes_at = moment(zone, date, range.until)?.latest()?;
            // A range that lasts into the next day may meet that day's first.
            let opens_at = opens_at.max(closed_until);
            closed_until = closed_until.max(closes_at);
            (opens_at < closes_at && after < closes_at).then_some((opens_at, closes_at))
        })
}

fn ranges(hours: &BusinessHoursSpec, date: NaiveDate) -> &[TimeRange] {
    match hours.days.iter().find(|day| day.names(date)) {
        Some(day) => &day.open,
        None => hours
            .weekly
            .get(&date.weekday().into())
            .map_or(&[], Vec::as_slice),
    }
}

/// Minutes after midnight on the wall's clock. What the clock shows twice is both, what it skips is the moment of the
/// change.
fn moment(zone: Tz, date: NaiveDate, minutes: u16) -> Option<LocalResult<DateTime<Utc>>> {
    let wall = date.and_hms_opt(0, 0, 0)? + TimeDelta::minutes(i64::from(minutes));
    let utc = |moment: DateTime<Tz>| moment.with_timezone(&Utc);
    Some(match zone.from_local_datetime(&wall) {
        LocalResult::Single(one) => LocalResult::Single(utc(one)),
        LocalResult::Ambiguous(one, other) => LocalResult::Ambiguous(utc(one), utc(other)),
        LocalResult::None => {
            // Clocks never skip a whole day but where a zone crosses the date line.
            let skipped = iter::successors(Some(wall), |w| w.checked_add_signed(TimeDelta::minutes(1)))
                .take(25 * 60)
                .find_map(|w| zone.from_local_datetime(&w).earliest());
            LocalResult::Single(utc(skipped?))
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn hours(spec: serde_json::Value) -> BusinessHoursSpec {
        serde_json::from_value(spec).unwrap()
    }

    fn shop() -> BusinessHoursSpec {
        let week = ["09:00-13:00", "14:00-18:00"];
        hours(json!({
            "timeZone": "Europe/Rome",
            "weekly": {"monday": week, "tuesday": week, "wednesday": week, "thursday": week, "friday": week, "saturday": ["09:00-13:00"]},
            "days": [
                {"name": "Christmas", "date": "12-25", "through": "12-26"},
                {"name": "Easter Monday", "easter": 1},
                {"name": "Inventory", "date": "2026-12-31", "open": ["09:00-10:00"]},
            ],
        }))
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn rome(text: &str) -> DateTime<Utc> {
        let wall: chrono::NaiveDateTime = text.parse().unwrap();
        Tz::Europe__Rome
            .from_local_datetime(&wall)
            .unwrap()
            .with_timezone(&Utc)
    }

    #[test]
    fn lunch_nights_weekends_and_holidays_do_not_count() {
        let shop = shop();
        // Thursday before Easter to the Tuesday after it.
        let due = add_open_time(&shop, rome("2026-04-02T17:00:00"), TimeDelta::hours(14));
        assert_eq!(due, Some(rome("2026-04-07T10:00:00")));
        assert_eq!(
            open_between(&shop, rome("2026-04-02T17:00:00"), due.unwrap()),
            TimeDelta::hours(14)
        );
        assert!(is_open(&shop, rome("2026-04-02T09:00:00")));
        assert!(!is_open(&shop, rome("2026-04-02T13:00:00")));
        assert!(!is_open(&shop, rome("2026-04-06T10:00:00")));
        assert_eq!(
            special_day(&shop, rome("2026-04-06T10:00:00")),
            Some("Easter Monday")
        );
        assert_eq!(
            next_opening(&shop, rome("2026-12-24T18:00:00")),
            Some(rome("2026-12-28T09:00:00"))
        );
        assert_eq!(
            next_opening(&shop, rome("2026-12-31T10:00:00")),
            Some(rome("2027-01-01T09:00:00"))
        );
    }

    #[test]
    fn nights_around_a_change_of_the_clock_have_their_real_length() {
        let night = hours(json!({"timeZone": "Europe/Rome", "weekly": {"saturday": ["22:00-06:00"]}}));
        // The night of 25 October 2026 has nine hours, that of 28 March 2026 seven.
        let length = |day: &str| open_between(&night, at(day), at(day) + TimeDelta::days(3));
        assert_eq!(length("2026-10-24T12:00:00Z"), TimeDelta::hours(9));
        assert_eq!(length("2026-03-28T12:00:00Z"), TimeDelta::hours(7));
        assert_eq!(length("2026-06-20T12:00:00Z"), TimeDelta::hours(8));
    }

    #[test]
    fn a_skipped_hour_opens_when_the_clock_jumps() {
        let early = hours(json!({"timeZone": "Europe/Rome", "weekly": {"sunday": ["02:30-04:00"]}}));
        assert_eq!(
            next_opening(&early, at("2026-03-29T00:00:00Z")),
            Some(at("2026-03-29T01:00:00Z"))
        );
        assert_eq!(
            open_between(&early, at("2026-03-29T00:00:00Z"), at("2026-03-29T12:00:00Z")),
            TimeDelta::hours(1)
        );
    }

    #[test]
    fn a_night_that_meets_the_morning_counts_once() {
        let always = hours(json!({
            "timeZone": "Europe/Rome",
            "weekly": {"monday": ["20:00-10:00"], "tuesday": ["08:00-12:00"]},
        }));
        let (from, until) = (rome("2026-06-01T00:00:00"), rome("2026-06-03T00:00:00"));
        assert_eq!(open_between(&always, from, until), TimeDelta::hours(16));
    }

    #[test]
    fn what_never_opens_again_is_said() {
        let once = hours(json!({
            "timeZone": "UTC", "weekly": {"monday": ["09:00-10:00"]},
            "days": [{"name": "Closed for good", "date": "2026-01-01", "through": "2036-01-01"}],
        }));
        assert_eq!(next_opening(&once, at("2026-01-01T00:00:00Z")), None);
        assert_eq!(
            add_open_time(&once, at("2026-01-01T00:00:00Z"), TimeDelta::hours(1)),
            None
        );
        assert!(!is_open(&once, at("2026-01-05T09:30:00Z")));
    }

    fn any_hours() -> impl Strategy<Value = BusinessHoursSpec> {
        let zone = prop::sample::select(vec![
            "Europe/Rome",
            "America/New_York",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
            "Africa/Casablanca",
            "America/St_Johns",
            "UTC",
        ]);
        let day = prop::sample::select(vec![
            json!([]),
            json!(["09:00-13:00", "14:00-18:00"]),
            json!(["22:00-06:00"]),
            json!(["00:00-24:00"]),
            json!(["01:30-02:30", "02:45-03:15"]),
        ]);
        (zone, prop::collection::vec(day, 7)).prop_map(|(zone, mut days)| {
            days[2] = json!(["10:00-16:00"]);
            let names = trama_proto::resources::Weekday::NAMES;
            let weekly: serde_json::Map<_, _> = names.iter().map(|n| (*n).to_owned()).zip(days).collect();
            hours(json!({
                "timeZone": zone, "weekly": weekly,
                "days": [{"name": "Yearly", "date": "10-25", "through": "10-26"}, {"name": "Late", "date": "03-29", "open": ["00:30-05:00"]}],
            }))
        })
    }

    fn any_moment() -> impl Strategy<Value = DateTime<Utc>> {
        // All of 2026 and 2027, to the second: both changes of the clock in every zone.
        (1_767_225_600_i64..1_830_297_600).prop_map(|s| DateTime::from_timestamp(s, 0).unwrap())
    }

    proptest! {
        #[test]
        fn what_is_added_is_what_is_measured(hours in any_hours(), start in any_moment(), seconds in 0_i64..2_000_000) {
            let time = TimeDelta::seconds(seconds);
            let due = add_open_time(&hours, start, time).unwrap();
            prop_assert_eq!(open_between(&hours, start, due), time);
            prop_assert!(seconds == 0 || is_open(&hours, due - TimeDelta::seconds(1)));
        }

        #[test]
        fn later_starts_and_longer_times_are_never_due_earlier(
            hours in any_hours(), start in any_moment(), later in 0_i64..1_000_000, seconds in 0_i64..500_000, more in 0_i64..500_000,
        ) {
            let due = |start, seconds| add_open_time(&hours, start, TimeDelta::seconds(seconds)).unwrap();
            prop_assert!(due(start, seconds) <= due(start + TimeDelta::seconds(later), seconds));
            prop_assert!(due(start, seconds) <= due(start, seconds + more));
        }

        #[test]
        fn parts_add_up(hours in any_hours(), a in any_moment(), b in 0_i64..3_000_000, c in 0_i64..3_000_000) {
            let (b, c) = (a + TimeDelta::seconds(b), a + TimeDelta::seconds(b + c));
            prop_assert_eq!(open_between(&hours, a, b) + open_between(&hours, b, c), open_between(&hours, a, c));
            prop_assert!(open_between(&hours, a, c) <= c - a);
            prop_assert_eq!(open_between(&hours, c, a - TimeDelta::seconds(1)), TimeDelta::zero());
        }

        #[test]
        fn the_next_opening_is_open_and_nothing_before_it_is(hours in any_hours(), at in any_moment()) {
            let next = next_opening(&hours, at).unwrap();
            prop_assert!(is_open(&hours, next));
            prop_assert_eq!(open_between(&hours, at, next), TimeDelta::zero());
            prop_assert_eq!(is_open(&hours, at), next == at);
        }
    }
}
