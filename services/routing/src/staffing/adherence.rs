//! Whether people were there when the schedule wanted them.
//!
//! - adherence: of the planned time, the share spent as planned (breaks included);
//! - conformance: time at work in relation to planned work, whenever it was;
//! - exceptions: what differed, when, for how many minutes.
//!
//! For planning, not for punishment: who is late because a call went on is away from a break, not from work, and the
//! tolerance is there for that.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::ids::AgentId;

use super::{
    calendar::Calendar,
    table::{self, Column, TableErrors},
};
use crate::domain::Presence;

/// What somebody is planned to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Contacts.
    Work,
    /// A pause.
    Break,
    /// Training, a meeting, anything paid that is not contacts.
    Other,
}

const ACTIVITIES: [Activity; 3] = [Activity::Work, Activity::Break, Activity::Other];

impl Activity {
    /// The one that is written so.
    pub fn of(text: &str) -> Option<Self> {
        ACTIVITIES.into_iter().find(|activity| activity.text() == text)
    }

    /// As schedules write it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Break => "break",
            Self::Other => "other",
        }
    }
}

/// A stretch of one person's schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Start.
    pub from: DateTime<Utc>,
    /// End, not included.
    pub to: DateTime<Utc>,
    /// What is planned.
    pub activity: Activity,
}

/// Schedules of people: for each, stretches in order that do not overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedules {
    of_agents: BTreeMap<AgentId, Vec<Planned>>,
}

/// A stretch that ends before it starts, or that another one overlaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStretch {
    /// It ends before it starts, or at once.
    #[error("it must end after it starts")]
    Empty,
    /// It is longer than a day.
    #[error("it is longer than 24 hours")]
    Long,
    /// Something else is planned at that time.
    #[error("something else is planned for this agent at that time")]
    Overlap,
}

const COLUMNS: [Column; 4] = [
    Column {
        name: "agent_id",
        is_required: true,
    },
    Column {
        name: "start",
        is_required: true,
    },
    Column {
        name: "end",
        is_required: true,
    },
    Column {
        name: "activity",
        is_required: true,
    },
];

impl Schedules {
    /// Adds a stretch.
    pub fn add(&mut self, agent: AgentId, planned: Planned) -> Result<(), InvalidStretch> {
        if planned.to <= planned.from {
            return Err(InvalidStretch::Empty);
        }
        if planned.to - planned.from > TimeDelta::hours(24) {
            return Err(InvalidStretch::Long);
        }
        let stretches = self.of_agents.entry(agent).or_default();
        let place = stretches.partition_point(|other| other.from < planned.from);
        let overlaps =
            |other: Option<&Planned>| other.is_some_and(|o| o.from < planned.to && planned.from < o.to);
        if overlaps(stretches.get(place)) || overlaps(place.checked_sub(1).and_then(|at| stretches.get(at))) {
            return Err(InvalidStretch::Overlap);
        }
        stretches.insert(place, planned);
        Ok(())
    }

