//! What came in.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use trama_platform::Error;
use trama_proto::{common::v1::ChannelKind, ids::TenantId, resources::Kind};

use crate::{
    error::broken_row,
    staffing::{
        calendar::Step,
        rows::Row,
        volume::{Count, Series},
    },
};

/// Work that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// Kind of channel.
    pub channel: ChannelKind,
    /// Intent, empty when unknown.
    pub intent: &'a str,
    /// Language, empty when unknown.
    pub language: &'a str,
    /// When the customer came.
    pub waiting_since: DateTime<Utc>,
    /// How long an agent worked on it; `None` when none did.
    pub handle_seconds: Option<f64>,
}

/// Counts work that has ended, in the interval in which its customer came. Called in the transaction that ends it, once for
/// each item. Only ever inserted, so that nobody waits for a counter; the leader folds them.
pub async fn count_ended(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ended: &[Ended<'_>],
) -> Result<(), Error> {
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO volume_facts (tenant, starts_at, channel_kind, intent, language, contacts, handled, handle_seconds)
         SELECT $1, date_bin('15 minutes', waiting_since, 'epoch'), channel_kind, intent, language, count(*),
                count(handle_seconds), coalesce(sum(handle_seconds), 0)
         FROM unnest($2::timestamptz[], $3::integer[], $4::text[], $5::text[], $6::float8[])
              AS u (waiting_since, channel_kind, intent, language, handle_seconds)
         GROUP BY 2, 3, 4, 5",
    )
    .bind(tenant.as_str())
    .bind(ended.iter().map(|e| e.waiting_since).collect::<Vec<_>>())
    .bind(ended.iter().map(|e| e.channel as i32).collect::<Vec<_>>())
    .bind(ended.iter().map(|e| e.intent).collect::<Vec<_>>())
    .bind(ended.iter().map(|e| e.language).collect::<Vec<_>>())
    .bind(ended.iter().map(|e| e.handle_seconds).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Folds counted work into the volumes, at most so many; how many it were. What was imported for the same time stands.
pub async fn fold_volumes(conn: &mut PgConnection, tenant: &TenantId, limit: i64) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(
        "WITH taken AS (
             DELETE FROM volume_facts WHERE tenant = $1 AND fact_id = ANY(ARRAY(
                 SELECT fact_id FROM volume_facts WHERE tenant = $1 ORDER BY fact_id LIMIT $2))
             RETURNING *
         ), folded AS (
             INSERT INTO volumes (tenant, starts_at, channel_kind, intent, language, minutes, imported, contacts, handled,
                                  handle_seconds)
             SELECT $1, starts_at, channel_kind, intent, language, 15, false, sum(contacts), sum(handled),
                    sum(handle_seconds)
             FROM taken t
             WHERE NOT EXISTS (SELECT 1 FROM volumes v
                               WHERE v.tenant = $1 AND v.imported AND v.channel_kind = t.channel_kind
                                 AND v.intent = t.intent AND v.language = t.language
                                 AND v.starts_at <= t.starts_at AND v.starts_at > t.starts_at - interval '1 hour'
                                 AND v.starts_at + make_interval(mins => v.minutes) > t.starts_at)
             GROUP BY 2, 3, 4, 5 ORDER BY 2, 3, 4, 5
             ON CONFLICT (tenant, starts_at, channel_kind, intent, language, minutes) DO UPDATE
             SET contacts = volumes.contacts + excluded.contacts, handled = volumes.handled + excluded.handled,
                 handle_seconds = volumes.handle_seconds + excluded.handle_seconds
             WHERE NOT volumes.imported
         )
         SELECT count(*) FROM taken",
    )
    .bind(tenant.as_str())
    .bind(limit)
    .fetch_one(conn)
    .await?)
}

/// Takes what was imported; it replaces what was known of the same time and series.
pub async fn replace_volumes(conn: &mut PgConnection, tenant: &TenantId, rows: &[Row]) -> Result<u64, Error> {
    let starts: Vec<DateTime<Utc>> = rows.iter().map(|row| row.start).collect();
    let kinds: Vec<i32> = rows
        .iter()
        .map(|row| ChannelKind::from(row.series.channel) as i32)
        .collect();
    let intents: Vec<&str> = rows.iter().map(|row| row.series.intent.as_str()).collect();
    let languages: Vec<&str> = rows.iter().map(|row| row.series.language.as_str()).collect();
    let minutes: Vec<i32> = rows.iter().map(|row| minutes(row.step)).collect();
    // A row of an hour stands in the way of four quarters, and the other way round: all keys that could overlap are spelt
    // out, so that the join is one by equality and a year over a year is not a year squared.
    let gone = sqlx::query(
        "DELETE FROM volumes
         USING (SELECT n.*, key.starts_at AS key_starts_at
                FROM unnest($2::timestamptz[], $3::integer[], $4::text[], $5::text[], $6::integer[])
                     AS n (starts_at, channel_kind, intent, language, minutes)
                CROSS JOIN LATERAL generate_series(n.starts_at - interval '45 minutes',
                    n.starts_at + make_interval(mins => n.minutes - 15), interval '15 minutes') AS key (starts_at)) AS n
         WHERE volumes.tenant = $1 AND volumes.starts_at = n.key_starts_at AND volumes.channel_kind = n.channel_kind
           AND volumes.intent = n.intent AND volumes.language = n.language
           AND volumes.starts_at + make_interval(mins => volumes.minutes) > n.starts_at",
    )
    .bind(tenant.as_str())
    .bind(&starts)
    .bind(&kinds)
    .bind(&intents)
    .bind(&languages)
    .bind(&minutes)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    let handled = |row: &Row| row.count.handle_seconds.map_or(0.0, |_| row.count.contacts);
    let handle_seconds = |row: &Row| {
        row.count
            .handle_seconds
            .map_or(0.0, |mean| mean * row.count.contacts)
    };
    sqlx::query(
        "INSERT INTO volumes (tenant, starts_at, channel_kind, intent, language, minutes, imported, contacts, handled,
                              handle_seconds)
         SELECT $1, starts_at, channel_kind, intent, language, minutes, true, contacts, handled, handle_seconds
         FROM unnest($2::timestamptz[], $3::integer[], $4::text[], $5::text[], $6::integer[], $7::float8[],
                     $8::float8[], $9::float8[])
              AS n (starts_at, channel_kind, intent, language, minutes, contacts, handled, handle_seconds)",
    )
    .bind(tenant.as_str())
    .bind(starts)
    .bind(kinds)
    .bind(intents)
    .bind(languages)
    .bind(minutes)
    .bind(rows.iter().map(|row| row.count.contacts).collect::<Vec<_>>())
    .bind(rows.iter().map(handled).collect::<Vec<_>>())
    .bind(rows.iter().map(handle_seconds).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(gone)
}

