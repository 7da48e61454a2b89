//! Consent of those who are parted: what they agreed to goes with the address that they confirmed it through, and what was taken back
//! while they were one stays taken back on both sides.

use trama_platform::{Error, Tx};
use trama_proto::ids::{CustomerId, TenantId};
use uuid::Uuid;

use super::{App, auditing::profile_changed, consenting::holds, profiles::rows};
use crate::{
    domain::{
        consent::{self, Entry},
        customer::{Customer, Profile},
        merge::{self, MergeRecord},
    },
    store,
};

impl App {
    /// What was confirmed through handles that are somebody else's now is kept under whoever has them, and what holds for either side is
    /// worked out anew. What was recorded of all who were one, without an address that says whose word it was, stays where it is.
    pub(super) async fn give_confirmed(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        from: &[Uuid],
        to: CustomerId,
        evidence: &[i64],
    ) -> Result<(), Error> {
        let mut rows = store::consents::give(tx.conn(), tenant, from, to, evidence).await?;
        if rows.is_empty() {
            return Ok(());
        }
        rows.push(to);
        self.project_consents(tx, tenant, &rows).await?;
        Ok(())
    }

    /// What was taken back while two were one stays taken back on both sides when they are parted: whose number or address
    /// said it, nobody knows afterwards, and a refusal too many does no harm.
    pub(super) async fn part_refusals(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        (record, in_force): (&MergeRecord, &[MergeRecord]),
        whole: &Customer,
    ) -> Result<(), Error> {
        let spoke = merge::spoke_for(record, in_force);
        let ids: Vec<_> = spoke.keys().map(|id| id.uuid()).collect();
        let mut log = store::consents::log(tx.conn(), tenant, &ids).await?;
        log.retain(|said| spoke.get(&said.origin).is_some_and(|since| *since <= said.at));
        self.give_refusals(tx, tenant, &log, whole, record.merged).await
    }

    /// The same for whoever is made of handles that were a customer's.
    pub(super) async fn extract_refusals(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        whole: &Customer,
        new: CustomerId,
    ) -> Result<(), Error> {
        let rows = rows(tx, tenant, whole.id).await?;
        let log = store::consents::log(tx.conn(), tenant, &rows).await?;
        self.give_refusals(tx, tenant, &log, whole, new).await
    }

    /// Writes the refusals of a log under another row too, as they were said.
    async fn give_refusals(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        log: &[Entry],
        whole: &Customer,
        to: CustomerId,
    ) -> Result<(), Error> {
        let refusals = consent::refusals(log).into_iter().cloned();
        let given: Vec<Entry> = refusals.map(|said| Entry { origin: to, ..said }).collect();
        if given.is_empty() {
            return Ok(());
        }
        let now = tx.now();
        self.log_consents(tx, tenant, &given).await?;
        let own = store::consents::log(tx.conn(), tenant, &[to.uuid()]).await?;
        let held = holds(&consent::current(&own, now), now);
        let before = whole.own(to).map(|own| own.profile.clone()).unwrap_or_default();
        let after = Profile {
            consents: held
                .iter()
                .map(|(key, (status, _))| (key.clone(), *status))
                .collect(),
            ..before.clone()
        };
        profile_changed(tx, to, &before, &after);
        store::consents::keep(tx.conn(), tenant, &[(to, held)]).await
    }
}
