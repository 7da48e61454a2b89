//! What would happen if the serving matcher had that day: the router's simulation as a [`Simulator`].
//!
//! Days are drawn from the forecast and played with the engine that serves, under the tenant's own matching policy. The
//! clock of a played day runs while the group is open: a deadline that counts open time is then an ordinary one.
//!
//! Assumed, because nobody measures it: customers come as a Poisson process, leave after an exponential patience; handling
//! times are log-normal around the measured mean; agents answer every offer after three seconds; work in parallel slows
//! down by [`PARALLEL_SPEEDS`]. Seeds are 1, 2, 3 …: the same question gets the same answer.

mod day;
mod recorder;

use chrono::{DateTime, Utc};

use self::{day::Clock, recorder::Recorder};
use super::{
    demand::{Group, Service},
    required,
    whatif::{Measured, Outcome, Scenario, SimulationFailed, Simulator},
};
use crate::{
    matcher::Policy,
    simulation::{self, engine::BenchEngine, trace::RosterChange},
};

/// The speed of each piece of work while one, two, three are in hand.
pub const PARALLEL_SPEEDS: [f64; 3] = [1.0, 0.8, 0.65];
/// Contacts in one played day at most.
pub const MOST_CONTACTS: f64 = 100_000.0;
/// Contacts over all played days after which figures are steady enough.
const ENOUGH_CONTACTS: f64 = 20_000.0;
const MOST_RUNS: f64 = 20.0;

/// How well somebody can do a stream's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Not at all.
    None,
    /// Below what is asked for at first.
    Later,
    /// As asked for.
    AtOnce,
}

/// Somebody of the tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// By stream of the group.
    pub abilities: Vec<Ability>,
    /// When they are there.
    pub there: Vec<(DateTime<Utc>, DateTime<Utc>)>,
}

/// A stretch of a played day, in seconds.
type Stretch = (f64, f64);

/// The serving matcher with a tenant's policy.
#[derive(Debug, Clone)]
pub struct Serving {
    /// The tunables in force.
    pub policy: Policy,
    /// Units of an agent.
    pub capacity_units: u32,
    /// Who works for the tenant; where a scenario only counts heads, they are like these in turn.
    pub people: Vec<Person>,
}

/// All days of one side together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Totals {
    /// People.
    pub agents: usize,
    /// Contacts that came, on the mean day.
    pub contacts: f64,
    /// Share answered in time; of deferred work those that were due.
    pub service_level: f64,
    /// Share that gave up.
    pub abandonment: f64,
    /// Mean wait of the answered.
    pub answer_seconds: f64,
    /// Share of the agents' time in which they had work.
    pub occupancy: f64,
    /// Contacts not finished at the end of the mean day.
    pub unfinished: f64,
}

/// How played days went.
#[derive(Debug, Clone, PartialEq)]
pub struct Played {
    /// By stream and interval.
    pub outcome: Outcome,
    /// In all.
    pub totals: Totals,
    /// Days.
    pub runs: u32,
}

impl Serving {
    /// Plays days with the tenant's people, when they are there; `more` of them than there are.
    pub fn play(&self, group: &Group, more: i32) -> Result<Played, SimulationFailed> {
        let clock = Clock::of(group);
        let people: Vec<(&Person, Vec<Stretch>)> = self
            .people
            .iter()
            .map(|person| (person, clock.stretches(&person.there)))
            .filter(|(_, there)| !there.is_empty())
            .collect();
        self.played(group, &clock, &people, more, runs(group)?)
    }

    fn played(
        &self,
        group: &Group,
        clock: &Clock,
        people: &[(&Person, Vec<Stretch>)],
        more: i32,
        runs: u32,
    ) -> Result<Played, SimulationFailed> {
        group.validate()?;
        let change = RosterChange { team: None, by: more };
        let mut recorder = Recorder::new(group);
        let mut agents = 0;
        for seed in 1..=u64::from(runs) {
            let mut trace = self.day(group, clock, people, seed);
            if more != 0 {
                trace = trace
                    .with_roster(&change)
                    .map_err(|e| SimulationFailed::Broken(e.to_string()))?;
            }
            agents = trace.agents.len();
            let mut engine = BenchEngine::new(self.policy.clone());
            let mut day = recorder.day(&trace, &mut engine);
            simulation::live(&trace, &mut day).map_err(SimulationFailed::Broken)?;
            recorder = day.end(clock);
        }
        Ok(recorder.played(agents, runs))
    }
}

fn runs(group: &Group) -> Result<u32, SimulationFailed> {
    let contacts: f64 = group.streams.iter().flat_map(|stream| &stream.contacts).sum();
    if contacts > MOST_CONTACTS {
        return Err(SimulationFailed::Broken(format!(
            "{contacts:.0} contacts are more than the {MOST_CONTACTS:.0} that can be played; ask for fewer days or less of the work"
        )));
    }
    Ok((ENOUGH_CONTACTS / contacts.max(1.0)).ceil().clamp(1.0, MOST_RUNS) as u32)
}

impl Simulator for Serving {
    fn simulate(&self, scenario: &Scenario<'_>) -> Result<Outcome, SimulationFailed> {
        let group = scenario.group;
        let intervals = group.starts.len();
        if scenario.agents.len() != intervals {
            return Err(SimulationFailed::Agents {
                given: scenario.agents.len(),
                intervals,
            });
        }
        let clock = Clock::of(group);
        let anybody = Person {
            abilities: vec![Ability::AtOnce; group.streams.len()],
            there: Vec::new(),
        };
        let most = scenario.agents.iter().max().copied().unwrap_or(0);
        let people: Vec<(&Person, Vec<Stretch>)> = (0..most)
            .map(|number| {
                let like = self
                    .people
                    .get(number as usize % self.people.len().max(1))
                    .unwrap_or(&anybody);
                let is_there = |at: usize| scenario.agents[at] > number;
                (like, clock.stretches_where(is_there))
            })
            .collect();
        Ok(self.played(group, &clock, &people, 0, runs(group)?)?.outcome)
    }
}

/// Seconds in which a stream is to be answered.
fn answer_within(service: &Service) -> f64 {
    match service {
        Service::Deferred { within_seconds, .. } => *within_seconds,
        Service::Live { target, .. } | Service::Concurrent { target, .. } => target.answer_within_seconds(),
    }
}

/// Whether a stream's work is counted when it is due and not when it comes.
fn is_deferred(service: &Service) -> bool {
    required::promise(service).is_none()
}

impl Default for Measured {
    /// Nothing came, nothing was missed.
    fn default() -> Self {
        Self {
            contacts: 0.0,
            service_level: 1.0,
            abandonment: 0.0,
            answer_seconds: None,
        }
    }
}

#[cfg(test)]
mod tests;
