//! What deliveries and records show of people becomes known: a whole batch with a handful of statements.

mod holding;
mod plan;
mod repeats;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use trama_platform::{Error, Tx, timers::TimerSpec};
use trama_proto::{
    common::v1::CustomerContext,
    identity_resolution::v1::CustomerMerged,
    ids::{CustomerId, TenantId},
    time::to_wire,
};

pub(super) use self::repeats::{Repeat, repeat};
use self::{
    holding::hold,
    plan::{Plan, Remembered, plan},
};
use super::{
    App,
    similarity::{self, Records},
};
use crate::{
    domain::{
        customer::Verification,
        handle::HandleKey,
        merge::MergeRecord,
        resolution::{Doubt, Observation, Outcome, Question as Doubtful, Verdict, World},
        rules::Rules,
    },
    error::overtaken,
    store::{
        self, HandleRow, OwnRow, Question, Worlds,
        similar::{News, Settled},
    },
};

/// Looking at customers again: the timer's kind.
pub const REEVALUATE: &str = "reevaluate";
/// How long what came together may take to arrive.
const GATHERING: TimeDelta = TimeDelta::seconds(2);

/// One thing of a batch.
pub struct Item<'a> {
    /// Whose data.
    pub tenant: &'a TenantId,
    /// What holds.
    pub rules: Arc<Rules>,
    /// What it shows.
    pub observation: Observation,
    /// The proof of identity that came with it, for whoever it turns out to be.
    pub proof: Option<Proof>,
}

/// A proof of identity that a channel gave.
#[derive(Debug, Clone)]
pub struct Proof {
    /// What is proven, but for the evidence.
    pub verification: Verification,
    /// The id in the books that it is about.
    pub crm: Option<HandleKey>,
}

/// What became of one thing of a batch.
pub struct Decided {
    /// What changed.
    pub outcome: Outcome,
    /// The customer, right after.
    pub context: CustomerContext,
    /// Not every proof of the customer holds for whoever was there.
    pub in_doubt: bool,
    /// The proof made the customer's level higher than it was.
    pub lifted: bool,
}

