//! Askings, the questions that went out, and the answers.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use prost::Message as _;
use sqlx::{FromRow, PgConnection, Row as _, postgres::PgRow};
use trama_platform::{Error, Tx, sealing::Column};
use trama_proto::{
    common::v1::{ChannelKind, CustomerContext},
    ids::{CaseId, CustomerId, InteractionId, InvitationId, MessageId, TenantId},
    survey::v1::QuestionKind,
};
use uuid::Uuid;

use crate::{
    domain::{History, Invitation, State},
    error::broken_row,
};

const COLUMNS: &str =
    "tenant, invitation_id, survey, spec, customer_id, customer, case_id, case_subject, need, language,
    channel_kind, status, until, position, reason, follow_up_case_id, created_at, interaction_id";

const KEY: &[(&str, &str)] = &[("invitation_id", "uuid")];
/// Whom we ask, as far as we were told.
pub const CUSTOMER: Column = Column::bytes("invitations", "customer", KEY);
/// The need that was met, in the customer's words.
pub const CASE_SUBJECT: Column = Column::text("invitations", "case_subject", KEY);

/// An invitation without what is known of the customer, which stands beside it as it was read.
struct Row {
    invitation: Invitation,
    customer: Vec<u8>,
}

async fn opened(tx: &mut Tx, mut rows: Vec<Row>) -> Result<Vec<Invitation>, Error> {
    let places: Vec<(TenantId, Uuid)> = rows
        .iter()
        .map(|r| (r.invitation.tenant.clone(), r.invitation.id.uuid()))
        .collect();
    let each = || places.iter().map(|(tenant, id)| (tenant.as_str(), *id));
    let customers = rows.iter_mut().map(|r| &mut r.customer);
    tx.open(
        CUSTOMER,
        each().zip(customers).map(|((t, id), value)| (t, id, value)),
    )
    .await?;
    let subjects = rows.iter_mut().map(|r| &mut r.invitation.case_subject);
    tx.open(
        CASE_SUBJECT,
        each().zip(subjects).map(|((t, id), value)| (t, id, value)),
    )
    .await?;
    rows.into_iter()
        .map(|row| {
            let customer = CustomerContext::decode(row.customer.as_slice())
                .map_err(|_| broken_row("invitations", row.invitation.id.uuid()))?;
            Ok(Invitation {
                customer,
                ..row.invitation
            })
        })
        .collect()
}

impl FromRow<'_, PgRow> for Row {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let id: Uuid = row.try_get("invitation_id")?;
        let broken = || sqlx::Error::Decode(Box::new(broken_row("invitations", id)));
        let tenant: String = row.try_get("tenant")?;
        let status: String = row.try_get("status")?;
        let until: Option<DateTime<Utc>> = row.try_get("until")?;
        let position: Option<i32> = row.try_get("position")?;
        let state = match (status.as_str(), until, position) {
            ("scheduled", Some(ask_at), None) => State::Scheduled { ask_at },
            ("asked", Some(closes_at), Some(question)) => State::Asked {
                question: usize::try_from(question).map_err(|_| broken())?,
                closes_at,
            },
            ("completed", None, None) => State::Completed,
            ("suppressed", None, None) => State::Suppressed,
            ("lapsed", None, None) => State::Lapsed,
            _ => return Err(broken()),
        };
        let invitation = Invitation {
            tenant: tenant.parse().map_err(|_| broken())?,
            id: InvitationId::new(id),
            survey: row.try_get("survey")?,
            spec: serde_json::from_value(row.try_get("spec")?).map_err(|_| broken())?,
            customer_id: CustomerId::new(row.try_get("customer_id")?),
            customer: CustomerContext::default(),
            case_id: CaseId::new(row.try_get("case_id")?),
            case_subject: row.try_get("case_subject")?,
            need: row.try_get("need")?,
            language: row.try_get("language")?,
            channel_kind: ChannelKind::try_from(row.try_get::<i32, _>("channel_kind")?).unwrap_or_default(),
            state,
            reason: row.try_get("reason")?,
            follow_up: row
                .try_get::<Option<Uuid>, _>("follow_up_case_id")?
                .map(CaseId::new),
            created_at: row.try_get("created_at")?,
            interaction_id: row
                .try_get::<Option<Uuid>, _>("interaction_id")?
                .map(InteractionId::new),
        };
        Ok(Self {
            invitation,
            customer: row.try_get("customer")?,
        })
    }
}

