//! Who changed what, in all services: kept as it is told, shown to whoever may see it.

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx, page, stage::Envelope};
use trama_proto::{
    audit::v1::AuditRecorded,
    identity_resolution::v1::{ListAuditEntriesRequest, ListAuditEntriesResponse},
    ids::TenantId,
    time::from_wire,
};
use uuid::Uuid;

use super::App;
use crate::store::audit::{self, Line, Wanted};

/// Longest text that is looked for, in bytes.
const LONGEST: usize = 255;

impl App {
    /// Keeps what services tell.
    pub async fn keep_audit(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        let mut lines = Vec::new();
        for envelope in batch.iter().filter(|e| e.is::<AuditRecorded>()) {
            let recorded: AuditRecorded = envelope.decode()?;
            for entry in recorded.entries {
                lines.push(Line {
                    tenant: envelope.tenant.clone(),
                    at: from_wire(entry.at.as_ref()).ok_or_else(|| Error::invalid("at", "is missing"))?,
                    id: Uuid::try_parse(&entry.entry_id)
                        .map_err(|_| Error::invalid("entry_id", "must be a UUID"))?,
                    entry,
                });
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        audit::keep(tx.conn(), &lines).await
    }

    /// A page of the log, newest first.
    pub async fn list_audit(
        &self,
        tenant: &TenantId,
        request: &ListAuditEntriesRequest,
    ) -> Result<ListAuditEntriesResponse, Error> {
        let size = page::size(request.page_size)?;
        let before: Option<(DateTime<Utc>, Uuid)> = page::start(&request.page_token)?;
        let texts = [
            ("subject", &request.subject),
            ("credential_id", &request.credential_id),
            ("method", &request.method),
            ("object_id", &request.object_id),
        ];
        for (field, text) in texts {
            if text.len() > LONGEST || text.contains('\0') {
                return Err(Error::invalid(field, "at most 255 bytes"));
            }
        }
        let wanted = Wanted {
            subject: &request.subject,
            credential_id: &request.credential_id,
            method: &request.method,
            object_id: &request.object_id,
            outcome: request.outcome,
            from: from_wire(request.from_time.as_ref()),
            until: from_wire(request.until_time.as_ref()),
        };
        let mut tx = self.db.tx(tenant).await?;
        let lines = audit::list(tx.conn(), tenant, &wanted, before, size).await?;
        let full = i64::try_from(lines.len()) == Ok(size);
        let last = lines.last().filter(|_| full).map(|l| page::token(&(l.at, l.id)));
        Ok(ListAuditEntriesResponse {
            entries: lines.into_iter().map(|line| line.entry).collect(),
            next_page_token: last.unwrap_or_default(),
        })
    }
}
