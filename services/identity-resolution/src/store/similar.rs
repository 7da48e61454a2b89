//! What similarity needs remembered: blocking keys, what records said, how frequent values are, whom to look at again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::LazyLock,
};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, Row as _, postgres::PgArguments};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, TenantId};
use uuid::Uuid;

use crate::{
    domain::{
        arrivals::{Arrival, half},
        ids::ObservationId,
        said::Said,
    },
    error::broken_row,
};

/// The value that counts customers instead of a value's holders.
pub const POPULATION: i64 = 0;
/// The value that counts records that found their own person at home.
pub const HOMES_SAME: i64 = 1;
/// The value that counts records that found somebody else at home.
pub const HOMES_APART: i64 = 2;

/// A customer who could be meant, with what is said under each of their ids.
pub type Candidate = (CustomerId, Vec<(CustomerId, Said)>);

/// The ids that have each of these keys, in the order of the keys; `None` for a key that more than `most` have. And the first
/// transaction whose rows may not be among them.
///
/// The lateral joins with LIMIT keep the planner on the indexes, whatever it believes about fresh tables.
pub async fn holders(
    conn: &mut PgConnection,
    keys: &[(&TenantId, i64)],
    most: usize,
) -> Result<(Vec<Option<Vec<CustomerId>>>, i64), Error> {
    let mut found = vec![Some(Vec::new()); keys.len()];
    let mut complete_to = i64::MAX;
    if keys.is_empty() {
        return Ok((found, complete_to));
    }
    let rows: Vec<(i64, Option<Vec<Uuid>>)> = sqlx::query_as(
        "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, NULL
         UNION ALL
         SELECT a.place - 1, k.ids
         FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS a (tenant, key, place)
         CROSS JOIN LATERAL (
             SELECT array_agg(customer_id) AS ids FROM (
                 SELECT customer_id FROM block_keys WHERE key = a.key AND tenant = a.tenant LIMIT $3) h) k
         WHERE k.ids IS NOT NULL",
    )
    .bind(keys.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, k)| *k).collect::<Vec<_>>())
    .bind(i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1))
    .fetch_all(conn)
    .await?;
    for (place, ids) in rows {
        let Some(ids) = ids else {
            complete_to = place;
            continue;
        };
        let of_key = usize::try_from(place).ok().and_then(|place| found.get_mut(place));
        let of_key = of_key.ok_or_else(|| Error::internal("a row for a key that nobody asked for"))?;
        *of_key = (ids.len() <= most).then(|| ids.into_iter().map(CustomerId::new).collect());
    }
    Ok((found, complete_to))
}

