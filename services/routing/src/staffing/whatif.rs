//! What would happen with other people, other promises, other days: compared over a simulation or the formulas.

use super::{
    demand::{Group, InvalidGroup, Service},
    erlang::{self, Target},
    required,
};

/// So many agents for this work.
#[derive(Debug, Clone, Copy)]
pub struct Scenario<'a> {
    /// Work.
    pub group: &'a Group,
    /// Agents at work by interval.
    pub agents: &'a [u32],
}

/// Says what would happen. The formulas are one; the router's simulation is the other.
pub trait Simulator {
    /// Plays a scenario.
    fn simulate(&self, scenario: &Scenario<'_>) -> Result<Outcome, SimulationFailed>;
}

/// Why nobody can say what would happen.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SimulationFailed {
    /// The scenario makes no sense.
    #[error(transparent)]
    InvalidGroup(#[from] InvalidGroup),
    /// The number of agents is missing for some intervals.
    #[error("agents for {given} intervals, the group has {intervals}")]
    Agents {
        /// Given.
        given: usize,
        /// Needed.
        intervals: usize,
    },
    /// The simulation itself.
    #[error("the simulation failed: {0}")]
    Broken(String),
}

/// How one stream did in one interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Contacts: those that came in, of deferred work those that were due.
    pub contacts: f64,
    /// Share answered in time.
    pub service_level: f64,
    /// Share that gave up.
    pub abandonment: f64,
    /// Mean wait of the answered; `None` where it is not known, infinite where the queue only grows.
    pub answer_seconds: Option<f64>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// By stream of the group, then by interval.
    pub streams: Vec<Vec<Measured>>,
    /// Share of the agents' time that was work, by interval.
    pub occupancy: Vec<f64>,
}

impl Outcome {
    /// One stream over the whole time, each contact with the same weight.
    pub fn total(&self, stream: usize) -> Measured {
        let measured = self.streams.get(stream).map(Vec::as_slice).unwrap_or_default();
        let contacts: f64 = measured.iter().map(|m| m.contacts).sum();
        let mean = |of: &dyn Fn(&Measured) -> f64, weight: &dyn Fn(&Measured) -> f64| {
            let (sum, all) = measured
                .iter()
                .filter(|m| weight(m) > 0.0)
                .fold((0.0, 0.0), |(sum, all), m| {
                    (sum + of(m) * weight(m), all + weight(m))
                });
            (all > 0.0).then(|| sum / all)
        };
        let came = |m: &Measured| m.contacts;
        let answered = |m: &Measured| {
            if m.answer_seconds.is_some() {
                m.contacts * (1.0 - m.abandonment)
            } else {
                0.0
            }
        };
        Measured {
            contacts,
            service_level: mean(&|m| m.service_level, &came).unwrap_or(1.0),
            abandonment: mean(&|m| m.abandonment, &came).unwrap_or(0.0),
            answer_seconds: mean(&|m| m.answer_seconds.unwrap_or(0.0), &answered),
        }
    }

    /// Streams that do worse than promised over the whole time.
    pub fn broken_promises(&self, group: &Group) -> Vec<usize> {
        (0..group.streams.len())
            .filter(|stream| {
                self.total(*stream).service_level + 1e-9 < promised(&group.streams[*stream].service)
            })
            .collect()
    }

    /// Whether more people in this interval would help a stream that breaks its promise.
    pub(super) fn is_short(&self, group: &Group, broken: &[usize], at: usize) -> bool {
        broken.iter().any(|stream| {
            let promised = promised(&group.streams[*stream].service);
            self.streams
                .get(*stream)
                .and_then(|measured| measured.get(at))
                .is_some_and(|m| m.contacts > 0.0 && m.service_level < promised)
        })
    }
}

/// Deferred work is promised in time as a whole; one in a hundred may be late by rounding and chance.
const DEFERRED_SHARE: f64 = 0.99;

fn promised(service: &Service) -> f64 {
    required::promise(service).map_or(DEFERRED_SHARE, |(target, _)| target.share())
}

/// The simulator that needs no simulation: steady-state formulas, interval by interval, as the plan uses them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Formulas;

impl Simulator for Formulas {
    fn simulate(&self, scenario: &Scenario<'_>) -> Result<Outcome, SimulationFailed> {
        let group = scenario.group;
        group.validate()?;
        let intervals = group.starts.len();
        if scenario.agents.len() != intervals {
            return Err(SimulationFailed::Agents {
                given: scenario.agents.len(),
                intervals,
            });
        }
        let mut streams = vec![Vec::with_capacity(intervals); group.streams.len()];
        let mut busy = Vec::with_capacity(intervals);
        let mut idle = Vec::new();
        for at in 0..intervals {
            let agents = if group.open[at] { scenario.agents[at] } else { 0 };
            let live = live_at(group, at, agents, &mut streams)?;
            busy.push(live);
            if group.open[at] {
                idle.push((usable_idle(group, at, agents, live)?, at));
            }
        }
        defer(group, &mut idle, &mut streams, &mut busy);
        let occupancy = busy
            .iter()
            .zip(scenario.agents)
            .map(|(busy, agents)| {
                if *agents > 0 {
                    (busy / f64::from(*agents)).clamp(0.0, 1.0)
                } else {
                    0.0
                }
            })
            .collect();
        Ok(Outcome { streams, occupancy })
    }
}

