//! Tables `chat_conversations` and `chat_messages`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use trama_platform::{Error, Tx, sealing::Column};
use trama_proto::ids::TenantId;

/// What we wrote.
pub const BODY: Column = Column::text(
    "chat_messages",
    "body",
    &[("channel", "text"), ("visitor", "text"), ("seq", "bigint")],
);

/// Names a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Whose.
    pub tenant: TenantId,
    /// Name of the channel.
    pub channel: String,
    /// The visitor's id.
    pub visitor: String,
}

impl Conversation {
    fn line(&self, seq: i64) -> String {
        format!("{}/{}/{seq}", self.channel, self.visitor)
    }
}

/// A line from us.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Line {
    /// Position.
    pub seq: i64,
    /// Our id of it.
    pub message_id: String,
    /// The text.
    pub body: String,
    /// Who wrote it.
    pub author: String,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// How far a conversation is.
#[derive(Debug, Clone, Copy, Default, sqlx::FromRow)]
pub struct Marks {
    /// Last position.
    pub last_seq: i64,
    /// The browser has everything up to here.
    pub received_seq: i64,
    /// The visitor has seen everything up to here.
    pub read_seq: i64,
}

/// How far a conversation is, if it exists.
///
/// # Errors
/// When the database is away.
pub async fn marks(conn: &mut PgConnection, c: &Conversation) -> Result<Option<Marks>, Error> {
    Ok(sqlx::query_as(
        "SELECT last_seq, received_seq, read_seq FROM chat_conversations WHERE tenant = $1 AND channel = $2 AND visitor = $3",
    )
    .bind(c.tenant.as_str())
    .bind(&c.channel)
    .bind(&c.visitor)
    .fetch_optional(conn)
    .await?)
}

/// Locks the conversation, beginning it where needed, so that positions are given out in order.
async fn lock(conn: &mut PgConnection, c: &Conversation, now: DateTime<Utc>) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(
        "INSERT INTO chat_conversations (tenant, channel, visitor, last_seq, created_at) VALUES ($1, $2, $3, 0, $4)
         ON CONFLICT (tenant, channel, visitor) DO UPDATE SET last_seq = chat_conversations.last_seq
         RETURNING last_seq",
    )
    .bind(c.tenant.as_str())
    .bind(&c.channel)
    .bind(&c.visitor)
    .bind(now)
    .fetch_one(conn)
    .await?)
}

async fn advance(conn: &mut PgConnection, c: &Conversation, seq: i64) -> Result<(), Error> {
    sqlx::query(
        "UPDATE chat_conversations SET last_seq = $4 WHERE tenant = $1 AND channel = $2 AND visitor = $3",
    )
    .bind(c.tenant.as_str())
    .bind(&c.channel)
    .bind(&c.visitor)
    .bind(seq)
    .execute(conn)
    .await?;
    Ok(())
}

