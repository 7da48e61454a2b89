//! Rows become customers: a whole step with a handful of statements.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use trama_platform::{Error, Tx};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{CustomerId, TenantId},
};

use super::super::{App, Caller, auditing::profile_changed, publish_change};
use crate::{
    domain::{
        consent::{self, Entry, Word},
        customer::{Customer, Origin},
        import::Row,
        profile::Said,
    },
    store::{self, Question},
};

/// What became of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Customers made.
    pub created: i64,
    /// Customers changed.
    pub updated: i64,
    /// Rows that said nothing new.
    pub unchanged: i64,
}

/// The channel that customers want for a need.
type Wishes<'r> = BTreeMap<CustomerId, BTreeMap<&'r str, ChannelKind>>;

fn wishes<'r>(rows: &'r [Row], people: &[Resolved]) -> Wishes<'r> {
    let mut wishes = Wishes::new();
    for (row, person) in rows.iter().zip(people) {
        for (need, kind) in &row.preferences {
            wishes.entry(person.customer).or_default().insert(need, *kind);
        }
    }
    wishes
}

impl App {
    /// Works rows in. A later row of a customer has the last word.
    pub(in crate::app) async fn take_rows(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        source: &str,
        rows: &[Row],
    ) -> Result<Counts, Error> {
        let (tenant, now) = (&caller.tenant, tx.now());
        let people = self.resolve_rows(tx, caller, source, rows).await?;
        let said: Vec<Said> = rows
            .iter()
            .zip(&people)
            .flat_map(|(row, person)| {
                row.traits.iter().map(|(name, value)| Said {
                    name: name.clone(),
                    value: value.clone(),
                    source: source.to_owned(),
                    set_by: caller.subject.to_string(),
                    set_at: now,
                    origin: person.customer,
                })
            })
            .collect();
        let stated: HashSet<CustomerId> = store::profiles::put_traits(tx.conn(), tenant, &said)
            .await?
            .into_iter()
            .collect();
        let mut changed = stated.clone();
        let consented = self.take_consents(tx, caller, source, rows, &people).await?;
        changed.extend(consented.iter().copied());
        changed.extend(people.iter().filter(|p| p.changed).map(|p| p.customer));
        let created: HashSet<CustomerId> = people.iter().filter(|p| p.is_new).map(|p| p.customer).collect();
        let wishes = wishes(rows, &people);
        let touched: BTreeSet<CustomerId> = changed
            .iter()
            .chain(&created)
            .chain(wishes.keys())
            .copied()
            .collect();
        let touched: Vec<CustomerId> = touched.into_iter().collect();
        for id in &consented {
            self.project_consents(tx, tenant, *id).await?;
        }
        let mut customers = self.hold_alone(tx, caller, &touched).await?;
        let wishing = self
            .take_preferences(tx, tenant, source, &wishes, &mut customers)
            .await?;
        changed.extend(wishing);
        self.refresh(tx, tenant, &mut customers).await?;
        self.note(tx, caller, &touched, "imported", source).await?;
        let rules = self.rules(tenant);
        // Names, handles and consents were told where they were decided; of somebody new the first word tells.
        for customer in customers
            .iter()
            .filter(|c| stated.contains(&c.id) && !created.contains(&c.id))
        {
            publish_change(tx, tenant, customer, &rules, &["traits"]);
        }
        let mut counts = Counts::default();
        let mut counted = HashSet::new();
        for person in &people {
            let first = counted.insert(person.customer);
            if first && created.contains(&person.customer) {
                counts.created += 1;
            } else if first && changed.contains(&person.customer) {
                counts.updated += 1;
            } else {
                counts.unchanged += 1;
            }
        }
        Ok(counts)
    }