fn minutes(step: Step) -> i32 {
    i32::try_from(step.minutes()).unwrap_or(i32::MAX)
}

/// Which counts: all where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Kind of channel.
    pub channel: Option<Kind>,
    /// Intent; all when empty.
    pub intent: String,
    /// Language; all when empty.
    pub language: String,
}

#[derive(FromRow)]
struct Counted {
    starts_at: DateTime<Utc>,
    minutes: i32,
    channel_kind: i32,
    intent: String,
    language: String,
    contacts: f64,
    handled: f64,
    handle_seconds: f64,
}

/// What came in between two moments, by time: what was counted or imported, and the work that is open still or not folded yet. `limit` rows at
/// most.
pub async fn volumes(
    conn: &mut PgConnection,
    tenant: &TenantId,
    wanted: &Wanted,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Row>, Error> {
    // 1 to 6 are the kinds of channel that customers use.
    let rows: Vec<Counted> = sqlx::query_as(
        "WITH own AS (
             SELECT date_bin('15 minutes', waiting_since, 'epoch') AS starts_at, channel_kind, intent, language,
                    count(*)::float8 AS contacts, 0::float8 AS handled, 0::float8 AS handle_seconds
             FROM work_items
             WHERE tenant = $1 AND number > 0 AND state IN ('pending', 'offered', 'assigned', 'wrapping')
               AND waiting_since >= $2 AND waiting_since < $3
             GROUP BY 1, 2, 3, 4
             UNION ALL
             SELECT starts_at, channel_kind, intent, language, sum(contacts), sum(handled), sum(handle_seconds)
             FROM volume_facts WHERE tenant = $1 AND starts_at >= $2 AND starts_at < $3
             GROUP BY 1, 2, 3, 4),
         counted AS (
             SELECT starts_at, minutes, channel_kind, intent, language, contacts, handled, handle_seconds
             FROM volumes WHERE tenant = $1 AND starts_at >= $2 AND starts_at < $3
             UNION ALL
             SELECT starts_at, 15, channel_kind, intent, language, contacts, handled, handle_seconds FROM own
             WHERE NOT EXISTS (SELECT 1 FROM volumes v
                               WHERE v.tenant = $1 AND v.imported AND v.channel_kind = own.channel_kind
                                 AND v.intent = own.intent AND v.language = own.language
                                 AND v.starts_at <= own.starts_at
                                 AND v.starts_at > own.starts_at - interval '1 hour'
                                 AND v.starts_at + make_interval(mins => v.minutes) > own.starts_at))
         SELECT starts_at, minutes, channel_kind, intent, language, sum(contacts) AS contacts, sum(handled) AS handled,
                sum(handle_seconds) AS handle_seconds
         FROM counted
         WHERE channel_kind BETWEEN 1 AND 6 AND ($4::integer IS NULL OR channel_kind = $4)
           AND ($5 = '' OR intent = $5) AND ($6 = '' OR language = $6)
         GROUP BY starts_at, minutes, channel_kind, intent, language
         ORDER BY starts_at, channel_kind, intent, language, minutes
         LIMIT $7",
    )
    .bind(tenant.as_str())
    .bind(from)
    .bind(to)
    .bind(wanted.channel.map(|kind| ChannelKind::from(kind) as i32))
    .bind(&wanted.intent)
    .bind(&wanted.language)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Counted::row).collect()
}

impl Counted {
    fn row(self) -> Result<Row, Error> {
        let broken = |what: &str| broken_row("volumes", self.starts_at, what);
        let channel = Kind::ALL
            .into_iter()
            .find(|kind| ChannelKind::from(*kind) as i32 == self.channel_kind)
            .ok_or_else(|| broken("unknown channel"))?;
        let step = u32::try_from(self.minutes).ok().and_then(Step::of_minutes);
        Ok(Row {
            series: Series {
                channel,
                intent: self.intent,
                language: self.language,
            },
            start: self.starts_at,
            step: step.ok_or_else(|| broken_row("volumes", self.starts_at, "unknown interval"))?,
            count: Count {
                contacts: self.contacts,
                // To the millisecond: a mean of a sum of products is not quite the number that was imported.
                handle_seconds: (self.handled > 0.0)
                    .then(|| (self.handle_seconds / self.handled * 1_000.0).round() / 1_000.0),
            },
        })
    }
}
