//! Comma-separated tables with a header and without quotes: all that a trace needs.

use std::collections::HashMap;

use super::TraceError;

/// A table.
pub(super) struct Table<'a> {
    file: &'static str,
    columns: HashMap<&'a str, usize>,
    body: std::str::Lines<'a>,
}

/// One line of a table.
pub(super) struct Row<'a> {
    file: &'static str,
    line: usize,
    columns: &'a HashMap<&'a str, usize>,
    cells: Vec<&'a str>,
}

impl<'a> Table<'a> {
    pub(super) fn new(file: &'static str, text: &'a str) -> Result<Self, TraceError> {
        let mut body = text.lines();
        let header = body.next().ok_or_else(|| TraceError::Wrong {
            file: file.to_owned(),
            line: 1,
            problem: "the header is missing".to_owned(),
        })?;
        Ok(Self {
            file,
            columns: header
                .split(',')
                .enumerate()
                .map(|(at, name)| (name, at))
                .collect(),
            body,
        })
    }

    pub(super) fn rows(&'a self) -> impl Iterator<Item = Result<Row<'a>, TraceError>> {
        (2..).zip(self.body.clone()).map(|(line, text)| {
            let row = Row {
                file: self.file,
                line,
                columns: &self.columns,
                cells: text.split(',').collect(),
            };
            if text.contains('"') {
                Err(row.wrong("quotes are not understood".to_owned()))
            } else if row.cells.len() == self.columns.len() {
                Ok(row)
            } else {
                Err(row.wrong(format!(
                    "{} cells where the header has {}",
                    row.cells.len(),
                    self.columns.len()
                )))
            }
        })
    }
}

impl Row<'_> {
    pub(super) fn wrong(&self, problem: String) -> TraceError {
        TraceError::Wrong {
            file: self.file.to_owned(),
            line: self.line,
            problem,
        }
    }

    pub(super) fn text(&self, column: &str) -> Result<&str, TraceError> {
        self.columns
            .get(column)
            .map(|at| self.cells[*at])
            .ok_or_else(|| TraceError::Wrong {
                file: self.file.to_owned(),
                line: 1,
                problem: format!("column {column} is missing"),
            })
    }

    pub(super) fn number(&self, column: &str) -> Result<f64, TraceError> {
        let text = self.text(column)?;
        // Infinity and NaN would get stuck in the calendar.
        text.parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .ok_or_else(|| self.wrong(format!("{column} is {text:?}, not a number")))
    }

    pub(super) fn number_if_any(&self, column: &str) -> Result<Option<f64>, TraceError> {
        match self.text(column)? {
            "" => Ok(None),
            _ => self.number(column).map(Some),
        }
    }

    pub(super) fn level(&self, column: &str) -> Result<u8, TraceError> {
        let text = self.text(column)?;
        text.parse()
            .map_err(|_| self.wrong(format!("{column} is {text:?}, not a level")))
    }
}
