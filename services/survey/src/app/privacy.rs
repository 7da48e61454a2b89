//! What this service holds of a person.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use trama_platform::{
    Error, Tx,
    privacy::{Erased, Held, Holder, Request, collect, run},
};
use trama_proto::{ids::TenantId, privacy::v1::SubjectSort};

use crate::store::privacy;

/// The holder of this service.
pub struct Holding;

#[async_trait]
impl Holder for Holding {
    fn sort(&self) -> SubjectSort {
        SubjectSort::Customer
    }

    async fn export(&self, tx: &mut Tx, request: &Request) -> Result<Held, Error> {
        Ok(Held {
            sections: collect(tx.conn(), privacy::KEPT, &request.tenant, &request.subjects).await?,
            attachments: Vec::new(),
        })
    }

    async fn erase(&self, tx: &mut Tx, request: &Request) -> Result<Erased, Error> {
        let (tenant, customers) = (&request.tenant, request.subjects.as_slice());
        Ok(Erased {
            also_forgotten: privacy::invitations_of(tx.conn(), tenant, customers).await?,
            counts: run(tx.conn(), privacy::FORGOTTEN, tenant, customers).await?,
            objects: Vec::new(),
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
            "surveys" => privacy::expire(tx.conn(), tenant, before, limit).await?,
            _ => 0,
        };
        Ok((gone, Vec::new()))
    }
}
