//! What this service holds of a person. It alone knows which cases are theirs, and tells those who know cases only.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use trama_platform::{
    Error, Tx,
    privacy::{Erased, Held, Holder, Request, collect, run},
};
use trama_proto::{
    ids::{TenantId, derive},
    privacy::v1::{PrivacyRequested, SubjectSort},
    time::to_wire,
};
use uuid::Uuid;

use crate::store::privacy;

/// The holder of this service.
pub struct Holding;

#[async_trait]
impl Holder for Holding {
    fn sort(&self) -> SubjectSort {
        SubjectSort::Customer
    }

    async fn export(&self, tx: &mut Tx, request: &Request) -> Result<Held, Error> {
        let (tenant, customers) = (&request.tenant, request.subjects.as_slice());
        let cases = privacy::cases_of(tx.conn(), tenant, customers).await?;
        let mut sections = collect(tx, privacy::OF_CASES, tenant, &cases).await?;
        sections.extend(collect(tx, privacy::OF_CUSTOMERS, tenant, customers).await?);
        let attachments = privacy::attachments(tx, tenant, customers, &cases).await?;
        pass_on(tx, request, &cases);
        Ok(Held {
            sections,
            attachments,
        })
    }

    async fn erase(&self, tx: &mut Tx, request: &Request) -> Result<Erased, Error> {
        let (tenant, customers) = (&request.tenant, request.subjects.as_slice());
        let cases = privacy::cases_of(tx.conn(), tenant, customers).await?;
        let objects = privacy::attachments(tx, tenant, customers, &cases).await?;
        let mut counts = run(tx.conn(), privacy::CASES_FORGOTTEN, tenant, &cases).await?;
        counts.extend(run(tx.conn(), privacy::CUSTOMERS_FORGOTTEN, tenant, customers).await?);
        pass_on(tx, request, &cases);
        Ok(Erased {
            counts,
            objects,
            also_forgotten: cases,
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
        match records {
            "cases" => privacy::expire_cases(tx, tenant, before, limit).await,
            "conversations" => privacy::expire_conversations(tx, tenant, before, limit).await,
            _ => Ok((0, Vec::new())),
        }
    }
}

/// The same request, by cases: also when there are none, so that everybody who is asked answers. The same cases are the
/// same message, however often this is done.
fn pass_on(tx: &mut Tx, request: &Request, cases: &[Uuid]) {
    let mut parts: Vec<&[u8]> = vec![b"cases of", request.id.as_bytes()];
    parts.extend(cases.iter().map(|c| c.as_bytes().as_slice()));
    let id = derive(&parts);
    let event = PrivacyRequested {
        request_id: request.id.to_string(),
        action: request.action as i32,
        sort: SubjectSort::Case as i32,
        subject_ids: cases.iter().map(Uuid::to_string).collect(),
        handle_hashes: Vec::new(),
        requested_at: Some(to_wire(request.requested_at)),
    };
    tx.publish_as(id, &request.tenant, &request.id.to_string(), &event);
}