    /// Keeps the channels that are wanted, where that is news. Returns of whom.
    async fn take_preferences(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        source: &str,
        wishes: &Wishes<'_>,
        customers: &mut [Customer],
    ) -> Result<Vec<CustomerId>, Error> {
        let (rules, now) = (self.rules(tenant), tx.now());
        let mut changed = Vec::new();
        for customer in customers.iter_mut() {
            let (id, before) = (customer.id, customer.profile.clone());
            let (Some(wished), Some(own)) = (wishes.get(&id), customer.own_mut(id)) else {
                continue;
            };
            let mut is_news = false;
            for (need, kind) in wished {
                if own.profile.preferences.get(*need) == Some(&(*kind as i32)) {
                    continue;
                }
                let origin = Origin {
                    source: format!("import:{source}"),
                    at: now,
                    verified: false,
                    by_hand: false,
                };
                own.prefer(need, *kind, origin);
                is_news = true;
            }
            if !is_news {
                continue;
            }
            customer.choose(&rules);
            profile_changed(tx, id, &before, &customer.profile);
            if customer.profile.preferences != before.preferences {
                publish_change(tx, tenant, customer, &rules, &["preferences"]);
            }
            changed.push(id);
        }
        let rows: Vec<_> = customers
            .iter()
            .filter(|customer| changed.contains(&customer.id))
            .filter_map(|customer| Some((tenant, customer.id, customer.own(customer.id)?)))
            .collect();
        store::save_own(tx.conn(), &rows, now).await?;
        Ok(changed)
    }

    /// Customers, held alone until the transaction ends.
    async fn hold_alone(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        ids: &[CustomerId],
    ) -> Result<Vec<Customer>, Error> {
        let (tenant, now) = (&caller.tenant, tx.now());
        let customers: Vec<_> = ids.iter().map(|id| (tenant, *id)).collect();
        store::lock(tx.conn(), &customers, true).await?;
        let question = Question {
            customers,
            ..Question::default()
        };
        let mut worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        let Some(world) = worlds.get_mut(tenant) else {
            return Ok(Vec::new());
        };
        Ok(ids.iter().filter_map(|id| world.take(*id)).collect())
    }

    /// Writes what rows say of consent where it differs from what holds. Returns about whom.
    async fn take_consents(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        source: &str,
        rows: &[Row],
        people: &[Resolved],
    ) -> Result<Vec<CustomerId>, Error> {
        let (tenant, now) = (&caller.tenant, tx.now());
        let mut wanted: BTreeMap<(CustomerId, consent::Subject), bool> = BTreeMap::new();
        for (row, person) in rows.iter().zip(people) {
            for (subject, granted) in &row.consents {
                wanted.insert((person.customer, subject.clone()), *granted);
            }
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let ids: HashSet<_> = wanted.keys().map(|(id, _)| id.uuid()).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let mut logs: HashMap<CustomerId, Vec<Entry>> = HashMap::new();
        for entry in store::consents::log(tx.conn(), tenant, &ids).await? {
            logs.entry(entry.origin).or_default().push(entry);
        }
        let mut entries = Vec::new();
        for ((customer, subject), granted) in wanted {
            let word = if granted { Word::Granted } else { Word::Denied };
            let held = logs
                .get(&customer)
                .and_then(|log| consent::current(log, now).remove(&subject));
            let expired = held
                .as_ref()
                .is_some_and(|e| e.expires_at.is_some_and(|at| at <= now));
            if held.as_ref().map(|e| e.word) == Some(word) && !expired {
                continue;
            }
            entries.push(Entry {
                subject,
                word,
                evidence: format!("import from {source}"),
                by: caller.subject.to_string(),
                at: now,
                expires_at: None,
                origin: customer,
                of_the_whole: true,
            });
        }
        let lines: Vec<_> = entries.iter().map(|e| (tx.new_id(), e)).collect();
        store::consents::add(tx.conn(), tenant, &lines).await?;
        let mut changed: Vec<CustomerId> = entries.iter().map(|e| e.origin).collect();
        changed.sort_unstable();
        changed.dedup();
        Ok(changed)
    }
}

/// Whose a row is.
#[derive(Debug, Clone, Copy)]
pub(in crate::app) struct Resolved {
    /// The customer.
    pub customer: CustomerId,
    /// The row made them.
    pub is_new: bool,
    /// The row changed what was known of them.
    pub changed: bool,
}
