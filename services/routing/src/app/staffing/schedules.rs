//! Who should be there, and who was.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use prost::Message;
use trama_platform::{Command, Error, Principal};
use trama_proto::ids::{AgentId, TenantId};

use super::{Staffing, tell_import, volumes::Imported};
use crate::{
    staffing::{
        adherence::{Adherence, Planned, Schedules, adherence},
        calendar::{Calendar, Step},
    },
    store::staffing as store,
};

/// Stretches that one answer holds: a message may be 4 MiB.
const MOST_EXPORTED: usize = 30_000;
/// Stretches that one question about adherence looks at.
const MOST_READ: usize = 200_000;
/// Differences up to this are none: who is late because a call went on is away from a break, not from work.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// How somebody's time compares with the schedule.
pub type AgentAdherence = (AgentId, Adherence);

fn calendar(zone: Tz) -> Calendar {
    Calendar::new(zone, Step::Quarter, [].into())
}

impl Staffing {
    /// Takes schedules; they replace what was planned for their agents in their time.
    pub async fn import_schedules<Q: Message, R: Message + Default>(
        &self,
        caller: &Principal,
        csv: String,
        zone: Tz,
        (request_id, request): (&str, &Q),
        answer: fn(Imported) -> R,
    ) -> Result<R, Error> {
        let (tenant, subject) = (&caller.tenant, caller.subject.as_str());
        let mut tx = self.db.tx(tenant).await?;
        let known: BTreeSet<String> = store::known_agents(tx.conn(), tenant).await?;
        drop(tx);
        let parse = move || {
            let is_known = |agent: &AgentId| known.contains(agent.as_str());
            Ok(Schedules::from_csv(&csv, &calendar(zone), is_known))
        };
        let schedules = match self.compute(parse).await? {
            Ok(schedules) => schedules,
            Err(errors) => return Ok(answer(errors.into())),
        };
        let command = Command::new(tenant, subject, "ImportSchedules", request_id, request);
        let mut tx = self.db.tx(tenant).await?;
        if let Some(answer) = tx.replay(&command).await? {
            return Ok(answer);
        }
        store::lock_imports(tx.conn(), tenant).await?;
        let gone = store::replace_schedules(tx.conn(), tenant, &schedules).await?;
        let rows = schedules.agents().map(|agent| schedules.of(agent).len()).sum();
        tell_import(&tx, ("schedules", tenant), gone, rows);
        let answer = answer(Imported::Rows(rows));
        tx.remember(&command, &answer).await?;
        tx.commit().await?;
        Ok(answer)
    }

    /// Who should be there, as CSV.
    pub async fn export_schedules(
        &self,
        tenant: &TenantId,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        zone: Tz,
    ) -> Result<String, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let planned = store::planned(tx.conn(), tenant, None, since, until, MOST_EXPORTED as i64 + 1).await?;
        if planned.len() > MOST_EXPORTED {
            return Err(Error::invalid(
                "until",
                format!("more than {MOST_EXPORTED} stretches are planned; ask for fewer days"),
            ));
        }
        let mut schedules = Schedules::default();
        for (agent, planned) in planned {
            schedules
                .add(agent, planned)
                .map_err(|problem| Error::internal(format!("routing.schedules: {problem}")))?;
        }
        Ok(schedules.to_csv(&calendar(zone)))
    }

    /// Compares schedules with what agents did.
    pub async fn adherence(
        &self,
        tenant: &TenantId,
        agent: Option<AgentId>,
        since: DateTime<Utc>,
        until: Option<DateTime<Utc>>,
    ) -> Result<Vec<AgentAdherence>, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let now = tx.now();
        // What is still to come cannot have been missed.
        let until = until.map_or(now, |until| until.min(now));
        if until <= since {
            return Err(Error::invalid("since", "must be before until, and in the past"));
        }
        let rows = store::planned(
            tx.conn(),
            tenant,
            agent.as_ref(),
            since,
            until,
            MOST_READ as i64 + 1,
        )
        .await?;
        if rows.len() > MOST_READ {
            return Err(Error::invalid(
                "until",
                format!("more than {MOST_READ} stretches are planned; ask for fewer days, or for one agent"),
            ));
        }
        let mut planned: BTreeMap<AgentId, Vec<Planned>> = BTreeMap::new();
        for (agent, stretch) in rows {
            planned.entry(agent).or_default().push(stretch);
        }
        let agents: Vec<&str> = planned.keys().map(AgentId::as_str).collect();
        let seen = store::seen(tx.conn(), tenant, &agents, since, until).await?;
        drop(tx);
        self.compute(move || {
            let compared = planned.into_iter().map(|(agent, planned)| {
                let seen = seen.get(&agent).map(Vec::as_slice).unwrap_or_default();
                let adherence = adherence(&planned, seen, since, until, TOLERANCE);
                (agent, adherence)
            });
            Ok(compared.collect())
        })
        .await
    }
}
