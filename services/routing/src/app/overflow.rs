//! Before work begins to wait and while it waits: does something else happen?

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use trama_platform::{Error, Tx};
use trama_proto::{
    case::v1::ContextSnapshot,
    common::v1::ChannelKind,
    ids::TenantId,
    resources::{Asked, TenantResources},
    routing::v1::OverflowAction,
};

use super::{
    Change, Overflowing, Routing,
    figures::{QUARTER, quarter},
};
use crate::{
    domain::{Facts, Instead, QueueFigures, Stage, WorkItem, hours, overflow, route_to},
    store,
};

/// Fewer answers say nothing about the next.
const ENOUGH_ANSWERS: i64 = 10;

/// How fast a queue was answered of late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    answered: i64,
    within: TimeDelta,
}

impl Pace {
    /// Since when answers count, so that there is always at least a quarter of an hour of them.
    pub fn since(now: DateTime<Utc>) -> DateTime<Utc> {
        quarter(now) - QUARTER
    }

    /// So many answers since [`Pace::since`].
    pub fn of(answered: i64, now: DateTime<Utc>) -> Self {
        Self {
            answered,
            within: now - Self::since(now),
        }
    }

    /// How long whoever comes behind `waiting` others will wait; `None` while too little was answered.
    pub fn wait(&self, waiting: i64) -> Option<TimeDelta> {
        self.wait_at(waiting, 0.0)
    }

    /// The same as a range: answers come by chance, and so many of them may as well have been two deviations more or
    /// fewer.
    pub fn range(&self, waiting: i64) -> Option<(TimeDelta, TimeDelta)> {
        Some((self.wait_at(waiting, 2.0)?, self.wait_at(waiting, -2.0)?))
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "counts and milliseconds fit a double, and the result is far below a century"
    )]
    fn wait_at(&self, waiting: i64, deviations: f64) -> Option<TimeDelta> {
        if self.answered < ENOUGH_ANSWERS {
            return None;
        }
        let answered = self.answered as f64;
        let rate = (answered + deviations * answered.sqrt()) / self.within.num_milliseconds().max(1) as f64;
        let millis = ((waiting + 1) as f64 / rate).min(1e12);
        Some(TimeDelta::milliseconds(millis as i64))
    }
}

/// Waiting work, with what the policy may look at.
pub(crate) struct Looked {
    /// The item.
    pub item: WorkItem,
    /// Its context.
    pub snapshot: Option<ContextSnapshot>,
}

/// Whether a queue's overflow is asked at this stage at all.
pub(crate) fn asks(resources: Option<&TenantResources>, queue: &str, stage: Stage) -> bool {
    let spec = resources.and_then(|r| r.queues.get(queue));
    spec.is_some_and(|q| {
        q.overflow.iter().any(|o| match o.asked {
            Asked::Always => true,
            Asked::BeforeWaiting => stage == Stage::BeforeWaiting,
            Asked::WhileWaiting => stage == Stage::WhileWaiting,
        })
    })
}

const fn action(instead: Instead) -> OverflowAction {
    match instead {
        Instead::Callback => OverflowAction::Callback,
        Instead::Voicemail => OverflowAction::Voicemail,
        Instead::Defer => OverflowAction::Defer,
        Instead::Assistant => OverflowAction::Assistant,
        Instead::Close => OverflowAction::Closed,
    }
}

/// The written channel that the customer prefers for this need.
fn written(snapshot: Option<&ContextSnapshot>, intent: &str) -> Option<ChannelKind> {
    let customer = snapshot?.customer.as_ref()?;
    let wanted = customer
        .preferences
        .iter()
        .filter(|p| p.need == "*" || (!intent.is_empty() && p.need == intent));
    wanted.map(|p| p.channel_kind()).find(|kind| match kind {
        ChannelKind::Email | ChannelKind::Whatsapp | ChannelKind::Sms => true,
        ChannelKind::Voice
        | ChannelKind::WebChat
        | ChannelKind::Api
        | ChannelKind::Internal
        | ChannelKind::Unspecified => false,
    })
}