/// A state as the table writes it.
fn columns(state: State) -> (&'static str, Option<DateTime<Utc>>, Option<i32>) {
    match state {
        State::Scheduled { ask_at } => ("scheduled", Some(ask_at), None),
        State::Asked { question, closes_at } => ("asked", Some(closes_at), i32::try_from(question).ok()),
        State::Completed => ("completed", None, None),
        State::Suppressed => ("suppressed", None, None),
        State::Lapsed => ("lapsed", None, None),
    }
}

/// What is known of earlier askings of customers. What was suppressed was none.
pub async fn histories(
    conn: &mut PgConnection,
    wanted: &[(&TenantId, CustomerId)],
) -> Result<HashMap<(String, Uuid), History>, Error> {
    let (tenants, ids): (Vec<&str>, Vec<Uuid>) = wanted.iter().map(|(t, c)| (t.as_str(), c.uuid())).unzip();
    let rows: Vec<(String, Uuid, Option<DateTime<Utc>>, bool)> = sqlx::query_as(
        "SELECT i.tenant, i.customer_id, max(i.created_at), bool_or(i.status IN ('scheduled', 'asked'))
         FROM invitations i
         WHERE (i.tenant, i.customer_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[])) AND i.status <> 'suppressed'
         GROUP BY i.tenant, i.customer_id",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(t, c, last_invited_at, open)| {
            (
                (t, c),
                History {
                    last_invited_at,
                    open,
                },
            )
        })
        .collect())
}

/// Adds decisions; one that is known stays as it is. Returns the ids that are new.
pub async fn add(tx: &mut Tx, invitations: &[(Invitation, CustomerId)]) -> Result<Vec<Uuid>, Error> {
    if invitations.is_empty() {
        return Ok(Vec::new());
    }
    let each = || invitations.iter().map(|(i, _)| i);
    let places = || each().map(|i| (i.tenant.as_str(), i.id.uuid()));
    let mut customers: Vec<Vec<u8>> = each().map(|i| i.customer.encode_to_vec()).collect();
    tx.seal(CUSTOMER, places(), &mut customers).await?;
    let mut subjects: Vec<String> = each().map(|i| i.case_subject.clone()).collect();
    tx.seal(CASE_SUBJECT, places(), &mut subjects).await?;
    let specs = each()
        .map(|i| serde_json::to_value(&i.spec))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::internal)?;
    let states: Vec<_> = each().map(|i| columns(i.state)).collect();
    Ok(sqlx::query_scalar(
        "INSERT INTO invitations (tenant, invitation_id, survey, spec, customer_id, asked_customer_id, customer, case_id,
             case_subject, need, language, channel_kind, status, until, position, reason, created_at, interaction_id, updated_at)
         SELECT *, created_at FROM unnest($1::text[], $2::uuid[], $3::text[], $4::jsonb[], $5::uuid[], $6::uuid[], $7::bytea[],
             $8::uuid[], $9::text[], $10::text[], $11::text[], $12::int4[], $13::text[], $14::timestamptz[], $15::int4[],
             $16::text[], $17::timestamptz[], $18::uuid[])
             AS row (tenant, invitation_id, survey, spec, customer_id, asked_customer_id, customer, case_id, case_subject, need,
                 language, channel_kind, status, until, position, reason, created_at, interaction_id)
         ON CONFLICT (tenant, invitation_id) DO NOTHING
         RETURNING invitation_id",
    )
    .bind(each().map(|i| i.tenant.as_str()).collect::<Vec<_>>())
    .bind(each().map(|i| i.id.uuid()).collect::<Vec<_>>())
    .bind(each().map(|i| i.survey.as_str()).collect::<Vec<_>>())
    .bind(specs)
    .bind(each().map(|i| i.customer_id.uuid()).collect::<Vec<_>>())
    .bind(invitations.iter().map(|(_, asked)| asked.uuid()).collect::<Vec<_>>())
    .bind(customers)
    .bind(each().map(|i| i.case_id.uuid()).collect::<Vec<_>>())
    .bind(subjects)
    .bind(each().map(|i| i.need.as_str()).collect::<Vec<_>>())
    .bind(each().map(|i| i.language.as_str()).collect::<Vec<_>>())
    .bind(each().map(|i| i32::from(i.channel_kind)).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.0).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.1).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.2).collect::<Vec<_>>())
    .bind(each().map(|i| i.reason.as_str()).collect::<Vec<_>>())
    .bind(each().map(|i| i.created_at).collect::<Vec<_>>())
    .bind(each().map(|i| i.interaction_id.map(InteractionId::uuid)).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await?)
}

