//! From what came in to the work of a group: which queue a need waits in, what is promised there, who can do it.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use trama_platform::Error;
use trama_proto::{
    case::v1::{Case, ContextSnapshot, Understanding},
    common::v1::ChannelKind,
    resources::{BusinessHoursSpec, Kind, TenantResources},
};

use super::{
    ask::{StaffAsk, Window},
    precondition,
    volumes::of_series,
};
use crate::{
    domain::{Agent, Facts, Requirement, Route, Rules, hours, route},
    staffing::{
        calendar::Step,
        demand::{Concurrency, CrossTraining, Group, InvalidGroup, Service, Stream},
        erlang::Target,
        rows::Row,
        serving::{Ability, PARALLEL_SPEEDS, Person},
        volume::{Series, Volumes},
    },
};

/// Written work that has longer than this is done when there is time.
const DEFERRED_AFTER: TimeDelta = TimeDelta::hours(1);
/// Deferred work is planned so far beyond what is shown: what comes on the last day is due after it.
const LOOK_AHEAD_DAYS: u32 = 3;
/// The share of idle time between live contacts that written work can use. A rule of thumb; answers say so.
const IDLE_USE: f64 = 0.6;
/// A full contract, for figures of a whole plan.
const HOURS_PER_WEEK: f64 = 40.0;
const UNITS_OF_MOST: i32 = 6;

/// The work of one queue on one channel in one language.
pub(super) struct Shape {
    pub series: Series,
    pub route: Route,
    goal: f64,
    hours: Option<Arc<BusinessHoursSpec>>,
    /// Conversations at once that an agent may lead; `None` where a call takes the whole agent.
    at_once: Option<u32>,
    live: bool,
}

/// A group with the words that go with it.
pub(super) struct Shaped {
    pub group: Group,
    pub shapes: Vec<Shape>,
    /// Intervals from `window.since` for as many days as were asked for.
    pub shown: std::ops::Range<usize>,
    pub notes: Vec<String>,
}

/// What is known before the computing begins.
pub(super) struct Known {
    pub rows: Vec<Row>,
    pub resources: TenantResources,
    pub agents: Vec<Agent>,
    pub window: Window,
}

/// The queue, promise and channel of each series, and the counts by them.
fn shapes(known: &mut Known) -> BTreeMap<Series, Shape> {
    let rules = Rules::of(Some(&known.resources));
    let mut placed: BTreeMap<Series, Series> = BTreeMap::new();
    let mut shapes: BTreeMap<Series, Shape> = BTreeMap::new();
    for row in &mut known.rows {
        let series = placed.entry(row.series.clone()).or_insert_with(|| {
            let shape = shape(&row.series, &known.resources, &rules, known.window.since);
            let series = shape.series.clone();
            shapes.entry(series.clone()).or_insert(shape);
            series
        });
        row.series.clone_from(series);
    }
    shapes
}

fn shape(series: &Series, resources: &TenantResources, rules: &Rules, at: DateTime<Utc>) -> Shape {
    let understood = ContextSnapshot {
        case: Some(Case {
            understanding: Some(Understanding {
                intent: series.intent.clone(),
                language: series.language.clone(),
                ..Understanding::default()
            }),
            ..Case::default()
        }),
        ..ContextSnapshot::default()
    };
    let kind = ChannelKind::from(series.channel);
    let route = route(&Facts::of(kind, Some(&understood), at), Some(resources), at);
    let queue = resources.queues.get(&route.queue);
    let rule = rules
        .policy
        .channels
        .iter()
        .find(|rule| rule.name == series.channel.name());
    Shape {
        series: Series {
            channel: series.channel,
            intent: route.queue.clone(),
            language: series.language.clone(),
        },
        goal: queue.map_or(0.8, |queue| queue.goal(kind)),
        hours: queue
            .and_then(|queue| queue.hours.as_ref())
            .and_then(|name| resources.business_hours.get(name))
            .cloned(),
        at_once: rule.filter(|rule| !rule.whole).map(|rule| {
            let units = UNITS_OF_MOST.unsigned_abs();
            rule.max_at_once.min(units / rule.units.max(1)).max(1)
        }),
        live: rule.is_some_and(|rule| rule.live),
        route,
    }
}

