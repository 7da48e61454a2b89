//! A day played with more or fewer people, customers, time.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use trama_platform::Error;
use trama_proto::ids::{AgentId, TenantId};

use super::{
    Staffing,
    ask::{StaffAsk, WhatIfAsk},
    plan::serving,
    precondition,
    shape::{Known, Shaped, shaped},
};
use crate::{
    domain::{Agent, hours},
    staffing::{
        adherence::Activity,
        demand::{Group, Service},
        erlang::Target,
        serving::{Serving, Totals},
    },
    store::staffing as store,
};

/// Planned stretches that one day may have.
const MOST_STRETCHES: i64 = 200_000;
const PATIENCE_SECONDS: f64 = 180.0;

/// How one side did.
pub type Side = Totals;

/// Both sides.
#[derive(Debug)]
pub struct WhatIf {
    /// As it is.
    pub now: Side,
    /// As asked.
    pub then: Side,
    /// Days played.
    pub runs: u32,
    /// What the reader should know besides.
    pub notes: Vec<String>,
}

type Stretches = Vec<(DateTime<Utc>, DateTime<Utc>)>;

impl Staffing {
    /// Plays the first day of the forecast as it is and as asked.
    pub async fn what_if(&self, tenant: &TenantId, mut ask: WhatIfAsk) -> Result<WhatIf, Error> {
        ask.forecast.days = 1;
        let staff = StaffAsk {
            forecast: ask.forecast.clone(),
            shrinkage: 0.0,
            quantile: None,
            patience_seconds: PATIENCE_SECONDS,
            simulate: true,
        };
        let known = self.known(tenant, &staff).await?;
        let (from, to) = day(&known)?;
        let mut tx = self.db.tx(tenant).await?;
        let planned = store::planned(tx.conn(), tenant, None, from, to, MOST_STRETCHES).await?;
        drop(tx);
        let mut schedules: BTreeMap<AgentId, Stretches> = BTreeMap::new();
        for (agent, planned) in planned
            .into_iter()
            .filter(|(_, planned)| planned.activity == Activity::Work)
        {
            schedules
                .entry(agent)
                .or_default()
                .push((planned.from, planned.to));
        }
        self.compute(move || played(known, &staff, &ask, &schedules))
            .await
    }
}

fn day(known: &Known) -> Result<(DateTime<Utc>, DateTime<Utc>), Error> {
    let window = &known.window;
    let end = window
        .first
        .succ_opt()
        .and_then(|next| window.calendar.start_of(next));
    Ok((
        window.since,
        end.ok_or_else(|| Error::internal("a date out of range"))?,
    ))
}

fn played(
    known: Known,
    staff: &StaffAsk,
    ask: &WhatIfAsk,
    schedules: &BTreeMap<AgentId, Stretches>,
) -> Result<WhatIf, Error> {
    let (from, to) = day(&known)?;
    let (mut shaped, known) = shaped(known, staff)?;
    only_shown(&mut shaped);
    let mut serving = serving(&shaped, &known);
    let mut notes = std::mem::take(&mut shaped.notes);
    notes.push(roster(&mut serving, &shaped, &known, schedules, (from, to)));
    notes.push(
        "assumed: customers come independently of each other and leave live channels after 180 s on average; agents answer \
         each offer after 3 s; bots take nothing"
            .to_owned(),
    );
    let failed = |e: crate::staffing::whatif::SimulationFailed| precondition(e.to_string());
    let now = serving.play(&shaped.group, 0).map_err(failed)?;
    if now.totals.agents == 0 {
        return Err(precondition(
            "nobody who can do this work is there on that day: import schedules, or create agents with UpsertAgent",
        ));
    }
    if i64::from(ask.agents_delta) + i64::try_from(now.totals.agents).unwrap_or(i64::MAX) < 1 {
        return Err(Error::invalid(
            "agents_delta",
            format!("{} agents are there: at least one must stay", now.totals.agents),
        ));
    }
    let changed = changed(&shaped.group, ask)?;
    let then = serving.play(&changed, ask.agents_delta).map_err(failed)?;
    Ok(WhatIf {
        now: now.totals,
        then: then.totals,
        runs: now.runs.min(then.runs),
        notes,
    })
}

/// The one day, without what was forecast beyond it.
fn only_shown(shaped: &mut Shaped) {
    let shown = shaped.shown.clone();
    let group = &mut shaped.group;
    group.starts = group.starts[shown.clone()].to_vec();
    group.open = group.open[shown.clone()].to_vec();
    for stream in &mut group.streams {
        stream.contacts = stream.contacts[shown.clone()].to_vec();
    }
}

/// Says when everybody is there: as scheduled, else at their working hours.
fn roster(
    serving: &mut Serving,
    shaped: &Shaped,
    known: &Known,
    schedules: &BTreeMap<AgentId, Stretches>,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> String {
    let people: Vec<&Agent> = known.agents.iter().filter(|agent| !agent.bot).collect();
    serving.people = people
        .iter()
        .flat_map(|agent| {
            let there = if schedules.is_empty() {
                at_working_hours(agent, known, from, to)
            } else {
                schedules.get(&agent.id).cloned().unwrap_or_default()
            };
            let able = shaped.people(std::slice::from_ref(*agent));
            able.into_iter()
                .map(move |person| crate::staffing::serving::Person {
                    there: there.clone(),
                    ..person
                })
        })
        .collect();
    if schedules.is_empty() {
        "nothing is scheduled for that day: everybody is taken to be there at their working hours while a queue is open"
            .to_owned()
    } else {
        format!("{} people are scheduled for that day", schedules.len())
    }
}

fn at_working_hours(agent: &Agent, known: &Known, from: DateTime<Utc>, to: DateTime<Utc>) -> Stretches {
    let Some(working) = known.resources.business_hours.get(&agent.working_hours) else {
        return vec![(from, to)];
    };
    let quarter = TimeDelta::minutes(15);
    let mut there = Vec::new();
    let mut at = from;
    while at < to {
        if hours::is_open(working, at) {
            there.push((at, at + quarter));
        }
        at += quarter;
    }
    there
}

/// The work as asked.
fn changed(group: &Group, ask: &WhatIfAsk) -> Result<Group, Error> {
    let mut group = group.clone();
    for stream in &mut group.streams {
        for contacts in &mut stream.contacts {
            *contacts *= ask.volume_factor;
        }
        match &mut stream.service {
            Service::Live { target, .. } | Service::Concurrent { target, .. } => {
                let seconds = target.answer_within_seconds() * ask.target_factor;
                *target = Target::new(target.share(), seconds)
                    .map_err(|e| Error::invalid("target_factor", e.to_string()))?;
            }
            Service::Deferred { within_seconds, .. } => *within_seconds *= ask.target_factor,
        }
    }
    Ok(group)
}
