//! One tenant's leader: waits for something to look at, looks, answers questions.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::{sync::mpsc, time::Instant};
use trama_platform::{Error, Lifecycle};
use trama_proto::{ids::TenantId, resources::Resources};

use super::{
    Explanation, Led, Question, TRUSTED_SHARE,
    checker::Checker,
    seat::{Floor, Seat},
};
use crate::app::Routing;

/// The leader looks by itself this often: a hint may be lost.
const LOOK: Duration = Duration::from_secs(1);
/// Looks begin at least so long after each other: what many agents do at once is taken in together.
const APART: Duration = Duration::from_millis(3);
/// After an error.
const PAUSE: Duration = Duration::from_millis(250);
pub(super) struct Lead {
    pub(super) routing: Routing,
    pub(super) lifecycle: Lifecycle,
    pub(super) tenant: TenantId,
    pub(super) led: Led,
    questions: mpsc::Receiver<Question>,
    pub(super) checker: Checker,
    /// Resources by which agents and waiting work are in memory.
    pub(super) seen: Option<Arc<Resources>>,
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
            checker: Checker::new(),
            seen: None,
        }
    }

    /// Leads until the lease is lost.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        let lost = self.led.lost.clone();
        let stopping = self.lifecycle.stopping();
        let mut floor: Option<Floor> = None;
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
            if let Some(floor) = &floor {
                self.check(floor);
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
                let _ = reply.send(Some(self.checker.health()));
            }
        }
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
