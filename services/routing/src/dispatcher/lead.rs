//! One tenant's leader: waits for something to look at, looks, answers questions.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::{sync::mpsc, time::Instant};
use trama_platform::{Error, Lifecycle};
use trama_proto::{ids::TenantId, resources::Resources};

use super::{Explanation, Health, Led, Question, TRUSTED_SHARE, seat::Floor, seat::Seat};
use crate::{
    app::Routing,
    matcher::{CheckCursor, Violation},
    store,
};

/// The leader looks by itself this often: a hint may be lost.
const LOOK: Duration = Duration::from_secs(1);
/// Looks begin at least so long after each other: what many agents do at once is taken in together.
const APART: Duration = Duration::from_millis(3);
/// After an error.
const PAUSE: Duration = Duration::from_millis(250);
/// Things that one slice of the checker looks at.
const SLICE: usize = 20_000;
/// Between two rounds that ask the database.
const ROUND: Duration = Duration::from_secs(10);
/// Facts that one statement folds into the figures.
const FOLDED: i64 = 20_000;
/// Violations that are told.
const TOLD: usize = 20;

pub(super) struct Lead {
    pub(super) routing: Routing,
    pub(super) lifecycle: Lifecycle,
    pub(super) tenant: TenantId,
    pub(super) led: Led,
    questions: mpsc::Receiver<Question>,
    checker: Checker,
    /// Resources by which agents and waiting work are in memory.
    pub(super) seen: Option<Arc<Resources>>,
}

#[derive(Default)]
struct Checker {
    cursor: CheckCursor,
    /// When the database is asked again.
    next_round: Option<Instant>,
    /// Violations of this round.
    found: Vec<String>,
    /// Of the round before.
    health: Health,
}

/// How a look ended.
pub(super) enum Looked {
    /// Look again then, or when woken.
    Until(Option<DateTime<Utc>>),
    /// There is more.
    Again,
    /// Somebody else leads.
    Fenced,
}

impl Lead {
    pub(super) fn new(
        routing: Routing,
        lifecycle: Lifecycle,
        tenant: TenantId,
        led: Led,
        questions: mpsc::Receiver<Question>,
    ) -> Self {
        Self {
            routing,
            lifecycle,
            tenant,
            led,
            questions,
            checker: Checker::default(),
            seen: None,
        }
    }

