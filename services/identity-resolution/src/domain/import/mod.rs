//! Records of other systems, cut off a stream of bytes and read column by column.

mod bond;
mod cut;
pub mod list;
mod mapping;
mod weighing;

pub use bond::{Bond, more};
pub use cut::{Format, Next, next};
pub use mapping::{Consented, Mapping, Reading, Row, Wrong};
pub use weighing::{Claim, Worth, evidence, weigh};

/// Whether a spreadsheet would run a cell that begins so, were it not for an apostrophe. Plain numbers, also of telephones, it
/// only shows.
fn runs(value: &str) -> bool {
    let value = value.trim_start_matches('\'');
    let mut rest = value.chars();
    match rest.next() {
        Some('=' | '@' | '\t' | '\r') => true,
        Some('+' | '-') => !rest.all(|c| c.is_ascii_digit() || "+|.".contains(c)),
        _ => false,
    }
}

/// A cell without the apostrophe that keeps spreadsheets from running it.
fn without_guard(value: String) -> String {
    match value.strip_prefix('\'') {
        Some(rest) if runs(rest) => rest.to_owned(),
        _ => value,
    }
}

/// A value as a CSV line writes it: quoted where it must be, with an apostrophe before what a spreadsheet would run.
pub fn csv_value(value: &str, delimiter: u8) -> String {
    let guarded;
    let value = if runs(value) {
        guarded = format!("'{value}");
        &guarded
    } else {
        value
    };
    let special = |c: char| matches!(c, '"' | '\r' | '\n') || u32::from(c) == u32::from(delimiter);
    // Blanks at the ends would be lost on readers that trim.
    if value.contains(special) || value != value.trim() {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}
