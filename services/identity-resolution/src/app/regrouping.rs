//! Making customers what their records say they are: what no longer holds together is parted, what belongs together joined.

use std::collections::{BTreeSet, HashSet};

use trama_platform::{Error, Tx};
use trama_proto::ids::{CustomerId, MergeId, TenantId};

use super::{
    App,
    observing::{arm, merged_event},
    similarity::{Groups, values_of_both},
};
use crate::{
    domain::{
        customer::Customer,
        merge::{Likeness, MATCHING, MergeRecord, Reason, remains},
        resolution::{Doubt, Question as Doubtful, World},
        rules::Rules,
    },
    store::{self, Question, similar::News},
};

impl App {
    /// Parts and joins customers until their ids are grouped so, as far as nothing that a person or a handle decided stands
    /// against it. Gives what a person is to be asked.
    pub(super) async fn regroup(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        rules: &Rules,
        groups: &Groups,
    ) -> Result<Vec<Doubtful>, Error> {
        let now = tx.now();
        let concerned: BTreeSet<CustomerId> = groups.several().flatten().collect();
        let parted = self.astray(tx, tenant, groups).await?;
        let roots = self
            .roots(
                tx,
                tenant,
                concerned.iter().chain(parted.iter().map(|m| &m.merged)),
            )
            .await?;
        // Whoever serves a customer goes first, and waits for nobody who waits: we come back.
        let all: Vec<_> = roots.iter().map(|c| (tenant, c.id)).collect();
        if !store::hold_if_free(tx.conn(), &all, true).await? {
            let news = News {
                again: all,
                ..News::default()
            };
            store::similar::save(tx.conn(), &news, now).await?;
            arm(tx, tenant, now);
            return Ok(Vec::new());
        }
        for record in &parted {
            let undone = store::merges::find(tx.conn(), tenant, record.id, true).await?;
            if undone.is_some_and(|(_, undone)| undone.is_none()) {
                let whole = self.read(tx, tenant, record.merged).await?;
                self.split(tx, tenant, record, &whole, rules, MATCHING).await?;
                metrics::counter!("trama_identity_resolution_merges_taken_back_total").increment(1);
            }
        }
        let mut questions = Vec::new();
        for ids in groups.several() {
            let together = self.roots(tx, tenant, ids.iter()).await?;
            // Who is held together with somebody of another group by more than likeness takes nobody in and joins nobody.
            let mut whole: Vec<CustomerId> = together
                .iter()
                .filter(|customer| {
                    let mut found = customer.members.iter().filter_map(|m| groups.of(m.id));
                    let group = found.next();
                    found.all(|other| Some(other) == group)
                })
                .map(|c| c.id)
                .rev()
                .collect();
            let Some(mut first) = whole.pop() else { continue };
            while let Some((other, likeness)) = self.likest(tx, tenant, first, &whole, rules).await? {
                whole.retain(|id| *id != other);
                match self
                    .join_again(tx, tenant, (first, other), likeness, rules)
                    .await?
                {
                    Joined::Into(survivor) => first = survivor,
                    Joined::Ask(question) => questions.push(*question),
                }
            }
        }
        Ok(questions)
    }

    /// Merges that likeness made and that no longer hold: their sides belong to different groups by now.
    async fn astray(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        groups: &Groups,
    ) -> Result<Vec<MergeRecord>, Error> {
        let merges = store::merges::in_force(tx.conn(), tenant, groups.were_of_several()).await?;
        Ok(merges
            .into_iter()
            .filter(|m| m.decided_by == MATCHING && m.likeness.is_some())
            .filter(|m| {
                let sides = (groups.of(m.survivor), groups.of(m.merged));
                matches!(sides, (Some(one), Some(other)) if one != other)
            })
            .collect())
    }

    /// Who of some customers is most like one, and how much.
    async fn likest(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        first: CustomerId,
        others: &[CustomerId],
        rules: &Rules,
    ) -> Result<Option<(CustomerId, Option<Likeness>)>, Error> {
        let one = match others {
            [] => return Ok(None),
            _ => self.read(tx, tenant, first).await?,
        };
        let mut best: Option<(CustomerId, Option<Likeness>)> = None;
        for id in others {
            let other = self.read(tx, tenant, *id).await?;
            let alike = self.alike(tx, tenant, &one, &other, rules).await?;
            let likeness = alike.map(|(likeness, _)| likeness);
            let bits = |l: &Option<Likeness>| l.as_ref().map_or(f64::NEG_INFINITY, |l| l.bits);
            if best.as_ref().is_none_or(|(_, held)| bits(held) < bits(&likeness)) {
                best = Some((*id, likeness));
            }
        }
        Ok(best)
    }

    /// The customers whom these ids are of now.
    pub(super) async fn roots(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        ids: impl Iterator<Item = &CustomerId>,
    ) -> Result<Vec<Customer>, Error> {
        let now = tx.now();
        let question = Question {
            customers: ids.map(|id| (tenant, *id)).collect(),
            ..Question::default()
        };
        let mut worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        let world = worlds.remove(tenant).unwrap_or_default();
        let mut customers: Vec<Customer> = world.into_customers().collect();
        customers.sort_by_key(|c| c.id);
        Ok(customers)
    }

    /// Merges two who turned out to be one, unless something forbids it: then a person is asked.
    async fn join_again(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        (one, other): (CustomerId, CustomerId),
        likeness: Option<Likeness>,
        rules: &Rules,
    ) -> Result<Joined, Error> {
        let now = tx.now();
        let (a, b) = self.read_both_alone(tx, tenant, (one, other)).await?;
        if a.id == b.id {
            return Ok(Joined::Into(a.id));
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
            return Ok(Joined::Ask(Box::new(Doubtful {
                one: a.id,
                other: b.id,
                doubt: Doubt::Likely,
                words: format!("surely the same, but {words}"),
                likeness,
            })));
        }
        let record = self.join_both(tx, tenant, (a, b), likeness, rules).await?;
        metrics::counter!("trama_identity_resolution_merges_total", "by" => "similarity").increment(1);
        tracing::debug!(merge = %record.id, "two customers turned out to be one");
        Ok(Joined::Into(record.survivor))
    }

    async fn join_both(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        (a, b): (Customer, Customer),
        likeness: Option<Likeness>,
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
        store::merges::save(tx.conn(), &[(tenant, record.clone())], &HashSet::new(), now).await?;
        let event = merged_event(&record, survivor.context(rules, now, false));
        tx.publish(tenant, &survivor.id.to_string(), &event);
        Ok(record)
    }
}

/// What became of two who turned out to be one.
enum Joined {
    /// They are this customer.
    Into(CustomerId),
    /// A person decides.
    Ask(Box<Doubtful>),
}