/// The customers whom these ids are of, each with what is said under all of their ids.
pub async fn candidates(
    conn: &mut PgConnection,
    ids: &BTreeSet<(&TenantId, CustomerId)>,
) -> Result<HashMap<TenantId, Vec<Candidate>>, Error> {
    let mut candidates: HashMap<TenantId, Vec<Candidate>> = HashMap::new();
    if ids.is_empty() {
        return Ok(candidates);
    }
    // Most are nobody's alias and have none: one row is read for them, and the index of aliases says no. Under row level
    // security only a plain column may look into an index: the root is one, COALESCE would read all aliases of the tenant.
    let rows = sqlx::query(
        "SELECT a.tenant, c.root, m.customer_id, m.said
         FROM unnest($1::text[], $2::uuid[]) AS a (tenant, customer_id)
         CROSS JOIN LATERAL (
             SELECT COALESCE(merged_into, customer_id) AS root, customer_id, merged_into, said FROM customers
             WHERE tenant = a.tenant AND customer_id = a.customer_id LIMIT 1) c
         CROSS JOIN LATERAL (
             SELECT c.customer_id, c.said
             UNION ALL
             (SELECT customer_id, said FROM customers
              WHERE tenant = a.tenant AND customer_id = c.merged_into LIMIT 1)
             UNION ALL
             (SELECT customer_id, said FROM customers WHERE tenant = a.tenant AND merged_into = c.root LIMIT 100000)) m
         WHERE m.said IS NOT NULL",
    )
    .bind(ids.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
    .bind(ids.iter().map(|(_, id)| id.uuid()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    let mut found: HashMap<(String, Uuid), BTreeMap<CustomerId, Said>> = HashMap::new();
    for row in rows {
        let member = CustomerId::new(row.try_get("customer_id")?);
        let said = Said::decode(row.try_get("said")?).ok_or_else(|| broken_row("customers", member))?;
        // An alias is read by itself and as one of the root's; whoever is near by two of their ids twice again.
        found
            .entry((row.try_get("tenant")?, row.try_get("root")?))
            .or_default()
            .insert(member, said);
    }
    for ((tenant, root), members) in found {
        candidates
            .entry(tenant.parse()?)
            .or_default()
            .push((CustomerId::new(root), members.into_iter().collect()));
    }
    Ok(candidates)
}

/// How many customers know each of these values.
pub async fn frequencies(
    conn: &mut PgConnection,
    values: &[(&TenantId, i64)],
) -> Result<Vec<(TenantId, i64, u32)>, Error> {
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(String, i64, i32)> = sqlx::query_as(
        "SELECT a.tenant, a.value, s.customers FROM unnest($1::text[], $2::bigint[]) AS a (tenant, value)
         CROSS JOIN LATERAL (SELECT customers FROM value_stats WHERE tenant = a.tenant AND value = a.value LIMIT 1) s",
    )
    .bind(values.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
    .bind(values.iter().map(|(_, v)| *v).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(tenant, value, customers)| Ok((tenant.parse()?, value, u32::try_from(customers).unwrap_or(0))))
        .collect()
}

/// What a batch adds.
#[derive(Debug, Default)]
pub struct News<'a> {
    /// New keys of ids that were there before.
    pub keys: Vec<(&'a TenantId, i64, CustomerId)>,
    /// Keys of ids that this transaction made: nobody can have written them.
    pub first_keys: Vec<(&'a TenantId, i64, CustomerId)>,
    /// Values that more, or fewer, customers know.
    pub values: Vec<(&'a TenantId, i64, i32)>,
    /// What records said.
    pub observations: Vec<Observed<'a>>,
    /// Customers to look at again.
    pub again: Vec<(&'a TenantId, CustomerId)>,
    /// Customers to look at again if somebody who shares a key with them was added at the same time.
    pub settled: Vec<Settled<'a>>,
}

/// A customer who needs to be looked at again only for those who were added at the same time.
#[derive(Debug)]
pub struct Settled<'a> {
    /// Whose data.
    pub tenant: &'a TenantId,
    /// Who.
    pub customer: CustomerId,
    /// By which keys they are found since.
    pub keys: Vec<i64>,
    /// Transactions from this one on were not seen.
    pub complete_to: i64,
}

/// What a record said.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Whose data.
    pub tenant: &'a TenantId,
    /// Its id: the same record says the same or something newer.
    pub id: ObservationId,
    /// Of whom, under which id.
    pub member: CustomerId,
    /// Who says it.
    pub source: &'a str,
    /// The handle that led here.
    pub evidence: i64,
    /// What.
    pub said: &'a Said,
}

/// Writes what a batch adds.
pub async fn save(conn: &mut PgConnection, news: &News<'_>, now: DateTime<Utc>) -> Result<(), Error> {
    put_keys(conn, &news.keys).await?;
    if !news.again.is_empty() {
        sqlx::query(
            "INSERT INTO reevaluations AS q (tenant, customer_id, queued_at)
             SELECT DISTINCT tenant, customer_id, $3 FROM unnest($1::text[], $2::uuid[]) AS r (tenant, customer_id) ORDER BY 1, 2
             ON CONFLICT (tenant, customer_id) DO UPDATE SET keys = NULL WHERE q.keys IS NOT NULL",
        )
        .bind(news.again.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
        .bind(news.again.iter().map(|(_, c)| c.uuid()).collect::<Vec<_>>())
        .bind(now)
        .execute(&mut *conn)
        .await?;
    }
    if news.first_keys.is_empty() && news.values.is_empty() && news.settled.is_empty() {
        put_observations(conn, &news.observations, now).await
    } else {
        put_arrivals(conn, news, now).await
    }
}

const OBSERVE: &str =
    "INSERT INTO observations (tenant, observation_id, customer_id, source, evidence, said, first_at, last_at)
     SELECT DISTINCT ON (tenant, observation_id) tenant, observation_id, customer_id, source, evidence, said, $7, $7
     FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::bytea[])
         AS o (tenant, observation_id, customer_id, source, evidence, said) ORDER BY 1, 2
     ON CONFLICT (tenant, observation_id) DO UPDATE SET said = excluded.said, last_at = excluded.last_at";

async fn put_observations(
    conn: &mut PgConnection,
    observations: &[Observed<'_>],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if observations.is_empty() {
        return Ok(());
    }
    observed_by(OBSERVE, observations, now).execute(conn).await?;
    Ok(())
}

/// What [`OBSERVE`] is bound to.
fn observed_by<'q>(
    statement: &'static str,
    all: &[Observed<'q>],
    now: DateTime<Utc>,
) -> sqlx::query::Query<'q, Postgres, PgArguments> {
    sqlx::query(statement)
        .bind(all.iter().map(|o| o.tenant.as_str()).collect::<Vec<_>>())
        .bind(all.iter().map(|o| o.id.uuid()).collect::<Vec<_>>())
        .bind(all.iter().map(|o| o.member.uuid()).collect::<Vec<_>>())
        .bind(all.iter().map(|o| o.source).collect::<Vec<_>>())
        .bind(all.iter().map(|o| o.evidence).collect::<Vec<_>>())
        .bind(all.iter().map(|o| o.said.encode()).collect::<Vec<_>>())
        .bind(now)
}

/// What comes with people who are new: their keys, what they say, how frequent that is, and that they were settled when they
/// came. One statement, for each has to be waited for. Keys of ids that this transaction made cannot be there yet: to look
/// whether a row is there before it is written costs half as much again.
///
/// Settled customers need to be looked at only if others came at the same time. A transaction that took long is not worth the
/// trouble: whom it could have met may have been through the queue already. Nor is who is in the queue anyway.
async fn put_arrivals(conn: &mut PgConnection, news: &News<'_>, now: DateTime<Utc>) -> Result<(), Error> {
    static STATEMENT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "WITH said AS ({OBSERVE}),
             new AS (SELECT * FROM unnest($8::text[], $9::bigint[], $10::uuid[]) AS k (tenant, key, customer_id)),
             put AS (INSERT INTO block_keys (tenant, key, customer_id) SELECT tenant, key, customer_id FROM new ORDER BY 2, 1, 3),
             of AS (
                 INSERT INTO keys_of (tenant, customer_id, keys)
                 SELECT tenant, customer_id, array_agg(key) FROM new GROUP BY 1, 2 ORDER BY 2, 1),
             counted AS (
                 INSERT INTO value_batches (tenant, valued, deltas) SELECT tenant, array_agg(value), array_agg(delta)
                 FROM unnest($11::text[], $12::bigint[], $13::integer[]) AS n (tenant, value, delta) GROUP BY tenant)
             INSERT INTO reevaluations AS q (tenant, customer_id, queued_at, keys, batch, complete_to)
             SELECT tenant, customer_id, $7,
                 CASE WHEN clock_timestamp() - transaction_timestamp() < interval '500 ms' THEN keys END,
                 pg_current_xact_id()::text::bigint, complete_to
             FROM unnest($14::text[], $15::uuid[], $16::bytea[], $17::bigint[]) AS r (tenant, customer_id, keys, complete_to)
             ORDER BY 1, 2
             ON CONFLICT (tenant, customer_id) DO UPDATE SET keys = NULL WHERE q.keys IS NOT NULL"
        )
    });
    let (keys, values, settled) = (&news.first_keys, &news.values, &news.settled);
    observed_by(&STATEMENT, &news.observations, now)
        .bind(keys.iter().map(|(t, ..)| t.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, k, _)| *k).collect::<Vec<_>>())
        .bind(keys.iter().map(|(.., c)| c.uuid()).collect::<Vec<_>>())
        .bind(values.iter().map(|(t, ..)| t.as_str()).collect::<Vec<_>>())
        .bind(values.iter().map(|(_, v, _)| *v).collect::<Vec<_>>())
        .bind(values.iter().map(|(.., d)| *d).collect::<Vec<_>>())
        .bind(settled.iter().map(|s| s.tenant.as_str()).collect::<Vec<_>>())
        .bind(settled.iter().map(|s| s.customer.uuid()).collect::<Vec<_>>())
        .bind(
            settled
                .iter()
                .map(|s| s.keys.iter().copied().flat_map(half).collect::<Vec<u8>>())
                .collect::<Vec<_>>(),
        )
        .bind(settled.iter().map(|s| s.complete_to).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes keys of ids that were there before.
async fn put_keys(conn: &mut PgConnection, keys: &[(&TenantId, i64, CustomerId)]) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH new AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::uuid[]) AS k (tenant, key, customer_id)),
         put AS (
             INSERT INTO block_keys (tenant, key, customer_id) SELECT tenant, key, customer_id FROM new ORDER BY 2, 1, 3
             ON CONFLICT DO NOTHING)
         INSERT INTO keys_of AS o (tenant, customer_id, keys)
         SELECT tenant, customer_id, array_agg(key) FROM new GROUP BY 1, 2 ORDER BY 2, 1
         ON CONFLICT (customer_id, tenant) DO UPDATE SET keys = ARRAY(SELECT unnest(o.keys) UNION SELECT unnest(excluded.keys))",
    )
    .bind(keys.iter().map(|(t, ..)| t.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, k, _)| *k).collect::<Vec<_>>())
    .bind(keys.iter().map(|(.., c)| c.uuid()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Customers in the queue who were settled when they came, the longest waiting first.
pub async fn arrivals(conn: &mut PgConnection, tenant: &TenantId) -> Result<Vec<Arrival>, Error> {
    /// More than arrive within the seconds that they wait.
    const AT_ONCE: i64 = 50_000;
    type Row = (Uuid, DateTime<Utc>, Vec<u8>, i64, i64);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT customer_id, queued_at, keys, batch, complete_to FROM reevaluations
         WHERE tenant = $1 AND keys IS NOT NULL ORDER BY queued_at LIMIT $2",
    )
    .bind(tenant.as_str())
    .bind(AT_ONCE)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(customer, queued_at, keys, batch, complete_to)| Arrival {
            customer: CustomerId::new(customer),
            queued_at,
            keys: keys.as_chunks().0.to_vec(),
            batch,
            complete_to,
        })
        .collect())
}

