//! One line of a timeline.

use chrono::{DateTime, Utc};
use trama_proto::{
    case::v1::{self as wire, Understanding},
    common::v1::Interaction,
    ids::{CaseId, CustomerId, InteractionId, TenantId},
};

/// How far something that left us got. Ordered: it only ever grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutboundStatus {
    /// Inbound, or among ourselves.
    None,
    /// With the notification service.
    Queued,
    /// Accepted by the provider.
    Sent,
    /// Will not arrive: possible after `Sent`, and taken back when it is delivered after all.
    Failed,
    /// On the customer's device.
    Delivered,
    /// Seen.
    Read,
}

impl OutboundStatus {
    /// What is known after a further report. Reports may come twice and in any order.
    #[must_use]
    pub fn after(self, report: OutboundStatus) -> Self {
        self.max(report)
    }

    /// As the wire says it.
    pub const fn to_wire(self) -> wire::OutboundStatus {
        match self {
            OutboundStatus::None => wire::OutboundStatus::Unspecified,
            OutboundStatus::Queued => wire::OutboundStatus::Queued,
            OutboundStatus::Failed => wire::OutboundStatus::Failed,
            OutboundStatus::Sent => wire::OutboundStatus::Sent,
            OutboundStatus::Delivered => wire::OutboundStatus::Delivered,
            OutboundStatus::Read => wire::OutboundStatus::Read,
        }
    }

    /// From the wire.
    pub const fn from_wire(status: wire::OutboundStatus) -> Self {
        match status {
            wire::OutboundStatus::Unspecified => OutboundStatus::None,
            wire::OutboundStatus::Queued => OutboundStatus::Queued,
            wire::OutboundStatus::Failed => OutboundStatus::Failed,
            wire::OutboundStatus::Sent => OutboundStatus::Sent,
            wire::OutboundStatus::Delivered => OutboundStatus::Delivered,
            wire::OutboundStatus::Read => OutboundStatus::Read,
        }
    }
}

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Whose data.
    pub tenant: TenantId,
    /// What was said or done.
    pub id: InteractionId,
    /// On which case; nothing when it belongs to none.
    pub case_id: Option<CaseId>,
    /// The case it was on before that was joined with another.
    pub origin_case_id: Option<CaseId>,
    /// Whose words, or to whom.
    pub customer_id: CustomerId,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// How far it got, when outbound.
    pub outbound: OutboundStatus,
    /// Article that it cites.
    pub article_version: String,
    /// All of it.
    pub interaction: Interaction,
    /// What was understood of it.
    pub understanding: Option<Understanding>,
}

impl Line {
    /// As the wire says it.
    pub fn to_wire(&self) -> wire::TimelineEntry {
        wire::TimelineEntry {
            interaction: Some(self.interaction.clone()),
            outbound_status: self.outbound.to_wire().into(),
            article_version: self.article_version.clone(),
            understanding: self.understanding.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [OutboundStatus; 5] = [
        OutboundStatus::Queued,
        OutboundStatus::Failed,
        OutboundStatus::Sent,
        OutboundStatus::Delivered,
        OutboundStatus::Read,
    ];

    proptest! {
        #[test]
        fn reports_in_any_order_and_number_end_the_same(
            order in prop::collection::vec(0_usize..5, 1..8).prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle()))
        ) {
            let (first, second) = order;
            let run = |v: &[usize]| v.iter().fold(OutboundStatus::Queued, |s, i| s.after(ALL[*i]));
            let twice: Vec<usize> = second.iter().chain(&second).copied().collect();
            prop_assert_eq!(run(&first), run(&second));
            prop_assert_eq!(run(&first), run(&twice));
        }

        #[test]
        fn what_was_delivered_never_fails(i in 0_usize..5) {
            prop_assert!(OutboundStatus::Delivered.after(ALL[i]) >= OutboundStatus::Delivered);
        }
    }

    #[test]
    fn a_sent_message_may_fail() {
        assert_eq!(
            OutboundStatus::Sent.after(OutboundStatus::Failed),
            OutboundStatus::Failed
        );
    }
}
