//! Who was erased stays so: what is older than that brings nobody back, whoever sends it once more.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx, privacy::forgotten};
use trama_proto::{
    ids::{CustomerId, TenantId, derive},
    time::from_wire,
};
use uuid::Uuid;

use crate::{
    app::{App, Received, identify::customer_of_interaction, observing::Item},
    domain::{
        handle::{Handle, HandleKey},
        resolution::{Observation, World},
        rules::Rules,
    },
    error::refused,
    store::{self, Question, Worlds, load, privacy},
};

/// An address and its tenant, hashed.
type Known = HashMap<(String, Vec<u8>), DateTime<Utc>>;

impl App {
    /// Leaves out what erased people said before they were erased. Whoever writes anew is somebody new.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn unless_erased<'a>(
        &self,
        tx: &mut Tx,
        batch: Vec<Received<'a>>,
    ) -> Result<Vec<Received<'a>>, Error> {
        let tenants: BTreeSet<&str> = batch.iter().map(|r| r.envelope.tenant.as_str()).collect();
        let tenants: Vec<&str> = tenants.into_iter().collect();
        privacy::hold_decisions(tx.conn(), &tenants, false).await?;
        if !self.privacy.keys.are_set() {
            return Ok(batch);
        }
        let with_erased = privacy::tenants_with_erased(tx.conn(), &tenants).await?;
        if with_erased.is_empty() {
            return Ok(batch);
        }
        let mut shown: Vec<Vec<Vec<u8>>> = Vec::with_capacity(batch.len());
        for received in &batch {
            let tenant = &received.envelope.tenant;
            let interaction = &received.interaction;
            let rules = self.rules(tenant);
            let addresses = interaction.party.iter().chain(&interaction.also_known_as);
            let keys = addresses.filter_map(|h| rules.handle(&h.kind, &h.value).ok());
            shown.push(if with_erased.iter().any(|t| t == tenant.as_str()) {
                self.hashes(tenant, keys)?
            } else {
                Vec::new()
            });
        }
        let known = self.erased_among(tx, &batch, &shown).await?;
        let nobodies = of_nobody_any_more(tx, &batch, &shown).await?;
        let mut kept = Vec::with_capacity(batch.len());
        for (mut received, hashes) in batch.into_iter().zip(shown) {
            let tenant = received.envelope.tenant.clone();
            let said_at = said_at(&received, tx.now());
            let is_erased = |hash: &Vec<u8>| {
                known
                    .get(&(tenant.to_string(), hash.clone()))
                    .is_some_and(|erased_at| said_at <= *erased_at)
            };
            let void = if hashes.is_empty() {
                nobodies.contains(&customer_of_interaction(&tenant, received.id))
            } else {
                // The party's own address comes first, with what it implies.
                hashes.first().is_some_and(is_erased)
            };
            if void {
                metrics::counter!("trama_identity_resolution_kept_erased_total", "by" => "interaction")
                    .increment(1);
                continue;
            }
            if hashes.iter().any(is_erased) {
                let rules = self.rules(&tenant);
                let mut others = Vec::new();
                for handle in std::mem::take(&mut received.interaction.also_known_as) {
                    let key = rules.handle(&handle.kind, &handle.value).ok();
                    let hashes = self.hashes(&tenant, key.into_iter())?;
                    if !hashes.iter().any(is_erased) {
                        others.push(handle);
                    }
                }
                received.interaction.also_known_as = others;
            }
            kept.push(received);
        }
        Ok(kept)
    }

    /// Refuses a record of another system that would bring an erased person back: it must be younger than the erasure.
    ///
    /// # Errors
    /// `Precondition` when it is older, or of unknown age.
    pub(in crate::app) async fn refuse_erased(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        handles: &[Handle],
        recorded_at: Option<DateTime<Utc>>,
    ) -> Result<(), Error> {
        let void = self.void_rows(tx, tenant, &[(handles, recorded_at)]).await?;
        if void.contains(&true) {
            return Err(was_erased());
        }
        Ok(())
    }

    /// Which rows, known by their handles and when they were written, are older than the erasure of whom they are about.
    pub(in crate::app) async fn void_rows(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        rows: &[(&[Handle], Option<DateTime<Utc>>)],
    ) -> Result<Vec<bool>, Error> {
        privacy::hold_decisions(tx.conn(), &[tenant.as_str()], false).await?;
        self.void_among(tx, tenant, rows).await
    }

    /// The same for a transaction that holds decisions already.
    pub(in crate::app) async fn void_among(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        rows: &[(&[Handle], Option<DateTime<Utc>>)],
    ) -> Result<Vec<bool>, Error> {
        if !self.privacy.keys.are_set()
            || privacy::tenants_with_erased(tx.conn(), &[tenant.as_str()])
                .await?
                .is_empty()
        {
            return Ok(vec![false; rows.len()]);
        }
        let hashes = rows
            .iter()
            .map(|(handles, _)| self.hashes(tenant, handles.iter().map(|h| h.key.clone())))
            .collect::<Result<Vec<_>, _>>()?;
        let all: Vec<Vec<u8>> = hashes.iter().flatten().cloned().collect();
        let tenants = vec![tenant.as_str(); all.len()];
        let known = privacy::erased(tx.conn(), &tenants, &all).await?;
        let void = rows.iter().zip(&hashes).map(|((_, recorded_at), hashes)| {
            hashes.iter().any(|hash| {
                known
                    .get(&(tenant.to_string(), hash.clone()))
                    .is_some_and(|erased_at| recorded_at.is_none_or(|at| at <= *erased_at))
            })
        });
        Ok(void.collect())
    }

    /// Ids that follow from records may be those of somebody who was erased: whoever is there again is somebody new. For
    /// the records of nobody who is known; whoever is there under such a new id is added to the worlds.
    pub(in crate::app) async fn under_new_ids(
        &self,
        tx: &mut Tx,
        items: &mut [Item<'_>],
        worlds: &mut Worlds,
    ) -> Result<(), Error> {
        let nobody = World::default();
        let mut by_tenant: BTreeMap<&TenantId, Vec<&mut Observation>> = BTreeMap::new();
        for item in items {
            let world = worlds.get(item.tenant).unwrap_or(&nobody);
            if item.observation.record.is_some() && world.knows_nobody(&item.observation, &item.rules) {
                by_tenant
                    .entry(item.tenant)
                    .or_default()
                    .push(&mut item.observation);
            }
        }
        let mut again = Question::default();
        for (tenant, observations) in by_tenant {
            let ids: Vec<_> = observations.iter().map(|o| o.new_id.uuid()).collect();
            let gone = forgotten(tx, tenant, &ids).await?;
            for observation in observations {
                let id = observation.new_id.uuid();
                if let Some(at) = gone.get(&id) {
                    let parts: [&[u8]; 2] = [id.as_bytes(), &at.timestamp_micros().to_be_bytes()];
                    observation.new_id = CustomerId::new(derive(&parts));
                    again.customers.push((tenant, observation.new_id));
                }
            }
        }
        let now = tx.now();
        let rules = |tenant: &TenantId| self.rules(tenant);
        store::load::add(worlds, load(tx.conn(), &again, &rules, now).await?);
        Ok(())
    }

    /// The hashes by which it is known that somebody was erased who had one of these addresses; none where nobody can be.
    pub(in crate::app) fn hashes_of_erased<'h>(
        &self,
        tenant: &TenantId,
        handles: impl Iterator<Item = &'h Handle>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        if !self.privacy.keys.are_set() {
            return Ok(Vec::new());
        }
        self.hashes(tenant, handles.map(|handle| handle.key.clone()))
    }

    /// Hashes of addresses and of what they imply, in their order.
    pub(super) fn hashes(
        &self,
        tenant: &TenantId,
        keys: impl Iterator<Item = HandleKey>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let hasher = self.privacy.keys.hasher(tenant)?;
        let mut hashes = Vec::new();
        for key in keys {
            let implied = key.implied();
            for key in [Some(key), implied].into_iter().flatten() {
                hashes.push(hasher.hash(key.kind.as_str(), &key.value));
            }
        }
        Ok(hashes)
    }

    async fn erased_among(
        &self,
        tx: &mut Tx,
        batch: &[Received<'_>],
        shown: &[Vec<Vec<u8>>],
    ) -> Result<Known, Error> {
        let (tenants, hashes): (Vec<&str>, Vec<Vec<u8>>) = batch
            .iter()
            .zip(shown)
            .flat_map(|(r, hashes)| hashes.iter().map(|h| (r.envelope.tenant.as_str(), h.clone())))
            .unzip();
        privacy::erased(tx.conn(), &tenants, &hashes).await
    }
}

