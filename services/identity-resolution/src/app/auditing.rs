//! Who changed what, in all services: kept as it is told, shown to whoever may see it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx, audit::Call, page, stage::Envelope};
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
    domain::{
        challenge::Challenge,
        consent::Subject,
        customer::{Customer, Profile},
        handle::{HandleKey, Trust},
        resolution::Outcome,
    },
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
    let need = |need: &str| format!("preferences/{need}");
    numbers_changed(
        tx,
        customer,
        need,
        (&before.preferences, &after.preferences),
        kind,
    );
    numbers_changed(tx, customer, consent, (&before.consents, &after.consents), status);
}

/// `1/4/acme`, as a profile keeps it, in words: `consents/email/marketing/acme`.
fn consent(key: &str) -> String {
    let mut parts = key.splitn(3, '/');
    let mut number = || parts.next().and_then(|part| part.parse().ok());
    match (number(), number()) {
        (Some(kind), Some(purpose)) => {
            let brand = parts.next().unwrap_or_default().to_owned();
            let subject = Subject { kind, purpose, brand };
            format!("consents/{}", subject.words())
        }
        _ => format!("consents/{key}"),
    }
}

fn numbers_changed(
    tx: &Tx,
    customer: (&str, &dyn std::fmt::Display),
    field: impl Fn(&str) -> String,
    (before, after): (&BTreeMap<String, i32>, &BTreeMap<String, i32>),
    word: impl Fn(i32) -> &'static str,
) {
    for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let word = |of: &BTreeMap<String, i32>| of.get(key).map_or("", |number| word(*number));
        tx.changed(customer, &field(key), word(before), word(after));
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

/// Tells the audit log that somebody became known, if they did.
pub(super) fn became_known(tx: &Tx, id: CustomerId, is_new: bool) {
    if is_new {
        tx.changed(("customer", &id), "known", "false", "true");
    }
}

/// Tells the audit log how a handle came to a customer, or left: which kind of handle, never which one.
pub(super) fn handle_changed(tx: &Tx, id: CustomerId, key: &HandleKey, before: Option<Trust>, after: &str) {
    let field = format!("handles/{}", key.kind.as_str());
    tx.changed(("customer", &id), &field, before.map_or("", trust), after);
}

/// How much a handle is believed, in a word.
pub(super) const fn trust(trust: Trust) -> &'static str {
    match trust {
        Trust::Claimed => "claimed",
        Trust::Observed => "observed",
        Trust::Verified => "verified",
    }
}

/// Tells the audit log which proof of whom begins or ends, at which level.
pub(super) fn proof_changed(tx: &Tx, customer: &Customer, method: &str, after: Option<i32>) {
    let now = tx.now();
    let held = customer.verifications.iter();
    let held = held
        .filter(|v| v.method == method && v.expires_at > now)
        .map(|v| v.level);
    let word = |level: Option<i32>| level.map(|level| level.to_string()).unwrap_or_default();
    tx.changed(
        ("customer", &customer.id),
        &format!("verification/{method}"),
        &word(held.max()),
        &word(after),
    );
}

/// Tells the audit log where a question to a customer stands: a code, a tap, an answer, a confirmation.
pub(super) fn challenge_changed(
    tx: &Tx,
    (kind, id): (&str, &dyn std::fmt::Display),
    before: Option<Challenge>,
    after: Challenge,
) {
    let attempts = |of: Challenge| of.attempts().map(|n| n.to_string()).unwrap_or_default();
    tx.changed(
        (kind, id),
        "state",
        before.map_or("", Challenge::name),
        after.name(),
    );
    if let Some(before) = before.filter(|before| before.name() == after.name()) {
        tx.changed((kind, id), "attempts", &attempts(before), &attempts(after));
    }
}

/// Tells the audit log which fields of a customer were said anew, and which are known no more. What they say is the
/// person's.
pub(super) fn traits_changed<'a>(
    tx: &Tx,
    id: CustomerId,
    before: &[String],
    said: impl IntoIterator<Item = &'a String>,
    cleared: impl IntoIterator<Item = &'a String>,
) {
    let known = |name: &String| if before.contains(name) { "known" } else { "" };
    for name in said {
        tx.changed(
            ("customer", &id),
            &format!("traits/{name}"),
            known(name),
            "said anew",
        );
    }
    for name in cleared {
        tx.changed(("customer", &id), &format!("traits/{name}"), known(name), "");
    }
}

/// Tells the audit log what a record showed: somebody new, and who turned out to be one.
pub(super) fn record_changed(call: &Call, outcome: &Outcome) {
    if outcome.is_new {
        call.changed(("customer", &outcome.customer), "known", "false", "true");
    }
    for merge in &outcome.merges {
        let survivor = merge.survivor.to_string();
        call.changed(("customer", &merge.merged), "merged_into", "", &survivor);
    }
}