/// Idle time that deferred work can use: all of the agents who are more than live work needs, of the others only what is
/// not scraps.
fn usable_idle(group: &Group, at: usize, agents: u32, busy: f64) -> Result<f64, InvalidGroup> {
    let needed = required::live_agents(group, at)?.min(agents);
    let scraps = (f64::from(needed) - busy).max(0.0) * group.idle_use;
    Ok((scraps + f64::from(agents - needed)).min(f64::from(agents) - busy))
}

/// Live streams of one interval; the agents they keep busy.
fn live_at(
    group: &Group,
    at: usize,
    agents: u32,
    streams: &mut [Vec<Measured>],
) -> Result<f64, InvalidGroup> {
    let together = required::pooled_traffic(group, at)?;
    let loads = loads(group, at)?;
    let load: f64 = loads.iter().sum();
    let trained = group.cross_training.share();
    let mut busy = 0.0;
    for (number, stream) in group.streams.iter().enumerate() {
        let contacts = stream.contacts[at];
        let Some((target, slots)) = required::promise(&stream.service) else {
            continue;
        };
        let Some(together) = together.filter(|_| contacts > 0.0) else {
            streams[number].push(Measured {
                contacts,
                service_level: 1.0,
                abandonment: 0.0,
                answer_seconds: None,
            });
            continue;
        };
        let within = target.answer_within_seconds();
        let is_alone = loads.iter().filter(|load| **load > 0.0).count() < 2;
        // A team of its own gets agents by its share of the work.
        let own = if is_alone {
            agents
        } else {
            (f64::from(agents) * loads[number] / load).floor() as u32
        };
        let own_traffic = required::traffic(group, stream, contacts)?;
        let apart = erlang::figures(&own_traffic, own.saturating_mul(slots), within);
        let pooled = if is_alone {
            apart
        } else {
            erlang::figures(&together, agents, within)
        };
        let mix = |a: f64, b: f64| {
            if a == b {
                a
            } else {
                trained * a + (1.0 - trained) * b
            }
        };
        let abandonment = mix(pooled.abandonment, apart.abandonment);
        streams[number].push(Measured {
            contacts,
            service_level: mix(pooled.service_level, apart.service_level),
            abandonment,
            answer_seconds: Some(mix(pooled.answer_seconds, apart.answer_seconds)),
        });
        busy += loads[number] * (1.0 - abandonment);
    }
    Ok(busy.min(f64::from(agents)))
}

/// Agents that each live stream keeps busy if nobody leaves.
fn loads(group: &Group, at: usize) -> Result<Vec<f64>, InvalidGroup> {
    group
        .streams
        .iter()
        .map(|stream| match required::promise(&stream.service) {
            Some((_, slots)) => {
                Ok(required::traffic(group, stream, stream.contacts[at])?.load() / f64::from(slots))
            }
            None => Ok(0.0),
        })
        .collect()
}

/// Deferred streams with what is left of the agents' time.
fn defer(group: &Group, idle: &mut [(f64, usize)], streams: &mut [Vec<Measured>], busy: &mut [f64]) {
    for (number, flow) in required::deferred_streams(group) {
        let time: Vec<f64> = idle.iter().map(|(idle, _)| *idle).collect();
        let (shares, served) = flow.in_time(&time);
        let per_contact = group.streams[number].handle_seconds / group.step.seconds();
        streams[number] = vec![
            Measured {
                contacts: 0.0,
                service_level: 1.0,
                abandonment: 0.0,
                answer_seconds: None,
            };
            group.starts.len()
        ];
        for (position, (idle, at)) in idle.iter_mut().enumerate() {
            *idle = (*idle - served.idle[position]).max(0.0);
            busy[*at] += served.idle[position];
            streams[number][*at].contacts = flow.due[position] / per_contact;
            streams[number][*at].service_level = shares[position];
        }
    }
}

/// Something to try.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// So many agents more (or fewer) wherever somebody is at work.
    Agents(i32),
    /// So many times the contacts.
    Volume(f64),
    /// So many times the work on each contact.
    HandlingTime(f64),
    /// Another promise for a live stream.
    Promise {
        /// Which stream of the group.
        stream: usize,
        /// Promise.
        target: Target,
    },
}

