//! Looking at customers again when more is known: so that it does not matter what arrived first.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, Duration, NaiveTime, TimeDelta, Utc};
use trama_platform::{
    Error, Tx,
    timers::{Timer, TimerSpec},
};
use trama_proto::{
    identity_resolution::v1::{Resolution, ReviewKind, ReviewStatus},
    ids::{CustomerId, TenantId},
};
use uuid::Uuid;

use super::{
    App,
    observing::{arm_rest, gathered},
    similarity::{self, Neighbourhood},
};
use crate::{
    domain::{
        arrivals,
        customer::Customer,
        merge::{Likeness, MATCHING},
        resolution::{Doubt, Question as Doubtful},
        rules::Rules,
    },
    matching::{Facts, Policy, nearest::Reach},
    store::{self, Question, reviews::Wanted},
};

/// Putting everybody of a tenant together anew, slice by slice: the timer's kind.
pub const ROUND: &str = "round";
/// Customers that are looked at in one transaction.
const AT_ONCE: i64 = 64;
/// Customers of one slice of a round.
const SLICE: i64 = 64;
/// Between the slices of a round: who serves customers meanwhile goes first.
const PAUSE: TimeDelta = TimeDelta::seconds(1);
/// When a round begins, UTC.
const NIGHT: NaiveTime = NaiveTime::from_hms_opt(2, 0, 0).expect("there is such a time");
/// Doubtful neighbours of one customer about whom a person is asked.
const MOST_QUESTIONS: usize = 3;
/// Open questions about the same customers that are looked at again in one transaction.
const MOST_ANSWERS: i64 = 64;

/// Customers that are looked at again, with who is near.
struct Look<'a> {
    tenant: &'a TenantId,
    rules: &'a Rules,
    policy: &'a Policy,
    again: Vec<CustomerId>,
    near: Neighbourhood,
}

impl App {
    /// Looks again at what waits.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn reevaluate(&self, tx: &mut Tx, due: &[Timer]) -> Result<(), Error> {
        let tenants: BTreeSet<&TenantId> = due.iter().map(|t| &t.tenant).collect();
        for tenant in tenants {
            self.reevaluate_tenant(tx, tenant).await?;
        }
        Ok(())
    }

    async fn reevaluate_tenant(&self, tx: &mut Tx, tenant: &TenantId) -> Result<(), Error> {
        let (rules, now) = (self.rules(tenant), tx.now());
        let Some(policy) = rules.similarity() else {
            return Ok(());
        };
        let shared_before = similarity::homes_are_shared(tx.conn(), tenant, policy).await?;
        store::similar::add_up(tx.conn(), tenant).await?;
        let shared = similarity::homes_are_shared(tx.conn(), tenant, policy).await?;
        if shared_before && !shared {
            // Whoever was held back as perhaps another of the same home is looked at now, not tonight.
            arm_round(tx, tenant, "homes", now, CustomerId::new(Uuid::nil()));
        }
        let settled = self.let_settled_go(tx, tenant, policy).await?;
        let queued = store::similar::take_queued(tx.conn(), tenant, AT_ONCE).await?;
        if i64::try_from(queued.len()).is_ok_and(|n| n == AT_ONCE) {
            arm_rest(tx, tenant, now);
        }
        if queued.is_empty() && !settled {
            return Ok(());
        }
        // Only after a day on which something was said is there anything to find at night.
        let night = next_night(now);
        arm_round(
            tx,
            tenant,
            &night.date_naive().to_string(),
            night,
            CustomerId::new(Uuid::nil()),
        );
        if queued.is_empty() {
            return Ok(());
        }
        self.look(tx, tenant, (&rules, policy), &queued, false).await
    }

    /// Takes those out of the queue who were settled when they came and met nobody at the same time; says whether there were any.
    async fn let_settled_go(&self, tx: &mut Tx, tenant: &TenantId, policy: &Policy) -> Result<bool, Error> {
        let arrivals = store::similar::arrivals(tx.conn(), tenant).await?;
        let met = arrivals::met(&arrivals, policy.limits().profiles_per_key);
        let before = gathered(tx.now());
        let due: Vec<_> = arrivals
            .iter()
            .zip(met)
            .filter(|(arrival, _)| arrival.queued_at < before)
            .map(|(arrival, met)| (arrival.customer, met))
            .collect();
        store::similar::let_go(tx.conn(), tenant, &due).await?;
        Ok(!due.is_empty())
    }

    /// Works one slice of a round in, and arms the next.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn round(&self, tx: &mut Tx, timer: &Timer) -> Result<(), Error> {
        let (tenant, now) = (&timer.tenant, tx.now());
        let rules = self.rules(tenant);
        let Some(policy) = rules.similarity() else {
            return Ok(());
        };
        let after: Uuid = serde_json::from_value(timer.payload.clone())
            .map_err(|_| Error::internal("a round's timer does not say where it stands"))?;
        let slice = store::similar::slice(tx.conn(), tenant, CustomerId::new(after), SLICE).await?;
        if let Some(last) = slice
            .last()
            .filter(|_| i64::try_from(slice.len()).is_ok_and(|n| n == SLICE))
        {
            let name = timer.key.split(' ').next().unwrap_or_default();
            arm_round(tx, tenant, name, now + PAUSE, *last);
        }
        self.look(tx, tenant, (&rules, policy), &slice, true).await
    }

    /// Looks at some customers again, `anew` or at what is new of them only.
    async fn look(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        (rules, policy): (&Rules, &Policy),
        customers: &[CustomerId],
        anew: bool,
    ) -> Result<(), Error> {
        let now = tx.now();
        let question = Question {
            customers: customers.iter().map(|id| (tenant, *id)).collect(),
            ..Question::default()
        };
        let mut worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        let Some(world) = worlds.remove(tenant) else {
            return Ok(());
        };
        let own: Vec<Customer> = world.into_customers().collect();
        let again: Vec<CustomerId> = own.iter().map(|c| c.id).collect();
        let reach = if anew { Reach::Far } else { Reach::Near };
        let Some(near) = surroundings(tx, tenant, policy, &own, reach).await? else {
            return Ok(());
        };
        let mut look = Look {
            tenant,
            rules,
            policy,
            again,
            near,
        };
        let everybody = look.near.ids();
        for (one, other) in store::merges::apart(tx.conn(), tenant, &everybody).await? {
            look.near.ban(one, other);
        }
        let groups = look.near.settle(policy, &look.again, anew);
        let due = now + Duration::hours(i64::from(rules.policy().similarity.review_hours));
        let mut asked: Vec<(&TenantId, Doubtful, DateTime<Utc>)> =
            doubts(&look).into_iter().map(|q| (tenant, q, due)).collect();
        if let Some(groups) = groups {
            let open = self.regroup(tx, tenant, rules, &groups).await?;
            asked.extend(open.into_iter().map(|q| (tenant, q, due)));
        }
        store::reviews::ask(tx.conn(), &asked, now).await?;
        self.answer(tx, &look, now).await
    }

    /// Answers open questions about whom later evidence tells apart.
    async fn answer(&self, tx: &mut Tx, look: &Look<'_>, now: DateTime<Utc>) -> Result<(), Error> {
        let wanted = Wanted {
            status: ReviewStatus::Open,
            about: Some(&look.again),
            after: None,
            most: MOST_ANSWERS,
        };
        for mut review in store::reviews::list(tx.conn(), look.tenant, &wanted).await? {
            // Of a bridge the handles spoke, not what both are called.
            if review.kind == ReviewKind::Bridge || review.one == review.other {
                continue;
            }
            let one = self.read(tx, look.tenant, review.one).await?;
            let other = self.read(tx, look.tenant, review.other).await?;
            let alike = self.alike(tx, look.tenant, &one, &other, look.rules).await?;
            if alike.is_none_or(|(_, resolution)| resolution != Resolution::Different) {
                continue;
            }
            review.status = ReviewStatus::Different;
            let words = "later evidence tells them apart";
            review.decided = Some((MATCHING.to_owned(), words.to_owned(), now));
            store::reviews::save(tx.conn(), look.tenant, &review).await?;
            metrics::counter!("trama_identity_resolution_reviews_decided_total", "decision" => "evidence")
                .increment(1);
        }
        Ok(())
    }
}