    /// Leads until the lease is lost.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        let lost = self.led.lost.clone();
        let stopping = self.lifecycle.stopping();
        let mut floor: Option<Floor> = None;
        let mut check_at = Instant::now() + LOOK;
        let mut began = Instant::now();
        loop {
            tokio::time::sleep_until(began + APART).await;
            began = Instant::now();
            if lost.is_cancelled() || stopping.is_cancelled() {
                return Ok(());
            }
            let wait = if self.may_decide() {
                match self.look(&mut floor).await {
                    Ok(Looked::Again) => continue,
                    Ok(Looked::Until(next)) => next,
                    Ok(Looked::Fenced) => {
                        metrics::counter!("trama_routing_fenced_total").increment(1);
                        self.step_down();
                        return Ok(());
                    }
                    Err(error) => {
                        // What was decided is not stored: memory and database differ.
                        tracing::warn!(tenant = %self.tenant, detail = error.detail(), "a look failed; loading again");
                        floor = None;
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                }
            } else {
                // Not renewed for too long: decides nothing until it is, and then from the database.
                floor = None;
                None
            };
            if let Some(floor) = &mut floor
                && Instant::now() >= check_at
            {
                check_at = Instant::now() + LOOK;
                self.check(floor).await;
            }
            let clock = self.routing.db.clock().clone();
            tokio::select! {
                () = lost.cancelled() => {}
                () = stopping.cancelled() => {}
                () = self.led.wake.notified() => {}
                () = async { match wait { Some(at) => clock.sleep_until(at).await, None => std::future::pending().await } } => {}
                Some(question) = self.questions.recv() => self.answer(question, floor.as_mut()),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn may_decide(&self) -> bool {
        let renewed = *self.led.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.elapsed() < self.routing.config.lease().mul_f64(TRUSTED_SHARE)
    }

    fn step_down(&self) {
        tracing::warn!(tenant = %self.tenant, epoch = self.led.epoch, "somebody else leads now");
        self.led.lost.cancel();
        let mut led = self.routing.leaders.led();
        if led.get(&self.tenant).is_some_and(|l| l.epoch == self.led.epoch) {
            led.remove(&self.tenant);
        }
    }

    async fn look(&mut self, floor: &mut Option<Floor>) -> Result<Looked, Error> {
        // Before the look: a wake in its midst asks for another one.
        self.led.busy.store(true, Ordering::SeqCst);
        let woken = Arc::clone(&self.led.busy);
        let started = Instant::now();
        let looked = match floor {
            Some(known) => self.tick(known).await?,
            None => match self.load().await? {
                Some(loaded) => {
                    self.seen = None;
                    let known = floor.insert(loaded);
                    self.tick(known).await?
                }
                None => Looked::Fenced,
            },
        };
        metrics::histogram!("trama_routing_tick_seconds").record(started.elapsed().as_secs_f64());
        if let Looked::Until(next) = looked {
            let at = next.map_or(i64::MAX, |at| at.timestamp_millis());
            self.led.next_look.store(at, Ordering::SeqCst);
            woken.store(false, Ordering::SeqCst);
        }
        Ok(looked)
    }

    fn answer(&mut self, question: Question, floor: Option<&mut Floor>) {
        match question {
            Question::Explain(item, reply) => {
                let seat = Seat { item, second: false };
                let now = self.routing.db.clock().now().timestamp_millis();
                let explained = floor.and_then(|floor| {
                    let waiting = floor.engine.explain_waiting(seat.key(), now)?;
                    let mut why = vec![waiting.words.clone()];
                    let only = floor.engine.waits_for(seat.key());
                    if let Some(agent) = only.and_then(|key| floor.agent_of(key)) {
                        let because = if waiting.preferring {
                            "who knows the customer"
                        } else {
                            "to whom it was given by name"
                        };
                        why.push(format!("It is held for {agent}, {because}."));
                    }
                    why.extend(waiting.obstacles.iter().map(|(obstacle, count)| {
                        let what = floor.engine.obstacle_in_words(*obstacle);
                        format!("{count} agent(s): {what}")
                    }));
                    let mut what_would_help = Vec::new();
                    if let Some(at) = waiting.next_change {
                        let seconds = (at - now).max(0) / 1_000;
                        what_would_help.push(if waiting.opens {
                            format!("In {seconds} s it may go to anybody.")
                        } else {
                            format!("In {seconds} s less is asked for.")
                        });
                    }
                    what_would_help.extend(
                        waiting
                            .obstacles
                            .iter()
                            .filter_map(|(obstacle, count)| help(*obstacle, *count)),
                    );
                    Some(Explanation { why, what_would_help })
                });
                // Whoever asked may have gone.
                let _ = reply.send(explained);
            }
            Question::Health(reply) => {
                let _ = reply.send(Some(self.checker.health.clone()));
            }
        }
    }

    /// Folds what the agents of each quarter of an hour did. Nobody waits for it: the logs of a large floor take a while.
    fn fold_times(&self) {
        let (routing, tenant) = (self.routing.clone(), self.tenant.clone());
        let stopping = self.lifecycle.stopping();
        self.lifecycle.spawn("occupancy", async move {
            if let Err(error) = routing.fold_times(&tenant, &stopping).await {
                tracing::debug!(%tenant, detail = error.detail(), "occupancy is folded next time");
            }
            Ok(())
        });
    }

    /// Looks through a slice of the matcher, and asks the database the questions whose answer must be no.
    async fn check(&mut self, floor: &mut Floor) {
        // Of the last decision: what has become possible since then is no broken promise.
        let Some(now) = floor.decided_at else { return };
        let mut found = Vec::new();
        let next = floor
            .engine
            .check_slice(self.checker.cursor, SLICE, now.timestamp_millis(), &mut found);
        for violation in &found {
            self.checker.found.push(in_words(floor, violation));
        }
        self.checker.cursor = next.unwrap_or_default();
        if next.is_some() || self.checker.next_round.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.checker.next_round = Some(Instant::now() + ROUND);
        let asked = async {
            let mut tx = self.routing.db.system_tx().await?;
            let found = store::violations(tx.conn(), &self.tenant).await?;
            while store::fold_facts(tx.conn(), &self.tenant, FOLDED).await? >= FOLDED {}
            while store::staffing::fold_volumes(tx.conn(), &self.tenant, FOLDED).await? >= FOLDED {}
            tx.commit().await?;
            Ok::<_, Error>(found)
        };
        match asked.await {
            Ok(more) => self.checker.found.extend(more),
            Err(error) => tracing::debug!(detail = error.detail(), "the checker could not ask the database"),
        }
        self.fold_times();
        let mut violations = std::mem::take(&mut self.checker.found);
        self.routing.leaders.found(&self.led, violations.len());
        if !violations.is_empty() {
            tracing::error!(tenant = %self.tenant, count = violations.len(), first = violations[0], "routing breaks its promises");
        }
        violations.truncate(TOLD);
        self.checker.health = Health {
            violations,
            checked_at: Some(now),
            waiting_because: because(floor, now.timestamp_millis()),
            kinds_served: served(floor),
        };
    }
}

/// What would help against an obstacle.
fn help(obstacle: crate::matcher::Obstacle, count: u32) -> Option<String> {
    use crate::matcher::Obstacle;
    match obstacle {
        Obstacle::Busy => Some(format!(
            "One of {count} busy agent(s) finishes or parks something."
        )),
        Obstacle::Away => Some(format!(
            "One of {count} agent(s) who could take it becomes available."
        )),
        Obstacle::Skill(..) => Some("An agent gets the skill, or the policy asks for less.".to_owned()),
        Obstacle::Language(_) => Some("An agent who speaks the language comes.".to_owned()),
        Obstacle::Reserve => Some("It becomes pressing: the reserve for calls then lets go.".to_owned()),
        Obstacle::Excluded => Some("Those who declined it are asked again after a while.".to_owned()),
        Obstacle::Channel(_) | Obstacle::Team(_) | Obstacle::Human | Obstacle::SomebodyElse => None,
    }
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

/// Most items whose reasons are counted.
const COUNTED: usize = 500;

fn because(floor: &mut Floor, now: i64) -> std::collections::HashMap<String, i64> {
    let items: Vec<_> = floor.waiting().take(COUNTED).collect();
    let mut counts = std::collections::HashMap::new();
    for item in items {
        let seat = Seat { item, second: false };
        if let Some(waiting) = floor.engine.explain_waiting(seat.key(), now) {
            let reason = waiting.obstacles.first().map_or_else(
                || "there is no agent".to_owned(),
                |(obstacle, _)| floor.engine.obstacle_in_words(*obstacle),
            );
            *counts.entry(reason).or_insert(0) += 1;
        }
    }
    counts
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
