//! One line to one desk: what has been shown, what must be shown now.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use chrono::{DateTime, TimeDelta, Utc};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use trama_platform::{Context, Error};
use trama_proto::{
    ids::{AgentId, OfferId, TenantId, WorkItemId},
    routing::v1::{self, Heartbeat, OfferGone, OpenDeskResponse, open_desk_response::Event},
    time::to_wire,
};

use super::{Hub, Reader, Who, Woken, reader::Look};
use crate::{
    api::wire,
    app::Routing,
    store::{self, HandRow},
};

/// Responses that may wait for a slow desk.
const BUFFER: usize = 64;
/// How far back a desk that returns is told again.
const OVERLAP: TimeDelta = TimeDelta::seconds(10);
/// Items that are read at once.
const SLAB: usize = 256;

/// What a desk gets.
pub type Responses = ReceiverStream<Result<OpenDeskResponse, Status>>;

/// Opens a line: `ready`, everything in hand, what ended since `since`, then what happens.
pub async fn open(
    context: &Context,
    routing: &Routing,
    reader: &Reader,
    tenant: TenantId,
    agent: AgentId,
    since: Option<DateTime<Utc>>,
) -> Result<Responses, Error> {
    // Before the first look, so that nothing falls between.
    let who = (tenant, agent);
    let (id, woken) = routing.hub.add(&who);
    let (sender, receiver) = mpsc::channel(BUFFER);
    let connected = match routing.connect(&who.0, &who.1).await {
        Ok(agent) => agent,
        Err(error) => {
            routing.hub.remove(&who, id);
            return Err(error);
        }
    };
    let mut line = Line {
        hub: Arc::clone(&routing.hub),
        routing: routing.clone(),
        reader: reader.clone(),
        context: context.clone(),
        who,
        id,
        sender,
        shown: HashMap::new(),
        agent: wire::agent(&connected),
        complete_at: since.unwrap_or_else(|| context.clock.now()),
    };
    context.lifecycle.spawn("desk", async move {
        let ready = Event::Ready(line.agent.clone());
        if line.send(ready).await.is_ok() && line.catch_up(since).await.is_ok() {
            line.run(woken).await;
        }
        line.close().await;
        Ok(())
    });
    Ok(ReceiverStream::new(receiver))
}

/// What the desk shows of an item.
struct Shown {
    offer: OfferId,
    version: i64,
    /// What it looked like: a new version may differ in nothing that is shown.
    content: Vec<u8>,
}

struct Line {
    hub: Arc<Hub>,
    routing: Routing,
    reader: Reader,
    context: Context,
    who: Who,
    id: u64,
    sender: mpsc::Sender<Result<OpenDeskResponse, Status>>,
    shown: HashMap<WorkItemId, Shown>,
    /// The agent as the desk knows them.
    agent: v1::Agent,
    /// As of when the desk is complete.
    complete_at: DateTime<Utc>,
}

/// The desk hung up.
struct Gone;

impl Line {
    /// Tells which offers ended while the line was down. Transactions that began before may commit after: better twice
    /// than never.
    async fn catch_up(&mut self, since: Option<DateTime<Utc>>) -> Result<(), Gone> {
        let Some(since) = since else { return Ok(()) };
        let found = async {
            let mut tx = self.routing.db.tx(&self.who.0).await?;
            store::ended_since(tx.conn(), &self.who.0, &self.who.1, since - OVERLAP).await
        };
        match found.await {
            Ok(ended) => {
                for offer in ended {
                    let gone = OfferGone {
                        offer_id: offer.offer_id.to_string(),
                        reason: wire::fate(&offer.state).to_owned(),
                    };
                    self.send(Event::OfferGone(gone)).await?;
                }
            }
            Err(error) => {
                tracing::warn!(detail = error.detail(), "a desk could not be told what it missed");
            }
        }
        Ok(())
    }

    async fn run(&mut self, mut woken: Woken) {
        let stopping = self.context.lifecycle.stopping();
        let mut compare = true;
        let pause = TimeDelta::seconds(self.routing.config.heartbeat());
        let mut next_beat = self.context.clock.now() + pause;
        loop {
            if std::mem::take(&mut compare) && self.compare().await.is_err() {
                return;
            }
            let mut hints = Vec::new();
            let closed = self.sender.clone();
            let clock = self.context.clock.clone();
            tokio::select! {
                () = stopping.cancelled() => {
                    let _ = self.sender.try_send(Err(Status::unavailable("this replica is stopping: open the desk again")));
                    return;
                }
                () = closed.closed() => return,
                count = woken.items.recv_many(&mut hints, SLAB) => {
                    if count == 0 {
                        return;
                    }
                    compare = woken.items.is_empty() && woken.missed.swap(false, Ordering::Relaxed);
                }
                () = clock.sleep_until(next_beat) => {
                    let now = self.context.clock.now();
                    next_beat = now + pause;
                    if self.send(Event::Heartbeat(Heartbeat { at: Some(to_wire(now)) })).await.is_err() {
                        return;
                    }
                    if let Err(error) = self.reader.beat(&self.who.0, &self.who.1).await {
                        tracing::debug!(detail = error.detail(), "a heartbeat was not noted");
                    }
                    compare = true;
                }
            }
            let with_agent = compare || hints.iter().any(Option::is_none);
            let mut items: Vec<WorkItemId> = hints.into_iter().flatten().collect();
            items.sort();
            items.dedup();
            if (with_agent || !items.is_empty()) && self.show(&items, with_agent).await.is_err() {
                return;
            }
        }
    }

