//! What this service holds of a person: work on their cases, and what agents were shown of it.

use async_trait::async_trait;
use trama_platform::{
    Error, Tx,
    privacy::{Aged, Erased, Holder, Kept, Request, run},
};
use trama_proto::{ids::CaseId, privacy::v1::SubjectSort};

use super::{Incoming, Routing};
use crate::{domain::WithdrawReason, store::privacy};

/// The holder of this service.
pub struct Holding(pub Routing);

#[async_trait]
impl Holder for Holding {
    fn sort(&self) -> SubjectSort {
        SubjectSort::Case
    }

    fn kept(&self) -> &'static [Kept] {
        privacy::KEPT
    }

    fn aged(&self) -> &'static [Aged] {
        privacy::AGED
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
}