/// Takes settled customers out of the queue; those who met somebody wait there to be looked at.
pub async fn let_go(
    conn: &mut PgConnection,
    tenant: &TenantId,
    settled: &[(CustomerId, bool)],
) -> Result<(), Error> {
    if settled.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH due AS (SELECT * FROM unnest($2::uuid[], $3::bool[]) AS d (customer_id, met)),
         gone AS (
             DELETE FROM reevaluations q USING due d
             WHERE q.tenant = $1 AND q.customer_id = d.customer_id AND NOT d.met AND q.keys IS NOT NULL)
         UPDATE reevaluations q SET keys = NULL FROM due d WHERE q.tenant = $1 AND q.customer_id = d.customer_id AND d.met",
    )
    .bind(tenant.as_str())
    .bind(settled.iter().map(|(id, _)| id.uuid()).collect::<Vec<_>>())
    .bind(settled.iter().map(|(_, met)| *met).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes customers out of the queue that is looked at again, the longest waiting first.
pub async fn take_queued(
    conn: &mut PgConnection,
    tenant: &TenantId,
    most: i64,
) -> Result<Vec<CustomerId>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "DELETE FROM reevaluations q USING (
             SELECT customer_id FROM reevaluations WHERE tenant = $1 AND keys IS NULL ORDER BY queued_at, customer_id LIMIT $2
             FOR UPDATE SKIP LOCKED) t
         WHERE q.tenant = $1 AND q.customer_id = t.customer_id RETURNING q.customer_id",
    )
    .bind(tenant.as_str())
    .bind(most)
    .fetch_all(conn)
    .await?;
    let mut ids: Vec<CustomerId> = ids.into_iter().map(CustomerId::new).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Customers of whom something is known, by id, after one of them.
