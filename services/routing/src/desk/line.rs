//! One line to one desk: what has been shown, what must be shown now.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use chrono::TimeDelta;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use trama_platform::{Context, Error};
use trama_proto::{
    ids::{AgentId, OfferId, TenantId, WorkItemId},
    routing::v1::{Heartbeat, OfferGone, OpenDeskResponse, open_desk_response::Event},
    time::to_wire,
};
use uuid::Uuid;

use super::{Hub, Who, Woken};
use crate::{
    api::wire,
    app::Routing,
    store::{self, HandRow},
};

/// Responses that may wait for a slow desk.
const BUFFER: usize = 64;
/// Items that are read at once.
const SLAB: usize = 256;

/// What a desk gets.
pub type Responses = ReceiverStream<Result<OpenDeskResponse, Status>>;

/// Opens a line: `ready`, everything in hand, then what happens.
pub async fn open(
    context: &Context,
    routing: &Routing,
    tenant: TenantId,
    agent: AgentId,
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
        context: context.clone(),
        who,
        id,
        sender,
        shown: HashMap::new(),
        sent: 0,
    };
    context.lifecycle.spawn("desk", async move {
        if line.send(Event::Ready(wire::agent(&connected))).await.is_ok() {
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
}

struct Line {
    hub: Arc<Hub>,
    routing: Routing,
    context: Context,
    who: Who,
    id: u64,
    sender: mpsc::Sender<Result<OpenDeskResponse, Status>>,
    shown: HashMap<WorkItemId, Shown>,
    sent: u64,
}

/// The desk hung up.
struct Gone;

impl Line {
    async fn run(&mut self, mut woken: Woken) {
        let stopping = self.context.lifecycle.stopping();
        let mut compare = true;
        let pause = TimeDelta::seconds(self.routing.config.heartbeat());
        let mut next_beat = self.context.clock.now() + pause;
        loop {
            if std::mem::take(&mut compare) && self.compare().await.is_err() {
                return;
            }
            let mut items = Vec::new();
            let closed = self.sender.clone();
            let clock = self.context.clock.clone();
            tokio::select! {
                () = stopping.cancelled() => {
                    let _ = self.sender.try_send(Err(Status::unavailable("this replica is stopping: open the desk again")));
                    return;
                }
                () = closed.closed() => return,
                count = woken.items.recv_many(&mut items, SLAB) => {
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
                    if let Err(error) = self.routing.still_connected(&self.who.0, &self.who.1).await {
                        tracing::debug!(detail = error.detail(), "a heartbeat was not noted");
                    }
                    compare = true;
                }
            }
            items.sort();
            items.dedup();
            if !items.is_empty() && self.show(&items).await.is_err() {
                return;
            }
        }
    }

    /// Compares what is shown with what is; after a lost hint this finds it.
    async fn compare(&mut self) -> Result<(), Gone> {
        let found = async {
            let mut tx = self.routing.db.tx(&self.who.0).await?;
            store::in_hand_versions(tx.conn(), &self.who.0, &self.who.1).await
        };
        let found: HashMap<WorkItemId, i64> = match found.await {
            Ok(found) => found.into_iter().collect(),
            Err(error) => {
                tracing::warn!(
                    detail = error.detail(),
                    "a desk could not be compared; trying again at the next heartbeat"
                );
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
            self.show(slab).await?;
        }
        Ok(())
    }

    /// Shows what has changed about these items.
    async fn show(&mut self, items: &[WorkItemId]) -> Result<(), Gone> {
        let looked = self.look(items).await;
        let (rows, fates) = match looked {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(
                    detail = error.detail(),
                    "a desk could not be read; trying again at the next heartbeat"
                );
                return Ok(());
            }
        };
        let mut in_hand: HashMap<WorkItemId, OfferId> = HashMap::with_capacity(rows.len());
        for row in &rows {
            in_hand.insert(WorkItemId::new(row.item.work_item_id), OfferId::new(row.offer_id));
        }
        for item in items {
            let gone = self
                .shown
                .get(item)
                .map(|s| s.offer)
                .filter(|offer| in_hand.get(item) != Some(offer));
            if let Some(offer) = gone {
                self.shown.remove(item);
                let reason = wire::fate(fates.get(&offer.uuid()).map_or("", String::as_str)).to_owned();
                self.send(Event::OfferGone(OfferGone {
                    offer_id: offer.to_string(),
                    reason,
                }))
                .await?;
            }
        }
        for row in rows {
            self.show_row(row).await?;
        }
        Ok(())
    }

    async fn show_row(&mut self, row: HandRow) -> Result<(), Gone> {
        let (item, offer, version) = (
            WorkItemId::new(row.item.work_item_id),
            OfferId::new(row.offer_id),
            row.item.version,
        );
        let known = match self.shown.insert(item, Shown { offer, version }) {
            Some(shown) if shown.version == version => return Ok(()),
            Some(_) => true,
            None => false,
        };
        let new_offer = row.item.state == "offered" && !known;
        let offer = wire::hand(row);
        self.send(if new_offer {
            Event::OfferMade(offer)
        } else {
            Event::WorkUpdated(offer)
        })
        .await
    }

    async fn look(&self, items: &[WorkItemId]) -> Result<(Vec<HandRow>, HashMap<Uuid, String>), Error> {
        let ids: Vec<Uuid> = items.iter().map(|i| i.uuid()).collect();
        let mut tx = self.routing.db.tx(&self.who.0).await?;
        let rows = store::in_hand(tx.conn(), &self.who.0, &self.who.1, &ids).await?;
        let still: Vec<Uuid> = rows.iter().map(|r| r.offer_id).collect();
        let missing: Vec<OfferId> = items
            .iter()
            .filter_map(|i| self.shown.get(i))
            .map(|s| s.offer)
            .filter(|o| !still.contains(&o.uuid()))
            .collect();
        if missing.is_empty() {
            return Ok((rows, HashMap::new()));
        }
        let fates = store::fates(tx.conn(), &self.who.0, &missing).await?;
        Ok((rows, fates.into_iter().map(|f| (f.offer_id, f.state)).collect()))
    }

    async fn send(&mut self, event: Event) -> Result<(), Gone> {
        self.sent += 1;
        let response = OpenDeskResponse {
            event: Some(event),
            resume_token: self.sent.to_string(),
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
