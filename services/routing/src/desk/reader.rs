//! Reads for all lines together: many desks are woken by one commit.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use trama_platform::{Db, Error, Lifecycle};
use trama_proto::ids::{AgentId, OfferId, TenantId};
use uuid::Uuid;

use crate::{
    domain::Agent,
    store::{self, HandRow},
    together::{Together, stopping},
};

/// What a line wants to know.
pub(super) struct Look {
    pub agent: AgentId,
    /// Items that may be in the agent's hands.
    pub items: Vec<Uuid>,
    /// Offers that are shown.
    pub shown: Vec<OfferId>,
    /// Whether the agent is wanted too.
    pub with_agent: bool,
}

/// What there is.
#[derive(Default)]
pub(super) struct Seen {
    pub rows: Vec<HandRow>,
    /// State of each shown offer that is no longer in hand.
    pub fates: BTreeMap<Uuid, String>,
    pub agent: Option<Agent>,
}

type Ask = (Look, oneshot::Sender<Result<Seen, Error>>);

/// Reads for all lines together.
#[derive(Clone)]
pub struct Reader(Together<Ask>);

impl Reader {
    /// Starts reading.
    pub fn start(db: &Db, lifecycle: &Lifecycle) -> Self {
        let db = db.clone();
        Self(Together::start("desk-reader", lifecycle, move |tenant, asks| {
            let db = db.clone();
            async move { answer(&db, &tenant, asks).await }
        }))
    }

    /// Looks.
    pub(super) async fn look(&self, tenant: &TenantId, look: Look) -> Result<Seen, Error> {
        let (reply, answer) = oneshot::channel();
        self.0.ask(tenant, (look, reply)).await?;
        answer.await.map_err(|_| stopping())?
    }
}

async fn answer(db: &Db, tenant: &TenantId, asks: Vec<Ask>) {
    match read(db, tenant, &asks).await {
        Ok(seen) => {
            for ((_, reply), seen) in asks.into_iter().zip(seen) {
                // A line that is gone does not want to know.
                let _ = reply.send(Ok(seen));
            }
        }
        Err(error) => {
            for (_, reply) in asks {
                let _ = reply.send(Err(Error::new(error.kind(), error.to_string())));
            }
        }
    }
}

async fn read(db: &Db, tenant: &TenantId, asks: &[Ask]) -> Result<Vec<Seen>, Error> {
    let mut tx = db.tx(tenant).await?;
    let (mut agents, mut items) = (Vec::new(), Vec::new());
    for (look, _) in asks {
        for item in &look.items {
            agents.push(look.agent.as_str());
            items.push(*item);
        }
    }
    let mut rows: BTreeMap<(String, Uuid), HandRow> = BTreeMap::new();
    if !items.is_empty() {
        for row in store::in_hand(tx.conn(), tenant, &agents, &items).await? {
            rows.insert((row.hand_agent.clone(), row.item.work_item_id), row);
        }
    }
    let shown: Vec<OfferId> = asks
        .iter()
        .flat_map(|(look, _)| look.shown.iter().copied())
        .collect();
    let fates: BTreeMap<Uuid, String> = if shown.is_empty() {
        BTreeMap::new()
    } else {
        let found = store::fates(tx.conn(), tenant, &shown).await?;
        found.into_iter().map(|f| (f.offer_id, f.state)).collect()
    };
    let wanted: Vec<&str> = asks
        .iter()
        .filter(|(l, _)| l.with_agent)
        .map(|(l, _)| l.agent.as_str())
        .collect();
    let known: BTreeMap<AgentId, Agent> = if wanted.is_empty() {
        BTreeMap::new()
    } else {
        let found = store::read_agents(tx.conn(), tenant, &wanted).await?;
        found.into_iter().map(|a| (a.id.clone(), a)).collect()
    };
    Ok(asks
        .iter()
        .map(|(look, _)| {
            let mut seen = Seen {
                agent: known.get(&look.agent).filter(|_| look.with_agent).cloned(),
                ..Seen::default()
            };
            for item in &look.items {
                if let Some(row) = rows.get(&(look.agent.as_str().to_owned(), *item)) {
                    seen.rows.push(row.clone());
                }
            }
            seen.rows.sort_by_key(|r| r.offer_id);
            for offer in &look.shown {
                if let Some(state) = fates.get(&offer.uuid()) {
                    seen.fates.insert(offer.uuid(), state.clone());
                }
            }
            seen
        })
        .collect())
}
