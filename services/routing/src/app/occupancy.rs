//! How busy teams are and were.

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;
use trama_platform::{Error, Tx};
use trama_proto::{ids::TenantId, routing::v1::TeamOccupancy, time::to_wire};

use super::{
    Routing,
    figures::{float, quarter},
};
use crate::store::{self, TeamKey, TeamTimes, Times};

/// Transactions that turn a presence or a load may commit so late.
const LATE: TimeDelta = TimeDelta::minutes(2);

/// As told. `until`: where the interval ends, or what has passed of it.
fn told(times: &TeamTimes, until: DateTime<Utc>) -> TeamOccupancy {
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let (busy, staffed) = (float(times.busy_ms), float(times.staffed_ms));
    TeamOccupancy {
        team: times.team.clone(),
        start: Some(to_wire(times.start)),
        busy_seconds: busy / 1e3,
        staffed_seconds: staffed / 1e3,
        occupancy: share(busy, staffed),
        agents: share(staffed, float((until - times.start).num_milliseconds())),
    }
}

/// Everybody and all teams from a quarter of an hour on, until now.
pub(super) async fn since(
    tx: &mut Tx,
    tenant: &TenantId,
    from: DateTime<Utc>,
) -> Result<Vec<TeamOccupancy>, Error> {
    let now = tx.now();
    let what = Times {
        from,
        until: now,
        ..Times::default()
    };
    let rows = store::team_times(tx.conn(), tenant, &what, None, None, now).await?;
    Ok(rows.iter().map(|times| told(times, now)).collect())
}

impl Routing {
    /// Folds what agents did in quarters of an hour that are over; stops between two stretches when it is told to.
    pub async fn fold_times(&self, tenant: &TenantId, stopping: &CancellationToken) -> Result<(), Error> {
        loop {
            let mut tx = self.db.system_tx().await?;
            let over = quarter(tx.now() - LATE);
            let more = store::fold_times(tx.conn(), tenant, over).await?;
            tx.commit().await?;
            if !more || stopping.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Occupancies by interval and team, after `after`, with where each stands.
    pub async fn occupancy(
        &self,
        tenant: &TenantId,
        what: &Times,
        after: Option<&TeamKey>,
        limit: i64,
    ) -> Result<Vec<(TeamKey, TeamOccupancy)>, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let now = tx.now();
        let rows = store::team_times(tx.conn(), tenant, what, after, Some(limit), now).await?;
        let length = what.minutes.map(|minutes| TimeDelta::minutes(minutes.into()));
        let each = rows.iter().map(|times| {
            let end = length.map_or(what.until, |length| times.start + length);
            (times.key(), told(times, end.min(now)))
        });
        Ok(each.collect())
    }
}
