//! How many people are needed, and which shifts cover that.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use trama_platform::Error;
use trama_proto::ids::TenantId;

use super::{
    Staffing,
    ask::{ShiftAsk, ShiftKind, StaffAsk, Window},
    precondition,
    shape::{Known, Shaped, invalid, shaped, usual_units},
    volumes::read_history,
};
use crate::{
    domain::Rules,
    staffing::{
        demand::Group,
        required::{self, Requirement},
        serving::Serving,
        shifts::{self, Break, Coverage, InvalidShifts, Proposal, ShiftProblem, ShiftType},
        whatif::{Formulas, Outcome, Scenario, Simulator},
    },
    store,
};

/// Agents that one plan looks at.
const MOST_AGENTS: i64 = 20_000;
/// Times that a plan is played, at most.
const MOST_RUNS: u32 = 6;
const SOLVER_SECONDS: f64 = 10.0;

/// What the work takes.
#[derive(Debug)]
pub struct Staff {
    /// By interval: what is needed, and the service level and occupancy with it.
    pub intervals: Vec<(Requirement, f64, f64)>,
    /// What the reader should know besides.
    pub notes: Vec<String>,
    window: Window,
}

/// Shifts that cover it.
#[derive(Debug)]
pub struct Shifts {
    /// Name of the kind, start, how many.
    pub shifts: Vec<(String, DateTime<Utc>, u32)>,
    /// By interval.
    pub coverage: Vec<(DateTime<Utc>, Coverage)>,
    /// As the solver says.
    pub proposal: Proposal,
}

impl Staffing {
    /// What is known of the tenant for a plan.
    pub(super) async fn known(&self, tenant: &TenantId, ask: &StaffAsk) -> Result<Known, Error> {
        let resources = self.resources.snapshot();
        let resources = resources.tenant(tenant).cloned().unwrap_or_default();
        let mut tx = self.db.tx(tenant).await?;
        let window = ask.forecast.window(Some(&resources), tx.now())?;
        let rows = read_history(&mut tx, tenant, &ask.forecast, &window).await?;
        let agents = store::list_agents(tx.conn(), tenant, "", MOST_AGENTS).await?;
        Ok(Known {
            rows,
            resources,
            agents,
            window,
        })
    }

    /// How many people the forecast takes.
    pub async fn required(&self, tenant: &TenantId, ask: StaffAsk) -> Result<Staff, Error> {
        let known = self.known(tenant, &ask).await?;
        self.compute(move || staff(known, &ask)).await
    }

    /// Shifts that cover what the forecast takes.
    pub async fn shifts(&self, tenant: &TenantId, ask: ShiftAsk) -> Result<Shifts, Error> {
        let known = self.known(tenant, &ask.required).await?;
        self.compute(move || {
            let staff = staff(known, &ask.required)?;
            propose(&staff, &ask)
        })
        .await
    }
}

fn staff(known: Known, ask: &StaffAsk) -> Result<Staff, Error> {
    let (shaped, known) = shaped(known, ask)?;
    let group = &shaped.group;
    let mut plan = required::required(group).map_err(|e| invalid(&e))?;
    let mut notes = shaped.notes.clone();
    notes.extend(plan.notes.iter().cloned());
    let outcome = if ask.simulate {
        let serving = serving(&shaped, &known);
        let confirmed =
            required::confirm(group, &plan, &serving, MOST_RUNS).map_err(|e| precondition(e.to_string()))?;
        notes.push(format!(
            "played {} times with the serving matcher: {} agent-intervals added, promises {}",
            confirmed.runs,
            confirmed.added,
            if confirmed.keeps_promises {
                "kept"
            } else {
                "still not all kept"
            }
        ));
        plan = confirmed.plan;
        simulate(&serving, group, &plan.intervals)?
    } else {
        simulate(&Formulas, group, &plan.intervals)?
    };
    let intervals = plan.intervals.into_iter().enumerate().map(|(at, need)| {
        let level = level(&outcome, at);
        let occupancy = outcome.occupancy.get(at).copied().unwrap_or_default();
        (need, level, occupancy)
    });
    Ok(Staff {
        intervals: intervals
            .skip(shaped.shown.start)
            .take(shaped.shown.len())
            .collect(),
        notes,
        window: known.window,
    })
}

