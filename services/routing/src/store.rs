//! All SQL. Sets go in and out as arrays: no round trip per event.
//!
//! Locks are taken in one order everywhere: tenants in the order of their names, and within a tenant items by id, then
//! agents by id. So transactions wait for each other but never in a circle.

mod agents;
mod changes;
mod desk;
mod figures;
mod items;
mod occupancy;
mod offers;
pub mod privacy;
mod queues;
mod reads;
pub mod staffing;

pub use agents::{
    Load, apply_loads, find_agent, list_agents, lock_agents, read_agents, take_units, upsert_agent,
    write_presence,
};
pub use changes::{
    Changed, LeaseRow, acquire, beat, ensure_lease, find_lease, find_routed_by, holds_lease, is_behind,
    release, renew, set_routed_by, take_changes, tell_leader, violations,
};
pub use desk::{HandRow, ended_since, fates, in_hand, in_hand_versions};
pub use figures::{
    Fact, History, IntervalKey, IntervalSums, NowRow, QueueSums, Sums, add_facts, count_available,
    fold_facts, history, open_now, sums,
};
pub(crate) use items::{handover_of, handover_word};
pub use items::{
    last_of_cases, lock_items, lock_of_agents, lock_waiting_in, lock_with_offers, move_items, only_moves,
    read_in_hand_of, read_items, read_open, read_snapshot, read_snapshots, unanswered_after, write_items,
};
pub use occupancy::{TeamKey, TeamTimes, Times, fold_times, team_times};
pub use offers::{MovedOffer, NewOffer, OfferRow, insert_offers, move_offers, offers_of, read_offers};
pub use queues::{QueueState, find_queue_states, set_queue_state};
pub use reads::{OrderKey, WorkItemRow, find_item, find_of_case, list_open, position};

use trama_proto::common::v1::ChannelKind;

/// A kind of channel as the tables keep it: the number of the contract.
pub(crate) fn kind(number: i32) -> ChannelKind {
    ChannelKind::try_from(number).unwrap_or_default()
}
