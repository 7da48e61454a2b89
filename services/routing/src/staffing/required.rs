//! How many people each interval needs, and why.
//!
//! - live work by Erlang A, conversations in parallel by Erlang A over their slots;
//! - together: between what one pool of people who can do everything needs and what separate teams need, as far as people are
//!   trained for more than one kind of work;
//! - deferred work as a flow: idle time first, then the evenest number of extra people with which nothing is late;
//! - shrinkage on top.
//!
//! Formulas do not know the matcher's rules. [`confirm`] asks a simulation and adds people where the promise is not kept.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use super::{
    demand::{Group, InvalidGroup, Service, Stream},
    erlang::{self, Figures, Target, Traffic},
    flow::Flow,
    whatif::{Scenario, SimulationFailed, Simulator},
};

/// What one live stream would need on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamNeed {
    /// Which stream of the group.
    pub stream: usize,
    /// Agents who do nothing else.
    pub agents: u32,
    /// What they would achieve.
    pub figures: Figures,
}

/// What one interval needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    /// When it starts.
    pub start: DateTime<Utc>,
    /// Agents for live work and conversations.
    pub live: u32,
    /// Agents besides for deferred work, on average over the interval.
    pub deferred: f64,
    /// Idle time of the live agents that deferred work uses, in agents.
    pub idle_used: f64,
    /// Agents at work: live and deferred, rounded up.
    pub agents: u32,
    /// People to put on the roster, so that so many are at work.
    pub rostered: u32,
    /// Streams on their own.
    pub separate: Vec<StreamNeed>,
    /// All of it in words.
    pub explanation: String,
}

/// What a group needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// By interval.
    pub intervals: Vec<Requirement>,
    /// Hours at work.
    pub agent_hours: f64,
    /// Hours paid, shrinkage included.
    pub paid_hours: f64,
    /// People on full contracts that make so many paid hours.
    pub full_time_equivalents: f64,
    /// What the reader should know besides.
    pub notes: Vec<String>,
}

/// The live side of one interval.
struct Live {
    separate: Vec<StreamNeed>,
    pooled: u32,
    agents: u32,
    idle: f64,
}

/// How many people a group needs in each interval.
pub fn required(group: &Group) -> Result<Plan, InvalidGroup> {
    group.validate()?;
    let mut live = Vec::with_capacity(group.starts.len());
    for (at, is_open) in group.open.iter().enumerate() {
        live.push(if *is_open {
            live_at(group, at)?
        } else {
            Live::none()
        });
    }
    let mut deferred = vec![(0.0, 0.0); group.starts.len()];
    let mut notes = notes_on_closed(group);
    serve_deferred(group, &live, &mut deferred, &mut notes);
    let intervals: Vec<Requirement> = live
        .into_iter()
        .zip(deferred)
        .enumerate()
        .map(|(at, (live, (extra, idle_used)))| requirement(group, at, live, extra, idle_used))
        .collect();
    Ok(plan(group, intervals, notes))
}

impl Live {
    fn none() -> Self {
        Self {
            separate: Vec::new(),
            pooled: 0,
            agents: 0,
            idle: 0.0,
        }
    }
}

fn live_at(group: &Group, at: usize) -> Result<Live, InvalidGroup> {
    let mut separate = Vec::new();
    for (number, stream) in group.streams.iter().enumerate() {
        let Some((target, slots)) = promise(&stream.service).filter(|_| stream.contacts[at] > 0.0) else {
            continue;
        };
        let traffic = traffic(group, stream, stream.contacts[at])?;
        let need = erlang::required_agents(&traffic, &target);
        separate.push(StreamNeed {
            stream: number,
            agents: need.agents.div_ceil(slots),
            figures: need.figures,
        });
    }
    let apart: u32 = separate
        .iter()
        .map(|need| need.agents)
        .fold(0, u32::saturating_add);
    let Some(together) = pooled_traffic(group, at)? else {
        return Ok(Live::none());
    };
    let pooled = if separate.len() < 2 {
        apart
    } else {
        let strictest = separate
            .iter()
            .filter_map(|need| promise(&group.streams[need.stream].service))
            .map(|(target, _)| erlang::required_agents(&together, &target).agents)
            .max();
        strictest.unwrap_or(0).min(apart)
    };
    let gain = group.cross_training.share() * f64::from(apart - pooled);
    let agents = erlang::whole_agents(f64::from(apart) - gain);
    let figures = erlang::figures(&together, agents, 0.0);
    Ok(Live {
        separate,
        pooled,
        agents,
        idle: f64::from(agents) * (1.0 - figures.occupancy) * group.idle_use,
    })
}

/// Agents that the live work of an open interval needs.
pub(super) fn live_agents(group: &Group, at: usize) -> Result<u32, InvalidGroup> {
    live_at(group, at).map(|live| live.agents)
}

