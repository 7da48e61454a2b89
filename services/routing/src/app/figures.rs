//! What transitions add to the figures, and what the figures say.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use trama_platform::Error;
use trama_proto::{
    common::v1::ChannelKind,
    ids::{TenantId, WorkItemId},
    resources::TenantResources,
    routing::v1::{GetKpisResponse, Kpi},
};

use super::{Routing, occupancy};
use crate::{
    domain::{State, WorkItem},
    store::{self, Fact, History, IntervalKey, IntervalSums, NowRow, QueueSums, Sums, kind},
};

/// Who hangs up sooner has not waited: they are not counted as lost.
const SHORT_ABANDON: TimeDelta = TimeDelta::seconds(5);
/// Figures are kept by quarters of an hour.
pub const QUARTER: TimeDelta = TimeDelta::minutes(15);
/// Of this time figures are, when nothing else is said.
pub const DAY: TimeDelta = TimeDelta::hours(24);

/// What a transaction adds: the difference between its items before and after.
pub fn facts(
    before: &HashMap<WorkItemId, WorkItem>,
    items: &BTreeMap<WorkItemId, WorkItem>,
    now: DateTime<Utc>,
) -> Vec<Fact> {
    // Number 0 is a withdrawal without work.
    let work = items.values().filter(|item| item.number > 0);
    work.filter_map(|item| fact(before.get(&item.id), item, now))
        .collect()
}

fn fact(before: Option<&WorkItem>, item: &WorkItem, now: DateTime<Utc>) -> Option<Fact> {
    let was_open = before.is_none_or(WorkItem::is_open);
    let was_answered = before.is_some_and(|b| b.answered.is_some());
    let mut adds = Sums {
        arrived: i64::from(before.is_none()),
        transferred: i64::from(item.transfers - before.map_or(0, |b| b.transfers)),
        ..Sums::default()
    };
    let answered = item.answered.filter(|_| !was_answered);
    if let Some(answered) = answered {
        let waited = (answered.at - item.waiting_since).num_milliseconds().max(0);
        let promised = (item.route.due_at - item.waiting_since).num_milliseconds().max(1);
        adds.answered = 1;
        adds.answered_in_target = i64::from(answered.in_target);
        adds.wait_ms = waited;
        adds.normalised_micros = waited.saturating_mul(1_000_000) / promised;
    }
    let by = match &item.state {
        State::Assigned { hand, .. } | State::Wrapping { hand, .. } => Some(&hand.agent),
        State::Completed {
            agent,
            assigned_at,
            at,
        } => {
            if let (true, Some(_), Some(since)) = (was_open, agent, assigned_at) {
                adds.completed = 1;
                adds.handle_ms = (*at - *since).num_milliseconds().max(0);
            }
            agent.as_ref()
        }
        State::Abandoned { at } => {
            adds.abandoned = i64::from(was_open && *at - item.waiting_since >= SHORT_ABANDON);
            None
        }
        State::Pending | State::Offered(_) | State::Cancelled { .. } => None,
    };
    let first = item.answered.filter(|_| adds.answered + adds.completed > 0);
    (adds != Sums::default()).then(|| Fact {
        item: item.id,
        at: now,
        queue: item.route.queue.clone(),
        channel_kind: first.map_or(item.channel, |a| a.channel) as i32,
        entitlement: item.route.entitlement.clone(),
        answered_by: by.filter(|_| answered.is_some()).cloned(),
        adds,
    })
}

/// Figures of some cells, and what they hold now.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    sums: Sums,
    waiting: i64,
    overdue: i64,
    oldest: Option<DateTime<Utc>>,
    /// The promise of these cells, while it is one.
    goals: Vec<f64>,
}

impl Tally {
    fn add(&mut self, sums: Sums) {
        self.sums += sums;
    }

    fn now(&mut self, row: &NowRow) {
        self.waiting += row.pending + row.offered;
        self.overdue += row.overdue;
        self.oldest = self.oldest.into_iter().chain(row.oldest).min();
    }

    fn promise(&mut self, goal: f64) {
        if !self.goals.contains(&goal) {
            self.goals.push(goal);
        }
    }