/// What a change does to one stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StreamComparison {
    /// As it is.
    pub before: Measured,
    /// As it would be.
    pub after: Measured,
    /// Whether the promise (the changed one, where it changes) would be kept.
    pub keeps_promise: bool,
}

/// What a change does.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Change.
    pub change: Change,
    /// By stream of the group.
    pub streams: Vec<StreamComparison>,
    /// Agent-hours more, or fewer.
    pub agent_hours: f64,
    /// Mean occupancy as it is and as it would be.
    pub occupancy: (f64, f64),
    /// In words.
    pub summary: String,
}

/// Tries changes, each on its own.
pub fn compare(
    simulator: &dyn Simulator,
    scenario: &Scenario<'_>,
    changes: &[Change],
) -> Result<Vec<Comparison>, SimulationFailed> {
    let before = simulator.simulate(scenario)?;
    changes
        .iter()
        .map(|change| {
            let group = change.applied_to(scenario.group);
            let agents = change.agents(scenario.agents);
            let after = simulator.simulate(&Scenario {
                group: &group,
                agents: &agents,
            })?;
            Ok(comparison(
                change,
                scenario,
                (&before, scenario.agents),
                (&after, &agents, &group),
            ))
        })
        .collect()
}

impl Change {
    fn agents(&self, agents: &[u32]) -> Vec<u32> {
        match self {
            Self::Agents(more) => agents
                .iter()
                .map(|agents| {
                    if *agents > 0 {
                        agents.saturating_add_signed(*more)
                    } else {
                        0
                    }
                })
                .collect(),
            Self::Volume(_) | Self::HandlingTime(_) | Self::Promise { .. } => agents.to_vec(),
        }
    }

    fn applied_to(&self, group: &Group) -> Group {
        let mut group = group.clone();
        match self {
            Self::Agents(_) => {}
            Self::Volume(factor) => {
                for contacts in group.streams.iter_mut().flat_map(|stream| &mut stream.contacts) {
                    *contacts *= factor;
                }
            }
            Self::HandlingTime(factor) => {
                for stream in &mut group.streams {
                    stream.handle_seconds *= factor;
                }
            }
            Self::Promise { stream, target: new } => {
                match group.streams.get_mut(*stream).map(|s| &mut s.service) {
                    Some(Service::Live { target, .. } | Service::Concurrent { target, .. }) => *target = *new,
                    Some(Service::Deferred { .. }) | None => {}
                }
            }
        }
        group
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Agents(more) => write!(f, "{more:+} agents"),
            Self::Volume(factor) => write!(f, "{factor:.2} times the contacts"),
            Self::HandlingTime(factor) => write!(f, "{factor:.2} times the work on a contact"),
            Self::Promise { target, .. } => {
                write!(
                    f,
                    "{:.0} % in {:.0} s",
                    target.share() * 100.0,
                    target.answer_within_seconds()
                )
            }
        }
    }
}

fn comparison(
    change: &Change,
    scenario: &Scenario<'_>,
    (before, agents_before): (&Outcome, &[u32]),
    (after, agents_after, group): (&Outcome, &[u32], &Group),
) -> Comparison {
    let broken = after.broken_promises(group);
    let streams: Vec<StreamComparison> = (0..group.streams.len())
        .map(|stream| StreamComparison {
            before: before.total(stream),
            after: after.total(stream),
            keeps_promise: !broken.contains(&stream),
        })
        .collect();
    let occupancy = (occupancy(before, agents_before), occupancy(after, agents_after));
    let mut summary = format!("{change}:");
    for (stream, got) in group.streams.iter().zip(&streams) {
        summary += &format!(
            " {} {:.1} % -> {:.1} % in time{};",
            stream.series,
            got.before.service_level * 100.0,
            got.after.service_level * 100.0,
            if got.keeps_promise {
                ""
            } else {
                " (less than promised)"
            }
        );
    }
    summary += &format!(
        " agents busy {:.0} % -> {:.0} %",
        occupancy.0 * 100.0,
        occupancy.1 * 100.0
    );
    let hours = |agents: &[u32]| agents.iter().map(|agents| f64::from(*agents)).sum::<f64>();
    Comparison {
        change: change.clone(),
        streams,
        agent_hours: (hours(agents_after) - hours(agents_before)) * scenario.group.step.hours(),
        occupancy,
        summary,
    }
}

fn occupancy(outcome: &Outcome, agents: &[u32]) -> f64 {
    let (busy, all) = outcome
        .occupancy
        .iter()
        .zip(agents)
        .fold((0.0, 0.0), |(busy, all), (occupancy, agents)| {
            (busy + occupancy * f64::from(*agents), all + f64::from(*agents))
        });
    if all > 0.0 { busy / all } else { 0.0 }
}

#[cfg(test)]
#[path = "whatif_tests.rs"]
mod tests;