pub async fn slice(
    conn: &mut PgConnection,
    tenant: &TenantId,
    after: CustomerId,
    most: i64,
) -> Result<Vec<CustomerId>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT customer_id FROM customers WHERE tenant = $1 AND customer_id > $2 AND merged_into IS NULL
         ORDER BY customer_id LIMIT $3",
    )
    .bind(tenant.as_str())
    .bind(after.uuid())
    .bind(most)
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(CustomerId::new).collect())
}

/// Adds up what changed in the frequencies of values. Single rows are those of the version before.
pub async fn add_up(conn: &mut PgConnection, tenant: &TenantId) -> Result<(), Error> {
    sqlx::query(
        "WITH single AS (DELETE FROM value_news WHERE tenant = $1 RETURNING value, delta),
         batches AS (DELETE FROM value_batches WHERE tenant = $1 RETURNING valued, deltas),
         news AS (
             SELECT value, delta FROM single
             UNION ALL SELECT n.value, n.delta FROM batches b CROSS JOIN LATERAL unnest(b.valued, b.deltas) AS n (value, delta))
         INSERT INTO value_stats AS s (tenant, value, customers)
         SELECT $1, value, GREATEST(sum(delta), 0) FROM news GROUP BY value ORDER BY value
         ON CONFLICT (tenant, value) DO UPDATE SET customers = GREATEST(s.customers + excluded.customers, 0)",
    )
    .bind(tenant.as_str())
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes the keys of ids anew, after what is known under them was taken apart.
pub async fn replace_keys(
    conn: &mut PgConnection,
    tenant: &TenantId,
    members: &[(CustomerId, Vec<i64>)],
) -> Result<(), Error> {
    sqlx::query(
        "WITH old AS (DELETE FROM keys_of WHERE tenant = $1 AND customer_id = ANY($2) RETURNING customer_id, keys)
         DELETE FROM block_keys b USING (SELECT customer_id, unnest(keys) AS key FROM old) o
         WHERE b.key = o.key AND b.tenant = $1 AND b.customer_id = o.customer_id",
    )
    .bind(tenant.as_str())
    .bind(members.iter().map(|(m, _)| m.uuid()).collect::<Vec<_>>())
    .execute(&mut *conn)
    .await?;
    let keys: Vec<_> = members
        .iter()
        .flat_map(|(member, keys)| keys.iter().map(|k| (tenant, *k, *member)))
        .collect();
    put_keys(conn, &keys).await
}

/// What was observed under an id, for putting together anew what is known there.
pub async fn observed(
    conn: &mut PgConnection,
    tenant: &TenantId,
    member: CustomerId,
) -> Result<Vec<(String, Said)>, Error> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT source, said FROM observations WHERE tenant = $1 AND customer_id = $2 ORDER BY first_at, observation_id",
    )
    .bind(tenant.as_str())
    .bind(member.uuid())
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(source, said)| {
            Ok((
                source,
                Said::decode(&said).ok_or_else(|| broken_row("observations", member))?,
            ))
        })
        .collect()
}