impl Routing {
    /// Asks the overflow of waiting items, in their order; what it changes is put into `change`.
    pub(crate) async fn overflow(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        waiting: Vec<Looked>,
        stage: Stage,
        change: &mut Change,
    ) -> Result<(), Error> {
        let all = self.resources.snapshot();
        let Some(resources) = all.tenant(tenant).filter(|_| !waiting.is_empty()) else {
            return Ok(());
        };
        let now = tx.now();
        let mut figures = queue_figures(tx, tenant, resources).await?;
        for Looked { mut item, snapshot } in waiting {
            let facts = Facts::of(item.channel, snapshot.as_ref(), item.waiting_since);
            let known = |queue: &str| figures.get(queue).copied().unwrap_or_default();
            let found = overflow(&facts, &item.route.queue, resources, known, stage, now);
            if found.failed_conditions > 0 {
                metrics::counter!("trama_routing_conditions_failed_total")
                    .increment(u64::from(found.failed_conditions));
            }
            let from = item.route.queue.clone();
            let moves = found.queue != from
                && resources.queues.contains_key(&found.queue)
                && !item.manner.left.contains(&found.queue);
            if moves {
                item.flow_to(route_to(&found.queue, &facts, Some(resources), now), now);
            }
            let wish = written(snapshot.as_ref(), &item.route.intent);
            let told = found.instead.filter(|instead| item.do_instead(*instead, wish));
            if told == Some(Instead::Defer) {
                // The targets are those of the channel now.
                let facts = Facts::of(item.channel, snapshot.as_ref(), item.waiting_since);
                item.route = route_to(&item.route.queue, &facts, Some(resources), now);
            }
            let place = figures.entry(item.route.queue.clone()).or_default();
            let predicted = place.predicted_wait_seconds.map(TimeDelta::seconds);
            match stage {
                // Whoever comes next finds this one waiting.
                Stage::BeforeWaiting => place.length += 1,
                Stage::WhileWaiting if moves => {
                    place.length += 1;
                    if let Some(left) = figures.get_mut(&from) {
                        left.length = left.length.saturating_sub(1);
                    }
                }
                Stage::WhileWaiting => {}
            }
            if !moves && told.is_none() {
                continue;
            }
            let opens_at = || {
                let hours = resources.queues.get(&item.route.queue)?.hours.as_deref()?;
                hours::next_opening(resources.business_hours.get(hours)?, now)
            };
            let expected_at = match told {
                Some(Instead::Close | Instead::Voicemail) => opens_at(),
                Some(Instead::Callback | Instead::Defer) | None => predicted.map(|wait| now + wait),
                Some(Instead::Assistant) => None,
            };
            let said = Overflowing {
                action: told.map_or(OverflowAction::Queue, action),
                template: found.template.as_deref().filter(|_| told.is_some()),
                expected_at,
                reason: &found.explanation,
            };
            change.overflowed(&item, said);
            change.put(item);
        }
        Ok(())
    }
}

/// The queues whose overflow may be asked, as the database knows them.
async fn queue_figures(
    tx: &mut Tx,
    tenant: &TenantId,
    resources: &TenantResources,
) -> Result<HashMap<String, QueueFigures>, Error> {
    let now = tx.now();
    let asked = || resources.queues.iter().filter(|(_, q)| !q.overflow.is_empty());
    let names: Vec<String> = asked().map(|(name, _)| name.clone()).collect();
    let mut figures: HashMap<String, QueueFigures> = HashMap::new();
    let small = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    for row in store::open_now(tx.conn(), tenant, &names, now).await? {
        let queue = figures.entry(row.queue).or_default();
        queue.length = queue.length.saturating_add(small(row.pending));
        let oldest = row.oldest.map_or(0, |at| (now - at).num_seconds().max(0));
        queue.oldest_seconds = queue.oldest_seconds.max(oldest);
    }
    let mut answered: HashMap<String, i64> = HashMap::new();
    for row in store::sums(tx.conn(), tenant, Pace::since(now), now + QUARTER).await? {
        *answered.entry(row.queue).or_default() += row.sums.answered;
    }
    for (name, spec) in asked() {
        let queue = figures.entry(name.clone()).or_default();
        let pace = Pace::of(answered.get(name).copied().unwrap_or_default(), now);
        queue.predicted_wait_seconds = pace.wait(i64::from(queue.length)).map(|wait| wait.num_seconds());
        if spec.overflow.iter().any(|o| o.when.uses("agentsAvailable")) {
            let skills: Vec<(String, i32)> = spec
                .skills
                .0
                .iter()
                .map(|(skill, level)| (skill.clone(), i32::from(*level)))
                .collect();
            let available = store::count_available(tx.conn(), tenant, &skills, &spec.teams).await?;
            queue.agents_available = small(available);
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_predicted_from_at_least_ten_answers() {
        let now = DateTime::from_timestamp(1_780_000_200, 0).unwrap();
        let within = (now - Pace::since(now)).num_seconds();
        assert!((900..1_800).contains(&within));
        assert_eq!(Pace::of(9, now).wait(0), None);
        let pace = Pace::of(10, now);
        assert_eq!(pace.wait(4).unwrap().num_seconds(), within / 2);
        let (low, high) = pace.range(4).unwrap();
        assert!(low < pace.wait(4).unwrap() && pace.wait(4).unwrap() < high);
    }
}
