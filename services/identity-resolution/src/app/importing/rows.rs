//! Rows become customers: a whole step with a handful of statements.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{CustomerId, TenantId},
};

use super::{
    super::{App, Caller, auditing::profile_changed, publish_change},
    consents::told,
};
use crate::{
    domain::{
        customer::{Customer, Origin},
        import::Row,
        profile::Said,
    },
    store,
};

/// What became of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Customers made.
    pub created: i64,
    /// Customers changed.
    pub updated: i64,
    /// Rows that said nothing new.
    pub unchanged: i64,
    /// Consents that customers refused and that are not taken from a row: its line, and the column.
    pub refused: Vec<(i64, String)>,
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
        recorded_at: Option<DateTime<Utc>>,
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
        changed.extend(people.iter().filter(|p| p.changed).map(|p| p.customer));
        let created: HashSet<CustomerId> = people.iter().filter(|p| p.is_new).map(|p| p.customer).collect();
        let wishes = wishes(rows, &people);
        let told = told(source, recorded_at, rows, &people);
        // Who says nothing new of consent is not held for it.
        let news = self.weigh_consents(tx, caller, &told, &[]).await?;
        let touched: BTreeSet<CustomerId> = changed
            .iter()
            .chain(&created)
            .chain(wishes.keys())
            .chain(news.entries.iter().map(|entry| &entry.origin))
            .copied()
            .collect();
        let touched: Vec<CustomerId> = touched.into_iter().collect();
        let mut customers = self.read_all_alone(tx, tenant, touched.iter()).await?;
        let mut refused = news.refused;
        if !news.entries.is_empty() {
            // Whoever withdrew their consent while we waited for the locks has withdrawn it.
            let news = self.weigh_consents(tx, caller, &told, &customers).await?;
            changed.extend(
                self.take_consents(tx, tenant, &news.entries, &mut customers)
                    .await?,
            );
            refused = news.refused;
        }
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
        let mut counts = Counts {
            refused,
            ..Counts::default()
        };
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