    /// Compares what is shown with what is; after a lost hint this finds it.
    async fn compare(&mut self) -> Result<(), Gone> {
        let found = match self.reader.compare(&self.who.0, &self.who.1).await {
            Ok(found) => found,
            Err(error) => {
                self.unread(&error);
                return Ok(());
            }
        };
        let mut items: Vec<WorkItemId> = found
            .iter()
            .filter(|(id, version)| self.shown.get(id).is_none_or(|s| s.version != **version))
            .map(|(id, _)| *id)
            .chain(self.shown.keys().filter(|id| !found.contains_key(id)).copied())
            .collect();
        items.sort();
        for slab in items.chunks(SLAB) {
            self.show(slab, false).await?;
        }
        Ok(())
    }

    /// A replica that stops tells its desks so; that they cannot be read then is no news.
    fn unread(&self, error: &Error) {
        if !self.context.lifecycle.stopping().is_cancelled() {
            let detail = error.detail();
            tracing::warn!(
                detail,
                "a desk could not be read; trying again at the next heartbeat"
            );
        }
    }

    /// Shows what has changed about these items, and about the agent.
    async fn show(&mut self, items: &[WorkItemId], with_agent: bool) -> Result<(), Gone> {
        let looked_at = self.context.clock.now();
        let look = Look {
            agent: self.who.1.clone(),
            items: items.iter().map(|i| i.uuid()).collect(),
            shown: items
                .iter()
                .filter_map(|i| self.shown.get(i))
                .map(|s| s.offer)
                .collect(),
            with_agent,
        };
        let seen = match self.reader.look(&self.who.0, look).await {
            Ok(seen) => seen,
            Err(error) => {
                self.unread(&error);
                return Ok(());
            }
        };
        let in_hand: HashMap<WorkItemId, OfferId> = seen
            .rows
            .iter()
            .map(|row| (WorkItemId::new(row.item.work_item_id), OfferId::new(row.offer_id)))
            .collect();
        for item in items {
            let gone = self
                .shown
                .get(item)
                .map(|s| s.offer)
                .filter(|offer| in_hand.get(item) != Some(offer));
            if let Some(offer) = gone {
                self.shown.remove(item);
                let reason = wire::fate(seen.fates.get(&offer.uuid()).map_or("", String::as_str)).to_owned();
                self.send(Event::OfferGone(OfferGone {
                    offer_id: offer.to_string(),
                    reason,
                }))
                .await?;
            }
        }
        for row in seen.rows {
            self.show_row(row).await?;
        }
        if let Some(agent) = seen.agent.as_ref().map(wire::agent)
            && agent != self.agent
        {
            self.agent = agent.clone();
            self.send(Event::AgentChanged(agent)).await?;
        }
        self.complete_at = self.complete_at.max(looked_at);
        Ok(())
    }

    async fn show_row(&mut self, row: HandRow) -> Result<(), Gone> {
        let (item, offer, version) = (
            WorkItemId::new(row.item.work_item_id),
            OfferId::new(row.offer_id),
            row.item.version,
        );
        let unanswered = row.unanswered;
        if self
            .shown
            .get(&item)
            .is_some_and(|s| s.version == version && s.offer == offer)
        {
            return Ok(());
        }
        let message = wire::hand(row);
        let content = message.encode_to_vec();
        let shown = Shown {
            offer,
            version,
            content: trama_proto::ids::derive(&[&content]).as_bytes().to_vec(),
        };
        let known = match self.shown.get(&item) {
            Some(before) if before.content == shown.content => {
                self.shown.insert(item, shown);
                return Ok(());
            }
            Some(_) => true,
            None => false,
        };
        self.shown.insert(item, shown);
        self.send(if unanswered && !known {
            Event::OfferMade(message)
        } else {
            Event::WorkUpdated(message)
        })
        .await
    }

    async fn send(&mut self, event: Event) -> Result<(), Gone> {
        let response = OpenDeskResponse {
            event: Some(event),
            resume_token: self.complete_at.timestamp_micros().to_string(),
        };
        self.sender.send(Ok(response)).await.map_err(|_| Gone)
    }

    async fn close(self) {
        if !self.hub.remove(&self.who, self.id) || self.context.lifecycle.stopping().is_cancelled() {
            // Another line is open, or this replica stops: the last heartbeat's timer runs, and the desk comes back.
            return;
        }
        if let Err(error) = self.routing.disconnect(&self.who.0, &self.who.1).await {
            tracing::warn!(detail = error.detail(), "a lost line was not noted");
        }
    }
}