/// What a live stream promises, and how many conversations an agent leads in it.
pub(super) fn promise(service: &Service) -> Option<(Target, u32)> {
    match service {
        Service::Live { target, .. } => Some((*target, 1)),
        Service::Concurrent {
            target, concurrency, ..
        } => Some((*target, concurrency.slots())),
        Service::Deferred { .. } => None,
    }
}

pub(super) fn traffic(group: &Group, stream: &Stream, contacts: f64) -> Result<Traffic, InvalidGroup> {
    group
        .traffic(stream, contacts)
        .map_err(|problem| InvalidGroup::Number {
            what: stream.series.to_string(),
            problem,
        })
}

/// All live work of an interval as one stream of work for whole agents: a conversation in parallel counts as the time it
/// costs of one agent.
pub(super) fn pooled_traffic(group: &Group, at: usize) -> Result<Option<Traffic>, InvalidGroup> {
    let (mut contacts, mut load, mut leaving) = (0.0, 0.0, 0.0);
    for stream in &group.streams {
        let Some((_, slots)) = promise(&stream.service) else {
            continue;
        };
        let traffic = traffic(group, stream, stream.contacts[at])?;
        contacts += traffic.contacts_per_hour();
        load += traffic.load() / f64::from(slots);
        leaving += traffic
            .patience_seconds()
            .map_or(0.0, |patience| traffic.contacts_per_hour() / patience);
    }
    if contacts <= 0.0 {
        return Ok(None);
    }
    let handle_seconds = (load * 3_600.0 / contacts).max(0.1);
    let patience = (leaving > 0.0).then(|| contacts / leaving);
    Traffic::new(contacts, handle_seconds, patience)
        .map(Some)
        .map_err(|problem| InvalidGroup::Number {
            what: "all live work together".to_owned(),
            problem,
        })
}

/// The flow of a deferred stream over the open intervals.
pub(super) fn flow_of(group: &Group, stream: &Stream, within_seconds: f64, backlog: f64) -> Flow {
    let seconds = group.step.seconds();
    let work: Vec<f64> = stream
        .contacts
        .iter()
        .map(|contacts| contacts * stream.handle_seconds / seconds)
        .collect();
    // Up to the number of intervals there can be: a deadline of years is none.
    let patience = (within_seconds / seconds).min(1e6) as usize;
    Flow::new(
        &work,
        backlog * stream.handle_seconds / seconds,
        &group.open,
        patience,
    )
}

/// Deferred streams, those with the shortest time to answer first: what they leave of the idle time is for the others.
pub(super) fn deferred_streams(group: &Group) -> Vec<(usize, Flow)> {
    let mut streams: Vec<(f64, usize, Flow)> = group
        .streams
        .iter()
        .enumerate()
        .filter_map(|(number, stream)| match stream.service {
            Service::Deferred {
                within_seconds,
                backlog,
            } => Some((
                within_seconds,
                number,
                flow_of(group, stream, within_seconds, backlog),
            )),
            Service::Live { .. } | Service::Concurrent { .. } => None,
        })
        .collect();
    streams.sort_by(|a, b| a.0.total_cmp(&b.0));
    streams
        .into_iter()
        .map(|(_, number, flow)| (number, flow))
        .collect()
}

fn serve_deferred(group: &Group, live: &[Live], deferred: &mut [(f64, f64)], notes: &mut Vec<String>) {
    let open: Vec<usize> = (0..live.len()).filter(|at| group.open[*at]).collect();
    let mut idle: Vec<f64> = open.iter().map(|at| live[*at].idle).collect();
    for (number, flow) in deferred_streams(group) {
        let served = flow.served(&idle);
        for (position, at) in open.iter().enumerate() {
            deferred[*at].0 += served.extra[position];
            deferred[*at].1 += served.idle[position];
            idle[position] = (idle[position] - served.idle[position]).max(0.0);
        }
        if flow.later > 1e-9 {
            let stream = &group.streams[number];
            let contacts = flow.later * group.step.seconds() / stream.handle_seconds;
            notes.push(format!(
                "{contacts:.0} contacts of {} are due after the last interval and are not planned for",
                stream.series
            ));
        }
    }
}

fn notes_on_closed(group: &Group) -> Vec<String> {
    group
        .streams
        .iter()
        .filter(|stream| promise(&stream.service).is_some())
        .filter_map(|stream| {
            let closed = stream
                .contacts
                .iter()
                .zip(&group.open)
                .filter(|(_, is_open)| !**is_open);
            let lost: f64 = closed.map(|(contacts, _)| contacts).sum();
            (lost >= 0.5).then(|| format!("{lost:.0} contacts of {} come in while closed", stream.series))
        })
        .collect()
}

fn requirement(group: &Group, at: usize, live: Live, extra: f64, idle_used: f64) -> Requirement {
    let agents = erlang::whole_agents(f64::from(live.agents) + extra);
    let rostered = rostered(group, agents);
    let explanation = explanation(group, at, &live, extra, idle_used, agents, rostered);
    Requirement {
        start: group.starts[at],
        live: live.agents,
        deferred: extra,
        idle_used,
        agents,
        rostered,
        separate: live.separate,
        explanation,
    }
}