/// Askings by id, locked.
pub async fn lock(tx: &mut Tx, wanted: &[(&TenantId, InvitationId)]) -> Result<Vec<Invitation>, Error> {
    let (tenants, ids): (Vec<&str>, Vec<Uuid>) = wanted.iter().map(|(t, i)| (t.as_str(), i.uuid())).unzip();
    let query = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM invitations WHERE (tenant, invitation_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))
         ORDER BY tenant, invitation_id FOR UPDATE"
    ));
    let rows: Vec<Row> = sqlx::query_as(query)
        .bind(tenants)
        .bind(ids)
        .fetch_all(tx.conn())
        .await?;
    opened(tx, rows).await
}

/// One asking.
pub async fn find(tx: &mut Tx, tenant: &TenantId, id: InvitationId) -> Result<Option<Invitation>, Error> {
    Ok(lock(tx, &[(tenant, id)]).await?.pop())
}

/// Customers of whom another asking has a question open, by the id of the asking that wants to be next.
pub async fn others_open(conn: &mut PgConnection, invitations: &[Invitation]) -> Result<Vec<Uuid>, Error> {
    let (tenants, ids): (Vec<&str>, Vec<Uuid>) = invitations
        .iter()
        .map(|i| (i.tenant.as_str(), i.id.uuid()))
        .unzip();
    let customers: Vec<Uuid> = invitations.iter().map(|i| i.customer_id.uuid()).collect();
    Ok(sqlx::query_scalar(
        "SELECT row.id FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS row (tenant, id, customer)
         WHERE EXISTS (SELECT 1 FROM invitations o WHERE o.tenant = row.tenant AND o.customer_id = row.customer
             AND o.status = 'asked' AND o.invitation_id <> row.id)",
    )
    .bind(tenants)
    .bind(ids)
    .bind(customers)
    .fetch_all(conn)
    .await?)
}

/// Writes where askings stand now; the rows are locked.
pub async fn save(
    conn: &mut PgConnection,
    invitations: &[&Invitation],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if invitations.is_empty() {
        return Ok(());
    }
    let states: Vec<_> = invitations.iter().map(|i| columns(i.state)).collect();
    sqlx::query(
        "UPDATE invitations SET status = row.status, until = row.until, position = row.position, reason = row.reason,
             follow_up_case_id = row.follow_up, channel_kind = row.channel_kind, version = version + 1, updated_at = $9
         FROM unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[], $5::int4[], $6::text[], $7::uuid[], $8::int4[])
             AS row (tenant, id, status, until, position, reason, follow_up, channel_kind)
         WHERE invitations.tenant = row.tenant AND invitations.invitation_id = row.id",
    )
    .bind(invitations.iter().map(|i| i.tenant.as_str()).collect::<Vec<_>>())
    .bind(invitations.iter().map(|i| i.id.uuid()).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.0).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.1).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.2).collect::<Vec<_>>())
    .bind(invitations.iter().map(|i| i.reason.as_str()).collect::<Vec<_>>())
    .bind(invitations.iter().map(|i| i.follow_up.map(CaseId::uuid)).collect::<Vec<_>>())
    .bind(invitations.iter().map(|i| i32::from(i.channel_kind)).collect::<Vec<_>>())
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// A question that went out.
pub struct Asked {
    /// Whose.
    pub tenant: TenantId,
    /// Of which asking.
    pub invitation_id: InvitationId,
    /// Which question.
    pub question_id: String,
    /// Of which survey.
    pub survey: String,
    /// What it measures.
    pub kind: QuestionKind,
    /// The message that carries it.
    pub message_id: MessageId,
}

