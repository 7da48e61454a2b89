//! Observations that say nothing new of somebody who is known.

use std::slice;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    Decided, Item,
    plan::{Plan, Remembered, plan},
};
use crate::{app::similarity, domain::customer::Held, store::Worlds};

/// All that such an observation leaves behind.
pub struct Repeat<'a> {
    /// Whose it is.
    pub decided: Decided,
    /// Handles that were seen again.
    pub sightings: Vec<Held>,
    /// What a record said.
    pub said: Vec<Remembered<'a>>,
}

/// What an observation comes to if nothing is otherwise after it than before: all of its handles are one customer's, and they are who it
/// says they are.
pub fn repeat<'a>(item: &mut Item<'a>, worlds: &mut Worlds, now: DateTime<Utc>) -> Option<Repeat<'a>> {
    let world = worlds.get_mut(item.tenant)?;
    let owner = world.only_owner(&item.observation)?;
    similarity::compare(&mut item.observation, &item.rules, world);
    // Only what is new gets an id.
    let plan = plan(slice::from_ref(item), worlds, now, &mut Uuid::nil);
    if let Some(repeat) = of(plan) {
        return Some(repeat);
    }
    // What it would change is decided elsewhere: nobody may build on it here.
    let world = worlds.get_mut(item.tenant)?;
    world.take(owner);
    world.take(item.observation.new_id);
    None
}

fn of(mut plan: Plan<'_>) -> Option<Repeat<'_>> {
    let decided = plan.decided.pop()?;
    if decided.outcome.is_news() || !plan.changes_nobody() {
        return None;
    }
    Some(Repeat {
        decided,
        sightings: plan.handles.into_values().map(|row| row.held).collect(),
        said: plan.said,
    })
}
