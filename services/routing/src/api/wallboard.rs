//! The wallboard as one supervisor sees it: all at once, then what has changed.

use std::{collections::BTreeMap, sync::Arc};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::sync::watch;
use tonic::Status;
use trama_proto::{
    routing::v1::{Agent, QueueNow, WatchWallboardRequest, WatchWallboardResponse},
    time::to_wire,
};

use crate::app::Shown;

/// What one supervisor has seen.
struct Viewer {
    seen: watch::Receiver<Option<Arc<Shown>>>,
    wanted: WatchWallboardRequest,
    queues: BTreeMap<String, QueueNow>,
    agents: BTreeMap<String, Agent>,
    first: bool,
}

/// Responses until the board ends: at most one for each look.
pub fn stream(
    seen: watch::Receiver<Option<Arc<Shown>>>,
    wanted: WatchWallboardRequest,
) -> BoxStream<'static, Result<WatchWallboardResponse, Status>> {
    let viewer = Viewer {
        seen,
        wanted,
        queues: BTreeMap::new(),
        agents: BTreeMap::new(),
        first: true,
    };
    stream::unfold(viewer, |mut viewer| async move {
        loop {
            let known = viewer.seen.borrow_and_update().clone();
            if let Some(response) = known.and_then(|shown| viewer.news(&shown)) {
                return Some((Ok(response), viewer));
            }
            viewer.seen.changed().await.ok()?;
        }
    })
    .boxed()
}

impl Viewer {
    /// What is new to this supervisor. The first time it is all, even when that is nothing.
    fn news(&mut self, shown: &Shown) -> Option<WatchWallboardResponse> {
        let queues = shown
            .queues
            .iter()
            .filter(|(name, _)| self.wanted.queues.is_empty() || self.wanted.queues.contains(name));
        let agents = shown.agents.iter().filter(|(_, a)| {
            self.wanted.teams.is_empty() || a.teams.iter().any(|t| self.wanted.teams.contains(t))
        });
        let response = WatchWallboardResponse {
            at: Some(to_wire(shown.at)),
            queues: changed(&mut self.queues, queues),
            agents: changed(&mut self.agents, agents),
        };
        let tells = self.first || !response.queues.is_empty() || !response.agents.is_empty();
        self.first = false;
        tells.then_some(response)
    }
}

/// What is other than it was shown; it counts as shown from now on.
fn changed<'a, T: Clone + PartialEq + 'a>(
    shown: &mut BTreeMap<String, T>,
    now: impl Iterator<Item = (&'a String, &'a T)>,
) -> Vec<T> {
    let mut news = Vec::new();
    for (name, value) in now {
        if shown.get(name) != Some(value) {
            shown.insert(name.clone(), value.clone());
            news.push(value.clone());
        }
    }
    news
}
