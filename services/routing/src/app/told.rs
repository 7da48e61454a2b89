//! What the audit log is told of agents and queues: how they were, and how they are. No name of an agent, and no words of
//! theirs.

use trama_platform::Tx;

use crate::{domain::Agent, store::QueueState};

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
    vec![
        ("presence", agent.presence.word().to_owned()),
        ("draining", agent.draining.to_string()),
        ("skills", skills.join(" ")),
        ("languages", agent.languages.join(" ")),
        ("teams", agent.teams.join(" ")),
        ("working_hours", agent.working_hours.clone()),
        ("capacity_units", agent.capacity_units.to_string()),
        ("bot", agent.bot.to_string()),
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