/// What a round learnt from the database that the next one must respect.
#[derive(Default)]
struct Learnt<'a> {
    apart: HashSet<(&'a TenantId, CustomerId, CustomerId)>,
    full: HashSet<(&'a TenantId, CustomerId)>,
    /// Something is held already.
    holds: bool,
}

impl App {
    /// Works a batch in, in order. Nothing is published: the caller knows what it is all about.
    ///
    /// # Errors
    /// When others keep changing the same customers, or the database is away.
    pub async fn observe(&self, tx: &mut Tx, items: &mut [Item<'_>]) -> Result<Vec<Decided>, Error> {
        let now = tx.now();
        let mut apart: HashSet<(TenantId, CustomerId, CustomerId)> = HashSet::new();
        let mut full: HashSet<(TenantId, CustomerId)> = HashSet::new();
        let mut holds = false;
        // Each further round means that another transaction was faster.
        for _ in 0..8 {
            let (mut worlds, homes) = self.worlds(tx, items, now).await?;
            for (tenant, one, other) in &apart {
                worlds.entry(tenant.clone()).or_default().keep_apart(*one, *other);
            }
            for (tenant, customer) in &full {
                worlds.entry(tenant.clone()).or_default().close(*customer);
            }
            let mut plan = plan(items, &mut worlds, now, &mut || tx.new_id());
            for (tenant, value, count) in homes {
                plan.count(tenant, value, count);
            }
            let mut learnt = Learnt {
                holds,
                ..Learnt::default()
            };
            if let Some(decided) = self.save(tx, plan, &mut learnt, &apart, now).await? {
                return Ok(decided);
            }
            holds = learnt.holds;
            apart.extend(learnt.apart.into_iter().map(|(t, a, b)| (t.clone(), a, b)));
            full.extend(learnt.full.into_iter().map(|(t, c)| (t.clone(), c)));
            metrics::counter!("trama_identity_resolution_overtaken_total").increment(1);
        }
        Err(overtaken())
    }

    /// What a batch would come to. Nothing is written.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn foresee(&self, tx: &mut Tx, items: &mut [Item<'_>]) -> Result<Vec<Decided>, Error> {
        let now = tx.now();
        let (mut worlds, _) = self.worlds(tx, items, now).await?;
        Ok(plan(items, &mut worlds, now, &mut || tx.new_id()).decided)
    }

    /// Everybody whom a batch may be about, and what it shows of homes; notes in each observation what similarity says.
    async fn worlds<'a>(
        &self,
        tx: &mut Tx,
        items: &mut [Item<'a>],
        now: DateTime<Utc>,
    ) -> Result<(Worlds, Vec<(&'a TenantId, i64, i32)>), Error> {
        let mut question = whose_handles(items);
        // Ids that are derived may be there already.
        let derived = items
            .iter()
            .filter(|item| item.observation.handles.is_empty() || item.observation.record.is_some());
        question
            .customers
            .extend(derived.map(|item| (item.tenant, item.observation.new_id)));
        let rules = |tenant: &TenantId| self.rules(tenant);
        let mut worlds = store::load(tx.conn(), &question, &rules, now).await?;
        drop(question);
        let nobody = World::default();
        let read: Vec<Option<similarity::Read>> = items
            .iter_mut()
            .map(|item| {
                let world = worlds.get(item.tenant).unwrap_or(&nobody);
                similarity::compare(&mut item.observation, &item.rules, world)
            })
            .collect();
        self.under_new_ids(tx, items, &mut worlds).await?;
        let mut records: Vec<Records<'a, '_>> = Vec::new();
        for (item, read) in items.iter_mut().zip(read) {
            let tenant = item.tenant;
            match records.iter_mut().find(|r| r.tenant == tenant) {
                Some(records) => records.observations.push((&mut item.observation, read)),
                None => records.push(Records {
                    tenant,
                    rules: Arc::clone(&item.rules),
                    observations: vec![(&mut item.observation, read)],
                }),
            }
        }
        let homes = similarity::judge(tx.conn(), records, &worlds).await?;
        let mut meant = Question::default();
        for item in items.iter() {
            if let Verdict::Same { customer, .. } = &item.observation.verdict {
                meant.customers.push((item.tenant, *customer));
            }
        }
        store::load::add(&mut worlds, store::load(tx.conn(), &meant, &rules, now).await?);
        Ok((worlds, homes))
    }

    /// Writes a plan. `None`: another transaction was faster, nothing is written, decide again.
    async fn save<'a>(
        &self,
        tx: &mut Tx,
        plan: Plan<'a>,
        learnt: &mut Learnt<'a>,
        known_apart: &HashSet<(TenantId, CustomerId, CustomerId)>,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Decided>>, Error> {
        if !plan.merges.is_empty() {
            self.look_before_merging(tx, &plan.merges, &plan.created, learnt, known_apart, now)
                .await?;
            if !learnt.apart.is_empty() || !learnt.full.is_empty() {
                return Ok(None);
            }
        }
        if !hold(tx, &plan, &mut learnt.holds).await? {
            return Ok(None);
        }
        let handles: Vec<HandleRow<'_>> = plan.handles.into_values().collect();
        if !store::put_handles(tx.conn(), &handles).await? {
            // Handles that were seen again are held, too.
            learnt.holds = true;
            return Ok(None);
        }
        store::move_handles(tx.conn(), &plan.moved, now).await?;
        let targets = store::merges::targets(plan.merges.iter().map(|(_, merge)| merge));
        let own: Vec<OwnRow<'_>> = plan
            .own
            .iter()
            .map(|((tenant, id), written)| OwnRow {
                tenant,
                id: *id,
                own: &written.own,
                merged_into: targets.get(id).copied(),
            })
            .collect();
        let new = store::save_rows(tx.conn(), &own, now).await?;
        let shared = store::handles::claim(tx.conn(), &plan.claims, now).await?;
        store::merges::save(tx.conn(), &plan.merges, &new, now).await?;
        self.doubt(tx, &shared, now).await?;
        let proofs: Vec<_> = plan.proofs.iter().map(|(t, id, v)| (*t, *id, v)).collect();
        store::save_verifications(tx.conn(), &proofs).await?;
        let logins: Vec<_> = plan
            .logins
            .iter()
            .map(|(tenant, customer, entry)| (*tenant, *customer, tx.new_id(), entry))
            .collect();
        store::proofs::log_all(tx.conn(), &logins, now).await?;
        metrics::counter!("trama_identity_resolution_proofs_total", "method" => "login")
            .increment(logins.len() as u64);
        store::add_owners(tx.conn(), &plan.owners).await?;
        store::reviews::ask(tx.conn(), &plan.questions, now).await?;
        store::relations::suggest(tx.conn(), &plan.relations).await?;
        let (first_keys, keys) = plan
            .keys
            .into_iter()
            .partition(|(.., member)| new.contains(member));
        let news = News {
            keys,
            first_keys,
            values: plan
                .values
                .into_iter()
                .filter(|(_, count)| *count != 0)
                .map(|((tenant, value), count)| (tenant, value, count))
                .collect(),
            observations: plan.said.iter().map(Remembered::row).collect(),
            settled: plan
                .settled
                .into_iter()
                .filter(|(whom, _)| !plan.again.contains(whom))
                .map(|((tenant, customer), (keys, complete_to))| Settled {
                    tenant,
                    customer,
                    keys,
                    complete_to,
                })
                .collect(),
            again: plan.again.into_iter().collect(),
        };
        store::similar::save(tx.conn(), &news, now).await?;
        let again = news.again.iter().map(|(tenant, _)| *tenant);
        let tenants: BTreeSet<&TenantId> = again.chain(news.settled.iter().map(|s| s.tenant)).collect();
        for tenant in tenants {
            self.armed.arm(tx, tenant, self.now());
        }
        Ok(Some(plan.decided))
    }

    /// Handles turned out to be several people's: a person looks at what was joined by one of them alone.
    async fn doubt(
        &self,
        tx: &mut Tx,
        shared: &[(TenantId, HandleKey)],
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if shared.is_empty() {
            return Ok(());
        }
        let merges = store::merges::resting_on(tx.conn(), shared).await?;
        let questions = merges.into_iter().map(|(tenant, one, other, key)| {
            let hours = i64::from(self.rules(tenant).policy().similarity.review_hours);
            let words = format!(
                "nothing but one {} made these two one, and several people use it: undo the merge with SplitCustomers if they are two",
                key.kind.as_str()
            );
            let question = Doubtful {
                one,
                other,
                doubt: Doubt::Bridge,
                words,
                likeness: None,
            };
            (tenant, question, now + TimeDelta::hours(hours))
        });
        store::reviews::ask(tx.conn(), &questions.collect::<Vec<_>>(), now).await
    }

    /// Learns which of the wanted merges a person or a limit forbids.
    async fn look_before_merging<'a>(
        &self,
        tx: &mut Tx,
        merges: &[(&'a TenantId, MergeRecord)],
        created: &HashSet<CustomerId>,
        learnt: &mut Learnt<'a>,
        known_apart: &HashSet<(TenantId, CustomerId, CustomerId)>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let mut by_tenant: BTreeMap<&'a TenantId, Vec<&MergeRecord>> = BTreeMap::new();
        for (tenant, merge) in merges {
            by_tenant.entry(tenant).or_default().push(merge);
        }
        for (tenant, merges) in by_tenant {
            // Nobody has parted from anybody who was not there.
            let known = merges.iter().filter(|m| !created.contains(&m.merged));
            let known: Vec<CustomerId> = known.flat_map(|m| [m.survivor, m.merged]).collect();
            let apart = match known.is_empty() {
                true => Vec::new(),
                false => store::merges::apart(tx.conn(), tenant, &known).await?,
            };
            learnt.apart.extend(
                apart
                    .into_iter()
                    .filter(|(a, b)| !known_apart.contains(&(tenant.clone(), *a, *b)))
                    .map(|(a, b)| (tenant, a, b)),
            );
            let limits = self.rules(tenant).policy().merges;
            let survivors: Vec<CustomerId> = merges.iter().map(|m| m.survivor).collect();
            let made = store::merges::by_matching(tx.conn(), tenant, &survivors, now).await?;
            let mut wanted: HashMap<CustomerId, i64> = HashMap::new();
            for survivor in survivors {
                *wanted.entry(survivor).or_default() += 1;
            }
            for (survivor, more) in wanted {
                let (day, ever) = made.get(&survivor).copied().unwrap_or_default();
                if day + more > i64::from(limits.per_day) || ever + more > i64::from(limits.ever) {
                    metrics::counter!("trama_identity_resolution_merge_limit_total").increment(1);
                    tracing::warn!(%tenant, customer = %survivor, "matching wants to merge into a customer more often than the policy allows");
                    learnt.full.insert((tenant, survivor));
                }
            }
        }
        Ok(())
    }
}

/// Looks at the queue of a tenant again, soon: one timer for all that is queued within one slot of time.
pub(super) fn arm(tx: &mut Tx, tenant: &TenantId, now: DateTime<Utc>) {
    let slot = slot(now);
    tx.arm(TimerSpec {
        tenant: tenant.clone(),
        kind: REEVALUATE,
        key: slot.to_string(),
        // Whoever began within the slot has as long again to commit.
        due_at: DateTime::UNIX_EPOCH + GATHERING * 2 + TimeDelta::seconds(slot * GATHERING.num_seconds()),
        payload: serde_json::Value::Null,
    });
}

/// What was queued before this moment has had its time to be joined by what came with it.
pub(super) fn gathered(now: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds((slot(now) - 1) * GATHERING.num_seconds())
}

/// Looks at the rest of a queue at once.
pub(super) fn arm_rest(tx: &mut Tx, tenant: &TenantId, now: DateTime<Utc>) {
    tx.arm(TimerSpec {
        tenant: tenant.clone(),
        kind: REEVALUATE,
        key: "rest".to_owned(),
        due_at: now,
        payload: serde_json::Value::Null,
    });
}

/// Asks for the owners of all handles of a batch, each once.
pub(super) fn whose_handles<'q>(items: &'q [Item<'_>]) -> Question<'q> {
    let mut asked = HashSet::new();
    let handles = items.iter().flat_map(|item| {
        let handles = item.observation.handles.iter();
        handles.map(|handle| (item.tenant, &handle.key))
    });
    Question {
        handles: handles.filter(|handle| asked.insert(*handle)).collect(),
        ..Question::default()
    }
}

fn slot(now: DateTime<Utc>) -> i64 {
    now.timestamp().div_euclid(GATHERING.num_seconds())
}

/// For whom this process has armed the timer of a slot already: many writers would wait for each other at its row.
#[derive(Default)]
pub struct Armed(Arc<Mutex<HashMap<TenantId, i64>>>);

impl Armed {
    fn arm(&self, tx: &mut Tx, tenant: &TenantId, clock: DateTime<Utc>) {
        let slot_of_tx = slot(tx.now());
        let known = self.slots().get(tenant) == Some(&slot_of_tx);
        // A transaction that has taken long does not trust that the timer is still to come.
        if known && slot(clock) == slot_of_tx {
            return;
        }
        arm(tx, tenant, tx.now());
        let (slots, tenant) = (Arc::clone(&self.0), tenant.clone());
        tx.after_commit(move || {
            let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.insert(tenant, slot_of_tx);
        });
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<TenantId, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What everybody is told of a merge.
pub(super) fn merged_event(merge: &MergeRecord, survivor: CustomerContext) -> CustomerMerged {
    CustomerMerged {
        merge_id: merge.id.to_string(),
        survivor: Some(survivor),
        merged_customer_id: merge.merged.to_string(),
        reason: merge.reason.clone(),
        merged_at: Some(to_wire(merge.at)),
        by_likeness: merge.likeness.is_some(),
    }
}