impl Shape {
    fn service(&self, patience_seconds: f64) -> Result<Service, Error> {
        let seconds = self.route.target.as_seconds_f64();
        let target = Target::new(self.goal, seconds).map_err(Error::internal)?;
        let patience_seconds = self.live.then_some(patience_seconds);
        Ok(match self.at_once {
            None => Service::Live {
                target,
                patience_seconds,
            },
            Some(_) if !self.live && self.route.target > DEFERRED_AFTER => Service::Deferred {
                within_seconds: seconds,
                backlog: 0.0,
            },
            Some(at_once) => {
                let speeds = &PARALLEL_SPEEDS[..PARALLEL_SPEEDS.len().min(at_once as usize)];
                Service::Concurrent {
                    target,
                    patience_seconds,
                    concurrency: Concurrency::new(speeds).map_err(Error::internal)?,
                }
            }
        })
    }

    fn is_open(&self, start: DateTime<Utc>, step: Step) -> bool {
        let open = |hours: &Arc<BusinessHoursSpec>| {
            hours::open_between(hours, start, start + step.length()) > TimeDelta::zero()
        };
        self.hours.as_ref().is_none_or(open)
    }

    /// Whether somebody can do this work, at first or once less is asked.
    pub(super) fn ability(&self, agent: &Agent) -> Ability {
        if !agent
            .channel_kinds
            .contains(&ChannelKind::from(self.series.channel))
        {
            return Ability::None;
        }
        if meets(agent, &self.route.requirement) {
            Ability::AtOnce
        } else if self
            .route
            .steps
            .iter()
            .any(|step| meets(agent, &step.requirement))
        {
            Ability::Later
        } else {
            Ability::None
        }
    }
}

fn meets(agent: &Agent, requirement: &Requirement) -> bool {
    let primary = |tag: &str| tag.split('-').next().unwrap_or(tag).to_ascii_lowercase();
    let speaks = |language: &String| {
        agent.languages.is_empty()
            || agent
                .languages
                .iter()
                .any(|known| primary(known) == primary(language))
    };
    let masters = |(skill, level): (&String, &u8)| {
        agent
            .skills
            .get(skill)
            .is_some_and(|known| *known >= i32::from(*level))
    };
    requirement.skills.iter().all(masters)
        && requirement.language.as_ref().is_none_or(speaks)
        && (requirement.teams.is_empty() || requirement.teams.iter().any(|team| agent.teams.contains(team)))
}

/// Mean handling time of a series, else of its channel.
fn handle_seconds(volumes: &Volumes, series: &Series) -> Option<f64> {
    volumes
        .mean_handle_seconds(|other| other == series)
        .or_else(|| volumes.mean_handle_seconds(|other| other.channel == series.channel))
        .filter(|seconds| *seconds >= 1.0)
}

