//! gRPC ↔ app.

mod cases;
mod knowledge;

pub use cases::Cases;
pub use knowledge::Knowledge;

use trama_platform::Error;

/// A text that must be there and not be too long.
fn text<'a>(field: &'static str, value: &'a str, longest: usize) -> Result<&'a str, Error> {
    if value.trim().is_empty() {
        return Err(Error::invalid(field, "is missing"));
    }
    if value.chars().count() > longest {
        return Err(Error::invalid(field, format!("at most {longest} characters")));
    }
    Ok(value)
}

/// An id that must be there.
fn id<T: std::str::FromStr<Err = trama_proto::ids::InvalidId>>(
    field: &'static str,
    value: &str,
) -> Result<T, Error> {
    value
        .parse()
        .map_err(|e: trama_proto::ids::InvalidId| Error::invalid(field, e.to_string()))
}
