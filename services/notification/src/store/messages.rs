//! Messages and the tries to send them.

use chrono::{DateTime, Utc};
use prost::Message as _;
use sqlx::{FromRow, PgConnection, Row as _, postgres::PgRow};
use trama_platform::{Error, Tx, sealing::Column};
use trama_proto::{
    common::v1::{ChannelKind, Handle},
    identity_resolution::v1::Purpose,
    ids::{CaseId, CustomerId, InteractionId, MessageId, TenantId},
    notification::v1::MessageRequested,
};
use uuid::Uuid;

use crate::{domain::Standing, error::broken_row};

/// A message that was asked for.
pub struct NewMessage {
    /// Whose.
    pub tenant: TenantId,
    /// Its id.
    pub message_id: MessageId,
    /// To whom, after merges.
    pub customer_id: CustomerId,
    /// To whom it was asked for.
    pub asked_customer_id: CustomerId,
    /// About which case.
    pub case_id: Option<CaseId>,
    /// The customer's word that it answers.
    pub interaction_id: Option<InteractionId>,
    /// Nobody can tell for whom it was asked.
    pub undecided: bool,
    /// Does not wait behind others.
    pub urgent: bool,
    /// The encoded MessageRequested.
    pub request: Vec<u8>,
    /// Trace that it belongs to.
    pub trace: Option<String>,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
}

/// A message as it is kept.
#[derive(Debug, Clone)]
pub struct MessageRow {
    /// Whose.
    pub tenant: TenantId,
    /// Its id.
    pub message_id: MessageId,
    /// To whom.
    pub customer_id: CustomerId,
    /// About which case.
    pub case_id: Option<CaseId>,
    /// Nobody can tell for whom it was asked: a merge was undone.
    pub undecided: bool,
    /// What was asked for.
    pub request: MessageRequested,
    /// Where it stands.
    pub standing: Standing,
    /// Tries so far.
    pub tries: i32,
    /// Tries on the current way.
    pub tries_here: i32,
    /// Tries whose outcome is not known.
    pub unknown_outcomes: i32,
    /// Ways that are used up.
    pub spent: Vec<String>,
    /// Channel of the last try.
    pub channel: String,
    /// Its kind.
    pub channel_kind: ChannelKind,
    /// Address of the last try.
    pub handle: Handle,
    /// The provider's id, once it took it.
    pub provider_message_id: String,
    /// As the customer reads it; empty for one-time codes.
    pub body: String,
    /// Why this channel, or what went wrong.
    pub reason: String,
    /// Trace that it belongs to.
    pub trace: Option<String>,
    /// Grows with each change.
    pub version: i64,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
}

/// A message in the hands of the sender.
pub type Claimed = MessageRow;

impl MessageRow {
    /// Why it is sent.
    pub fn purpose(&self) -> Purpose {
        self.request.purpose()
    }
}

pub(super) const COLUMNS: &str = "tenant, message_id, customer_id, case_id, request, status, tries, tries_here, unknown_outcomes,
    spent, channel, channel_kind, handle_kind, handle_value, provider_message_id, body, reason, trace, version,
    requested_at, undecided";

const KEY: &[(&str, &str)] = &[("message_id", "uuid")];
/// What was asked for.
pub const REQUEST: Column = Column::bytes("messages", "request", KEY);
/// As the customer reads it.
pub const BODY: Column = Column::text("messages", "body", KEY);

/// A message without its request, which stands beside it as it was read.
pub(super) struct Row {
    message: MessageRow,
    request: Vec<u8>,
}

/// Rows with all that is sealed in them opened.
pub(super) async fn opened(tx: &mut Tx, mut rows: Vec<Row>) -> Result<Vec<MessageRow>, Error> {
    let places: Vec<(TenantId, Uuid)> = rows
        .iter()
        .map(|r| (r.message.tenant.clone(), r.message.message_id.uuid()))
        .collect();
    let each = || places.iter().map(|(tenant, id)| (tenant.as_str(), *id));
    let requests = rows.iter_mut().map(|r| &mut r.request);
    tx.open(
        REQUEST,
        each().zip(requests).map(|((t, id), value)| (t, id, value)),
    )
    .await?;
    let bodies = rows.iter_mut().map(|r| &mut r.message.body);
    tx.open(BODY, each().zip(bodies).map(|((t, id), value)| (t, id, value)))
        .await?;
    rows.into_iter()
        .map(|row| {
            let request = MessageRequested::decode(row.request.as_slice())
                .map_err(|_| broken_row("messages", row.message.message_id.uuid()))?;
            Ok(MessageRow {
                request,
                ..row.message
            })
        })
        .collect()
}

