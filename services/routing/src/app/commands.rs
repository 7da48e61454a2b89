//! What an agent does with work: accept, decline, complete, finish the wrap-up, let it rest.
//!
//! Many agents do this at the same moment, so their commands share transactions: whatever waits goes together, tenant
//! by tenant. A command that is refused does not touch the others. They are idempotent by nature (accepting what I
//! have accepted shows it to me again), so they need no journal of requests.

mod fold;

pub(super) use fold::hand_over;

use tokio::sync::oneshot;
use trama_platform::{
    Error, Kind, Lifecycle,
    audit::{self, Call},
};
use trama_proto::{
    ids::{AgentId, OfferId, TenantId, WorkItemId},
    routing::v1,
};

use super::{ATTEMPTS, Routing};
use crate::together::{Together, stopping};
use fold::Fold;

/// What an agent orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Takes the work of an offer.
    Accept(OfferId),
    /// Gives an offer back, with a reason.
    Decline(OfferId, String),
    /// Ends their part.
    Complete(WorkItemId),
    /// Ends the wrap-up.
    FinishWrapUp(WorkItemId),
    /// Lets a conversation rest.
    Park(WorkItemId),
}

/// What an order did.
pub type Outcome = Result<Option<v1::WorkItem>, Error>;

struct Ask {
    agent: AgentId,
    order: Order,
    /// Whose trail the order leaves.
    call: Option<Call>,
    reply: oneshot::Sender<Outcome>,
}

/// The way in.
#[derive(Clone)]
pub struct Commands(Together<Ask>);

impl Commands {
    /// Starts working.
    pub fn start(routing: &Routing, lifecycle: &Lifecycle) -> Self {
        let routing = routing.clone();
        Self(Together::start(
            "desk-commands",
            lifecycle,
            None,
            move |tenant, asks| {
                let routing = routing.clone();
                async move { run(&routing, &tenant, asks).await }
            },
        ))
    }

    /// Orders something and waits for what came of it.
    pub async fn order(&self, tenant: &TenantId, agent: &AgentId, order: Order) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            agent: agent.clone(),
            order,
            call: audit::current(),
            reply,
        };
        self.0.ask(tenant, ask).await?;
        answer.await.map_err(|_| stopping())?
    }
}

/// Runs the orders of one tenant in one transaction; one that lost a race against another is tried again.
async fn run(routing: &Routing, tenant: &TenantId, asks: Vec<Ask>) {
    metrics::histogram!("trama_routing_commands_together")
        .record(f64::from(u32::try_from(asks.len()).unwrap_or(0)));
    let mut replies = Vec::with_capacity(asks.len());
    let mut calls = Vec::with_capacity(asks.len());
    let orders: Vec<(AgentId, Order)> = asks
        .into_iter()
        .map(|ask| {
            replies.push(ask.reply);
            calls.push(ask.call);
            (ask.agent, ask.order)
        })
        .collect();
    let mut replies = Some(replies);
    for attempt in 1..=ATTEMPTS {
        match try_run(routing, tenant, (&orders, &calls), &mut replies).await {
            Ok(()) => return,
            Err(error) if error.kind() == Kind::Conflict && attempt < ATTEMPTS && replies.is_some() => {
                tracing::debug!(detail = error.detail(), "desk commands lost a race; once more");
            }
            Err(error) => {
                tracing::warn!(detail = error.detail(), "desk commands failed");
                for reply in replies.take().into_iter().flatten() {
                    // Whoever hung up does not want to know.
                    let _ = reply.send(Err(Error::new(error.kind(), error.to_string())));
                }
                return;
            }
        }
    }
}

async fn try_run(
    routing: &Routing,
    tenant: &TenantId,
    (orders, calls): (&[(AgentId, Order)], &[Option<Call>]),
    replies: &mut Option<Vec<oneshot::Sender<Outcome>>>,
) -> Result<(), Error> {
    let mut tx = routing.db.tx(tenant).await?;
    calls.iter().flatten().for_each(Call::begin_anew);
    let mut fold = Fold::load(&mut tx, tenant, orders).await?;
    let outcomes: Vec<Outcome> = orders
        .iter()
        .zip(calls)
        .map(|((agent, order), call)| {
            let outcome = fold.run(agent, order);
            let told = fold.told.drain(..);
            if let (Some(call), Ok(_)) = (call, &outcome) {
                for (item, (field, before, after)) in told {
                    call.changed(("work_item", &item), field, &before, &after);
                }
            }
            outcome
        })
        .collect();
    fold.change.save(&mut tx, &[], &routing.signals, false).await?;
    let done = calls.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
    tx.on_behalf_of(done.filter_map(|(call, _)| call.clone()));
    let senders = replies.take().unwrap_or_default();
    // They are answered as soon as it is certain, not after the events are published.
    tx.after_commit(move || {
        for (sender, outcome) in senders.into_iter().zip(outcomes) {
            let _ = sender.send(outcome);
        }
    });
    tx.commit().await
}
