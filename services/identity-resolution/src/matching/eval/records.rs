//! Records from CSV.

use std::{collections::HashMap, io::Read};

use super::{
    mapping::{Attribute, Bound, InvalidMapping, Mapping},
    metrics::Truth,
};
use crate::matching::{
    Facts, Policy, Trust,
    facts::seen_once,
    normalise::{
        Address, AddressText, Birth, DateOrder, Email, Identifier, Name, NameKind, Other, Phone, PhoneRules,
        split_full_name,
    },
};

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not CSV.
    #[error("line {line}: {reason}")]
    Csv {
        /// Where.
        line: u64,
        /// Why.
        reason: String,
    },
    /// The mapping does not fit.
    #[error(transparent)]
    Mapping(#[from] InvalidMapping),
    /// A record has no id.
    #[error("line {line}: the record's id is empty")]
    NoId {
        /// Where.
        line: u64,
    },
    /// Two records have one id.
    #[error("line {line}: the id {id:?} has been there before")]
    Twice {
        /// Where.
        line: u64,
        /// Which.
        id: String,
    },
}

/// Rows of a file, with the meaning of their columns.
pub struct Rows<R> {
    reader: csv::Reader<R>,
    bound: Bound,
    normaliser: Normaliser,
}

/// Turns rows into facts.
pub struct Normaliser {
    phone: PhoneRules,
    dates: DateOrder,
}

impl<R: Read> Rows<R> {
    /// Opens a file.
    ///
    /// # Errors
    /// When there is no header or the mapping does not fit it.
    pub fn open(reader: R, mapping: &Mapping, policy: &Policy) -> Result<Self, ReadError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
        let header = reader.headers().map_err(csv_error)?.clone();
        let bound = mapping.bind(&header.iter().collect::<Vec<_>>())?;
        let mut phone = policy.file().phone.clone();
        if let Some(region) = &mapping.phone_region {
            phone.region.clone_from(region);
        }
        Ok(Self {
            reader,
            bound,
            normaliser: Normaliser {
                phone,
                dates: mapping.dates.unwrap_or(policy.file().dates),
            },
        })
    }

    /// Reads all rows as they are, each with its id.
    ///
    /// # Errors
    /// When a row is broken, has no id, or has one that was there before.
    pub fn read(mut self) -> Result<Table, ReadError> {
        let mut ids = std::collections::HashSet::new();
        let mut rows = Vec::new();
        for row in self.reader.records() {
            let row = row.map_err(csv_error)?;
            let line = row.position().map_or(0, csv::Position::line);
            let id = row.get(self.bound.id).unwrap_or_default().to_owned();
            if id.is_empty() {
                return Err(ReadError::NoId { line });
            }
            if !ids.insert(id.clone()) {
                return Err(ReadError::Twice { line, id });
            }
            rows.push((id, row));
        }
        Ok(Table {
            rows,
            bound: self.bound,
            normaliser: self.normaliser,
        })
    }
}

/// A file that has been read.
pub struct Table {
    rows: Vec<(String, csv::StringRecord)>,
    bound: Bound,
    normaliser: Normaliser,
}

impl Table {
    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// No rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The ids in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|(id, _)| id.as_str())
    }

    /// What the row at a place says, normalised.
    #[must_use]
    pub fn facts(&self, at: usize, policy: &Policy) -> Facts {
        self.rows.get(at).map_or_else(Facts::default, |(_, row)| {
            self.normaliser.facts(&self.bound, row, policy)
        })
    }
}

/// Opens a file, unpacking it when it is gzip.
///
/// # Errors
/// When it cannot be read.
pub fn open(path: &std::path::Path) -> std::io::Result<Box<dyn Read>> {
    let mut file = std::io::BufReader::new(std::fs::File::open(path)?);
    let packed = std::io::BufRead::fill_buf(&mut file)?.starts_with(&[0x1f, 0x8b]);
    Ok(if packed {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    })
}