fn rostered(group: &Group, agents: u32) -> u32 {
    erlang::whole_agents(f64::from(agents) / (1.0 - group.shrinkage))
}

fn explanation(
    group: &Group,
    at: usize,
    live: &Live,
    extra: f64,
    idle_used: f64,
    agents: u32,
    rostered: u32,
) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut say = |words: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(words);
    };
    for need in &live.separate {
        let stream = &group.streams[need.stream];
        let Some((target, slots)) = promise(&stream.service) else {
            continue;
        };
        say(format_args!(
            "{:.0} contacts of {} at {:.0} s",
            stream.contacts[at], stream.series, stream.handle_seconds
        ));
        if slots > 1 {
            say(format_args!(", {slots} in parallel,"));
        }
        say(format_args!(
            " need {} agents on their own ({:.0} % answered in {:.0} s, {:.0} % promised; {:.1} % leave; agents busy {:.0} %). ",
            need.agents,
            need.figures.service_level * 100.0,
            target.answer_within_seconds(),
            target.share() * 100.0,
            need.figures.abandonment * 100.0,
            need.figures.occupancy * 100.0,
        ));
    }
    if live.separate.len() > 1 {
        say(format_args!(
            "Separate teams would need {}, one team that can do everything {}; with the training of this group it is {}. ",
            live.separate.iter().map(|need| need.agents).sum::<u32>(),
            live.pooled,
            live.agents
        ));
    }
    if idle_used > 0.005 {
        say(format_args!(
            "Deferred work uses the idle time of {idle_used:.1} of them. "
        ));
    }
    if extra > 0.005 {
        say(format_args!(
            "Deferred work needs {extra:.1} agents more to be in time. "
        ));
    }
    say(format_args!("{agents} at work"));
    if group.shrinkage > 0.0 {
        say(format_args!(
            "; {rostered} on the roster, as {:.0} % of paid time goes to breaks, training and absence",
            group.shrinkage * 100.0
        ));
    }
    text.push('.');
    text
}

fn plan(group: &Group, intervals: Vec<Requirement>, notes: Vec<String>) -> Plan {
    let agent_hours: f64 =
        intervals.iter().map(|need| f64::from(need.agents)).sum::<f64>() * group.step.hours();
    let paid_hours = agent_hours / (1.0 - group.shrinkage);
    let weeks = intervals.len() as f64 * group.step.hours() / 168.0;
    let of_one = group.hours_per_week * weeks;
    Plan {
        intervals,
        agent_hours,
        paid_hours,
        full_time_equivalents: if of_one > 0.0 { paid_hours / of_one } else { 0.0 },
        notes,
    }
}

/// A plan after a simulation had its say.
#[derive(Debug, Clone, PartialEq)]
pub struct Confirmed {
    /// The plan with the people the simulation found missing.
    pub plan: Plan,
    /// Agent-intervals added to what the formulas said.
    pub added: u32,
    /// Simulations run.
    pub runs: u32,
    /// Whether the last run kept every promise over the whole time.
    pub keeps_promises: bool,
}

/// Simulates a plan and adds people in the intervals that do worse than promised, until every stream keeps its promise over
/// the whole time or `most_runs` are used up.
pub fn confirm(
    group: &Group,
    plan: &Plan,
    simulator: &dyn Simulator,
    most_runs: u32,
) -> Result<Confirmed, SimulationFailed> {
    let mut agents: Vec<u32> = plan.intervals.iter().map(|need| need.agents).collect();
    let (mut added, mut runs, mut keeps_promises) = (0_u32, 0, false);
    while runs < most_runs.max(1) {
        let outcome = simulator.simulate(&Scenario {
            group,
            agents: &agents,
        })?;
        runs += 1;
        let broken = outcome.broken_promises(group);
        keeps_promises = broken.is_empty();
        if keeps_promises || runs == most_runs.max(1) {
            break;
        }
        for (at, agents) in agents.iter_mut().enumerate().filter(|(at, _)| group.open[*at]) {
            if outcome.is_short(group, &broken, at) {
                let more = 1 + *agents / 25;
                *agents = agents.saturating_add(more);
                added = added.saturating_add(more);
            }
        }
    }
    let intervals = plan
        .intervals
        .iter()
        .zip(agents)
        .map(|(need, agents)| {
            let mut need = need.clone();
            if agents > need.agents {
                need.explanation = format!(
                    "{} A simulation asked for {} more.",
                    need.explanation,
                    agents - need.agents
                );
                need.agents = agents;
                need.rostered = rostered(group, agents);
            }
            need
        })
        .collect();
    Ok(Confirmed {
        plan: self::plan(group, intervals, plan.notes.clone()),
        added,
        runs,
        keeps_promises,
    })
}

#[cfg(test)]
#[path = "required_tests.rs"]
pub(super) mod tests;