    /// People with a schedule.
    pub fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.of_agents
            .iter()
            .filter(|(_, stretches)| !stretches.is_empty())
            .map(|(agent, _)| agent)
    }

    /// What is planned for somebody.
    pub fn of(&self, agent: &AgentId) -> &[Planned] {
        self.of_agents.get(agent).map(Vec::as_slice).unwrap_or_default()
    }

    /// Reads `agent_id,start,end,activity`; activities are `work`, `break` and `other`. Takes all lines or none.
    pub fn from_csv(
        text: &str,
        calendar: &Calendar,
        is_known: impl Fn(&AgentId) -> bool,
    ) -> Result<Self, TableErrors> {
        let mut schedules = Self::default();
        table::read(text, &COLUMNS, |line| {
            let cell = table::free_text(line.cell(0));
            let agent: AgentId = cell
                .parse()
                .map_err(|_| format!("agent `{}` is not an id", table::shortened(cell)))?;
            if !is_known(&agent) {
                return Err(format!(
                    "agent `{agent}` does not exist; create it with UpsertAgent"
                ));
            }
            let planned = Planned {
                from: table::instant("start", line.cell(1), calendar)?,
                to: table::instant("end", line.cell(2), calendar)?,
                activity: activity(line.cell(3))?,
            };
            schedules
                .add(agent, planned)
                .map_err(|problem| problem.to_string())
        })?;
        Ok(schedules)
    }

    /// Writes what [`Schedules::from_csv`] reads, local times with their offset.
    pub fn to_csv(&self, calendar: &Calendar) -> String {
        let mut out = csv::Writer::from_writer(Vec::new());
        table::write_line(&mut out, &COLUMNS.map(|column| column.name));
        for (agent, stretches) in &self.of_agents {
            for planned in stretches {
                let (from, to) = (calendar.written(planned.from), calendar.written(planned.to));
                table::write_line(
                    &mut out,
                    &[
                        &table::harmless(agent.as_str()),
                        &from,
                        &to,
                        planned.activity.text(),
                    ],
                );
            }
        }
        table::written(out)
    }
}

fn activity(cell: &str) -> Result<Activity, String> {
    Activity::of(cell).ok_or_else(|| {
        let known = ACTIVITIES.map(Activity::text).join(", ");
        format!(
            "activity `{}` is unknown; known are {known}",
            table::shortened(cell)
        )
    })
}

/// A change of presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: DateTime<Utc>,
    /// What from then on.
    pub presence: Presence,
}

/// What differed from the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Not there for all of a planned stretch of work.
    Absent,
    /// Not there at the start of the day's work.
    Late,
    /// Not back when a break or a meeting ended.
    LateBack,
    /// Gone before work ended.
    LeftEarly,
    /// Gone in between.
    Away,
    /// There, but offers lapsed.
    NotResponding,
    /// At work in a break.
    WorkedInBreak,
    /// At work instead of training or a meeting.
    WorkedInstead,
    /// At work without a plan.
    Unplanned,
}

/// A stretch that differed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// Start.
    pub from: DateTime<Utc>,
    /// End.
    pub to: DateTime<Utc>,
    /// What differed.
    pub difference: Difference,
}

impl Exception {
    /// Its minutes.
    pub fn minutes(&self) -> f64 {
        minutes(self.to - self.from)
    }
}

/// How one person's day compares with the schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Adherence {
    /// Planned minutes.
    pub planned_minutes: f64,
    /// Planned minutes that were spent as planned, or differed within the tolerance.
    pub kept_minutes: f64,
    /// Planned minutes of work.
    pub planned_work_minutes: f64,
    /// Minutes at work, planned or not.
    pub work_minutes: f64,
    /// What differed for longer than the tolerance.
    pub exceptions: Vec<Exception>,
}

impl Adherence {
    /// Share of the planned time spent as planned; `None` where nothing was planned.
    pub fn adherence(&self) -> Option<f64> {
        (self.planned_minutes > 0.0).then(|| self.kept_minutes / self.planned_minutes)
    }

    /// Time at work over planned work, above 1 for overtime; `None` where no work was planned.
    pub fn conformance(&self) -> Option<f64> {
        (self.planned_work_minutes > 0.0).then(|| self.work_minutes / self.planned_work_minutes)
    }
}

/// One stretch in which neither plan nor presence change.
#[derive(Clone, Copy)]
struct Stretch {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// Which stretch of the schedule.
    plan: Option<usize>,
    presence: Presence,
}

