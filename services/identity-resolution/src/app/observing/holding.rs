//! Whom a batch holds until it is through.

use std::collections::BTreeSet;

use trama_platform::{Error, Tx};
use trama_proto::ids::{CustomerId, TenantId};

use super::plan::Plan;
use crate::{
    error::overtaken,
    store::{self, Weakly},
};

/// Holds until the transaction ends whom a plan attaches something to, and what is said under ids that it writes; `false` when somebody
/// else was faster. Whoever merges holds them alone. Whoever holds some from a round before (`holds`) waits for nobody: they would wait
/// out of order, and be waited for (ADR 31).
pub(super) async fn hold(tx: &mut Tx, plan: &Plan<'_>, holds: &mut bool) -> Result<bool, Error> {
    let alone = !plan.merges.is_empty();
    let mut attached = plan.attached.clone();
    if alone {
        let joined = plan
            .merges
            .iter()
            .flat_map(|(t, m)| [(*t, m.survivor), (*t, m.merged)]);
        attached.extend(joined.filter(|(_, id)| !plan.created.contains(id)));
    }
    // Ids that are new have nothing to hold.
    let written: Vec<_> = plan
        .own
        .iter()
        .filter(|(_, (_, version, _))| *version > 0)
        .map(|((tenant, id), (_, version, _))| (*tenant, *id, *version))
        .collect();
    if !alone && !*holds {
        *holds = !attached.is_empty();
        return store::hold_weakly(tx.conn(), weakly(plan, &attached)).await;
    }
    let customers: Vec<_> = attached.into_iter().collect();
    let mut ids: BTreeSet<_> = written.iter().map(|(tenant, id, _)| (*tenant, *id)).collect();
    ids.extend(&plan.joined);
    let ids: Vec<_> = ids.into_iter().collect();
    if *holds {
        let held = store::hold_if_free(tx.conn(), &customers, alone).await?
            && lead_to(tx, &ids, &customers).await?
            && store::hold_unchanged(tx.conn(), &written).await?;
        return if held { Ok(true) } else { Err(overtaken()) };
    }
    let held = store::hold_all_alone(tx.conn(), &customers, &ids).await?;
    *holds = held || customers.windows(2).any(|two| two[0].0 != two[1].0);
    // Nobody else may write under the ids of whoever is held alone.
    Ok(held && store::hold_unchanged(tx.conn(), &written).await?)
}

/// Each customer to whom something is attached, and each of their aliases that is written to.
fn weakly<'a>(plan: &Plan<'a>, attached: &BTreeSet<(&'a TenantId, CustomerId)>) -> Vec<Weakly<'a>> {
    let known = |version: i32| (version > 0).then_some(version);
    let customers = attached.iter().map(|(tenant, id)| Weakly {
        tenant,
        id: *id,
        leads_to: None,
        version: plan
            .own
            .get(&(tenant, *id))
            .and_then(|(_, version, _)| known(*version)),
    });
    let aliases = plan
        .own
        .iter()
        .filter(|((_, id), (_, _, customer))| id != customer);
    let aliases = aliases.filter_map(|((tenant, id), (_, version, customer))| {
        Some(Weakly {
            tenant,
            id: *id,
            leads_to: Some(*customer),
            version: Some(known(*version)?),
        })
    });
    customers.chain(aliases).collect()
}

/// Whether ids lead to none but these customers.
async fn lead_to(
    tx: &mut Tx,
    ids: &[(&TenantId, CustomerId)],
    customers: &[(&TenantId, CustomerId)],
) -> Result<bool, Error> {
    let tenants: BTreeSet<&TenantId> = ids.iter().map(|(tenant, _)| *tenant).collect();
    for tenant in tenants {
        let theirs = ids.iter().filter(|(t, _)| *t == tenant).map(|(_, id)| *id);
        let roots = store::roots(tx.conn(), tenant, theirs).await?;
        if !roots.iter().all(|root| customers.contains(&(tenant, *root))) {
            return Ok(false);
        }
    }
    Ok(true)
}
