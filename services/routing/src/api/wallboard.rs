//! The wallboard as one supervisor sees it: all at once, then what has changed.

use std::{collections::BTreeMap, sync::Arc};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::sync::watch;
use tonic::Status;
use trama_proto::{
    routing::v1::{Agent, QueueNow, TeamOccupancy, WatchWallboardRequest, WatchWallboardResponse},
    time::to_wire,
};

use crate::app::Shown;

/// What one supervisor has seen.
struct Viewer {
    seen: watch::Receiver<Option<Arc<Shown>>>,
    wanted: WatchWallboardRequest,
    queues: BTreeMap<String, QueueNow>,
    agents: BTreeMap<String, Agent>,
    occupancy: BTreeMap<String, TeamOccupancy>,
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
        occupancy: BTreeMap::new(),
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
        // Of a team of which nobody was there any more, nothing is known: what was shown of it is over.
        let over = |team: &String| TeamOccupancy {
            team: team.clone(),
            ..TeamOccupancy::default()
        };
        let mut occupancy: BTreeMap<String, TeamOccupancy> = self
            .occupancy
            .keys()
            .map(|team| (team.clone(), over(team)))
            .collect();
        let wanted = |team: &String| self.wanted.teams.is_empty() || self.wanted.teams.contains(team);
        let known = shown.occupancy.iter().filter(|(team, _)| wanted(team));
        occupancy.extend(known.map(|(team, times)| (team.clone(), times.clone())));
        let response = WatchWallboardResponse {
            at: Some(to_wire(shown.at)),
            queues: changed(&mut self.queues, queues),
            agents: changed(&mut self.agents, agents),
            occupancy: changed(&mut self.occupancy, occupancy.iter()),
        };
        let silent =
            response.queues.is_empty() && response.agents.is_empty() && response.occupancy.is_empty();
        let tells = self.first || !silent;
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
