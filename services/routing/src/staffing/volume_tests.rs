use chrono::TimeZone;
use chrono_tz::Tz;

use super::*;
use crate::staffing::{
    calendar::Step,
    rows::{self, read, write},
    table::TableErrors,
};

fn later() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2030, 1, 1, 0, 0, 0).unwrap()
}

fn volumes_of(csv: &str, calendar: &Calendar) -> Result<Volumes, TableErrors> {
    Ok(Volumes::of(read(csv, calendar, later())?, calendar))
}

fn rome() -> Calendar {
    Calendar::new(Tz::Europe__Rome, Step::Half, BTreeMap::new())
}

fn billing() -> Series {
    Series {
        channel: Kind::Voice,
        intent: "billing".to_owned(),
        language: "it".to_owned(),
    }
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn problems(csv: &str) -> Vec<String> {
    let errors = volumes_of(csv, &rome()).unwrap_err();
    errors.0.iter().map(ToString::to_string).collect()
}

const HEADER: &str = "start,channel,intent,language,contacts\n";

#[test]
fn what_is_exported_is_imported_again_over_the_doubled_hour() {
    let calendar = rome();
    let rows: Vec<rows::Row> = calendar
        .intervals_of(date("2026-10-25"))
        .iter()
        .enumerate()
        .map(|(number, interval)| rows::Row {
            series: billing(),
            start: interval.start,
            step: if number == 0 { Step::Quarter } else { Step::Half },
            count: Count {
                contacts: number as f64,
                handle_seconds: number.is_multiple_of(2).then_some(180.5),
            },
        })
        .collect();
    let csv = write(&rows, &calendar);
    assert_eq!(csv.lines().count(), 51);
    assert_eq!(read(&csv, &calendar, later()).unwrap(), rows);
}

#[test]
fn counts_are_brought_to_the_steps_of_the_day() {
    let csv = "start,minutes,channel,contacts,handle_seconds\n2026-11-23 09:00,60,voice,8,100\n2026-11-23 10:00,15,voice,1,100\n\
               2026-11-23 10:15,15,voice,3,200\n";
    let volumes = volumes_of(csv, &rome()).unwrap();
    let series = volumes.series().next().unwrap().clone();
    let at = |hour, minute| {
        let start = Utc.with_ymd_and_hms(2026, 11, 23, hour, minute, 0).unwrap();
        volumes
            .count(&series, start)
            .map(|c| (c.contacts, c.handle_seconds))
    };
    assert_eq!(
        (at(8, 0), at(8, 30)),
        (Some((4.0, Some(100.0))), Some((4.0, Some(100.0))))
    );
    assert_eq!(at(9, 0), Some((4.0, Some(175.0))));
}

#[test]
fn lines_of_different_lengths_must_not_count_the_same_time() {
    let csv = "start,minutes,channel,contacts\n2026-11-23 09:00,60,voice,8\n2026-11-23 09:45,15,voice,1\n2026-11-23 09:45,20,voice,1\n";
    assert_eq!(
        problems(csv),
        [
            "3: counts the same time of voice as line 2",
            "4: minutes `20` is not 15, 30 or 60"
        ]
    );
}

#[test]
fn what_is_not_over_is_not_counted_from_outside() {
    let csv = format!("{HEADER}2029-12-31 23:00,voice,,,1\n2030-01-01 01:00,voice,,,1\n");
    assert_eq!(
        problems(&csv),
        ["3: the interval is not over at 2030-01-01T01:00:00+01:00"]
    );
}

#[test]
fn no_cell_is_a_formula_and_none_changes_on_the_way() {
    let calendar = rome();
    for intent in ["=1+1", "+x", "-x", "@x", "'=x", "'x", "plain", ""] {
        let series = Series {
            intent: intent.to_owned(),
            ..billing()
        };
        let count = Count {
            contacts: 1.0,
            handle_seconds: None,
        };
        let start = Utc.with_ymd_and_hms(2026, 7, 1, 6, 30, 0).unwrap();
        let rows = [rows::Row {
            series,
            start,
            step: Step::Half,
            count,
        }];
        let csv = write(&rows, &calendar);
        let cell = csv.lines().nth(1).unwrap().split(',').nth(3).unwrap();
        assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell}");
        assert_eq!(read(&csv, &calendar, later()).unwrap(), rows);
    }
}

#[test]
fn local_times_are_those_of_the_tenant() {
    let csv = format!("{HEADER}2026-07-01 08:30,voice,billing,it,12\n2026-01-07T08:30,voice,billing,it,7\n");
    let volumes = volumes_of(&csv, &rome()).unwrap();
    let summer = Utc.with_ymd_and_hms(2026, 7, 1, 6, 30, 0).unwrap();
    let winter = Utc.with_ymd_and_hms(2026, 1, 7, 7, 30, 0).unwrap();
    assert_eq!(volumes.count(&billing(), summer).map(|c| c.contacts), Some(12.0));
    assert_eq!(volumes.count(&billing(), winter).map(|c| c.contacts), Some(7.0));
}