/// Reads whose each record is: columns `record_id`, `entity_id`, and `thin` when there is one.
///
/// # Errors
/// When it is not CSV or a column is missing.
pub fn read_truth(reader: impl Read) -> Result<HashMap<String, Truth>, ReadError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
    let header = reader.headers().map_err(csv_error)?.clone();
    let place = |column: &str| header.iter().position(|h| h == column);
    let missing = |column: &str| InvalidMapping::NoColumn {
        column: column.to_owned(),
        there: header.iter().collect::<Vec<_>>().join(", "),
    };
    let id = place("record_id").ok_or_else(|| missing("record_id"))?;
    let entity = place("entity_id").ok_or_else(|| missing("entity_id"))?;
    let thin = place("thin");
    let mut truth = HashMap::new();
    for row in reader.records() {
        let row = row.map_err(csv_error)?;
        let line = row.position().map_or(0, csv::Position::line);
        let id = row.get(id).unwrap_or_default().to_owned();
        if id.is_empty() {
            return Err(ReadError::NoId { line });
        }
        let known = Truth {
            entity: row.get(entity).unwrap_or_default().to_owned(),
            thin: thin.and_then(|t| row.get(t)) == Some("1"),
        };
        if truth.insert(id.clone(), known).is_some() {
            return Err(ReadError::Twice { line, id });
        }
    }
    Ok(truth)
}

fn csv_error(error: csv::Error) -> ReadError {
    let line = error.position().map_or(0, csv::Position::line);
    ReadError::Csv {
        line,
        reason: error.to_string(),
    }
}

impl Normaliser {
    fn facts(&self, bound: &Bound, row: &csv::StringRecord, policy: &Policy) -> Facts {
        let mut facts = Facts::default();
        let mut address = AddressText::default();
        let (mut email_trust, mut phone_trust) = (Trust::Claimed, Trust::Claimed);
        for (place, column, attribute) in &bound.columns {
            let text = row.get(*place).unwrap_or_default();
            if text.is_empty() || policy.blocked.is_blocked(text) {
                continue;
            }
            let yes = matches!(text, "1" | "true" | "t" | "yes" | "y" | "sì" | "si");
            match attribute {
                Attribute::GivenName => facts
                    .given_names
                    .extend(Name::parse(text, NameKind::Given).map(|n| seen_once(n, Trust::Claimed))),
                Attribute::Surname | Attribute::CompanyName => {
                    facts
                        .surnames
                        .extend(Name::parse(text, NameKind::Surname).map(|n| seen_once(n, Trust::Claimed)));
                }
                Attribute::FullName => {
                    let (given, surname) = split_full_name(text);
                    facts
                        .given_names
                        .extend(Name::parse(&given, NameKind::Given).map(|n| seen_once(n, Trust::Claimed)));
                    facts.surnames.extend(
                        Name::parse(&surname, NameKind::Surname).map(|n| seen_once(n, Trust::Claimed)),
                    );
                }
                Attribute::BirthDate => facts
                    .births
                    .extend(Birth::parse(text, self.dates).map(|b| seen_once(b, Trust::Claimed))),
                Attribute::Email => facts
                    .emails
                    .extend(Email::parse(text, &policy.mail).map(|e| seen_once(e, Trust::Claimed))),
                Attribute::Phone => facts
                    .phones
                    .extend(Phone::parse(text, &self.phone).map(|p| seen_once(p, Trust::Claimed))),
                Attribute::PhoneDigits => {
                    facts.phones.extend(
                        Phone::parse(&format!("+{text}"), &self.phone).map(|p| seen_once(p, Trust::Observed)),
                    );
                }
                Attribute::Street => address.street = text,
                Attribute::HouseNumber => address.number = text,
                Attribute::Building => address.building = text,
                Attribute::Locality => address.locality = text,
                Attribute::Region => address.region = text,
                Attribute::PostalCode => address.postal_code = text,
                Attribute::EmailVerified if yes => email_trust = Trust::Verified,
                Attribute::PhoneVerified if yes => phone_trust = Trust::Verified,
                Attribute::EmailVerified | Attribute::PhoneVerified | Attribute::Ignore => {}
                Attribute::Identifier(class) => {
                    facts.identifiers.extend(
                        Identifier::parse(*class, column, text).map(|i| seen_once(i, Trust::Claimed)),
                    );
                }
                Attribute::Other(comparison) => facts
                    .others
                    .extend(Other::parse(column, *comparison, text).map(|o| seen_once(o, Trust::Claimed))),
            }
        }
        facts
            .addresses
            .extend(Address::parse(address).map(|a| seen_once(a, Trust::Claimed)));
        // Two columns may hold one value: a WhatsApp id is the telephone number again.
        let mut facts = facts.of_one_record();
        for email in &mut facts.emails {
            email.trust = email.trust.max(email_trust);
        }
        for phone in &mut facts.phones {
            phone.trust = phone.trust.max(phone_trust);
        }
        facts
    }
}