/// The position of a line from the visitor: a new one, or the one that the same line got before.
///
/// # Errors
/// When the database is away.
pub async fn place_of_client_line(
    conn: &mut PgConnection,
    c: &Conversation,
    client_msg_id: &str,
    now: DateTime<Utc>,
) -> Result<i64, Error> {
    let last = lock(conn, c, now).await?;
    let known: Option<i64> = sqlx::query_scalar(
        "SELECT seq FROM chat_messages WHERE tenant = $1 AND channel = $2 AND visitor = $3 AND client_msg_id = $4",
    )
    .bind(c.tenant.as_str())
    .bind(&c.channel)
    .bind(&c.visitor)
    .bind(client_msg_id)
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(seq) = known {
        return Ok(seq);
    }
    let seq = last + 1;
    sqlx::query(
        "INSERT INTO chat_messages (tenant, channel, visitor, seq, client_msg_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(c.tenant.as_str())
    .bind(&c.channel)
    .bind(&c.visitor)
    .bind(seq)
    .bind(client_msg_id)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    advance(conn, c, seq).await?;
    Ok(seq)
}

/// Stores a line from us; the same message again gets the position it has.
///
/// # Errors
/// When the database is away.
pub async fn post(
    tx: &mut Tx,
    c: &Conversation,
    message_id: &str,
    text: &str,
    author: &str,
    now: DateTime<Utc>,
) -> Result<i64, Error> {
    let last = lock(tx.conn(), c, now).await?;
    let known: Option<i64> = sqlx::query_scalar(
        "SELECT seq FROM chat_messages WHERE tenant = $1 AND channel = $2 AND visitor = $3 AND message_id = $4",
    )
    .bind(c.tenant.as_str())
    .bind(&c.channel)
    .bind(&c.visitor)
    .bind(message_id)
    .fetch_optional(tx.conn())
    .await?;
    if let Some(seq) = known {
        return Ok(seq);
    }
    let seq = last + 1;
    let mut body = text.to_owned();
    tx.seal(BODY, [(c.tenant.as_str(), c.line(seq))], [&mut body])
        .await?;
    sqlx::query(
        "INSERT INTO chat_messages (tenant, channel, visitor, seq, message_id, body, author, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(c.tenant.as_str())
    .bind(&c.channel)
    .bind(&c.visitor)
    .bind(seq)
    .bind(message_id)
    .bind(body)
    .bind(author)
    .bind(now)
    .execute(tx.conn())
    .await?;
    advance(tx.conn(), c, seq).await?;
    Ok(seq)
}

/// Lines from us after a position, in order.
///
/// # Errors
/// When the database is away.
pub async fn lines_after(tx: &mut Tx, c: &Conversation, seq: i64, limit: i64) -> Result<Vec<Line>, Error> {
    let mut lines: Vec<Line> = sqlx::query_as(
        "SELECT seq, message_id, body, author, created_at FROM chat_messages
         WHERE tenant = $1 AND channel = $2 AND visitor = $3 AND seq > $4 AND message_id IS NOT NULL
         ORDER BY seq LIMIT $5",
    )
    .bind(c.tenant.as_str())
    .bind(&c.channel)
    .bind(&c.visitor)
    .bind(seq)
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    let bodies = lines
        .iter_mut()
        .map(|l| (c.tenant.as_str(), c.line(l.seq), &mut l.body));
    tx.open(BODY, bodies).await?;
    Ok(lines)
}

/// Our messages in `(after, up_to]`, in order.
///
/// # Errors
/// When the database is away.
pub async fn messages_between(
    conn: &mut PgConnection,
    c: &Conversation,
    after: i64,
    up_to: i64,
    limit: i64,
) -> Result<Vec<(i64, String)>, Error> {
    Ok(sqlx::query_as(
        "SELECT seq, message_id FROM chat_messages
         WHERE tenant = $1 AND channel = $2 AND visitor = $3 AND seq > $4 AND seq <= $5 AND message_id IS NOT NULL
         ORDER BY seq LIMIT $6",
    )
    .bind(c.tenant.as_str())
    .bind(&c.channel)
    .bind(&c.visitor)
    .bind(after)
    .bind(up_to)
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

/// Moves a mark forward, never back.
///
/// # Errors
/// When the database is away.
pub async fn mark(conn: &mut PgConnection, c: &Conversation, seq: i64, read: bool) -> Result<(), Error> {
    let sql = if read {
        "UPDATE chat_conversations SET read_seq = greatest(read_seq, $4) WHERE tenant = $1 AND channel = $2 AND visitor = $3"
    } else {
        "UPDATE chat_conversations SET received_seq = greatest(received_seq, $4) WHERE tenant = $1 AND channel = $2 AND visitor = $3"
    };
    sqlx::query(sql)
        .bind(c.tenant.as_str())
        .bind(&c.channel)
        .bind(&c.visitor)
        .bind(seq)
        .execute(conn)
        .await?;
    Ok(())
}
