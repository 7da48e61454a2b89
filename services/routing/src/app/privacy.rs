//! What this service holds of a person: work on their cases, and what agents were shown of it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use trama_platform::{
    Error, Tx,
    privacy::{Erased, Held, Holder, Request, collect, run},
};
use trama_proto::{
    ids::{CaseId, TenantId},
    privacy::v1::SubjectSort,
};

use super::{Incoming, Routing};
use crate::{domain::WithdrawReason, store::privacy};

/// The holder of this service.
pub struct Holding(pub Routing);

#[async_trait]
impl Holder for Holding {
    fn sort(&self) -> SubjectSort {
        SubjectSort::Case
    }

    async fn export(&self, tx: &mut Tx, request: &Request) -> Result<Held, Error> {
        Ok(Held {
            sections: collect(tx.conn(), privacy::KEPT, &request.tenant, &request.subjects).await?,
            attachments: Vec::new(),
        })
    }

    async fn erase(&self, tx: &mut Tx, request: &Request) -> Result<Erased, Error> {
        let (tenant, cases) = (&request.tenant, request.subjects.as_slice());
        let withdrawals = cases.iter().enumerate().map(|(place, case)| {
            let withdrawn = Incoming::Withdrawn {
                case_id: CaseId::new(*case),
                // The last word about this case, whatever is still on its way.
                revision: i64::MAX,
                reason: WithdrawReason::Merged,
            };
            (place, withdrawn)
        });
        if !cases.is_empty() {
            self.0.work_in(tx, tenant, withdrawals.collect(), &[]).await?;
        }
        Ok(Erased {
            counts: run(tx.conn(), privacy::FORGOTTEN, tenant, cases).await?,
            ..Erased::default()
        })
    }

    async fn expire(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        records: &str,
        before: DateTime<Utc>,
        limit: i64,
    ) -> Result<(u64, Vec<String>), Error> {
        let gone = match records {
            "workItems" => privacy::expire(tx.conn(), tenant, before, limit).await?,
            _ => 0,
        };
        Ok((gone, Vec::new()))
    }
}