/// The serving matcher with the tenant's policy and people.
pub(super) fn serving(shaped: &Shaped, known: &Known) -> Serving {
    Serving {
        policy: Rules::of(Some(&known.resources)).policy,
        capacity_units: usual_units(&known.agents),
        people: shaped.people(&known.agents),
    }
}

fn simulate(simulator: &dyn Simulator, group: &Group, needs: &[Requirement]) -> Result<Outcome, Error> {
    let agents: Vec<u32> = needs.iter().map(|need| need.agents).collect();
    let scenario = Scenario {
        group,
        agents: &agents,
    };
    simulator
        .simulate(&scenario)
        .map_err(|e| precondition(e.to_string()))
}

/// Share answered in time of all that counts in an interval.
fn level(outcome: &Outcome, at: usize) -> f64 {
    let measured = outcome.streams.iter().filter_map(|stream| stream.get(at));
    let (in_time, all) = measured.fold((0.0, 0.0), |(in_time, all), m| {
        (in_time + m.contacts * m.service_level, all + m.contacts)
    });
    if all > 0.0 { in_time / all } else { 1.0 }
}

fn propose(staff: &Staff, ask: &ShiftAsk) -> Result<Shifts, Error> {
    let starts: Vec<DateTime<Utc>> = staff.intervals.iter().map(|(need, ..)| need.start).collect();
    let step = staff.window.calendar.step();
    let types = ask
        .kinds
        .iter()
        .map(|kind| shift_type(kind, staff, &starts))
        .collect();
    let problem = ShiftProblem {
        step,
        need: staff.intervals.iter().map(|(need, ..)| need.rostered).collect(),
        types,
        cost_of_missing_hour: ask.missing_hour,
    };
    let proposal = shifts::propose(&problem, SOLVER_SECONDS).map_err(|e| match &e {
        InvalidShifts::TooMany { .. } => Error::invalid(
            "required.forecast.days",
            format!("{e}: ask for fewer days, or coarser"),
        ),
        InvalidShifts::Type { .. } => Error::invalid("types", e.to_string()),
        InvalidShifts::CostOfMissing => Error::invalid("under_cover_cost", e.to_string()),
    })?;
    let shifts = proposal.shifts.iter().map(|shift| {
        (
            problem.types[shift.shift_type].name.clone(),
            starts[shift.start],
            shift.people,
        )
    });
    Ok(Shifts {
        shifts: shifts.collect(),
        coverage: starts
            .iter()
            .copied()
            .zip(proposal.coverage.iter().copied())
            .collect(),
        proposal,
    })
}

fn shift_type(kind: &ShiftKind, staff: &Staff, starts: &[DateTime<Utc>]) -> ShiftType {
    let calendar = &staff.window.calendar;
    let minutes = calendar.step().minutes();
    let at_minute = |date: chrono::NaiveDate, minute: u32| {
        let local = date.and_time(NaiveTime::MIN) + TimeDelta::minutes(i64::from(minute));
        // A time that the clock skips or shows twice on that day is no start of a shift.
        calendar.instant(local).ok()
    };
    let days = staff.window.first.iter_days().take(staff.window.days as usize);
    let possible = days.flat_map(|date| {
        (kind.earliest..=kind.latest)
            .step_by(kind.every.max(1) as usize)
            .filter_map(move |minute| at_minute(date, minute))
    });
    ShiftType {
        name: kind.name.clone(),
        starts: possible
            .filter_map(|start| starts.binary_search(&start).ok())
            .collect(),
        length: (kind.length / minutes) as usize,
        breaks: if kind.pause > 0 {
            vec![Break {
                after_minutes: (kind.length - kind.pause) / 2,
                minutes: kind.pause,
            }]
        } else {
            Vec::new()
        },
        cost: kind.cost.unwrap_or(f64::from(kind.length) / 60.0),
        most: None,
    }
}
