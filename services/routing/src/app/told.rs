//! What the audit log is told of agents, queues and work: how they were, and how they are. No name of an agent, and no
//! words of theirs.

use std::borrow::Cow;

use trama_platform::Tx;
use trama_proto::common::v1::ChannelKind;

use crate::{
    domain::{Agent, Rest, Second, State, Way, WorkItem},
    store::QueueState,
};

/// A field, how it was, and how it is.
pub(super) type Moved = (&'static str, String, String);

/// What became of a work item. Nothing before: it is new.
pub(super) fn moved(before: Option<&WorkItem>, after: &WorkItem) -> Vec<Moved> {
    FIELDS
        .iter()
        .filter_map(|(field, word)| {
            let (was, now) = (before.map(word).unwrap_or_default(), word(after));
            (was != now).then(|| (*field, was.into_owned(), now.into_owned()))
        })
        .collect()
}

/// A field of a work item, and its word.
type Field = (&'static str, fn(&WorkItem) -> Cow<'_, str>);

/// Who has it, where it waits and how: what a supervisor asks about afterwards.
const FIELDS: [Field; 8] = [
    ("state", |item| item.state.word().into()),
    ("agent_id", |item| {
        item.in_hand()
            .map_or(Cow::default(), |(agent, _)| agent.as_str().into())
    }),
    ("second", |item| item.second().map_or("", second).into()),
    ("second_agent_id", |item| {
        let second = item.second().and_then(Second::agent);
        second.map_or(Cow::default(), |agent| agent.as_str().into())
    }),
    ("queue", |item| item.route.queue.as_str().into()),
    ("priority", |item| item.route.priority.to_string().into()),
    ("rest", |item| rest(item).into()),
    ("waits", |item| waits(&item.manner.way).into()),
];

const fn second(second: &Second) -> &'static str {
    match second {
        Second::Wanted(_) => "wanted",
        Second::Offered(..) => "offered",
        Second::Joined(..) => "joined",
    }
}

const fn rest(item: &WorkItem) -> &'static str {
    match item.state {
        State::Assigned {
            rest: Rest::Parked, ..
        } => "parked",
        State::Assigned {
            rest: Rest::Paused, ..
        } => "paused",
        State::Assigned { rest: Rest::No, .. }
        | State::Pending
        | State::Offered(_)
        | State::Wrapping { .. }
        | State::Completed { .. }
        | State::Cancelled { .. }
        | State::Abandoned { .. } => "",
    }
}

const fn waits(way: &Way) -> &'static str {
    match way {
        Way::AsTheyCame => "as they came",
        Way::Callback { .. } => "for a call back",
        Way::Message => "with a message",
        Way::Deferred { .. } => "on another channel",
    }
}

/// What became of a work item, told for the calls of this transaction.
pub(super) fn tell_item(tx: &Tx, before: Option<&WorkItem>, after: &WorkItem) {
    for (field, was, now) in moved(before, after) {
        tx.changed(("work_item", &after.id), field, &was, &now);
    }
}

/// What became of an agent. Nobody before: they are new.
pub(super) fn tell_agent(tx: &Tx, before: Option<&Agent>, after: &Agent) {
    let was = before.map(told).unwrap_or_default();
    for (place, (field, now)) in told(after).into_iter().enumerate() {
        let was = was.get(place).map_or("", |(_, was)| was.as_str());
        tx.changed(("agent", &after.id), field, was, &now);
    }
}

fn told(agent: &Agent) -> Vec<(&'static str, String)> {
    let skills: Vec<String> = agent
        .skills
        .iter()
        .map(|(skill, level)| format!("{skill}:{level}"))
        .collect();
    let kinds = |kinds: &[ChannelKind]| {
        let words: Vec<&str> = kinds.iter().map(|kind| kind.as_str_name()).collect();
        words.join(" ")
    };
    let at_once: Vec<String> = agent
        .max_at_once
        .iter()
        .map(|(kind, most)| format!("{}:{most}", kind.as_str_name()))
        .collect();
    vec![
        ("presence", agent.presence.word().to_owned()),
        ("draining", agent.draining.to_string()),
        ("skills", skills.join(" ")),
        ("languages", agent.languages.join(" ")),
        ("teams", agent.teams.join(" ")),
        ("working_hours", agent.working_hours.clone()),
        ("capacity_units", agent.capacity_units.to_string()),
        ("bot", agent.bot.to_string()),
        ("channel_kinds", kinds(&agent.channel_kinds)),
        ("available_kinds", kinds(&agent.available_kinds)),
        ("max_at_once", at_once.join(" ")),
    ]
}

/// What became of a queue. A queue of which nothing was said takes work.
pub(super) fn tell_queue(tx: &Tx, queue: &str, before: Option<&QueueState>, after: &QueueState) {
    let was = before.map_or((false, ""), |was| (was.draining, was.overflow_to.as_str()));
    tx.changed(
        ("queue", &queue),
        "draining",
        &was.0.to_string(),
        &after.draining.to_string(),
    );
    tx.changed(("queue", &queue), "overflow_to", was.1, &after.overflow_to);
}