/// Customers of interactions without any address who were erased.
async fn of_nobody_any_more(
    tx: &mut Tx,
    batch: &[Received<'_>],
    shown: &[Vec<Vec<u8>>],
) -> Result<BTreeSet<CustomerId>, Error> {
    let mut by_tenant: BTreeMap<&TenantId, Vec<Uuid>> = BTreeMap::new();
    for (received, _) in batch.iter().zip(shown).filter(|(_, hashes)| hashes.is_empty()) {
        let tenant = &received.envelope.tenant;
        let customer = customer_of_interaction(tenant, received.id);
        by_tenant.entry(tenant).or_default().push(customer.uuid());
    }
    let mut gone = BTreeSet::new();
    for (tenant, customers) in by_tenant {
        gone.extend(
            forgotten(tx, tenant, &customers)
                .await?
                .into_keys()
                .map(CustomerId::new),
        );
    }
    Ok(gone)
}

/// What whoever sends such a record is told.
pub(in crate::app) fn was_erased() -> Error {
    metrics::counter!("trama_identity_resolution_kept_erased_total", "by" => "record").increment(1);
    refused(
        "the person was erased; say by recorded_at that the record is of a later time if they are there again",
    )
}

/// When it was said: the provider's word, unless its clock runs ahead of ours.
fn said_at(received: &Received<'_>, now: DateTime<Utc>) -> DateTime<Utc> {
    let interaction = &received.interaction;
    let arrived = from_wire(interaction.received_at.as_ref()).unwrap_or(now);
    from_wire(interaction.occurred_at.as_ref()).map_or(arrived, |at| at.min(arrived))
}

/// The rules' spelling of an address, as a key.
pub(super) fn key_of(rules: &Rules, kind: &str, value: &str) -> Result<HandleKey, Error> {
    rules
        .handle(kind, value)
        .map_err(|e| Error::invalid("person.handle", e.to_string()))
}
