//! Ids that are compared as they are, and attributes only the tenant knows the meaning of.

use serde::{Deserialize, Serialize};

use super::{family, fold};
use crate::matching::{
    facts::Keyed,
    hash::{StableHasher, ValueKey},
};

/// What an id says about people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentifierClass {
    /// One person has one, in a system that gives them out: customer number, login. Two different ones are two people.
    Exclusive,
    /// From the state, typed by people: one person has one, but slips happen.
    National,
    /// An account of a person, who may have several.
    Account,
    /// A browser, telephone or app: one person has several, and a family may share one.
    Device,
}

/// An id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier {
    /// What it says.
    pub class: IdentifierClass,
    /// Whose id: `crm`, `login`, `cookie`, `instagram`.
    pub namespace: Box<str>,
    /// The id.
    pub value: Box<str>,
    /// Hash of both.
    pub key: ValueKey,
}

impl Identifier {
    /// Reads an id.
    #[must_use]
    pub fn parse(class: IdentifierClass, namespace: &str, text: &str) -> Option<Self> {
        let value = match class {
            IdentifierClass::Exclusive | IdentifierClass::Device => text.trim().to_owned(),
            IdentifierClass::National => fold(text).chars().filter(char::is_ascii_alphanumeric).collect(),
            IdentifierClass::Account => fold(text.trim()).trim_start_matches('@').to_owned(),
        };
        if value.is_empty() || value.len() > 256 {
            return None;
        }
        Some(Self {
            key: StableHasher::new(family::IDENTIFIER)
                .part(namespace)
                .part(&value)
                .value(),
            class,
            namespace: namespace.into(),
            value: value.into(),
        })
    }
}

impl Keyed for Identifier {
    fn key(&self) -> ValueKey {
        self.key
    }
}

/// How values of a foreign attribute are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherComparison {
    /// Equal, close, different.
    Text,
    /// Equal or different.
    Category,
}

/// A value of an attribute only the tenant knows the meaning of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// The attribute.
    pub attribute: Box<str>,
    /// How it is compared.
    pub comparison: OtherComparison,
    /// The value: lower case letters and digits, single blanks.
    pub value: Box<str>,
    /// Hash of both.
    pub key: ValueKey,
}

impl Other {
    /// Reads a value.
    #[must_use]
    pub fn parse(attribute: &str, comparison: OtherComparison, text: &str) -> Option<Self> {
        let folded = fold(text);
        let words: Vec<&str> = folded
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|w| !w.is_empty())
            .collect();
        let value = words.join(" ");
        if value.is_empty() {
            return None;
        }
        Some(Self {
            key: StableHasher::new(family::OTHER)
                .part(attribute)
                .part(&value)
                .value(),
            attribute: attribute.into(),
            comparison,
            value: value.into(),
        })
    }
}

impl Keyed for Other {
    fn key(&self) -> ValueKey {
        self.key
    }
}
