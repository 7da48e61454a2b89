//! Between rows and messages.

use chrono::{DateTime, Utc};
use prost::Message as _;
use trama_proto::{
    case::v1::ContextSnapshot,
    common::v1::ChannelKind,
    routing::v1::{self, WorkItemState},
    time::to_wire,
};

use crate::{
    domain::{Agent, Handover, Manner, Presence, Requirement, Rest, Second, State, Way, WorkItem},
    store::{HandRow, OfferRow, WorkItemRow, handover_of, kind},
};

pub(crate) fn agent(agent: &Agent) -> v1::Agent {
    let numbers = |kinds: &[ChannelKind]| kinds.iter().map(|k| i32::from(*k)).collect();
    v1::Agent {
        agent_id: agent.id.to_string(),
        display_name: agent.display_name.clone(),
        skills: agent.skills.clone().into_iter().collect(),
        languages: agent.languages.clone(),
        channel_kinds: numbers(&agent.channel_kinds),
        capacity_units: agent.capacity_units,
        bot: agent.bot,
        presence: presence(agent.presence).into(),
        used_units: agent.used_units,
        presence_reason: agent.presence_reason.clone(),
        available_kinds: numbers(&agent.available_kinds),
        teams: agent.teams.clone(),
        working_hours: agent.working_hours.clone(),
        max_at_once: agent
            .max_at_once
            .iter()
            .map(|(kind, most)| (kind.as_str_name().to_owned(), *most))
            .collect(),
        draining: agent.draining,
        presence_since: Some(to_wire(agent.presence_since)),
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

fn skills(requirement: &Requirement) -> (Vec<String>, Vec<v1::SkillLevel>) {
    let names = requirement.skills.keys().cloned().collect();
    let levels = requirement.skills.iter().map(|(skill, level)| v1::SkillLevel {
        skill: skill.clone(),
        level: i32::from(*level),
    });
    (names, levels.collect())
}

fn callback_at(manner: &Manner) -> Option<DateTime<Utc>> {
    match manner.way {
        Way::Callback { at, .. } => at,
        Way::AsTheyCame | Way::Message | Way::Deferred { .. } => None,
    }
}

/// An item as decided.
pub(crate) fn item(item: &WorkItem) -> v1::WorkItem {
    let (state, agent) = match &item.state {
        State::Pending => (WorkItemState::Pending, None),
        State::Offered(hold) => (WorkItemState::Offered, Some(&hold.agent)),
        State::Assigned { hand, .. } => (WorkItemState::Assigned, Some(&hand.agent)),
        State::Wrapping { hand, .. } => (WorkItemState::Wrapping, Some(&hand.agent)),
        State::Completed { agent, .. } => (WorkItemState::Completed, agent.as_ref()),
        State::Cancelled { .. } => (WorkItemState::Cancelled, None),
        State::Abandoned { .. } => (WorkItemState::Abandoned, None),
    };
    let resting = |why| matches!(&item.state, State::Assigned { rest, .. } if *rest == why);
    let route = &item.route;
    let (required_skills, required_levels) = skills(&route.requirement);
    v1::WorkItem {
        work_item_id: item.id.to_string(),
        case_id: item.case_id.to_string(),
        queue: route.queue.clone(),
        state: state.into(),
        channel_kind: item.channel.into(),
        waiting_since: Some(to_wire(item.waiting_since)),
        priority: route.priority,
        required_skills,
        agent_id: agent.map(ToString::to_string).unwrap_or_default(),
        answered_at: item.answered.map(|a| to_wire(a.at)),
        due_at: Some(to_wire(route.due_at)),
        explanation: route.explanation.clone(),
        required_levels,
        language: route.language.clone(),
        entitlement: route.entitlement.clone(),
        intent: route.intent.clone(),
        parked: resting(Rest::Parked),
        paused: resting(Rest::Paused),
        wrap_up_until: match &item.state {
            State::Wrapping { until, .. } => Some(to_wire(*until)),
            State::Pending
            | State::Offered(_)
            | State::Assigned { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => None,
        },
        transfers: item.transfers,
        callback_at: callback_at(&item.manner).map(to_wire),
        second_agent_id: item
            .second()
            .and_then(Second::agent)
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}

/// An item as stored.
pub(crate) fn row(row: WorkItemRow) -> v1::WorkItem {
    let state = match row.state.as_str() {
        "pending" => WorkItemState::Pending,
        "offered" => WorkItemState::Offered,
        "assigned" => WorkItemState::Assigned,
        "wrapping" => WorkItemState::Wrapping,
        "completed" => WorkItemState::Completed,
        "cancelled" => WorkItemState::Cancelled,
        "abandoned" => WorkItemState::Abandoned,
        _ => WorkItemState::Unspecified,
    };
    let route = row.route.0;
    let (required_skills, required_levels) = skills(&route.requirement);
    v1::WorkItem {
        work_item_id: row.work_item_id.to_string(),
        case_id: row.case_id.to_string(),
        queue: row.queue,
        state: state.into(),
        channel_kind: kind(row.channel_kind).into(),
        waiting_since: Some(to_wire(row.waiting_since)),
        priority: row.priority,
        required_skills,
        agent_id: row.agent_id.unwrap_or_default(),
        answered_at: row.answered_at.map(to_wire),
        due_at: Some(to_wire(row.due_at)),
        explanation: route.explanation,
        required_levels,
        language: row.language,
        entitlement: row.entitlement,
        intent: row.intent,
        parked: row.rest == "parked",
        paused: row.rest == "paused",
        wrap_up_until: row.wrap_up_until.map(to_wire),
        transfers: row.transfers,
        callback_at: callback_at(&row.manner).map(to_wire),
        second_agent_id: row.second_agent.unwrap_or_default(),
    }
}

/// Work in hand, with its context.
pub(crate) fn hand(hand: HandRow) -> v1::Offer {
    let snapshot = hand.snapshot.as_deref().and_then(|bytes| {
        ContextSnapshot::decode(bytes)
            .inspect_err(|error| tracing::error!(%error, "a stored snapshot cannot be read"))
            .ok()
    });
    v1::Offer {
        offer_id: hand.offer_id.to_string(),
        work_item: Some(row(hand.item)),
        agent_id: hand.hand_agent,
        expires_at: Some(to_wire(hand.expires_at)),
        snapshot,
        explanation: hand.offer_explanation,
        handover: hand
            .handover
            .as_deref()
            .and_then(handover_of)
            .map_or(v1::Handover::Unspecified, handover)
            .into(),
        from_agent_id: hand.from_agent.unwrap_or_default(),
        note: hand.note,
        traceparent: hand.trace.unwrap_or_default(),
    }
}

const fn handover(how: Handover) -> v1::Handover {
    match how {
        Handover::Blind => v1::Handover::Blind,
        Handover::Warm => v1::Handover::Warm,
        Handover::Consult => v1::Handover::Consult,
    }
}

/// What became of an offer.
pub(crate) fn record(offer: OfferRow) -> v1::OfferRecord {
    v1::OfferRecord {
        offer_id: offer.offer_id.to_string(),
        agent_id: offer.agent_id,
        offered_at: Some(to_wire(offer.offered_at)),
        state: offer.state,
        explanation: offer.explanation,
        reason: offer.reason,
    }
}

/// Why an offer is gone, for people.
pub(crate) fn fate(state: &str) -> &'static str {
    match state {
        "declined" => "you declined it",
        "expired" => "it was not answered in time",
        "rescinded" => "the work is no longer wanted",
        "withdrawn" => "it was taken back",
        "completed" => "the work is done",
        _ => "it is no longer yours",
    }
}
