//! Which column is which attribute.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::matching::normalise::{DateOrder, IdentifierClass, OtherComparison};

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// Given name.
    GivenName,
    /// Surname.
    Surname,
    /// Given name and surname in one.
    FullName,
    /// Name of a company.
    CompanyName,
    /// Date of birth.
    BirthDate,
    /// Mail address.
    Email,
    /// Telephone number.
    Phone,
    /// Telephone number in digits without `+`, as WhatsApp writes it.
    PhoneDigits,
    /// Street, with or without number.
    Street,
    /// House number.
    HouseNumber,
    /// Building, flat, estate.
    Building,
    /// Town or suburb.
    Locality,
    /// State or province.
    Region,
    /// Postal code.
    PostalCode,
    /// `1` or `true` when the mail address of the row is verified.
    EmailVerified,
    /// `1` or `true` when the telephone number of the row is verified.
    PhoneVerified,
    /// An id, by its class.
    Identifier(IdentifierClass),
    /// An attribute only the tenant knows the meaning of.
    Other(OtherComparison),
    /// Left out.
    Ignore,
}

/// A mapping, as it is written in YAML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mapping {
    /// Column with the record's id.
    pub id: String,
    /// Column → attribute. Several columns may hold the same attribute. A column that is not named is left out.
    pub columns: BTreeMap<String, Attribute>,
    /// Country of telephone numbers without a prefix; the policy's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_region: Option<String>,
    /// How dates of only numbers are read; the policy's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dates: Option<DateOrder>,
}

/// Why a mapping is refused.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMapping {
    /// It is not in the format.
    #[error("not a mapping: {0}")]
    Format(#[from] serde_norway::Error),
    /// The file has no such column.
    #[error("there is no column {column:?}; there are: {there}")]
    NoColumn {
        /// Which.
        column: String,
        /// What there is.
        there: String,
    },
    /// Nothing to compare.
    #[error("no column says anything: all are ignored")]
    Empty,
}

impl Mapping {
    /// Reads a mapping from YAML.
    ///
    /// # Errors
    /// When it is not in the format.
    pub fn parse(yaml: &str) -> Result<Self, InvalidMapping> {
        Ok(serde_norway::from_str(yaml)?)
    }

    /// For each column of a header what it holds.
    ///
    /// # Errors
    /// When the mapping names a column that is not there.
    pub fn bind(&self, header: &[&str]) -> Result<Bound, InvalidMapping> {
        let place = |column: &str| {
            header
                .iter()
                .position(|h| h.trim().trim_start_matches('\u{feff}') == column)
                .ok_or_else(|| InvalidMapping::NoColumn {
                    column: column.to_owned(),
                    there: header.iter().map(|h| h.trim()).collect::<Vec<_>>().join(", "),
                })
        };
        let mut columns = Vec::new();
        for (column, attribute) in &self.columns {
            if *attribute != Attribute::Ignore {
                columns.push((place(column)?, column.clone(), attribute.clone()));
            }
        }
        if columns.is_empty() {
            return Err(InvalidMapping::Empty);
        }
        columns.sort_by_key(|c| c.0);
        Ok(Bound {
            id: place(&self.id)?,
            columns,
        })
    }
}

/// A mapping bound to a header.
#[derive(Debug, Clone)]
pub struct Bound {
    /// Place of the id.
    pub id: usize,
    /// Place, name and meaning of each column, in order.
    pub columns: Vec<(usize, String, Attribute)>,
}