#[test]
fn every_bad_line_is_named_with_what_is_wrong() {
    let csv = format!(
        "{HEADER}2026-03-29 02:30,voice,,,1\n2026-10-25 02:30,voice,,,1\nyesterday,voice,,,1\n2026-01-07 08:10,voice,,,1\n\
         2026-01-07 08:30,phone,,,1\n2026-01-07 08:30,voice,,,-1\n2026-01-07 08:30,voice,,,NaN\n2026-01-07 09:00,voice,,,1\n\
         2026-01-07 09:00,voice,,,1\n2026-01-07 09:00,voice\n9999-01-07 09:00,voice,,,1\n"
    );
    let got = problems(&csv);
    let wanted = [
        "2: start `2026-03-29 02:30`: the clock never shows",
        "3: start `2026-10-25 02:30`: the clock shows this time twice",
        "4: start `yesterday` is not a time such as",
        "5: start `2026-01-07 08:10` is not at a full 30 minutes",
        "6: channel `phone` is unknown; known are email, whatsapp, voice",
        "7: contacts `-1` is not a number of zero or more",
        "8: contacts `NaN` is not a number",
        "10: counts the same time of voice as line 9",
        "11: 2 cells, the header has 5",
        "12: start is in the year 9999",
    ];
    assert_eq!(got.len(), wanted.len(), "{got:#?}");
    for (got, wanted) in got.iter().zip(wanted) {
        assert!(got.starts_with(wanted), "{got}");
    }
}

#[test]
fn a_wrong_header_is_said_once() {
    assert_eq!(
        problems("start,channel\n"),
        [
            "1: column `contacts` is missing; known are start, minutes, channel, intent, language, contacts, handle_seconds"
        ]
    );
    assert!(problems("start,channel,contact\n")[0].contains("column `contact` is unknown"));
    assert!(problems("")[0].starts_with("1: column `start` is missing"));
}

#[test]
fn a_file_of_rubbish_stops_after_a_hundred_errors() {
    let csv = format!("{HEADER}{}", "x,y,z,,\n".repeat(5_000));
    assert_eq!(problems(&csv).len(), 100);
}

#[test]
fn a_day_knows_what_was_not_counted_and_where_its_clock_jumped() {
    let csv = format!(
        "{HEADER}2026-03-29 01:30,voice,billing,it,4\n2026-03-29 03:00,voice,billing,it,6\n2026-03-29 04:30,voice,billing,it,6\n"
    );
    let calendar = rome();
    let volumes = volumes_of(&csv, &calendar).unwrap();
    let of = |missing| {
        volumes
            .history(&billing(), &calendar, missing, date("2026-03-29"), 400)
            .unwrap()
            .days
    };
    let unknown = &of(Missing::Unknown)[0];
    assert_eq!(unknown.slots[3..7], [Some(4.0), None, None, Some(6.0)]);
    assert_eq!(unknown.slots[7], None);
    let zero = &of(Missing::Zero)[0];
    assert_eq!(zero.slots[3..8], [Some(4.0), None, None, Some(6.0), Some(0.0)]);
    // 01:30 to 03:00 is no gap: the clock jumped.
    let gaps = volumes.gaps(&billing(), &calendar);
    assert_eq!(gaps.iter().map(|g| g.intervals).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_doubled_hour_counts_as_one_slot() {
    let csv = format!(
        "{HEADER}2026-10-25T02:00:00+02:00,voice,billing,it,4\n2026-10-25T02:00:00+01:00,voice,billing,it,8\n"
    );
    let calendar = rome();
    let volumes = volumes_of(&csv, &calendar).unwrap();
    let days = volumes
        .history(&billing(), &calendar, Missing::Unknown, date("2026-10-25"), 10)
        .unwrap()
        .days;
    assert_eq!(days[0].slots[4], Some(6.0));
}

#[test]
fn counts_of_the_same_interval_add_up_with_their_handling_times() {
    let mut volumes = Volumes::default();
    let at = Utc.with_ymd_and_hms(2026, 7, 1, 6, 30, 0).unwrap();
    for (contacts, handle_seconds) in [(1.0, Some(100.0)), (3.0, Some(200.0)), (0.0, None)] {
        volumes.add(
            billing(),
            at,
            Count {
                contacts,
                handle_seconds,
            },
        );
    }
    assert_eq!(
        volumes.count(&billing(), at),
        Some(Count {
            contacts: 4.0,
            handle_seconds: Some(175.0)
        })
    );
}
