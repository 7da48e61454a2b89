//! The lease: taking, renewing, letting go.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use trama_platform::{Error, Lifecycle};
use trama_proto::ids::TenantId;

use super::{Leaders, Led, lead::Lead};
use crate::{app::Routing, store};

/// How often vacancies are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Questions that may wait for a leader.
const QUESTIONS: usize = 64;

/// Leads what nobody leads, until the process stops; then lets go, so that another replica goes on at once.
///
/// # Errors
/// Never: what fails is tried again.
pub async fn keep(routing: Routing, lifecycle: Lifecycle) -> Result<(), Error> {
    let keeper = Keeper {
        leaders: Arc::clone(&routing.leaders),
        routing,
        lifecycle: lifecycle.clone(),
    };
    let draining = lifecycle.draining();
    let mut renew_at = Instant::now();
    loop {
        let now = Instant::now();
        if now >= renew_at {
            renew_at = now + keeper.leaders.lease.mul_f64(0.3);
            if let Err(error) = keeper.renew(now).await {
                tracing::warn!(detail = error.detail(), "leases were not renewed; trying again");
                renew_at = now + LOOK;
            }
        }
        if let Err(error) = keeper.look(Instant::now()).await {
            tracing::warn!(detail = error.detail(), "leases were not looked at; trying again");
        }
        tokio::select! {
            () = draining.cancelled() => break,
            () = keeper.leaders.vacancy.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    keeper.let_go().await;
    Ok(())
}

struct Keeper {
    leaders: Arc<Leaders>,
    routing: Routing,
    lifecycle: Lifecycle,
}

impl Keeper {
    async fn renew(&self, asked_at: Instant) -> Result<(), Error> {
        let (me, ttl) = (&self.leaders.me, self.leaders.lease.as_secs_f64());
        let mut tx = self.routing.db.system_tx().await?;
        let held = store::renew(tx.conn(), me, ttl).await?;
        tx.commit().await?;
        let held: HashMap<TenantId, i64> = held.into_iter().collect();
        self.leaders.led().retain(|tenant, led| {
            let holds = held.get(tenant) == Some(&led.epoch);
            if holds {
                *led.renewed.lock().unwrap_or_else(PoisonError::into_inner) = asked_at;
            } else {
                led.lost.cancel();
            }
            holds
        });
        Ok(())
    }

    async fn look(&self, asked_at: Instant) -> Result<(), Error> {
        let (me, ttl) = (&self.leaders.me, self.leaders.lease.as_secs_f64());
        let mut tx = self.routing.db.system_tx().await?;
        let share = store::beat(tx.conn(), me, ttl).await?;
        let leading = i64::try_from(self.leaders.led().len()).unwrap_or(i64::MAX);
        let taken = store::acquire(tx.conn(), me, (share - leading).max(0), ttl).await?;
        tx.commit().await?;
        for (tenant, epoch) in taken {
            self.start(tenant, epoch, asked_at);
        }
        Ok(())
    }

    fn start(&self, tenant: TenantId, epoch: i64, since: Instant) {
        metrics::counter!("trama_routing_takeovers_total").increment(1);
        tracing::debug!(%tenant, epoch, "leading");
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let led = Led {
            epoch,
            wake: Arc::new(Notify::new()),
            lost: CancellationToken::new(),
            renewed: Arc::new(Mutex::new(since)),
            next_look: Arc::new(AtomicI64::new(i64::MAX)),
            busy: Arc::new(AtomicBool::new(true)),
            questions,
            violations: Arc::new(AtomicI64::new(0)),
        };
        if let Some(before) = self.leaders.led().insert(tenant.clone(), led.clone()) {
            before.lost.cancel();
        }
        let lead = Lead::new(self.routing.clone(), self.lifecycle.clone(), tenant, led, asked);
        self.lifecycle.spawn("dispatcher", lead.run());
    }

    async fn let_go(&self) {
        let tenants: Vec<TenantId> = {
            let mut led = self.leaders.led();
            for one in led.values() {
                one.lost.cancel();
            }
            led.drain().map(|(tenant, _)| tenant).collect()
        };
        let released = async {
            let mut tx = self.routing.db.system_tx().await?;
            store::release(tx.conn(), &self.leaders.me).await?;
            tx.commit().await
        };
        if let Err(error) = released.await {
            tracing::warn!(
                detail = error.detail(),
                "leases were not released: they expire by themselves"
            );
            return;
        }
        for tenant in tenants {
            let subject = format!("{}.routing.{tenant}.vacant", self.leaders.bus.prefix());
            // A lost word costs a second.
            let _ = self
                .leaders
                .bus
                .client()
                .publish(subject, Vec::new().into())
                .await;
        }
        let _ = self.leaders.bus.client().flush().await;
    }
}
