//! Counts as people exchange them and the store keeps them: one row for each interval and series.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use trama_proto::resources::Kind;

use super::{
    calendar::{Calendar, Step},
    table::{self, Column, TableErrors},
    volume::{Count, Series},
};

/// What came in of one series in one interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which series.
    pub series: Series,
    /// Start of the interval.
    pub start: DateTime<Utc>,
    /// Its length.
    pub step: Step,
    /// What came in.
    pub count: Count,
}

const fn column(name: &'static str, is_required: bool) -> Column {
    Column { name, is_required }
}

const COLUMNS: [Column; 7] = [
    column("start", true),
    column("minutes", false),
    column("channel", true),
    column("intent", false),
    column("language", false),
    column("contacts", true),
    column("handle_seconds", false),
];

/// Reads rows; without a column `minutes` the calendar says how long intervals are. All must be over at `now`: what is
/// going on is still being counted. Takes all lines or none.
pub fn read(text: &str, calendar: &Calendar, now: DateTime<Utc>) -> Result<Vec<Row>, TableErrors> {
    let mut rows = Vec::new();
    let mut lines: HashMap<Series, HashMap<i64, u64>> = HashMap::new();
    table::read(text, &COLUMNS, |line| {
        let step = match line.cell(1) {
            "" => calendar.step(),
            cell => (cell.parse().ok().and_then(Step::of_minutes))
                .ok_or_else(|| format!("minutes `{}` is not 15, 30 or 60", table::shortened(cell)))?,
        };
        let start = table::instant("start", line.cell(0), calendar)?;
        if !calendar.cut(step).is_start_of_interval(start) {
            return Err(format!(
                "start `{}` is not at a full {} minutes",
                line.cell(0),
                step.minutes()
            ));
        }
        if start + step.length() > now {
            return Err(format!("the interval is not over at {}", calendar.written(now)));
        }
        let series = Series {
            channel: channel(line.cell(2))?,
            intent: label("intent", line.cell(3))?,
            language: label("language", line.cell(4))?,
        };
        let contacts = table::number("contacts", line.cell(5))?;
        let handle_seconds = match line.cell(6) {
            "" => None,
            cell => Some(table::number("handle_seconds", cell)?),
        };
        let counted = lines.entry(series.clone()).or_default();
        let quarter = start.timestamp().div_euclid(QUARTER_SECONDS);
        for quarter in quarter..quarter + i64::from(step.minutes() / 15) {
            if let Some(before) = counted.insert(quarter, line.number) {
                return Err(format!("counts the same time of {series} as line {before}"));
            }
        }
        rows.push(Row {
            series,
            start,
            step,
            count: Count {
                contacts,
                handle_seconds,
            },
        });
        Ok(())
    })?;
    Ok(rows)
}

const QUARTER_SECONDS: i64 = 15 * 60;

/// Writes what [`read`] reads, local times with their offset.
pub fn write<'a>(rows: impl IntoIterator<Item = &'a Row>, calendar: &Calendar) -> String {
    let mut out = csv::Writer::from_writer(Vec::new());
    table::write_line(&mut out, &COLUMNS.map(|column| column.name));
    for row in rows {
        table::write_line(
            &mut out,
            &[
                &calendar.written(row.start),
                &row.step.minutes().to_string(),
                row.series.channel.name(),
                &table::harmless(&row.series.intent),
                &table::harmless(&row.series.language),
                &row.count.contacts.to_string(),
                &row.count
                    .handle_seconds
                    .map(|s| s.to_string())
                    .unwrap_or_default(),
            ],
        );
    }
    table::written(out)
}

fn channel(cell: &str) -> Result<Kind, String> {
    Kind::ALL
        .into_iter()
        .find(|kind| kind.name() == cell)
        .ok_or_else(|| {
            format!(
                "channel `{}` is unknown; known are {}",
                table::shortened(cell),
                Kind::ALL.map(Kind::name).join(", ")
            )
        })
}

fn label(column: &str, cell: &str) -> Result<String, String> {
    let text = table::free_text(cell);
    if text.len() > 100 {
        Err(format!("{column} has more than 100 bytes"))
    } else if text.chars().any(char::is_control) {
        Err(format!("{column} must not contain control characters"))
    } else {
        Ok(text.to_owned())
    }
}