/// Forecasts the work of each queue, channel and language, and says who may serve it and how.
pub(super) fn shaped(mut known: Known, ask: &StaffAsk) -> Result<(Shaped, Known), Error> {
    let shapes = shapes(&mut known);
    let window = &known.window;
    let volumes = Volumes::of(std::mem::take(&mut known.rows), &window.calendar);
    let mut starts: Vec<DateTime<Utc>> = Vec::new();
    let mut streams = Vec::new();
    let mut used = Vec::new();
    let mut notes = Vec::new();
    for (series, shape) in shapes {
        let Some(forecast) = of_series(&volumes, &series, window, window.days + LOOK_AHEAD_DAYS)? else {
            continue;
        };
        let handle_seconds = handle_seconds(&volumes, &series).ok_or_else(|| {
            precondition(format!(
                "no handling time of {} is known: import volumes with handle_seconds, or let Trama measure for a while",
                series.channel.name()
            ))
        })?;
        notes.extend(forecast.notes.iter().map(|note| format!("{series}: {note}")));
        let contacts = |point| match ask.quantile {
            Some(probability) => forecast.quantile(point, probability),
            None => point.mean,
        };
        starts = forecast.points.iter().map(|point| point.start).collect();
        streams.push(Stream {
            series,
            service: shape.service(ask.patience_seconds)?,
            handle_seconds,
            contacts: forecast.points.iter().map(contacts).collect(),
        });
        used.push(shape);
    }
    if streams.is_empty() {
        return Err(precondition("nothing that came in can be forecast yet"));
    }
    let step = window.calendar.step();
    let open_of: Vec<Vec<bool>> = used
        .iter()
        .map(|shape| starts.iter().map(|start| shape.is_open(*start, step)).collect())
        .collect();
    for (stream, open) in streams.iter_mut().zip(&open_of) {
        notes.extend(wait_until_open(stream, open));
    }
    let people: Vec<&Agent> = known.agents.iter().filter(|agent| !agent.bot).collect();
    let kinds: Vec<usize> = people
        .iter()
        .map(|agent| {
            used.iter()
                .filter(|shape| shape.ability(agent) != Ability::None)
                .count()
        })
        .filter(|kinds| *kinds > 0)
        .collect();
    let mean_kinds = kinds.iter().sum::<usize>() as f64 / kinds.len().max(1) as f64;
    if kinds.is_empty() {
        notes.push(
            "nobody who works here can do any of this, so every kind of work is staffed apart".to_owned(),
        );
    }
    let has_deferred = streams
        .iter()
        .any(|stream| matches!(stream.service, Service::Deferred { .. }));
    if has_deferred && streams.len() > 1 {
        notes.push(format!(
            "rule of thumb: written work uses {:.0} % of the idle time between live contacts",
            IDLE_USE * 100.0
        ));
    }
    let shown_from = starts.partition_point(|start| *start < window.since);
    let until = window.first + TimeDelta::days(i64::from(window.days));
    let end = window
        .calendar
        .start_of(until)
        .map_or(starts.len(), |end| starts.partition_point(|start| *start < end));
    let group = Group {
        step,
        open: (0..starts.len())
            .map(|at| open_of.iter().any(|open| open[at]))
            .collect(),
        starts,
        streams,
        cross_training: CrossTraining::of_skills(mean_kinds),
        idle_use: IDLE_USE,
        shrinkage: ask.shrinkage,
        hours_per_week: HOURS_PER_WEEK,
    };
    let shaped = Shaped {
        group,
        shapes: used,
        shown: shown_from..end,
        notes,
    };
    Ok((shaped, known))
}

/// What comes in while its queue is closed waits for the opening when it is written, and is lost when it is live.
fn wait_until_open(stream: &mut Stream, open: &[bool]) -> Option<String> {
    let mut waiting = 0.0;
    let is_written = matches!(
        stream.series.channel,
        Kind::Email | Kind::Whatsapp | Kind::Sms | Kind::Api
    );
    for (contacts, is_open) in stream.contacts.iter_mut().zip(open) {
        if *is_open {
            if is_written {
                *contacts += waiting;
                waiting = 0.0;
            }
        } else {
            waiting += std::mem::take(contacts);
        }
    }
    (!is_written && waiting >= 0.5).then(|| {
        format!(
            "{waiting:.0} contacts of {} are expected while it is closed and are not staffed for",
            stream.series
        )
    })
}

impl Shaped {
    /// The tenant's people, with what they can do of this work; not yet when.
    pub(super) fn people(&self, agents: &[Agent]) -> Vec<Person> {
        let able = |agent: &Agent| Person {
            abilities: self.shapes.iter().map(|shape| shape.ability(agent)).collect(),
            there: Vec::new(),
        };
        agents
            .iter()
            .filter(|agent| !agent.bot)
            .map(able)
            .filter(|person| person.abilities.iter().any(|ability| *ability != Ability::None))
            .collect()
    }
}

/// What is wrong with numbers that were asked for.
pub(super) fn invalid(problem: &InvalidGroup) -> Error {
    precondition(format!("the work cannot be planned: {problem}"))
}

/// The capacity that most agents have.
pub(super) fn usual_units(agents: &[Agent]) -> u32 {
    let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
    for agent in agents.iter().filter(|agent| !agent.bot) {
        *counts.entry(agent.capacity_units).or_default() += 1;
    }
    let usual = counts.into_iter().max_by_key(|(_, count)| *count);
    usual.map_or(UNITS_OF_MOST, |(units, _)| units).unsigned_abs()
}
