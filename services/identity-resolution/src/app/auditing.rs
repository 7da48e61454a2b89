//! Who changed what, in all services: kept as it is told, shown to whoever may see it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx, page, stage::Envelope};
use trama_proto::{
    audit::v1::AuditRecorded,
    common::v1::ChannelKind,
    identity_resolution::v1::{ConsentStatus, ListAuditEntriesRequest, ListAuditEntriesResponse},
    ids::{CustomerId, TenantId},
    time::from_wire,
};
use uuid::Uuid;

use super::App;
use crate::{
    domain::customer::Profile,
    store::audit::{self, Line, Wanted},
};

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

/// Tells the audit log what became of a profile: all but the name, which is the person's.
pub(super) fn profile_changed(tx: &Tx, id: CustomerId, before: &Profile, after: &Profile) {
    let customer: (&str, &dyn std::fmt::Display) = ("customer", &id);
    for (field, before, after) in [
        ("language", &before.language, &after.language),
        ("entitlement", &before.entitlement, &after.entitlement),
        ("persona_group", &before.persona_group, &after.persona_group),
    ] {
        tx.changed(customer, field, before, after);
    }
    let kind = |number: i32| ChannelKind::try_from(number).map_or("", |kind| kind.as_str_name());
    let status = |number: i32| ConsentStatus::try_from(number).map_or("", |status| status.as_str_name());
    numbers_changed(
        tx,
        customer,
        "preferences",
        (&before.preferences, &after.preferences),
        kind,
    );
    numbers_changed(
        tx,
        customer,
        "consents",
        (&before.consents, &after.consents),
        status,
    );
}

fn numbers_changed(
    tx: &Tx,
    customer: (&str, &dyn std::fmt::Display),
    field: &str,
    (before, after): (&BTreeMap<String, i32>, &BTreeMap<String, i32>),
    word: impl Fn(i32) -> &'static str,
) {
    for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let word = |of: &BTreeMap<String, i32>| of.get(key).map_or("", |number| word(*number));
        tx.changed(customer, &format!("{field}/{key}"), word(before), word(after));
    }
}

/// Tells the audit log who is somebody's alias, and who no longer is.
pub(super) fn merged_changed(
    tx: &Tx,
    merged: CustomerId,
    before: Option<CustomerId>,
    after: Option<CustomerId>,
) {
    let word = |of: Option<CustomerId>| of.map(|id| id.to_string()).unwrap_or_default();
    tx.changed(("customer", &merged), "merged_into", &word(before), &word(after));
}
