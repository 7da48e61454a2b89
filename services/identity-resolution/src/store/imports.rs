//! Imports: their bytes, how far they are, and which lines were wrong.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _, types::Json};
use trama_platform::Error;
use trama_proto::ids::TenantId;
use uuid::Uuid;

use crate::{
    domain::{
        handle::Trust,
        import::{Format, Mapping},
    },
    error::broken_row,
};

/// Where an import stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Bytes are awaited.
    Receiving,
    /// All bytes are there.
    Running,
    /// Done.
    Done,
    /// It cannot be read at all.
    Failed,
}

impl State {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            State::Receiving => "receiving",
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [State::Receiving, State::Running, State::Done, State::Failed]
            .into_iter()
            .find(|s| s.name() == name)
    }
}

/// An import.
#[derive(Debug, Clone)]
pub struct Import {
    /// Id.
    pub id: Uuid,
    /// How records are written.
    pub format: Format,
    /// Which column is what.
    pub mapping: Mapping,
    /// The system it comes from.
    pub source: String,
    /// How much its handles may be believed.
    pub trust: Trust,
    /// Only check.
    pub dry_run: bool,
    /// Where it stands.
    pub state: State,
    /// Bytes that arrived.
    pub received: i64,
    /// Bytes that are worked in.
    pub worked: i64,
    /// Line of the first byte that is not worked in.
    pub line: i64,
    /// Columns of a CSV.
    pub header: Option<Vec<String>>,
    /// Records read.
    pub records: i64,
    /// Customers made.
    pub created: i64,
    /// Customers changed.
    pub updated: i64,
    /// Records that said nothing new.
    pub unchanged: i64,
    /// Lines that were wrong.
    pub failed: i64,
    /// Why nothing more is done.
    pub failure: String,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started_at: DateTime<Utc>,
    /// When it was done.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Adds an import.
pub async fn add(conn: &mut PgConnection, tenant: &TenantId, import: &Import) -> Result<(), Error> {
    let (format, delimiter) = match import.format {
        Format::Csv { delimiter } => ("csv", i16::from(delimiter)),
        Format::JsonLines => ("json", 0),
    };
    let trust: i16 = match import.trust {
        Trust::Claimed => 1,
        Trust::Observed => 2,
        Trust::Verified => 3,
    };
    sqlx::query(
        "INSERT INTO imports (tenant, import_id, format, mapping, source, trust, delimiter, dry_run, state, started_by, started_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(tenant.as_str())
    .bind(import.id)
    .bind(format)
    .bind(Json(&import.mapping))
    .bind(&import.source)
    .bind(trust)
    .bind(delimiter)
    .bind(import.dry_run)
    .bind(import.state.name())
    .bind(&import.started_by)
    .bind(import.started_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// An import, locked until the transaction ends. With `wait`, others that hold it are waited for; without, one that
/// is held is not found.
pub async fn find(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: Uuid,
    wait: bool,
) -> Result<Option<Import>, Error> {
    let statement = if wait {
        "SELECT format, mapping, source, trust, delimiter, dry_run, state, received, worked, line, header, records, created, updated,
             unchanged, failed, failure, started_by, started_at, finished_at
         FROM imports WHERE tenant = $1 AND import_id = $2 FOR UPDATE"
    } else {
        "SELECT format, mapping, source, trust, delimiter, dry_run, state, received, worked, line, header, records, created, updated,
             unchanged, failed, failure, started_by, started_at, finished_at
         FROM imports WHERE tenant = $1 AND import_id = $2 FOR UPDATE SKIP LOCKED"
    };
    let row = sqlx::query(statement)
        .bind(tenant.as_str())
        .bind(id)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let broken = || broken_row("imports", id);
    let delimiter = u8::try_from(row.try_get::<i16, _>("delimiter")?).map_err(|_| broken())?;
    Ok(Some(Import {
        id,
        format: match row.try_get::<String, _>("format")?.as_str() {
            "csv" => Format::Csv { delimiter },
            "json" => Format::JsonLines,
            _ => return Err(broken()),
        },
        mapping: row.try_get::<Json<Mapping>, _>("mapping")?.0,
        source: row.try_get("source")?,
        trust: match row.try_get::<i16, _>("trust")? {
            1 => Trust::Claimed,
            2 => Trust::Observed,
            3 => Trust::Verified,
            _ => return Err(broken()),
        },
        dry_run: row.try_get("dry_run")?,
        state: State::parse(&row.try_get::<String, _>("state")?).ok_or_else(broken)?,
        received: row.try_get("received")?,
        worked: row.try_get("worked")?,
        line: row.try_get("line")?,
        header: row
            .try_get::<Option<Json<Vec<String>>>, _>("header")?
            .map(|h| h.0),
        records: row.try_get("records")?,
        created: row.try_get("created")?,
        updated: row.try_get("updated")?,
        unchanged: row.try_get("unchanged")?,
        failed: row.try_get("failed")?,
        failure: row.try_get("failure")?,
        started_by: row.try_get("started_by")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
    }))
}

/// Saves how far an import is.
pub async fn save(conn: &mut PgConnection, tenant: &TenantId, import: &Import) -> Result<(), Error> {
    sqlx::query(
        "UPDATE imports SET state = $3, received = $4, worked = $5, line = $6, header = $7, records = $8, created = $9, updated = $10,
             unchanged = $11, failed = $12, failure = $13, finished_at = $14, version = version + 1
         WHERE tenant = $1 AND import_id = $2",
    )
    .bind(tenant.as_str())
    .bind(import.id)
    .bind(import.state.name())
    .bind(import.received)
    .bind(import.worked)
    .bind(import.line)
    .bind(import.header.as_ref().map(Json))
    .bind(import.records)
    .bind(import.created)
    .bind(import.updated)
    .bind(import.unchanged)
    .bind(import.failed)
    .bind(&import.failure)
    .bind(import.finished_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds bytes.
pub async fn add_chunk(
    conn: &mut PgConnection,
    tenant: &TenantId,
    (import, start): (Uuid, i64),
    data: &[u8],
) -> Result<(), Error> {
    sqlx::query("INSERT INTO import_chunks (tenant, import_id, start, data) VALUES ($1, $2, $3, $4)")
        .bind(tenant.as_str())
        .bind(import)
        .bind(start)
        .bind(data)
        .execute(conn)
        .await?;
    Ok(())
}

/// The bytes from a place on, at least `wanted` of them if so many are there.
pub async fn bytes_from(
    conn: &mut PgConnection,
    tenant: &TenantId,
    (import, from): (Uuid, i64),
    wanted: usize,
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(wanted);
    // The chunk that holds `from` begins at or before it; earlier ones are gone.
    let mut next = i64::MIN;
    while bytes.len() < wanted {
        let chunk: Option<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT start, data FROM import_chunks WHERE tenant = $1 AND import_id = $2 AND start > $3 ORDER BY start LIMIT 1",
        )
        .bind(tenant.as_str())
        .bind(import)
        .bind(next)
        .fetch_optional(&mut *conn)
        .await?;
        let Some((start, data)) = chunk else { break };
        let skip = usize::try_from((from - start).max(0)).unwrap_or(usize::MAX);
        bytes.extend_from_slice(data.get(skip..).unwrap_or_default());
        next = start;
    }
    Ok(bytes)
}

/// Drops the chunks that are worked in.
pub async fn drop_chunks(
    conn: &mut PgConnection,
    tenant: &TenantId,
    import: Uuid,
    worked: i64,
) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM import_chunks WHERE tenant = $1 AND import_id = $2 AND start + octet_length(data) <= $3",
    )
    .bind(tenant.as_str())
    .bind(import)
    .bind(worked)
    .execute(conn)
    .await?;
    Ok(())
}

/// Something that is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// Number of the line, from 1.
    pub line: i64,
    /// The how-manieth of the line.
    pub number: i32,
    /// The column.
    pub column: String,
    /// What is wrong.
    pub message: String,
}

/// Notes what is wrong.
pub async fn add_errors(
    conn: &mut PgConnection,
    tenant: &TenantId,
    import: Uuid,
    errors: &[LineError],
) -> Result<(), Error> {
    if errors.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO import_errors (tenant, import_id, line, number, column_name, message)
         SELECT $1, $2, * FROM unnest($3::bigint[], $4::integer[], $5::text[], $6::text[])",
    )
    .bind(tenant.as_str())
    .bind(import)
    .bind(errors.iter().map(|e| e.line).collect::<Vec<_>>())
    .bind(errors.iter().map(|e| e.number).collect::<Vec<_>>())
    .bind(errors.iter().map(|e| e.column.as_str()).collect::<Vec<_>>())
    .bind(errors.iter().map(|e| e.message.as_str()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// A page of what is wrong, by line.
pub async fn errors(
    conn: &mut PgConnection,
    tenant: &TenantId,
    import: Uuid,
    (line, number): (i64, i32),
    limit: i64,
) -> Result<Vec<LineError>, Error> {
    let rows: Vec<(i64, i32, String, String)> = sqlx::query_as(
        "SELECT line, number, column_name, message FROM import_errors
         WHERE tenant = $1 AND import_id = $2 AND (line, number) > ($3, $4) ORDER BY line, number LIMIT $5",
    )
    .bind(tenant.as_str())
    .bind(import)
    .bind(line)
    .bind(number)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(line, number, column, message)| LineError {
            line,
            number,
            column,
            message,
        })
        .collect())
}
