//! What happens instead of waiting: asked before work begins to wait and while it waits.

use chrono::{DateTime, Utc};
use trama_proto::resources::{Asked, Overflow, OverflowAction, QueueSpec, TenantResources, condition::Fact};

use super::{Facts, route::Applied};

/// A queue right now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueFigures {
    /// How many wait.
    pub length: u32,
    /// How long the first has waited.
    pub oldest_seconds: i64,
    /// How long work that comes now will probably wait; `None` while too little was answered.
    pub predicted_wait_seconds: Option<i64>,
    /// Agents who may take its work and are available.
    pub agents_available: u32,
}

/// When overflow is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the work begins to wait.
    BeforeWaiting,
    /// While it waits.
    WhileWaiting,
}

/// What happens instead of waiting for an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Instead {
    /// We call back; the place is kept.
    Callback,
    /// The customer leaves a message.
    Voicemail,
    /// It moves to the customer's preferred written channel.
    Defer,
    /// The assistant takes it.
    Assistant,
    /// The customer is told that nobody answers now.
    Close,
}

/// Where overflow leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overflowed {
    /// The queue in which it waits, or whose overflow decided.
    pub queue: String,
    /// What happens instead of waiting there; `None`: it waits.
    pub instead: Option<Instead>,
    /// MessageTemplate of what the customer is told, if anything.
    pub template: Option<String>,
    /// Conditions that could not be judged.
    pub failed_conditions: u32,
    /// In words; empty when nothing overflows.
    pub explanation: String,
}

/// Follows the overflow of a queue. Queues that overflow into each other: it waits in the first.
pub fn overflow(
    facts: &Facts,
    queue: &str,
    resources: &TenantResources,
    figures: impl Fn(&str) -> QueueFigures,
    stage: Stage,
    now: DateTime<Utc>,
) -> Overflowed {
    let applied = Applied::to(facts, resources, now);
    let mut passed = vec![queue.to_owned()];
    let mut words = Vec::new();
    let mut failed_conditions = 0;
    let (instead, template) = loop {
        let here = passed.last().map_or(queue, String::as_str).to_owned();
        let Some(spec) = resources.queues.get(&here) else {
            break (None, None);
        };
        let judge = Judge {
            facts,
            applied: &applied,
            spec,
            figures: figures(&here),
            now,
        };
        let Some(found) = judge.first(stage, &here, &mut words, &mut failed_conditions) else {
            break (None, None);
        };
        words.push(format!("queue `{here}`: `{}` holds", found.when.source()));
        let instead = match (found.action, &found.queue) {
            (OverflowAction::Queue, Some(next)) if passed.contains(next) => {
                words.push(format!("queues overflow into each other: stays in `{queue}`"));
                passed.truncate(1);
                break (None, None);
            }
            (OverflowAction::Queue, Some(next)) => {
                words.push(format!("to queue `{next}`"));
                passed.push(next.clone());
                continue;
            }
            // The check of resources excludes a queue that is not said.
            (OverflowAction::Queue, None) => break (None, None),
            (OverflowAction::Callback, _) => Instead::Callback,
            (OverflowAction::Voicemail, _) => Instead::Voicemail,
            (OverflowAction::Defer, _) => Instead::Defer,
            (OverflowAction::Assistant, _) => Instead::Assistant,
            (OverflowAction::Close, _) => Instead::Close,
        };
        words.push(instead.words().to_owned());
        break (Some(instead), found.template.clone());
    };
    Overflowed {
        queue: passed.pop().unwrap_or_else(|| queue.to_owned()),
        instead,
        template,
        failed_conditions,
        explanation: words.join("; "),
    }
}

impl Instead {
    fn words(&self) -> &'static str {
        match self {
            Instead::Callback => "we call back",
            Instead::Voicemail => "the customer leaves a message",
            Instead::Defer => "moves to a written channel",
            Instead::Assistant => "the assistant takes it",
            Instead::Close => "closed with a message",
        }
    }
}

struct Judge<'a> {
    facts: &'a Facts,
    applied: &'a Applied<'a>,
    spec: &'a QueueSpec,
    figures: QueueFigures,
    now: DateTime<Utc>,
}

impl<'a> Judge<'a> {
    /// The first overflow whose condition holds; one that cannot be judged does not.
    fn first(
        &self,
        stage: Stage,
        queue: &str,
        words: &mut Vec<String>,
        failed: &mut u32,
    ) -> Option<&'a Overflow> {
        let asked = |overflow: &&Overflow| match (overflow.asked, stage) {
            (Asked::Always, _)
            | (Asked::BeforeWaiting, Stage::BeforeWaiting)
            | (Asked::WhileWaiting, Stage::WhileWaiting) => true,
            (Asked::BeforeWaiting, Stage::WhileWaiting) | (Asked::WhileWaiting, Stage::BeforeWaiting) => {
                false
            }
        };
        self.spec.overflow.iter().filter(asked).find(|overflow| {
            overflow
                .when
                .holds(|word| self.fact(word))
                .unwrap_or_else(|reason| {
                    let source = overflow.when.source();
                    words.push(format!(
                        "queue `{queue}`: `{source}` could not be judged: {reason}"
                    ));
                    *failed += 1;
                    false
                })
        })
    }

    fn fact(&self, word: &str) -> Option<Fact> {
        let whole = |number: u32| Some(Fact::Whole(i64::from(number)));
        match word {
            "length" => whole(self.figures.length),
            "oldestSeconds" => Some(Fact::Whole(self.figures.oldest_seconds)),
            "predictedWaitSeconds" => self.figures.predicted_wait_seconds.map(Fact::Whole),
            "agentsAvailable" => whole(self.figures.agents_available),
            "full" => self
                .spec
                .max_length
                .map(|most| Fact::Truth(self.figures.length >= most)),
            _ => {
                let moment = self.applied.moment(self.spec.hours.as_deref(), self.now);
                self.facts.fact(word, moment)
            }
        }
    }
}

#[cfg(test)]
mod tests;
