//! Whom a batch holds until it is through.

use std::collections::{BTreeMap, BTreeSet};

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
        .filter(|(_, written)| written.version > 0)
        .map(|((tenant, id), written)| (*tenant, *id, written.version))
        .collect();
    if !alone && !*holds {
        *holds = !attached.is_empty();
        return store::hold_weakly(tx.conn(), weakly(plan, &attached, &written)).await;
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
fn weakly<'a>(
    plan: &Plan<'a>,
    attached: &BTreeSet<(&'a TenantId, CustomerId)>,
    written: &[(&'a TenantId, CustomerId, i32)],
) -> Vec<Weakly<'a>> {
    let mut rows: BTreeMap<_, Weakly<'a>> = attached
        .iter()
        .map(|&(tenant, id)| {
            let row = Weakly {
                tenant,
                id,
                leads_to: None,
                version: None,
            };
            ((tenant, id), row)
        })
        .collect();
    for &(tenant, id, version) in written {
        let customer = plan.own.get(&(tenant, id)).map(|written| written.customer);
        rows.insert(
            (tenant, id),
            Weakly {
                tenant,
                id,
                leads_to: customer.filter(|customer| *customer != id),
                version: Some(version),
            },
        );
    }
    rows.into_values().collect()
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