/// Compares a schedule with what was seen between two instants. `planned` is in order and does not overlap, `seen` is in
/// order and starts with the presence at `from` (offline where it does not). Differences up to `tolerance` are none.
pub fn adherence(
    planned: &[Planned],
    seen: &[Seen],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    tolerance: TimeDelta,
) -> Adherence {
    let mut result = Adherence {
        planned_minutes: 0.0,
        kept_minutes: 0.0,
        planned_work_minutes: 0.0,
        work_minutes: 0.0,
        exceptions: Vec::new(),
    };
    let stretches = stretches(planned, seen, from, to);
    let same = |a: &Stretch, b: &Stretch| a.plan == b.plan && condition(planned, a) == condition(planned, b);
    for run in stretches.chunk_by(same) {
        let (first, last) = (run[0], run[run.len() - 1]);
        let length = last.to - first.from;
        let plan = first.plan.and_then(|number| planned.get(number));
        if first.presence == Presence::Available {
            result.work_minutes += minutes(length);
        }
        if let Some(plan) = plan {
            result.planned_minutes += minutes(length);
            if plan.activity == Activity::Work {
                result.planned_work_minutes += minutes(length);
            }
        }
        let difference = condition(planned, &first).map(|coarse| refined(coarse, planned, first, last));
        match difference.filter(|_| length > tolerance) {
            Some(difference) => result.exceptions.push(Exception {
                from: first.from,
                to: last.to,
                difference,
            }),
            None if plan.is_some() => result.kept_minutes += minutes(length),
            None => {}
        }
    }
    result
}

fn stretches(planned: &[Planned], seen: &[Seen], from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Stretch> {
    let mut borders: Vec<DateTime<Utc>> = planned
        .iter()
        .flat_map(|plan| [plan.from, plan.to])
        .chain(seen.iter().map(|seen| seen.at))
        .filter(|at| from < *at && *at < to)
        .chain([from, to])
        .collect();
    borders.sort_unstable();
    borders.dedup();
    borders
        .windows(2)
        .map(|pair| {
            let at = pair[0];
            let plan = planned.partition_point(|plan| plan.from <= at).checked_sub(1);
            let before = seen.partition_point(|seen| seen.at <= at).checked_sub(1);
            Stretch {
                from: at,
                to: pair[1],
                plan: plan.filter(|number| at < planned[*number].to),
                presence: before.map_or(Presence::Offline, |number| seen[number].presence),
            }
        })
        .collect()
}

/// What differs in a stretch, before one looks at what is around it.
fn condition(planned: &[Planned], stretch: &Stretch) -> Option<Difference> {
    let activity = stretch
        .plan
        .and_then(|number| planned.get(number))
        .map(|plan| plan.activity);
    match (activity, stretch.presence) {
        (Some(Activity::Work), Presence::Available) => None,
        (Some(Activity::Work), Presence::NotResponding) => Some(Difference::NotResponding),
        (Some(Activity::Work), Presence::Away | Presence::Offline) => Some(Difference::Away),
        (Some(Activity::Break), Presence::Available) => Some(Difference::WorkedInBreak),
        (Some(Activity::Other), Presence::Available) => Some(Difference::WorkedInstead),
        (None, Presence::Available) => Some(Difference::Unplanned),
        (
            Some(Activity::Break | Activity::Other) | None,
            Presence::Away | Presence::Offline | Presence::NotResponding,
        ) => None,
    }
}

fn refined(coarse: Difference, planned: &[Planned], first: Stretch, last: Stretch) -> Difference {
    let Some((number, plan)) = first.plan.and_then(|number| Some((number, planned.get(number)?))) else {
        return coarse;
    };
    if coarse != Difference::Away {
        return coarse;
    }
    let follows_directly = number
        .checked_sub(1)
        .and_then(|at| planned.get(at))
        .is_some_and(|before| before.to == plan.from);
    let goes_on = planned.get(number + 1).is_some_and(|next| next.from == plan.to);
    match (first.from <= plan.from, last.to >= plan.to) {
        (true, true) => Difference::Absent,
        (true, false) if follows_directly => Difference::LateBack,
        (true, false) => Difference::Late,
        (false, true) if !goes_on => Difference::LeftEarly,
        (false, _) => Difference::Away,
    }
}

fn minutes(length: TimeDelta) -> f64 {
    length.as_seconds_f64() / 60.0
}

#[cfg(test)]
#[path = "adherence_tests.rs"]
mod tests;
