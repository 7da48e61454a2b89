//! What this service holds of a person.

use async_trait::async_trait;
use trama_platform::{
    Error, Tx,
    privacy::{Aged, Erased, Holder, Kept, Request, run},
};
use trama_proto::privacy::v1::SubjectSort;

use crate::store::privacy;

/// The holder of this service.
pub struct Holding;

#[async_trait]
impl Holder for Holding {
    fn sort(&self) -> SubjectSort {
        SubjectSort::Customer
    }

    fn kept(&self) -> &'static [Kept] {
        privacy::KEPT
    }

    fn aged(&self) -> &'static [Aged] {
        privacy::AGED
    }

    async fn erase(&self, tx: &mut Tx, request: &Request) -> Result<Erased, Error> {
        let (tenant, customers) = (&request.tenant, request.subjects.as_slice());
        Ok(Erased {
            also_forgotten: privacy::invitations_of(tx.conn(), tenant, customers).await?,
            counts: run(tx.conn(), privacy::FORGOTTEN, tenant, customers).await?,
            ..Erased::default()
        })
    }
}