impl FromRow<'_, PgRow> for Row {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let decode = |error: Error| sqlx::Error::Decode(Box::new(error));
        let id: Uuid = row.try_get("message_id")?;
        let tenant: String = row.try_get("tenant")?;
        let status: String = row.try_get("status")?;
        let message = MessageRow {
            tenant: tenant.parse().map_err(|_| decode(broken_row("messages", id)))?,
            message_id: MessageId::new(id),
            customer_id: CustomerId::new(row.try_get("customer_id")?),
            case_id: row.try_get::<Option<Uuid>, _>("case_id")?.map(CaseId::new),
            request: MessageRequested::default(),
            standing: Standing::parse(&status).ok_or_else(|| decode(broken_row("messages", id)))?,
            tries: row.try_get("tries")?,
            tries_here: row.try_get("tries_here")?,
            unknown_outcomes: row.try_get("unknown_outcomes")?,
            spent: row.try_get("spent")?,
            channel: row.try_get("channel")?,
            channel_kind: ChannelKind::try_from(row.try_get::<i32, _>("channel_kind")?).unwrap_or_default(),
            handle: Handle {
                kind: row.try_get("handle_kind")?,
                value: row.try_get("handle_value")?,
                trust: 0,
            },
            provider_message_id: row.try_get("provider_message_id")?,
            body: row.try_get("body")?,
            reason: row.try_get("reason")?,
            trace: row.try_get("trace")?,
            version: row.try_get("version")?,
            requested_at: row.try_get("requested_at")?,
            undecided: row.try_get("undecided")?,
        };
        Ok(Self {
            message,
            request: row.try_get("request")?,
        })
    }
}

/// Queues messages in their order; one that is there already stays as it is. Returns how many are new.
pub async fn insert(tx: &mut Tx, messages: &[NewMessage], now: DateTime<Utc>) -> Result<u64, Error> {
    if messages.is_empty() {
        return Ok(0);
    }
    let tenants: Vec<&str> = messages.iter().map(|m| m.tenant.as_str()).collect();
    let ids: Vec<Uuid> = messages.iter().map(|m| m.message_id.uuid()).collect();
    let customers: Vec<Uuid> = messages.iter().map(|m| m.customer_id.uuid()).collect();
    let asked: Vec<Uuid> = messages.iter().map(|m| m.asked_customer_id.uuid()).collect();
    let cases: Vec<Option<Uuid>> = messages.iter().map(|m| m.case_id.map(CaseId::uuid)).collect();
    let urgent: Vec<bool> = messages.iter().map(|m| m.urgent).collect();
    let mut requests: Vec<Vec<u8>> = messages.iter().map(|m| m.request.clone()).collect();
    let places = messages.iter().map(|m| (m.tenant.as_str(), m.message_id.uuid()));
    tx.seal(REQUEST, places, &mut requests).await?;
    let traces: Vec<Option<&str>> = messages.iter().map(|m| m.trace.as_deref()).collect();
    let requested: Vec<DateTime<Utc>> = messages.iter().map(|m| m.requested_at).collect();
    let words: Vec<Option<Uuid>> = messages
        .iter()
        .map(|m| m.interaction_id.map(InteractionId::uuid))
        .collect();
    let undecided: Vec<bool> = messages.iter().map(|m| m.undecided).collect();
    let done = sqlx::query(
        "INSERT INTO messages (tenant, message_id, customer_id, asked_customer_id, case_id, urgent, request, status, due_at,
             trace, requested_at, interaction_id, undecided, updated_at)
         SELECT tenant, message_id, customer_id, asked, case_id, urgent, request, 'queued', $12, trace, requested_at, word,
             undecided, $12
         FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::bool[], $7::bytea[], $8::text[],
             $9::timestamptz[], $10::uuid[], $11::bool[]) WITH ORDINALITY
             AS row (tenant, message_id, customer_id, asked, case_id, urgent, request, trace, requested_at, word, undecided,
                 position)
         ORDER BY position
         ON CONFLICT (tenant, message_id) DO NOTHING",
    )
    .bind(tenants)
    .bind(ids)
    .bind(customers)
    .bind(asked)
    .bind(cases)
    .bind(urgent)
    .bind(requests)
    .bind(traces)
    .bind(requested)
    .bind(words)
    .bind(undecided)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// Takes messages that are due until `lease_end`: the first in line of each customer.
