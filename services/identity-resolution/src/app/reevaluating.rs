//! Looking at customers again when more is known: so that it does not matter what arrived first.

use std::collections::{BTreeMap, BTreeSet};

use trama_platform::{Error, Tx, timers::Timer};
use trama_proto::ids::{CustomerId, MergeId, TenantId};

use super::{
    App,
    observing::{arm, merged_event},
    similarity::{self, facts_of, values_of_both},
};
use crate::{
    domain::{
        customer::Customer,
        merge::{MATCHING, MergeRecord, Reason, remains},
        resolution::{Doubt, Question as Doubtful, World},
        rules::Rules,
    },
    matching::{Facts, Policy},
    store::{self, Question, similar::News},
};

/// Customers that are looked at in one transaction.
const AT_ONCE: i64 = 128;
/// Doubtful neighbours of one customer about whom a person is asked.
const MOST_QUESTIONS: usize = 3;

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
        store::similar::add_up(tx.conn(), tenant).await?;
        let queued = store::similar::take_queued(tx.conn(), tenant, AT_ONCE).await?;
        if i64::try_from(queued.len()).is_ok_and(|n| n == AT_ONCE) {
            arm(tx, tenant, now);
        }
        let Some(policy) = rules.similarity() else {
            return Ok(());
        };
        let question = Question {
            customers: queued.iter().map(|id| (tenant, *id)).collect(),
            ..Question::default()
        };
        let mut worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        let Some(world) = worlds.remove(tenant) else {
            return Ok(());
        };
        let own: Vec<Customer> = world.into_customers().collect();
        let facts: Vec<Facts> = own.iter().map(|c| facts_of(c, policy)).collect();
        let wanted = [(tenant, policy, facts.iter().collect())];
        let besides: Vec<_> = own.iter().map(|c| (tenant, c)).collect();
        let mut near = similarity::neighbourhoods(tx.conn(), &wanted, &besides).await?;
        let Some(mut near) = near.remove(tenant) else {
            return Ok(());
        };
        let everybody = near.ids();
        for (one, other) in store::merges::apart(tx.conn(), tenant, &everybody).await? {
            near.ban(one, other);
        }
        let again: Vec<CustomerId> = own.iter().map(|c| c.id).collect();
        let same = near.settle(policy, &again);
        let questions = doubts(&near, policy, &again);
        let before = if same.is_empty() {
            std::collections::HashMap::new()
        } else {
            similarity::neighbourhoods(tx.conn(), &wanted, &besides).await?
        };
        let mut pairs = Vec::new();
        for (one, other) in same {
            let score = before.get(tenant).and_then(|b| b.score(policy, one, other));
            pairs.push((one, other, score.map(|s| similarity::likeness(policy, &s))));
        }
        let due = now + chrono::Duration::hours(i64::from(rules.policy().similarity.review_hours));
        let mut asked: Vec<(&TenantId, Doubtful, chrono::DateTime<chrono::Utc>)> =
            questions.into_iter().map(|q| (tenant, q, due)).collect();
        for (one, other, likeness) in pairs {
            if let Some(question) = self
                .join_again(tx, tenant, (one, other), likeness, &rules)
                .await?
            {
                asked.push((tenant, question, due));
            }
        }
        store::reviews::ask(tx.conn(), &asked, now).await
    }

    /// Merges two who turned out to be one, unless something forbids it: then a person is asked.
    async fn join_again(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        (one, other): (CustomerId, CustomerId),
        likeness: Option<crate::domain::merge::Likeness>,
        rules: &Rules,
    ) -> Result<Option<Doubtful>, Error> {
        let now = tx.now();
        let (a, b) = self.read_both_alone(tx, tenant, (one, other)).await?;
        if a.id == b.id {
            return Ok(None);
        }
        let mut world = World::default();
        for (x, y) in store::merges::apart(tx.conn(), tenant, &[a.id, b.id]).await? {
            world.keep_apart(x, y);
        }
        let limits = rules.policy().merges;
        let made = store::merges::by_matching(tx.conn(), tenant, &[a.id, b.id], now).await?;
        for (id, (day, ever)) in made {
            if day >= i64::from(limits.per_day) || ever >= i64::from(limits.ever) {
                metrics::counter!("trama_identity_resolution_merge_limit_total").increment(1);
                world.close(id);
            }
        }
        let forbidden = if rules.policy().similarity.joins {
            world.obstacle(&a, &b)
        } else {
            Some("the policy wants a person to decide")
        };
        if let Some(words) = forbidden {
            return Ok(Some(Doubtful {
                one: a.id,
                other: b.id,
                doubt: Doubt::Likely,
                words: format!("surely the same, but {words}"),
                likeness,
            }));
        }
        let record = self.join_both(tx, tenant, (a, b), likeness, rules).await?;
        metrics::counter!("trama_identity_resolution_merges_total", "by" => "similarity").increment(1);
        tracing::debug!(merge = %record.id, "two customers turned out to be one");
        Ok(None)
    }

    async fn join_both(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        (a, b): (Customer, Customer),
        likeness: Option<crate::domain::merge::Likeness>,
        rules: &Rules,
    ) -> Result<MergeRecord, Error> {
        let now = tx.now();
        if let Some(policy) = rules.similarity() {
            let values = values_of_both(policy, &a.said(), &b.said());
            let news = News {
                values: values.into_iter().map(|v| (tenant, v, -1)).collect(),
                ..News::default()
            };
            store::similar::save(tx.conn(), &news, now).await?;
        }
        let (mut survivor, lost) = if remains(&a, &b).id == a.id {
            (a, b)
        } else {
            (b, a)
        };
        let reason = Reason {
            decided_by: MATCHING,
            words: "what both say of the person is surely of one",
            likeness,
        };
        let id = MergeId::new(tx.new_id());
        let record = crate::domain::merge::merge(id, &mut survivor, lost, reason, rules, now);
        store::merges::save(tx.conn(), &[(tenant, record.clone())], now).await?;
        let event = merged_event(&record, survivor.context(rules, now, false));
        tx.publish(tenant, &survivor.id.to_string(), &event);
        Ok(record)
    }
}

/// Pairs about whom a person shall say whether they are one.
fn doubts(near: &similarity::Neighbourhood, policy: &Policy, again: &[CustomerId]) -> Vec<Doubtful> {
    let thresholds = policy.thresholds();
    let mut found: BTreeMap<(CustomerId, CustomerId), Doubtful> = BTreeMap::new();
    for one in again {
        let mut alike: Vec<_> = near
            .of(policy, *one)
            .into_iter()
            .filter_map(|other| Some((other, near.score(policy, *one, other)?)))
            .filter(|(_, score)| score.bits >= thresholds.review && !score.is_same(policy))
            .collect();
        alike.sort_by(|(_, a), (_, b)| b.bits.total_cmp(&a.bits));
        for (other, score) in alike.into_iter().take(MOST_QUESTIONS) {
            let likeness = similarity::likeness(policy, &score);
            let (doubt, words) = if score.bits < thresholds.same {
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