/// Who is near some customers, and near to those who are like them.
async fn surroundings(
    tx: &mut Tx,
    tenant: &TenantId,
    policy: &Policy,
    own: &[Customer],
    reach: Reach,
) -> Result<Option<Neighbourhood>, Error> {
    let again: Vec<CustomerId> = own.iter().map(|c| c.id).collect();
    let besides: Vec<_> = own.iter().map(|c| (tenant, c)).collect();
    let facts: Vec<Facts> = own.iter().map(|c| c.facts(policy)).collect();
    let wanted = [(tenant, policy, facts.iter().collect())];
    let mut near = similarity::neighbourhoods(tx.conn(), &wanted, &besides, reach).await?;
    let alike = near.get(tenant).map(|near| near.alike(policy, &again));
    if let Some(alike) = alike.filter(|alike| !alike.is_empty()) {
        let wanted = [(tenant, policy, alike.iter().collect())];
        similarity::widen(tx.conn(), &mut near, &wanted, reach).await?;
    }
    Ok(near.remove(tenant))
}

fn next_night(now: DateTime<Utc>) -> DateTime<Utc> {
    let tonight = now.date_naive().and_time(NIGHT).and_utc();
    if tonight > now {
        tonight
    } else {
        tonight + Days::new(1)
    }
}

/// A round has its own key for each slice: whoever arms the next one does not wait for the slice that is at work.
fn arm_round(tx: &mut Tx, tenant: &TenantId, name: &str, due_at: DateTime<Utc>, after: CustomerId) {
    tx.arm(TimerSpec {
        tenant: tenant.clone(),
        kind: ROUND,
        key: format!("{name} {after}"),
        due_at,
        payload: serde_json::json!(after.uuid()),
    });
}

/// Pairs about whom a person shall say whether they are one.
fn doubts(look: &Look<'_>) -> Vec<Doubtful> {
    let (near, policy) = (&look.near, look.policy);
    let thresholds = policy.thresholds();
    let mut found: BTreeMap<(CustomerId, CustomerId), Doubtful> = BTreeMap::new();
    for one in &look.again {
        let mut alike: Vec<_> = near
            .of(policy, *one)
            .into_iter()
            .filter_map(|other| Some((other, near.score(policy, *one, other)?)))
            .filter(|(other, score)| {
                score.is_worth_a_look(thresholds.review)
                    && !score.is_same(policy)
                    && !near.is_banned(*one, *other)
            })
            .collect();
        alike.sort_by(|(_, a), (_, b)| b.bits.total_cmp(&a.bits));
        for (other, score) in alike.into_iter().take(MOST_QUESTIONS) {
            let likeness = Likeness::of(policy, &score);
            let (doubt, words) = if score.bits < thresholds.same && !score.vetoes.any() {
                (Doubt::Likely, "alike, but not surely the same".to_owned())
            } else {
                (Doubt::Contradiction, likeness.vetoes.join(", "))
            };
            let pair = ((*one).min(other), (*one).max(other));
            found.entry(pair).or_insert(Doubtful {
                one: *one,
                other,
                doubt,
                words,
                likeness: Some(likeness),
            });
        }
    }
    found.into_values().collect()
}