pub async fn claim(
    tx: &mut Tx,
    now: DateTime<Utc>,
    lease_end: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Claimed>, Error> {
    let query = sqlx::AssertSqlSafe(format!(
        "WITH due AS (
             SELECT tenant AS t, message_id AS m FROM messages mine
             WHERE status = 'queued' AND due_at <= $1
               AND NOT EXISTS (SELECT 1 FROM messages earlier
                   WHERE earlier.tenant = mine.tenant AND earlier.customer_id = mine.customer_id
                     AND earlier.urgent = mine.urgent AND earlier.status = 'queued' AND earlier.seq < mine.seq)
             ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
         UPDATE messages SET due_at = $2, version = version + 1 FROM due
         WHERE tenant = due.t AND message_id = due.m
         RETURNING {COLUMNS}"
    ));
    let rows = sqlx::query_as(query)
        .bind(now)
        .bind(lease_end)
        .bind(limit)
        .fetch_all(tx.conn())
        .await?;
    opened(tx, rows).await
}

/// One message.
pub async fn find(tx: &mut Tx, tenant: &TenantId, id: MessageId) -> Result<Option<MessageRow>, Error> {
    let query = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM messages WHERE tenant = $1 AND message_id = $2"
    ));
    let row = sqlx::query_as(query)
        .bind(tenant.as_str())
        .bind(id.uuid())
        .fetch_optional(tx.conn())
        .await?;
    Ok(opened(tx, row.into_iter().collect()).await?.pop())
}

/// A try that is about to be made.
pub struct Beginning<'a> {
    /// The message, as claimed.
    pub message: &'a Claimed,
    /// On which channel.
    pub channel: &'a str,
    /// Its kind.
    pub kind: ChannelKind,
    /// Where to.
    pub handle: &'a Handle,
    /// Why this way.
    pub reason: &'a str,
    /// As the customer will read it; empty for one-time codes.
    pub body: &'a str,
    /// Number of this try on this way.
    pub tries_here: i32,
}

/// Writes down that providers are about to be called; a message that somebody else has taken over is left out.
/// Returns the ids that may be sent.
pub async fn begin(tx: &mut Tx, tries: &[Beginning<'_>], now: DateTime<Utc>) -> Result<Vec<Uuid>, Error> {
    if tries.is_empty() {
        return Ok(Vec::new());
    }
    let tenants: Vec<&str> = tries.iter().map(|t| t.message.tenant.as_str()).collect();
    let ids: Vec<Uuid> = tries.iter().map(|t| t.message.message_id.uuid()).collect();
    let versions: Vec<i64> = tries.iter().map(|t| t.message.version).collect();
    let channels: Vec<&str> = tries.iter().map(|t| t.channel).collect();
    let kinds: Vec<i32> = tries.iter().map(|t| t.kind.into()).collect();
    let handle_kinds: Vec<&str> = tries.iter().map(|t| t.handle.kind.as_str()).collect();
    let handle_values: Vec<&str> = tries.iter().map(|t| t.handle.value.as_str()).collect();
    let reasons: Vec<&str> = tries.iter().map(|t| t.reason).collect();
    let mut bodies: Vec<String> = tries.iter().map(|t| t.body.to_owned()).collect();
    let places = tenants.iter().copied().zip(ids.iter().copied());
    tx.seal(BODY, places, &mut bodies).await?;
    let here: Vec<i32> = tries.iter().map(|t| t.tries_here).collect();
    Ok(sqlx::query_scalar(
        "WITH going AS (
             UPDATE messages SET tries = tries + 1, tries_here = row.here, channel = row.channel, channel_kind = row.kind,
                 handle_kind = row.handle_kind, handle_value = row.handle_value, reason = row.reason, body = row.body,
                 updated_at = $11
             FROM unnest($1::text[], $2::uuid[], $3::int8[], $4::text[], $5::int4[], $6::text[], $7::text[], $8::text[],
                 $9::text[], $10::int4[])
                 AS row (tenant, message_id, version, channel, kind, handle_kind, handle_value, reason, body, here)
             WHERE messages.tenant = row.tenant AND messages.message_id = row.message_id
               AND messages.version = row.version AND messages.status = 'queued'
             RETURNING messages.tenant, messages.message_id, messages.tries, messages.channel)
         INSERT INTO attempts (tenant, message_id, number, channel, state, started_at)
         SELECT tenant, message_id, tries, channel, 'sending', $11 FROM going
         RETURNING message_id",
    )
    .bind(tenants)
    .bind(ids)
    .bind(versions)
    .bind(channels)
    .bind(kinds)
    .bind(handle_kinds)
    .bind(handle_values)
    .bind(reasons)
    .bind(bodies)
    .bind(here)
    .bind(now)
    .fetch_all(tx.conn())
    .await?)
}

