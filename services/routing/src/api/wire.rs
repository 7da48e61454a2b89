//! Between rows and messages.

use prost::Message as _;
use trama_proto::{
    case::v1::ContextSnapshot,
    routing::v1::{self, WorkItemState},
    time::to_wire,
};

use crate::{
    domain::{Agent, Presence, State, WorkItem},
    store::{HandRow, WorkItemRow, kind},
};

pub(crate) fn agent(agent: &Agent) -> v1::Agent {
    v1::Agent {
        agent_id: agent.id.to_string(),
        display_name: agent.display_name.clone(),
        skills: agent.skills.clone().into_iter().collect(),
        languages: agent.languages.clone(),
        channel_kinds: agent.channel_kinds.iter().map(|k| i32::from(*k)).collect(),
        capacity_units: agent.capacity_units,
        bot: agent.bot,
        presence: presence(agent.presence).into(),
        used_units: agent.used_units,
    }
}

const fn presence(presence: Presence) -> v1::Presence {
    match presence {
        Presence::Offline => v1::Presence::Offline,
        Presence::Available => v1::Presence::Available,
        Presence::Away => v1::Presence::Away,
        Presence::NotResponding => v1::Presence::NotResponding,
    }
}

/// An item as decided.
pub(crate) fn item(item: &WorkItem) -> v1::WorkItem {
    let (state, agent) = match &item.state {
        State::Pending => (WorkItemState::Pending, None),
        State::Offered(hold) => (WorkItemState::Offered, Some(&hold.agent)),
        State::Assigned { agent, .. } => (WorkItemState::Assigned, Some(agent)),
        State::Completed { agent, .. } => (WorkItemState::Completed, Some(agent)),
        State::Cancelled { .. } => (WorkItemState::Cancelled, None),
    };
    v1::WorkItem {
        work_item_id: item.id.to_string(),
        case_id: item.case_id.to_string(),
        queue: item.route.queue.clone(),
        state: state.into(),
        channel_kind: item.channel.into(),
        waiting_since: Some(to_wire(item.waiting_since)),
        priority: item.route.priority,
        required_skills: item.route.skills.clone(),
        agent_id: agent.map(ToString::to_string).unwrap_or_default(),
        answered_at: item.answered.map(|a| to_wire(a.at)),
        due_at: Some(to_wire(item.due_at)),
        explanation: item.route.explanation.clone(),
    }
}

/// An item as stored.
pub(crate) fn row(row: WorkItemRow) -> v1::WorkItem {
    let state = match row.state.as_str() {
        "pending" => WorkItemState::Pending,
        "offered" => WorkItemState::Offered,
        "assigned" => WorkItemState::Assigned,
        "completed" => WorkItemState::Completed,
        "cancelled" => WorkItemState::Cancelled,
        _ => WorkItemState::Unspecified,
    };
    v1::WorkItem {
        work_item_id: row.work_item_id.to_string(),
        case_id: row.case_id.to_string(),
        queue: row.queue,
        state: state.into(),
        channel_kind: kind(row.channel_kind).into(),
        waiting_since: Some(to_wire(row.waiting_since)),
        priority: row.priority,
        required_skills: row.required_skills,
        agent_id: row.agent_id.unwrap_or_default(),
        answered_at: row.answered_at.map(to_wire),
        due_at: Some(to_wire(row.due_at)),
        explanation: row.explanation,
    }
}

/// Work in hand, with its context.
pub(crate) fn hand(hand: HandRow) -> v1::Offer {
    let agent_id = hand.item.agent_id.clone().unwrap_or_default();
    let snapshot = hand.snapshot.as_deref().and_then(|bytes| {
        ContextSnapshot::decode(bytes)
            .inspect_err(|error| tracing::error!(%error, "a stored snapshot cannot be read"))
            .ok()
    });
    v1::Offer {
        offer_id: hand.offer_id.to_string(),
        work_item: Some(row(hand.item)),
        agent_id,
        expires_at: Some(to_wire(hand.expires_at)),
        snapshot,
        explanation: hand.offer_explanation,
    }
}

/// Why an offer is gone, for people.
pub(crate) fn fate(state: &str) -> &'static str {
    match state {
        "declined" => "you declined it",
        "expired" => "it was not answered in time",
        "rescinded" => "the work is no longer wanted",
        "completed" => "the work is done",
        _ => "it is no longer yours",
    }
}
