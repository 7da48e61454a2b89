//! Values that identify nobody.

use std::collections::BTreeSet;

use super::fold;

/// What never counts as a value.
#[derive(Debug, Clone, Default)]
pub struct Blocked {
    tenant: BTreeSet<String>,
}

const WORDS: &[&str] = &[
    "null",
    "none",
    "nan",
    "nd",
    "unknown",
    "sconosciuto",
    "sconosciuta",
    "anonymous",
    "anonimo",
    "anonima",
    "test",
    "prova",
    "undefined",
    "withheld",
    "restricted",
    "unavailable",
    "tbd",
    "xxx",
    "asdf",
];

impl Blocked {
    /// The built-in ones and the tenant's own.
    #[must_use]
    pub fn new(tenant: &[String]) -> Self {
        Self {
            tenant: tenant.iter().map(|v| fold(v.trim())).collect(),
        }
    }

    /// Says nothing: empty, a placeholder, or one sign repeated.
    #[must_use]
    pub fn is_blocked(&self, text: &str) -> bool {
        let text = text.trim();
        if text.is_empty() {
            return true;
        }
        let first = text.as_bytes().first().copied();
        if text.len() > 2 && text.bytes().all(|b| Some(b) == first) {
            return true;
        }
        if !text.bytes().any(|b| b.is_ascii_alphanumeric() || !b.is_ascii())
            || text.bytes().all(|b| b == b'0' || b == b'-' || b == b'.')
        {
            return true;
        }
        if text == "-1" {
            return true;
        }
        if self.tenant.is_empty() && text.len() > 12 {
            return false;
        }
        let folded = fold(text);
        let bare: String = folded.chars().filter(char::is_ascii_alphanumeric).collect();
        WORDS.contains(&bare.as_str()) || self.tenant.contains(&folded)
    }
}
