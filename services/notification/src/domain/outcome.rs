//! Where a message stands, and what a receipt changes about it.

use chrono::{DateTime, Utc};

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Waiting to be sent, or between two tries.
    Queued,
    /// Taken by the provider.
    Sent,
    /// On the device.
    Delivered,
    /// Seen.
    Read,
    /// Will not arrive.
    Failed,
    /// Not allowed to be sent.
    Suppressed,
}

impl Standing {
    /// As the table writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
            Self::Suppressed => "suppressed",
        }
    }

    /// As the table wrote it.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Queued,
            Self::Sent,
            Self::Delivered,
            Self::Read,
            Self::Failed,
            Self::Suppressed,
        ]
        .into_iter()
        .find(|s| s.as_str() == text)
    }
}

/// What a provider reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// Accepted and on its way.
    Sent,
    /// On the device.
    Delivered,
    /// Seen.
    Read,
    /// It will not arrive, with the provider's words.
    Failed(String),
}

/// What a receipt changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is on the device.
    Delivered {
        /// By the provider's clock.
        at: DateTime<Utc>,
    },
    /// It was seen.
    Read {
        /// By the provider's clock.
        at: DateTime<Utc>,
    },
    /// The provider gave up: the next allowed channel, or failure.
    GaveUp {
        /// By the provider's clock.
        at: DateTime<Utc>,
        /// Its words.
        words: String,
    },
}

/// What a receipt changes about a message that the provider had taken; `None` when it is old news.
///
/// Receipts come in any order and more than once: sent < delivered < read, and never back. A failure counts only
/// before delivery; a delivery after a failure is believed, because some of the customer's devices may differ.
pub fn receipt(standing: Standing, receipt: &Receipt, at: DateTime<Utc>) -> Option<Change> {
    match (standing, receipt) {
        // Not taken yet as far as we know: early, kept aside by the caller.
        (Standing::Queued, _) => None,
        (Standing::Sent | Standing::Failed, Receipt::Delivered) => Some(Change::Delivered { at }),
        (Standing::Sent | Standing::Delivered | Standing::Failed, Receipt::Read) => Some(Change::Read { at }),
        (Standing::Sent, Receipt::Failed(words)) => Some(Change::GaveUp {
            at,
            words: words.clone(),
        }),
        (Standing::Delivered | Standing::Read | Standing::Failed, Receipt::Failed(_)) => None,
        (Standing::Delivered | Standing::Read, Receipt::Delivered) => None,
        (Standing::Read, Receipt::Read) => None,
        (Standing::Sent | Standing::Delivered | Standing::Read | Standing::Failed, Receipt::Sent) => None,
        (Standing::Suppressed, Receipt::Sent | Receipt::Delivered | Receipt::Read | Receipt::Failed(_)) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_receipt() -> impl Strategy<Value = Receipt> {
        prop_oneof![
            Just(Receipt::Sent),
            Just(Receipt::Delivered),
            Just(Receipt::Read),
            Just(Receipt::Failed("131026".into()))
        ]
    }

    fn after(change: &Change) -> Standing {
        match change {
            Change::Delivered { .. } => Standing::Delivered,
            Change::Read { .. } => Standing::Read,
            Change::GaveUp { .. } => Standing::Failed,
        }
    }

    proptest! {
        #[test]
        fn each_status_is_told_at_most_once_whatever_the_order(receipts in prop::collection::vec(any_receipt(), 0..12)) {
            let at = DateTime::from_timestamp(1_800_000_000, 0).expect("valid");
            let mut standing = Standing::Sent;
            let mut told = Vec::new();
            for r in &receipts {
                if let Some(change) = receipt(standing, r, at) {
                    standing = after(&change);
                    prop_assert!(!told.contains(&standing), "{standing:?} twice in {receipts:?}");
                    told.push(standing);
                }
            }
            if receipts.contains(&Receipt::Read) {
                prop_assert_eq!(standing, Standing::Read);
            }
        }
    }
}
