//! All SQL. Sets go in and out as arrays: no round trip per event.

mod agents;
mod desk;
mod figures;
mod items;
mod lock;
mod offers;
mod reads;

pub use agents::{
    Delta, apply_deltas, available, find_agent, list_agents, set_presence, tenants_with_room, upsert_agent,
};
pub use desk::{HandRow, fates, in_hand, in_hand_versions};
pub use figures::{KpiRow, kpis};
pub use items::{last_of_cases, of_offers, of_offers_of, waiting_for, work_item, write_items};
pub use lock::{Locked, lock, lock_shared_unless_room};
pub use offers::{EndedOffer, NewOffer, end_offers, insert_offers};
pub use reads::{OrderKey, WorkItemRow, find_of_case, list_open, position};

use trama_proto::common::v1::ChannelKind;

/// A kind of channel as the tables keep it: the number of the contract.
pub(crate) fn kind(number: i32) -> ChannelKind {
    ChannelKind::try_from(number).unwrap_or_default()
}
