//! What was said, and of whom nobody has heard, for so long that it is not to be kept.

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx};
use trama_proto::{
    ids::{CustomerId, TenantId},
    privacy::v1::PrivacyAction,
};

use super::{App, Asked, Caller};
use crate::store::{ages, privacy::hold_decisions};

/// Who asks, in requests and logs.
const RETENTION: &str = "retention";
/// Customers that are looked at in one piece.
const SLICE: i64 = 2_000;
/// Customers that are forgotten in one transaction: who takes interactions in waits for it.
const MOST: usize = 20;

/// Sayings that are looked at in one piece.
const SAYINGS: i64 = 10_000;

/// Forgets the next few sayings that are too old; the walk goes on where it was, and begins anew at the end.
pub(super) async fn forget_sayings(
    tx: &mut Tx,
    tenant: &TenantId,
    before: DateTime<Utc>,
) -> Result<u64, Error> {
    let Some(after) = ages::walked_to(tx.conn(), tenant, "sayings").await? else {
        return Ok(0);
    };
    let (gone, last) = ages::sayings(tx.conn(), tenant, after, before, SAYINGS).await?;
    ages::walk_to(tx.conn(), tenant, "sayings", last).await?;
    Ok(gone)
}

impl App {
    /// Has the next few customers erased of whom nobody has heard since `before`, everywhere: all services are asked, and
    /// the report is signed, as when a person asks for it. The walk goes through all customers, a slice each time, and begins
    /// anew at the end. Returns how many were forgotten.
    pub(super) async fn forget_silent(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        before: DateTime<Utc>,
    ) -> Result<u64, Error> {
        if !self.privacy.keys.are_set() {
            tracing::warn!(%tenant, "customers are kept, whatever keepDays.customers says: privacy.secret is not configured");
            return Ok(0);
        }
        let Some(after) = ages::walked_to(tx.conn(), tenant, "customers").await? else {
            // Another replica is at it.
            return Ok(0);
        };
        let slice = ages::slice(tx.conn(), tenant, after, before, SLICE).await?;
        let silent: Vec<CustomerId> = slice
            .silent
            .iter()
            .take(MOST)
            .map(|id| CustomerId::new(*id))
            .collect();
        let walked_to = if slice.silent.len() > MOST {
            silent.last().map(|id| id.uuid())
        } else {
            slice.last
        };
        ages::walk_to(tx.conn(), tenant, "customers", walked_to).await?;
        if silent.is_empty() {
            return Ok(0);
        }
        hold_decisions(tx.conn(), &[tenant.as_str()], true).await?;
        // Somebody may have been heard of, or become somebody else's alias, until all others waited.
        let ids: Vec<_> = silent.iter().map(|id| id.uuid()).collect();
        let still = ages::silent_among(tx.conn(), tenant, &ids, before).await?;
        let caller = Caller {
            tenant: tenant.clone(),
            subject: RETENTION.parse()?,
            origin: String::new(),
        };
        let asked = Asked {
            action: PrivacyAction::Erase,
            reason: "nobody has heard of them for longer than keepDays.customers",
        };
        for id in &still {
            self.ask_everybody(tx, &caller, CustomerId::new(*id), &asked)
                .await?;
        }
        Ok(still.len() as u64)
    }
}
