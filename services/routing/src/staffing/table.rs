//! Tables people exchange: CSV with a header, errors by line.

use std::{borrow::Cow, fmt};

use chrono::{DateTime, NaiveDateTime, Utc};
use csv::{ReaderBuilder, StringRecord, Trim};

use super::calendar::Calendar;

/// Errors after which reading stops: who sees so many looks at the file, not at the list.
const MOST_ERRORS: usize = 100;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// Counted from 1, the header included.
    pub line: u64,
    /// What is wrong and what is expected.
    pub problem: String,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.problem)
    }
}

/// All that is wrong with a table; nothing of it is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct TableErrors(pub Vec<LineError>);

/// A column.
pub(super) struct Column {
    pub name: &'static str,
    pub is_required: bool,
}

/// One line, its cells in the order of the wanted columns; an absent column is empty.
pub(super) struct Line<'a> {
    pub number: u64,
    cells: Vec<&'a str>,
}

impl<'a> Line<'a> {
    pub(super) fn cell(&self, column: usize) -> &'a str {
        self.cells.get(column).copied().unwrap_or_default()
    }
}

/// Reads every line; `Err` of `each` is what is wrong with that line.
pub(super) fn read(
    text: &str,
    columns: &[Column],
    mut each: impl FnMut(&Line<'_>) -> Result<(), String>,
) -> Result<(), TableErrors> {
    let mut errors = Vec::new();
    // Spreadsheets put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text.as_bytes());
    let places = match reader.headers() {
        Ok(header) => {
            places(header, columns).map_err(|problem| TableErrors(vec![LineError { line: 1, problem }]))?
        }
        Err(error) => {
            return Err(TableErrors(vec![LineError {
                line: 1,
                problem: error.to_string(),
            }]));
        }
    };
    for record in reader.records() {
        let outcome = match &record {
            Ok(record) => {
                let number = record.position().map_or(0, csv::Position::line);
                let cells = places
                    .iter()
                    .map(|place| place.and_then(|at| record.get(at)).unwrap_or_default());
                each(&Line {
                    number,
                    cells: cells.collect(),
                })
                .map_err(|problem| LineError {
                    line: number,
                    problem,
                })
            }
            Err(error) => Err(unreadable(error)),
        };
        errors.extend(outcome.err());
        if errors.len() >= MOST_ERRORS {
            break;
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(TableErrors(errors))
    }
}

fn places(header: &StringRecord, columns: &[Column]) -> Result<Vec<Option<usize>>, String> {
    let known = || columns.iter().map(|c| c.name).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = header.iter().find(|name| columns.iter().all(|c| c.name != *name)) {
        return Err(format!(
            "column `{}` is unknown; known are {}",
            shortened(unknown),
            known()
        ));
    }
    columns
        .iter()
        .map(|column| {
            let mut at = header.iter().enumerate().filter(|(_, name)| *name == column.name);
            match (at.next(), at.next()) {
                (Some((place, _)), None) => Ok(Some(place)),
                (None, _) if !column.is_required => Ok(None),
                (None, _) => Err(format!(
                    "column `{}` is missing; known are {}",
                    column.name,
                    known()
                )),
                (Some(_), Some(_)) => Err(format!("column `{}` is there twice", column.name)),
            }
        })
        .collect()
}

fn unreadable(error: &csv::Error) -> LineError {
    let line = error.position().map_or(0, csv::Position::line);
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("{len} cells, the header has {expected_len}")
        }
        // Every other kind is one that cannot be read at all; the crate may add kinds.
        _ => "cannot be read as CSV in UTF-8".to_owned(),
    };
    LineError { line, problem }
}

/// Cells go into messages: not a whole novel of them.
pub(super) fn shortened(cell: &str) -> String {
    cell.chars().take(40).collect()
}

/// What a spreadsheet takes for the beginning of a formula.
const BEGINS_FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// A cell of free text such that a spreadsheet shows it and does not run it.
pub(super) fn harmless(cell: &str) -> Cow<'_, str> {
    if cell.starts_with(BEGINS_FORMULA) || is_made_harmless(cell) {
        Cow::Owned(format!("'{cell}"))
    } else {
        Cow::Borrowed(cell)
    }
}

/// The text that [`harmless`] wrote.
pub(super) fn free_text(cell: &str) -> &str {
    if is_made_harmless(cell) { &cell[1..] } else { cell }
}

fn is_made_harmless(cell: &str) -> bool {
    let rest = cell.trim_start_matches('\'');
    rest.len() < cell.len() && rest.starts_with(BEGINS_FORMULA)
}

/// A finite number of zero or more.
pub(super) fn number(column: &str, cell: &str) -> Result<f64, String> {
    match cell.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(format!(
            "{column} `{}` is not a number of zero or more",
            shortened(cell)
        )),
    }
}

/// An instant: RFC 3339, or the local time of the calendar.
pub(super) fn instant(column: &str, cell: &str, calendar: &Calendar) -> Result<DateTime<Utc>, String> {
    let at = if let Ok(at) = DateTime::parse_from_rfc3339(cell) {
        at.with_timezone(&Utc)
    } else {
        let local = [
            "%Y-%m-%dT%H:%M",
            "%Y-%m-%d %H:%M",
            "%Y-%m-%dT%H:%M:%S",
            "%Y-%m-%d %H:%M:%S",
        ]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(cell, format).ok())
        .ok_or_else(|| {
            format!(
                "{column} `{}` is not a time such as 2026-11-22T08:30 (local) or 2026-11-22T08:30:00+01:00",
                shortened(cell)
            )
        })?;
        calendar
            .instant(local)
            .map_err(|problem| format!("{column} `{}`: {problem}", shortened(cell)))?
    };
    let year = calendar.place(at).0.format("%Y").to_string();
    if ("1970".."2200").contains(&year.as_str()) && year.len() == 4 {
        Ok(at)
    } else {
        Err(format!("{column} is in the year {year}"))
    }
}

/// One line of CSV.
pub(super) fn write_line(out: &mut csv::Writer<Vec<u8>>, cells: &[&str]) {
    out.write_record(cells)
        .expect("a Vec takes every byte, and callers give equal numbers of cells");
}

/// The text written so far.
pub(super) fn written(out: csv::Writer<Vec<u8>>) -> String {
    let bytes = out.into_inner().expect("a Vec takes every byte");
    String::from_utf8(bytes).expect("only strings were written")
}
