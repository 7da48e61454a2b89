//! Whether the promises are kept: a little of the memory at a time, so that no offer waits for it, and the questions to
//! the database whose answer must be nothing, beside the leader's own work.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Health, lead::Lead, seat::Floor};
use crate::{
    matcher::{CheckCursor, Violation},
    store,
};

/// Two slices are at least so long apart.
const APART: Duration = Duration::from_millis(50);
/// Agents, items and classes that are looked at in a second.
const LOOKED_AT: f64 = 20_000.0;
/// Pairs of agent and class that are looked at in a second, to count what waiting work waits for.
const PAIRS: f64 = 200_000.0;
/// Between two rounds that ask the database, at least; and so many times as long as the last one took.
const ROUND: Duration = Duration::from_secs(10);
const REST: u32 = 30;
/// Facts that one statement folds into the figures.
const FOLDED: i64 = 20_000;
/// Violations that are told.
const TOLD: usize = 20;

/// What the database said, in words, and how long that took.
type Answer = (Vec<String>, Duration);

/// Where the checker stands.
pub(super) struct Checker {
    checked_at: Instant,
    cursor: CheckCursor,
    /// Violations since the last round.
    found: Vec<String>,
    next_round: Instant,
    /// Once it has answered.
    asked: Arc<Mutex<Option<Answer>>>,
    /// The class that is counted next, and what was counted of this round.
    class: usize,
    counting: HashMap<String, i64>,
    health: Health,
}

impl Checker {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            checked_at: now,
            cursor: CheckCursor::default(),
            found: Vec::new(),
            next_round: now,
            asked: Arc::default(),
            class: 0,
            counting: HashMap::new(),
            health: Health::default(),
        }
    }

    /// Of the round before.
    pub(super) fn health(&self) -> Health {
        self.health.clone()
    }
}

impl Lead {
    /// Looks through a slice of the matcher, as large as the time since the last one.
    pub(super) fn check(&mut self, floor: &Floor) {
        // Of the last decision: what has become possible since then is no broken promise.
        let Some(decided_at) = floor.decided_at else {
            return;
        };
        let since = self.checker.checked_at.elapsed();
        if since < APART {
            return;
        }
        self.checker.checked_at = Instant::now();
        let share = since.min(Duration::from_secs(1)).as_secs_f64();

        let mut found = Vec::new();
        let (cursor, many) = (self.checker.cursor, slice(LOOKED_AT * share));
        let next = floor
            .engine
            .check_slice(cursor, many, decided_at.timestamp_millis(), &mut found);
        self.checker
            .found
            .extend(found.iter().map(|violation| in_words(floor, violation)));
        self.checker.cursor = next.unwrap_or_default();

        let (class, many) = (self.checker.class, slice(PAIRS * share));
        let counted = floor
            .engine
            .count_obstacles(class, many, &mut self.checker.counting);
        if counted.is_none() {
            self.checker.health.waiting_because = std::mem::take(&mut self.checker.counting);
        }
        self.checker.class = counted.unwrap_or_default();

        let answer = self
            .checker
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((violations, took)) = answer {
            self.checker.next_round = Instant::now() + ROUND.max(took * REST);
            self.conclude(floor, violations);
        }
        if next.is_none() && Instant::now() >= self.checker.next_round {
            // Should it fail, it does so again after a while.
            self.checker.next_round = Instant::now() + ROUND * REST;
            self.ask_database();
        }
    }

    /// Asks the database, and folds facts into figures, without keeping anybody waiting.
    fn ask_database(&self) {
        let (routing, tenant) = (self.routing.clone(), self.tenant.clone());
        let (asked, stopping) = (Arc::clone(&self.checker.asked), self.lifecycle.stopping());
        self.lifecycle.spawn("checker", async move {
            let began = Instant::now();
            let found = async {
                let mut tx = routing.db.system_tx().await?;
                let found = store::violations(tx.conn(), &tenant).await?;
                while store::fold_facts(tx.conn(), &tenant, FOLDED).await? >= FOLDED {}
                while store::staffing::fold_volumes(tx.conn(), &tenant, FOLDED).await? >= FOLDED {}
                tx.commit().await?;
                *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some((found, began.elapsed()));
                routing.fold_times(&tenant, &stopping).await
            };
            if let Err(error) = found.await {
                tracing::debug!(%tenant, detail = error.detail(), "the checker could not ask the database; it does next time");
            }
            Ok(())
        });
    }

    /// Everything was looked at: says what was found.
    fn conclude(&mut self, floor: &Floor, more: Vec<String>) {
        let mut violations = std::mem::take(&mut self.checker.found);
        violations.extend(more);
        self.routing.leaders.found(&self.led, violations.len());
        if !violations.is_empty() {
            tracing::error!(tenant = %self.tenant, count = violations.len(), first = violations[0], "routing breaks its promises");
        }
        violations.truncate(TOLD);
        let health = &mut self.checker.health;
        health.violations = violations;
        health.checked_at = floor.decided_at;
        health.kinds_served = served(floor);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some thousands"
)]
fn slice(things: f64) -> usize {
    things.ceil() as usize
}

fn in_words(floor: &Floor, violation: &Violation) -> String {
    let agent = |key| floor.agent_of(key).map_or("?", |id| id.as_str()).to_owned();
    let item = |key| floor.item_of(key);
    match violation {
        Violation::OverCapacity(a) => format!("agent {} holds more than they can", agent(*a)),
        Violation::WrongCounts(a) => format!("counts of agent {} are wrong", agent(*a)),
        Violation::Lost(i) => format!("item {} is in nobody's hands, or in several", item(*i)),
        Violation::Unreachable(i) => format!("item {} is not in its class", item(*i)),
        Violation::WrongHead(i) => format!("item {} is not the head it should be", item(*i)),
        Violation::HeldTooLong(i) => format!("item {} waits for one agent longer than it may", item(*i)),
        Violation::NeedlessWait(i, a) => {
            format!(
                "item {} waits although agent {} could take it",
                item(*i),
                agent(*a)
            )
        }
    }
}

fn served(floor: &Floor) -> Vec<i32> {
    let mut kinds: Vec<i32> = floor
        .agents()
        .filter(|a| a.presence == crate::domain::Presence::Available)
        .flat_map(|a| a.channel_kinds.iter().map(|k| *k as i32))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}
