//! An agent's desk: a stream of what to show, and what is on it now.

use std::sync::{Arc, Mutex};

use tonic::Streaming;
use trama_proto::routing::v1::{Offer, OpenDeskResponse, open_desk_response::Event};

/// An open desk.
pub struct Desk {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Offers that are open or were taken, newest last.
    offers: Vec<Offer>,
    gone: Vec<String>,
}

impl Desk {
    /// Reads the stream from now on.
    #[expect(
        clippy::disallowed_methods,
        reason = "the agent's front end lives as long as the story"
    )]
    pub fn open(mut stream: Streaming<OpenDeskResponse>) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let writing = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok(Some(response)) = stream.message().await {
                let mut seen = writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match response.event {
                    Some(Event::OfferMade(offer) | Event::WorkUpdated(offer)) => {
                        let item = offer.work_item.as_ref().map(|w| w.work_item_id.clone());
                        seen.offers
                            .retain(|o| o.work_item.as_ref().map(|w| w.work_item_id.clone()) != item);
                        seen.offers.push(offer);
                    }
                    Some(Event::OfferGone(gone)) => seen.gone.push(gone.offer_id),
                    Some(Event::Ready(_) | Event::Heartbeat(_) | Event::AgentChanged(_)) | None => {}
                }
            }
        });
        Self { seen }
    }

    /// The trace of the work on a case; empty when there is none.
    pub fn trace_of(&self, case_id: &str) -> String {
        let of_case = |o: &Offer| o.work_item.as_ref().is_some_and(|w| w.case_id == case_id);
        let offer = self.offers().into_iter().find(of_case);
        offer.map(|o| o.traceparent).unwrap_or_default()
    }

    /// What is on the desk, newest first.
    pub fn offers(&self) -> Vec<Offer> {
        let seen = self
            .seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.offers
            .iter()
            .rev()
            .filter(|o| !seen.gone.contains(&o.offer_id))
            .cloned()
            .collect()
    }
}