    /// As told.
    pub fn kpi(&self, channel: ChannelKind, now: DateTime<Utc>) -> Kpi {
        let sums = &self.sums;
        let share = |part: i64, whole: i64| {
            if whole == 0 {
                0.0
            } else {
                float(part) / float(whole)
            }
        };
        let asked = sums.answered + self.overdue;
        Kpi {
            channel_kind: channel.into(),
            answered: sums.answered,
            answered_in_target: sums.answered_in_target,
            waiting: self.waiting,
            oldest_waiting_seconds: self.oldest.map_or(0, |at| (now - at).num_seconds().max(0)),
            asa_seconds: share(sums.wait_ms, sums.answered) / 1e3,
            // Nothing was asked of us yet: nothing was missed.
            service_level: if asked == 0 {
                1.0
            } else {
                share(sums.answered_in_target, asked)
            },
            aht_seconds: share(sums.handle_ms, sums.completed) / 1e3,
            reoffered: sums.reoffered,
            queue: String::new(),
            entitlement: String::new(),
            arrived: sums.arrived,
            abandoned: sums.abandoned,
            abandonment: share(sums.abandoned, sums.answered + sums.abandoned),
            transfer_rate: share(sums.transferred, sums.answered),
            goal: if let [goal] = self.goals.as_slice() {
                *goal
            } else {
                0.0
            },
            normalised_wait: share(sums.normalised_micros, sums.answered) / 1e6,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and milliseconds fit a double")]
pub(super) fn float(number: i64) -> f64 {
    number as f64
}

/// All channels together first, then one per kind, of what `of` lets through.
pub fn kpis(
    rows: &[QueueSums],
    open: &[NowRow],
    resources: Option<&TenantResources>,
    of: impl Fn(&str) -> bool,
    now: DateTime<Utc>,
) -> Vec<Kpi> {
    let mut all = Tally::default();
    let mut kinds: BTreeMap<i32, Tally> = BTreeMap::new();
    let goal = |queue: &str, number: i32| {
        resources
            .and_then(|r| r.queues.get(queue))
            .map(|q| q.goal(kind(number)))
    };
    for row in rows.iter().filter(|r| of(&r.queue)) {
        for tally in [&mut all, kinds.entry(row.channel_kind).or_default()] {
            tally.add(row.sums);
            if let Some(goal) = goal(&row.queue, row.channel_kind) {
                tally.promise(goal);
            }
        }
    }
    for row in open.iter().filter(|r| of(&r.queue) && r.pending + r.offered > 0) {
        for tally in [&mut all, kinds.entry(row.channel_kind).or_default()] {
            tally.now(row);
            if let Some(goal) = goal(&row.queue, row.channel_kind) {
                tally.promise(goal);
            }
        }
    }
    let first = all.kpi(ChannelKind::Unspecified, now);
    let each = kinds.iter().map(|(number, tally)| tally.kpi(kind(*number), now));
    std::iter::once(first).chain(each).collect()
}

/// The figures of an interval.
pub fn interval_kpi(row: &IntervalSums, resources: Option<&TenantResources>) -> Kpi {
    let mut tally = Tally::default();
    tally.add(row.sums);
    let channel = kind(row.channel_kind);
    if let Some(queue) = resources.and_then(|r| r.queues.get(&row.queue)) {
        tally.promise(queue.goal(channel));
    }
    Kpi {
        queue: row.queue.clone(),
        entitlement: row.entitlement.clone(),
        // Nothing waits in the past.
        ..tally.kpi(channel, row.start)
    }
}

/// The quarter of an hour of a moment.
pub fn quarter(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(QUARTER).unwrap_or(at)
}

impl Routing {
    /// Figures from a moment on, the last 24 hours by default.
    pub async fn kpis(
        &self,
        tenant: &TenantId,
        since: Option<DateTime<Utc>>,
    ) -> Result<GetKpisResponse, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let now = tx.now();
        let since = quarter(since.unwrap_or(now - DAY));
        let rows = store::sums(tx.conn(), tenant, since, now + QUARTER).await?;
        let open = store::open_now(tx.conn(), tenant, &[], now).await?;
        let occupancy = occupancy::since(&mut tx, tenant, since).await?;
        let resources = self.resources.snapshot();
        Ok(GetKpisResponse {
            kpis: kpis(&rows, &open, resources.tenant(tenant), |_| true, now),
            occupancy,
        })
    }

    /// Which part of the history: the last 24 hours when nothing is said, from the beginning of an interval on.
    pub fn stretch(
        &self,
        minutes: i32,
        since: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
        queue: &str,
    ) -> History {
        let now = self.db.clock().now();
        let since = since.unwrap_or(now - DAY);
        let from = since
            .duration_trunc(TimeDelta::minutes(i64::from(minutes)))
            .unwrap_or(since);
        History {
            from,
            until: until.unwrap_or(now + QUARTER),
            minutes,
            queue: queue.to_owned(),
        }
    }

    /// The history by interval, after `after`.
    pub async fn history(
        &self,
        tenant: &TenantId,
        what: History,
        after: Option<&IntervalKey>,
        limit: i64,
    ) -> Result<Vec<IntervalSums>, Error> {
        let mut tx = self.db.tx(tenant).await?;
        store::history(tx.conn(), tenant, &what, after, limit).await
    }
}
