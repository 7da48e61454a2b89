//! What a customer's rows hold for similarity, for whoever fills the tables beside the service: bulk loads and benches.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        customer::{Field, Origin},
        handle::Trust,
        said::{Attribute, Said, postal},
    },
    matching::{Policy, blocking},
};

/// A person, as a system of records knows them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Person<'a> {
    /// The system.
    pub source: &'a str,
    /// When it said so.
    pub at: DateTime<Utc>,
    /// Given name.
    pub given_name: &'a str,
    /// Surname.
    pub surname: &'a str,
    /// Date of birth.
    pub birth_date: &'a str,
    /// Street.
    pub street: &'a str,
    /// Number of the house.
    pub house_number: &'a str,
    /// Town.
    pub city: &'a str,
    /// Postal code.
    pub postal_code: &'a str,
    /// Mail address.
    pub email: &'a str,
    /// Telephone number.
    pub phone: &'a str,
}

/// What is stored of a person.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Column `customers.said`.
    pub said: Vec<u8>,
    /// Column `customers.provenance`, of their name.
    pub provenance: String,
    /// Rows of `block_keys`.
    pub keys: Vec<i64>,
    /// Values to count in `value_stats`.
    pub values: Vec<i64>,
}

/// Works rows out, by the shipped weights.
pub struct Seeder(Policy);

impl Default for Seeder {
    fn default() -> Self {
        Self(Policy::shipped())
    }
}

impl Seeder {
    /// The rows of a person.
    pub fn rows(&self, person: &Person<'_>) -> Rows {
        let mut said = Said::default();
        let address = postal(
            person.street,
            person.house_number,
            person.city,
            "",
            person.postal_code,
        );
        for (attribute, text, trust) in [
            (Attribute::GivenName, person.given_name, Trust::Claimed),
            (Attribute::Surname, person.surname, Trust::Claimed),
            (Attribute::Birth, person.birth_date, Trust::Claimed),
            (Attribute::Address, address.as_str(), Trust::Claimed),
            (Attribute::Email, person.email, Trust::Observed),
            (Attribute::Phone, person.phone, Trust::Observed),
        ] {
            said.add(attribute, text, trust);
        }
        let facts = said.facts(&self.0);
        let origin = Origin {
            source: person.source.to_owned(),
            at: person.at,
            verified: false,
            by_hand: false,
        };
        let provenance = BTreeMap::from([(Field::DisplayName.name(), origin)]);
        Rows {
            said: said.encode(),
            provenance: serde_json::json!(provenance).to_string(),
            keys: blocking::keys(&facts).into_iter().map(|k| k.0).collect(),
            values: facts
                .counted_values()
                .into_iter()
                .map(|v| v.0.cast_signed())
                .collect(),
        }
    }
}