/// The provider took it. Returns the row as it now is, or `None` when that was known already.
pub async fn record_sent(
    tx: &mut Tx,
    message: &Claimed,
    provider_message_id: &str,
    request: &MessageRequested,
    now: DateTime<Utc>,
) -> Result<Option<MessageRow>, Error> {
    let mut request = request.encode_to_vec();
    let place = (message.tenant.as_str(), message.message_id.uuid());
    tx.seal(REQUEST, [place], [&mut request]).await?;
    let query = sqlx::AssertSqlSafe(format!(
        "UPDATE messages SET status = 'sent', provider_message_id = $3, request = $4, version = version + 1, updated_at = $5
         WHERE tenant = $1 AND message_id = $2 AND status = 'queued'
         RETURNING {COLUMNS}"
    ));
    let row = sqlx::query_as(query)
        .bind(message.tenant.as_str())
        .bind(message.message_id.uuid())
        .bind(provider_message_id)
        .bind(request)
        .bind(now)
        .fetch_optional(tx.conn())
        .await?;
    Ok(opened(tx, row.into_iter().collect()).await?.pop())
}

/// Puts it back in line for another try. `false` when somebody else has taken it over.
pub async fn requeue(
    conn: &mut PgConnection,
    message: &MessageRow,
    due_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE messages SET status = 'queued', due_at = $4, spent = $5, reason = $6, tries_here = $7, unknown_outcomes = $8,
             provider_message_id = '', version = version + 1, updated_at = $9
         WHERE tenant = $1 AND message_id = $2 AND version = $3",
    )
    .bind(message.tenant.as_str())
    .bind(message.message_id.uuid())
    .bind(message.version)
    .bind(due_at)
    .bind(&message.spent)
    .bind(&message.reason)
    .bind(message.tries_here)
    .bind(message.unknown_outcomes)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// It will not be sent. `false` when somebody else has taken it over.
pub async fn finish(
    tx: &mut Tx,
    message: &MessageRow,
    standing: Standing,
    request: &MessageRequested,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let mut request = request.encode_to_vec();
    let place = (message.tenant.as_str(), message.message_id.uuid());
    tx.seal(REQUEST, [place], [&mut request]).await?;
    let done = sqlx::query(
        "UPDATE messages SET status = $4, reason = $5, request = $6, version = version + 1, updated_at = $7
         WHERE tenant = $1 AND message_id = $2 AND version = $3",
    )
    .bind(message.tenant.as_str())
    .bind(message.message_id.uuid())
    .bind(message.version)
    .bind(standing.as_str())
    .bind(&message.reason)
    .bind(request)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Lets claimed messages be taken again at `due_at`, unchanged: no provider was called.
pub async fn touch(
    conn: &mut PgConnection,
    messages: &[&Claimed],
    due_at: DateTime<Utc>,
) -> Result<(), Error> {
    let (tenants, ids): (Vec<&str>, Vec<Uuid>) = messages
        .iter()
        .map(|m| (m.tenant.as_str(), m.message_id.uuid()))
        .unzip();
    let versions: Vec<i64> = messages.iter().map(|m| m.version).collect();
    sqlx::query(
        "UPDATE messages SET due_at = $4 FROM unnest($1::text[], $2::uuid[], $3::int8[]) AS row (tenant, message_id, version)
         WHERE messages.tenant = row.tenant AND messages.message_id = row.message_id AND messages.version = row.version",
    )
    .bind(tenants)
    .bind(ids)
    .bind(versions)
    .bind(due_at)
    .execute(conn)
    .await?;
    Ok(())
}
