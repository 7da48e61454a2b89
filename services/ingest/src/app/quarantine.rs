//! What could not be understood: kept, shown, sent through again.

use chrono::{DateTime, Utc};
use prost::Message as _;
use trama_platform::{Clock, Command, Db, Error, Principal, page};
use trama_proto::{
    ids::{DeliveryId, TenantId},
    ingest::v1::{Delivery, RedriveQuarantinedDeliveryRequest, RedriveQuarantinedDeliveryResponse},
};
use uuid::Uuid;

use super::journal::Journal;
use crate::store::quarantine::{self, Row};

/// Lists and redrives.
#[derive(Clone)]
pub struct Quarantine {
    /// The service's database.
    pub db: Db,
    /// Where a redriven delivery goes.
    pub journal: Journal,
    /// Ids.
    pub clock: Clock,
}

impl Quarantine {
    /// One page, newest first, and the token of the next one.
    ///
    /// # Errors
    /// When the page token is not ours or the database is away.
    pub async fn list(
        &self,
        tenant: &TenantId,
        page_size: i32,
        page_token: &str,
    ) -> Result<(Vec<Row>, String), Error> {
        let size = page::size(page_size)?;
        let before: Option<(DateTime<Utc>, Uuid)> = page::start(page_token)?;
        let mut tx = self.db.tx(tenant).await?;
        let mut rows = quarantine::list(tx.conn(), tenant, before, size + 1).await?;
        let more = rows.len() as i64 > size;
        rows.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        let next = rows
            .last()
            .filter(|_| more)
            .map(|last| page::token(&(last.received_at, last.delivery_id)));
        Ok((rows, next.unwrap_or_default()))
    }

    /// Sends a delivery through the normaliser again. It leaves the quarantine unless it fails once more.
    ///
    /// # Errors
    /// When there is no such delivery or the journal is away.
    pub async fn redrive(
        &self,
        caller: &Principal,
        id: DeliveryId,
        request: &RedriveQuarantinedDeliveryRequest,
    ) -> Result<RedriveQuarantinedDeliveryResponse, Error> {
        const METHOD: &str = "RedriveQuarantinedDelivery";
        let (tenant, subject) = (&caller.tenant, caller.subject.as_str());
        let redrive_id = self.clock.new_id();
        let mut tx = self.db.tx(tenant).await?;
        let command = Command::new(tenant, subject, METHOD, &request.request_id, request);
        if let Some(response) = tx.replay(&command).await? {
            return Ok(response);
        }
        let encoded = quarantine::begin_redrive(&mut tx, tenant, id, redrive_id)
            .await?
            .ok_or_else(|| Error::not_found("quarantined delivery", id))?;
        tx.changed(("delivery", &id), "state", "quarantined", "redriven");
        tx.commit().await?;

        let delivery = Delivery::decode(encoded.as_slice())?;
        self.journal.redrive(tenant, redrive_id, delivery).await?;

        let response = RedriveQuarantinedDeliveryResponse {};
        let mut tx = self.db.tx(tenant).await?;
        // If it failed again in the meantime, its row has lost the mark and stays.
        quarantine::end_redrive(tx.conn(), tenant, id, redrive_id).await?;
        let command = Command::new(tenant, subject, METHOD, &request.request_id, request);
        if tx
            .replay::<RedriveQuarantinedDeliveryResponse>(&command)
            .await?
            .is_none()
        {
            tx.remember(&command, &response).await?;
        }
        tx.commit().await?;
        Ok(response)
    }
}
