//! Records of other systems, cut off a stream of bytes and read column by column.

mod cut;
mod mapping;

pub use cut::{Format, Next, next};
pub use mapping::{Mapping, Reading, Row, Wrong};

/// A value as a CSV line writes it.
pub fn csv_value(value: &str, delimiter: u8) -> String {
    let special = |c: char| matches!(c, '"' | '\r' | '\n') || u32::from(c) == u32::from(delimiter);
    // Blanks at the ends would be lost on readers that trim.
    if value.contains(special) || value != value.trim() {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}