/// Remembers questions that went out.
pub async fn save_asked(conn: &mut PgConnection, asked: &[Asked], now: DateTime<Utc>) -> Result<(), Error> {
    if asked.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO asked (tenant, invitation_id, question_id, survey, kind, message_id, asked_at)
         SELECT *, $7 FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::int4[], $6::uuid[])
         ON CONFLICT DO NOTHING",
    )
    .bind(asked.iter().map(|a| a.tenant.as_str()).collect::<Vec<_>>())
    .bind(asked.iter().map(|a| a.invitation_id.uuid()).collect::<Vec<_>>())
    .bind(asked.iter().map(|a| a.question_id.as_str()).collect::<Vec<_>>())
    .bind(asked.iter().map(|a| a.survey.as_str()).collect::<Vec<_>>())
    .bind(asked.iter().map(|a| i32::from(a.kind)).collect::<Vec<_>>())
    .bind(asked.iter().map(|a| a.message_id.uuid()).collect::<Vec<_>>())
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Questions by the messages that carry them: tenant, asking, question, message.
pub async fn by_messages(
    conn: &mut PgConnection,
    messages: &[(&TenantId, MessageId)],
) -> Result<Vec<(String, Uuid, String, Uuid)>, Error> {
    let (tenants, ids): (Vec<&str>, Vec<Uuid>) = messages.iter().map(|(t, m)| (t.as_str(), m.uuid())).unzip();
    Ok(sqlx::query_as(
        "SELECT tenant, invitation_id, question_id, message_id FROM asked
         WHERE (tenant, message_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(conn)
    .await?)
}

/// A question did not arrive: it was not asked.
pub async fn unask(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: InvitationId,
    question_id: &str,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM asked WHERE tenant = $1 AND invitation_id = $2 AND question_id = $3")
        .bind(tenant.as_str())
        .bind(id.uuid())
        .bind(question_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// An answer.
pub struct Response {
    /// Whose.
    pub tenant: TenantId,
    /// To which asking.
    pub invitation_id: InvitationId,
    /// To which question.
    pub question_id: String,
    /// The answer.
    pub score: i32,
    /// Where it was given.
    pub channel_kind: ChannelKind,
    /// When.
    pub at: DateTime<Utc>,
}

/// Remembers answers; the first one stays.
pub async fn save_responses(conn: &mut PgConnection, responses: &[Response]) -> Result<(), Error> {
    if responses.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO responses (tenant, invitation_id, question_id, score, channel_kind, responded_at)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::int4[], $5::int4[], $6::timestamptz[])
         ON CONFLICT DO NOTHING",
    )
    .bind(responses.iter().map(|r| r.tenant.as_str()).collect::<Vec<_>>())
    .bind(
        responses
            .iter()
            .map(|r| r.invitation_id.uuid())
            .collect::<Vec<_>>(),
    )
    .bind(
        responses
            .iter()
            .map(|r| r.question_id.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(responses.iter().map(|r| r.score).collect::<Vec<_>>())
    .bind(
        responses
            .iter()
            .map(|r| i32::from(r.channel_kind))
            .collect::<Vec<_>>(),
    )
    .bind(responses.iter().map(|r| r.at).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Askings, newest first, from after `start`.
pub async fn list(
    tx: &mut Tx,
    tenant: &TenantId,
    customer: Option<CustomerId>,
    start: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Invitation>, Error> {
    let (created, id) = start.unzip();
    let query = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM invitations
         WHERE tenant = $1 AND ($2::uuid IS NULL OR customer_id = $2)
           AND ($3::timestamptz IS NULL OR (created_at, invitation_id) < ($3, $4))
         ORDER BY created_at DESC, invitation_id DESC LIMIT $5"
    ));
    let rows: Vec<Row> = sqlx::query_as(query)
        .bind(tenant.as_str())
        .bind(customer.map(CustomerId::uuid))
        .bind(created)
        .bind(id)
        .bind(limit)
        .fetch_all(tx.conn())
        .await?;
    opened(tx, rows).await
}

/// Answers of askings: asking, question, score.
pub async fn scores_of(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ids: &[Uuid],
) -> Result<Vec<(Uuid, String, i32)>, Error> {
    Ok(sqlx::query_as("SELECT invitation_id, question_id, score FROM responses WHERE tenant = $1 AND invitation_id = ANY($2)")
        .bind(tenant.as_str())
        .bind(ids)
        .fetch_all(conn)
        .await?)
}
