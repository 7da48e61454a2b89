//! What all lines ask of the database, together: many desks are woken by one commit, and thousands beat.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::sync::oneshot;
use trama_platform::{Db, Error, Lifecycle};
use trama_proto::ids::{AgentId, OfferId, TenantId, WorkItemId};
use uuid::Uuid;

use crate::{
    app::Routing,
    domain::Agent,
    store::{self, HandRow},
    together::{Together, stopping},
};

/// Heartbeats are noted together with those of so long after: ten thousand desks are hundreds a second.
const GATHER: Duration = Duration::from_millis(100);

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

/// What an agent has in hand, with versions.
pub(super) type Versions = HashMap<WorkItemId, i64>;

type Ask<Q, A> = (Q, oneshot::Sender<Result<A, Error>>);

/// Reads and beats for all lines together.
#[derive(Clone)]
pub struct Reader {
    looks: Together<Ask<Look, Seen>>,
    compares: Together<Ask<AgentId, Versions>>,
    beats: Together<Ask<AgentId, ()>>,
}

impl Reader {
    /// Starts reading.
    pub fn start(routing: &Routing, lifecycle: &Lifecycle) -> Self {
        let (looking, comparing, beating) = (routing.db.clone(), routing.db.clone(), routing.clone());
        Self {
            looks: asking("desk-reader", lifecycle, None, move |tenant, looks: Vec<Look>| {
                let db = looking.clone();
                async move { read(&db, &tenant, &looks).await }
            }),
            compares: asking(
                "desk-compare",
                lifecycle,
                None,
                move |tenant, agents: Vec<AgentId>| {
                    let db = comparing.clone();
                    async move { compare(&db, &tenant, &agents).await }
                },
            ),
            beats: asking(
                "desk-beats",
                lifecycle,
                Some(GATHER),
                move |tenant, agents: Vec<AgentId>| {
                    let routing = beating.clone();
                    async move {
                        routing.still_connected(&tenant, &agents).await?;
                        Ok(vec![(); agents.len()])
                    }
                },
            ),
        }
    }

    /// Looks.
    pub(super) async fn look(&self, tenant: &TenantId, look: Look) -> Result<Seen, Error> {
        ask(&self.looks, tenant, look).await
    }

    /// Everything that an agent has in hand.
    pub(super) async fn compare(&self, tenant: &TenantId, agent: &AgentId) -> Result<Versions, Error> {
        ask(&self.compares, tenant, agent.clone()).await
    }

    /// Notes that a line is alive.
    pub(super) async fn beat(&self, tenant: &TenantId, agent: &AgentId) -> Result<(), Error> {
        ask(&self.beats, tenant, agent.clone()).await
    }
}

/// Asks together; `work` gives an answer to each question, in their order.
fn asking<Q, A, F, R>(
    name: &'static str,
    lifecycle: &Lifecycle,
    gather: Option<Duration>,
    work: F,
) -> Together<Ask<Q, A>>
where
    Q: Send + 'static,
    A: Send + 'static,
    F: Fn(TenantId, Vec<Q>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Vec<A>, Error>> + Send,
{
    Together::start(name, lifecycle, gather, move |tenant, asks: Vec<Ask<Q, A>>| {
        let work = work.clone();
        async move {
            let (questions, replies): (Vec<Q>, Vec<_>) = asks.into_iter().unzip();
            // A line that is gone does not want to know.
            match work(tenant, questions).await {
                Ok(answers) => replies.into_iter().zip(answers).for_each(|(reply, answer)| {
                    let _ = reply.send(Ok(answer));
                }),
                Err(error) => replies.into_iter().for_each(|reply| {
                    let _ = reply.send(Err(Error::new(error.kind(), error.to_string())));
                }),
            }
        }
    })
}

async fn ask<Q: Send + 'static, A: Send + 'static>(
    together: &Together<Ask<Q, A>>,
    tenant: &TenantId,
    question: Q,
) -> Result<A, Error> {
    let (reply, answer) = oneshot::channel();
    together.ask(tenant, (question, reply)).await?;
    answer.await.map_err(|_| stopping())?
}

async fn compare(db: &Db, tenant: &TenantId, agents: &[AgentId]) -> Result<Vec<Versions>, Error> {
    let mut tx = db.tx(tenant).await?;
    let mut by_agent: HashMap<AgentId, Versions> = HashMap::new();
    for (agent, item, version) in store::in_hand_versions(tx.conn(), tenant, agents).await? {
        by_agent.entry(agent).or_default().insert(item, version);
    }
    // An agent with two lines asks twice.
    Ok(agents
        .iter()
        .map(|a| by_agent.get(a).cloned().unwrap_or_default())
        .collect())
}

async fn read(db: &Db, tenant: &TenantId, asks: &[Look]) -> Result<Vec<Seen>, Error> {
    let mut tx = db.tx(tenant).await?;
    let (mut agents, mut items) = (Vec::new(), Vec::new());
    for look in asks {
        for item in &look.items {
            agents.push(look.agent.as_str());
            items.push(*item);
        }
    }
    let mut rows: BTreeMap<(String, Uuid), HandRow> = BTreeMap::new();
    if !items.is_empty() {
        for row in store::in_hand(&mut tx, tenant, &agents, &items).await? {
            rows.insert((row.hand_agent.clone(), row.item.work_item_id), row);
        }
    }
    let shown: Vec<OfferId> = asks.iter().flat_map(|look| look.shown.iter().copied()).collect();
    let fates: BTreeMap<Uuid, String> = if shown.is_empty() {
        BTreeMap::new()
    } else {
        let found = store::fates(tx.conn(), tenant, &shown).await?;
        found.into_iter().map(|f| (f.offer_id, f.state)).collect()
    };
    let wanted: Vec<&str> = asks
        .iter()
        .filter(|l| l.with_agent)
        .map(|l| l.agent.as_str())
        .collect();
    let known: BTreeMap<AgentId, Agent> = if wanted.is_empty() {
        BTreeMap::new()
    } else {
        let found = store::read_agents(tx.conn(), tenant, &wanted).await?;
        found.into_iter().map(|a| (a.id.clone(), a)).collect()
    };
    Ok(asks
        .iter()
        .map(|look| {
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
