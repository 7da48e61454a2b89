//! Whom a batch holds until it is through.

use std::collections::BTreeSet;

use trama_platform::{Error, Tx};
use trama_proto::ids::{CustomerId, TenantId};

use crate::{error::overtaken, store};

/// Holds customers until the transaction ends, weakly or alone; `false` when one of them is an alias by now, or one of the ids that
/// are to be joined leads to somebody else. Whoever holds some from a round before waits for nobody: they would wait out of order, and
/// be waited for (ADR 31).
pub(super) async fn hold(
    tx: &mut Tx,
    customers: &[(&TenantId, CustomerId)],
    joined: &[(&TenantId, CustomerId)],
    alone: bool,
    holds: &mut bool,
) -> Result<bool, Error> {
    if *holds {
        let free = store::lock_if_free(tx.conn(), customers, alone).await?;
        return match free && lead_to(tx, joined, customers).await? {
            true => Ok(true),
            false => Err(overtaken()),
        };
    }
    if !alone {
        *holds = true;
        return store::lock(tx.conn(), customers, false).await;
    }
    let held = store::hold_all_alone(tx.conn(), customers, joined).await?;
    *holds = held || customers.windows(2).any(|two| two[0].0 != two[1].0);
    Ok(held)
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
