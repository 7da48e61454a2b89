//! What this service holds of a person.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;
use trama_platform::{
    Error, Tx,
    privacy::{Erased, Held, Holder, Request, Section, collect, run},
};
use trama_proto::{ids::TenantId, privacy::v1::SubjectSort};

use super::silent::forget_sayings;
use crate::{
    app::App,
    store::{ages, audit, privacy},
};

/// The holder of this service.
pub struct Holding;

#[async_trait]
impl Holder for Holding {
    fn sort(&self) -> SubjectSort {
        SubjectSort::Customer
    }

    async fn export(&self, tx: &mut Tx, request: &Request) -> Result<Held, Error> {
        let (tenant, ids) = (&request.tenant, request.subjects.as_slice());
        let mut sections = collect(tx, privacy::KEPT, tenant, ids).await?;
        let said = privacy::said(tx.conn(), tenant, ids).await?;
        let rows: Vec<_> = said
            .into_iter()
            .map(|(source, at, said)| {
                let values = said.values().iter();
                let values: Vec<_> = values
                    .map(|v| json!({"about": format!("{:?}", v.attribute), "said": v.text.replace('\u{1f}', " ")}))
                    .collect();
                json!({"source": source, "at": at, "values": values})
            })
            .collect();
        if !rows.is_empty() {
            sections.push(Section {
                records: "records",
                rows,
            });
        }
        Ok(Held {
            sections,
            attachments: Vec::new(),
        })
    }

    async fn erase(&self, tx: &mut Tx, request: &Request) -> Result<Erased, Error> {
        let (tenant, ids) = (&request.tenant, request.subjects.as_slice());
        Ok(Erased {
            counts: run(tx.conn(), privacy::FORGOTTEN, tenant, ids).await?,
            objects: privacy::exports_of(tx.conn(), tenant, ids).await?,
            also_forgotten: Vec::new(),
        })
    }
}

/// The same, for the service: what is too old goes, and so does who was not heard of for too long.
pub struct Keeping(pub Arc<App>);

#[async_trait]
impl Holder for Keeping {
    fn sort(&self) -> SubjectSort {
        Holding.sort()
    }

    async fn export(&self, tx: &mut Tx, request: &Request) -> Result<Held, Error> {
        Holding.export(tx, request).await
    }

    async fn erase(&self, tx: &mut Tx, request: &Request) -> Result<Erased, Error> {
        Holding.erase(tx, request).await
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
            "sayings" => Ok((forget_sayings(tx, tenant, before).await?, Vec::new())),
            "proofLog" => Ok((ages::proofs(tx.conn(), tenant, before, limit).await?, Vec::new())),
            "customers" => Ok((self.0.forget_silent(tx, tenant, before).await?, Vec::new())),
            "exports" => privacy::expire_exports(tx.conn(), tenant, before, limit).await,
            "audit" => Ok((audit::forget(tx.conn(), tenant, before, limit).await?, Vec::new())),
            _ => Ok((0, Vec::new())),
        }
    }
}
