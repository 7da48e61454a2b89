//! A type for every id. An id in a signature says what it is an id of.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: {expected}")]
pub struct InvalidId {
    kind: &'static str,
    text: String,
    expected: &'static str,
}

/// Derives a UUIDv8 from parts: the same parts give the same id on every machine, for ever.
///
/// Each part is preceded by its length, so that (`ab`, `c`) and (`a`, `bc`) differ.
pub fn derive(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::new_v8(bytes)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// From a fresh or stored UUID.
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// Derived from parts, see [`derive`].
            pub fn derived(parts: &[&[u8]]) -> Self {
                Self(derive(parts))
            }

            /// The UUID, for SQL.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId {
                    kind: stringify!($name),
                    text: text.chars().take(80).collect(),
                    expected: "a UUID such as 018f3c1e-7d2a-7000-8000-000000000001",
                })
            }
        }
    )*};
}

ids! {
    /// One need of one customer.
    CaseId,
    /// A challenge of a verification.
    ChallengeId,
    /// A person or company.
    CustomerId,
    /// One raw request from a provider.
    DeliveryId,
    /// One thing said or done.
    InteractionId,
    /// One asking of a survey.
    InvitationId,
    /// A merge of two customers.
    MergeId,
    /// An outbound text.
    MessageId,
    /// A work item held for one agent.
    OfferId,
    /// Somebody must act on a case.
    WorkItemId,
}

/// A brand or organisation. First column of every key, part of every subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TenantId(std::sync::Arc<str>);

impl TenantId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TenantId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let valid = (1..=63).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId {
                kind: "tenant",
                text: text.chars().take(80).collect(),
                expected: "1 to 63 of a-z, 0-9 and -, as a Kubernetes namespace",
            })
        }
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Human or bot: the subject of the agent's credential.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AgentId(String);

impl AgentId {
    /// The built-in assistant.
    pub fn assistant() -> Self {
        Self("assistant".to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AgentId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                kind: "agent id",
                text: text.chars().take(80).collect(),
                expected: "1 to 128 visible ASCII characters",
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn derived_ids_depend_on_where_parts_end(a in "[a-z]{0,8}", b in "[a-z]{1,8}") {
            let joined = format!("{a}{b}");
            prop_assert_eq!(derive(&[a.as_bytes(), b.as_bytes()]), derive(&[a.as_bytes(), b.as_bytes()]));
            prop_assert_ne!(derive(&[a.as_bytes(), b.as_bytes()]), derive(&[joined.as_bytes(), b""]));
        }

        #[test]
        fn parsing_an_id_never_panics(text in "\\PC*") {
            let _ = text.parse::<CaseId>();
            let _ = text.parse::<TenantId>();
            let _ = text.parse::<AgentId>();
        }
    }
}
