//! Data keys: read, made, unwrapped, and kept in memory for some minutes.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    MAGIC,
    keys::{self, KeyService, Wrapped, random},
    unseal,
};
use crate::{
    Error, Kind,
    config::SealingConfig,
    db::{Db, Tx},
};

/// How long a process goes on with a key that it has unwrapped: so long works a key that was taken away.
const KEPT: Duration = Duration::from_secs(10 * 60);

const ID: std::ops::Range<usize> = 2..18;
const NONCE: std::ops::Range<usize> = 18..18 + NONCE_LEN;
const HEAD: usize = 18 + NONCE_LEN;

/// A tenant's key of a month.
pub(crate) struct DataKey {
    id: Uuid,
    key: LessSafeKey,
    nonces: Mutex<Nonces>,
}

/// Nonces that never repeat under a key: eight random bytes of this process, and a count. Random ones alone would be too
/// few for the values that a large tenant writes in a month.
struct Nonces {
    ours: [u8; 8],
    next: u32,
}

impl DataKey {
    fn new(id: Uuid, bytes: &[u8]) -> Result<Self, Error> {
        let key = UnboundKey::new(&AES_256_GCM, bytes)
            .map_err(|_| Error::internal("a data key has another length"))?;
        Ok(Self {
            id,
            key: LessSafeKey::new(key),
            nonces: Mutex::new(Nonces {
                ours: random()?,
                next: 0,
            }),
        })
    }

    fn nonce(&self) -> Result<[u8; NONCE_LEN], Error> {
        let mut nonces = lock(&self.nonces);
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&nonces.ours);
        nonce[8..].copy_from_slice(&nonces.next.to_be_bytes());
        match nonces.next.checked_add(1) {
            Some(next) => nonces.next = next,
            None => {
                *nonces = Nonces {
                    ours: random()?,
                    next: 0,
                }
            }
        }
        Ok(nonce)
    }

    /// `magic | key id | nonce | what only the key opens`
    pub(super) fn seal(&self, place: &[u8], clear: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce = self.nonce()?;
        let mut bytes = Vec::with_capacity(HEAD + clear.len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(clear);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(place), &mut bytes[HEAD..])
            .map_err(|_| Error::internal("a value is too long to be sealed"))?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(bytes)
    }

    pub(super) fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let nonce = Nonce::try_assume_unique_for_key(sealed.get(NONCE)?).ok()?;
        let mut bytes = sealed.get(HEAD..)?.to_vec();
        let length = self
            .key
            .open_in_place(nonce, Aad::from(place), &mut bytes)
            .ok()?
            .len();
        bytes.truncate(length);
        Some(bytes)
    }
}

/// Which key sealed a value.
pub(super) fn key_id(sealed: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(sealed.get(ID)?).ok()
}

#[derive(Default)]
struct Cache {
    keys: HashMap<(String, Uuid), (Arc<DataKey>, Instant)>,
    /// Each tenant's newest, with its month.
    newest: HashMap<String, (NaiveDate, Uuid)>,
}

impl Cache {
    fn by_id(&self, tenant: &str, id: Uuid, now: Instant) -> Option<Arc<DataKey>> {
        self.keys
            .get(&(tenant.to_owned(), id))
            .filter(|(_, until)| *until > now)
            .map(|(key, _)| Arc::clone(key))
    }

    fn of_month(&self, tenant: &str, month: NaiveDate, now: Instant) -> Option<Arc<DataKey>> {
        let (known, id) = self.newest.get(tenant)?;
        (*known == month).then(|| self.by_id(tenant, *id, now))?
    }
}

/// The data keys of one schema.
pub(crate) struct Vault {
    schema: &'static str,
    service: Box<dyn KeyService>,
    /// Whose values are sealed; none: everybody's.
    tenants: Option<HashSet<String>>,
    cache: Mutex<Cache>,
}

type KeyRow = (String, Uuid, NaiveDate, Vec<u8>, String);

impl Vault {
    pub(crate) fn new(schema: &'static str, config: &SealingConfig) -> Self {
        Self {
            schema,
            service: keys::of(config),
            tenants: (!config.tenants.is_empty()).then(|| config.tenants.iter().cloned().collect()),
            cache: Mutex::default(),
        }
    }

    pub(super) fn schema(&self) -> &'static str {
        self.schema
    }

    /// Whether anything is sealed at all.
    pub(crate) fn is_sealing(&self) -> bool {
        self.service.in_use().is_some()
    }

    /// Whether a tenant's values are sealed.
    pub(crate) fn wants(&self, tenant: &str) -> bool {
        self.is_sealing() && self.tenants.as_ref().is_none_or(|some| some.contains(tenant))
    }

    /// Whose values are sealed, in order; nobody named: everybody's.
    pub(super) fn tenants(&self) -> Vec<String> {
        let mut some: Vec<String> = self.tenants.iter().flatten().cloned().collect();
        some.sort_unstable();
        some
    }

    /// The keys by which tenants seal now. One that has none yet gets one.
    pub(super) async fn keys_of_now<'t>(
        &self,
        tx: &mut Tx,
        tenants: &BTreeSet<&'t str>,
    ) -> Result<HashMap<&'t str, Arc<DataKey>>, Error> {
        let month = month_of(tx.now());
        let mut keys = self.known(tenants, month);
        let missing = |keys: &HashMap<&str, Arc<DataKey>>| -> Vec<&'t str> {
            tenants
                .iter()
                .filter(|t| !keys.contains_key(**t))
                .copied()
                .collect()
        };
        let mut lacking = missing(&keys);
        if lacking.is_empty() {
            return Ok(keys);
        }
        for making in [false, true] {
            if making {
                for tenant in lacking {
                    self.make(tx, tenant, month).await?;
                }
                lacking = missing(&keys);
            }
            let rows: Vec<KeyRow> = sqlx::query_as(
                "SELECT tenant, key_id, month, wrapped, wrapped_by FROM data_keys
                 WHERE tenant = ANY($1) AND month = $2",
            )
            .bind(&lacking)
            .bind(month)
            .fetch_all(tx.conn())
            .await?;
            self.keep(rows).await?;
            keys = self.known(tenants, month);
            lacking = missing(&keys);
            if lacking.is_empty() {
                break;
            }
        }
        Ok(keys)
    }

    fn known<'t>(&self, tenants: &BTreeSet<&'t str>, month: NaiveDate) -> HashMap<&'t str, Arc<DataKey>> {
        let (cache, now) = (lock(&self.cache), Instant::now());
        tenants
            .iter()
            .filter_map(|tenant| Some((*tenant, cache.of_month(tenant, month, now)?)))
            .collect()
    }

    /// Makes a tenant's key of a month, in a transaction of its own: what it seals must never be there without it. On a
    /// connection of its own too: whoever waits here holds one of the pool's.
    async fn make(&self, tx: &mut Tx, tenant: &str, month: NaiveDate) -> Result<(), Error> {
        let id = tx.new_id();
        let wrapped = self
            .service
            .wrap(&random::<32>()?, &context(self.schema, tenant, id))
            .await?;
        let options = tx.db().dedicated().options([("trama.tenant", "*")]);
        let mut connection = PgConnection::connect_with(&options)
            .await
            .map_err(|e| Error::unavailable("PostgreSQL", e))?;
        sqlx::query(
            "INSERT INTO data_keys (tenant, key_id, month, wrapped, wrapped_by, created_at) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (tenant, month) DO NOTHING",
        )
        .bind(tenant)
        .bind(id)
        .bind(month)
        .bind(&wrapped.bytes)
        .bind(&wrapped.by)
        .bind(tx.now())
        .execute(&mut connection)
        .await?;
        connection.close().await?;
        Ok(())
    }

    /// Keys by tenant and id. One that there is no row of is left out: a value names it that is not the tenant's.
    pub(super) async fn keys_by_id(
        &self,
        tx: &mut Tx,
        ids: &BTreeSet<(&str, Uuid)>,
    ) -> Result<HashMap<(String, Uuid), Arc<DataKey>>, Error> {
        let mut found = self.among(ids);
        if found.len() == ids.len() {
            return Ok(found);
        }
        let (tenants, missing): (Vec<&str>, Vec<Uuid>) = ids
            .iter()
            .filter(|(tenant, id)| !found.contains_key(&((*tenant).to_owned(), *id)))
            .copied()
            .unzip();
        let rows: Vec<KeyRow> = sqlx::query_as(
            "SELECT tenant, key_id, month, wrapped, wrapped_by FROM data_keys
             WHERE (tenant, key_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))",
        )
        .bind(tenants)
        .bind(missing)
        .fetch_all(tx.conn())
        .await?;
        self.keep(rows).await?;
        found = self.among(ids);
        Ok(found)
    }

    fn among(&self, ids: &BTreeSet<(&str, Uuid)>) -> HashMap<(String, Uuid), Arc<DataKey>> {
        let (cache, now) = (lock(&self.cache), Instant::now());
        ids.iter()
            .filter_map(|(tenant, id)| Some((((*tenant).to_owned(), *id), cache.by_id(tenant, *id, now)?)))
            .collect()
    }

    /// Unwraps keys and keeps them for a while.
    async fn keep(&self, rows: Vec<KeyRow>) -> Result<(), Error> {
        for (tenant, id, month, bytes, by) in rows {
            let wrapped = Wrapped { by, bytes };
            let place = context(self.schema, &tenant, id);
            let unwrapped = self.service.unwrap(&wrapped, &place).await.map_err(|error| {
                // Whoever calls is told no more than that; the log says which key.
                Error::new(
                    Kind::Unavailable,
                    "a key that opens sealed texts is not available",
                )
                .because(error)
            })?;
            metrics::counter!("trama_sealing_unwrapped_total", "schema" => self.schema).increment(1);
            let key = Arc::new(DataKey::new(id, &unwrapped)?);
            let mut cache = lock(&self.cache);
            let now = Instant::now();
            cache.keys.retain(|_, (_, until)| *until > now);
            let newest = cache.newest.entry(tenant.clone()).or_insert((month, id));
            if newest.0 <= month {
                *newest = (month, id);
            }
            cache.keys.insert((tenant, id), (key, now + KEPT));
        }
        Ok(())
    }

    /// Whether every wrapped key can be unwrapped, and the key that is to wrap is there. Asked before anything is read or
    /// written.
    ///
    /// # Errors
    /// Says which keys are missing where.
    pub(crate) async fn check(&self, db: &Db) -> Result<(), Error> {
        let schema = self.schema;
        let refused = |problem: String| Error::new(Kind::Precondition, format!("sealed texts: {problem}"));
        if self.is_sealing() {
            self.service
                .wrap(&[0; 32], b"a try at the start")
                .await
                .map_err(|error| refused(error.detail()))?;
            if !unseal::is_open(db).await? {
                return Err(refused(format!(
                    "those of schema `{schema}` are being turned back by `trama keys unseal`: start when it is done"
                )));
            }
        }
        let mut tx = db.system_tx().await?;
        let rows: Vec<KeyRow> =
            sqlx::query_as("SELECT tenant, key_id, month, wrapped, wrapped_by FROM data_keys")
                .fetch_all(tx.conn())
                .await?;
        let (all, mut shut, mut problems) = (rows.len(), 0, BTreeSet::new());
        for (tenant, id, _, bytes, by) in rows {
            let wrapped = Wrapped { by, bytes };
            if let Err(error) = self.service.unwrap(&wrapped, &context(schema, &tenant, id)).await {
                shut += 1;
                problems.insert(error.detail());
            }
        }
        if shut == 0 {
            return Ok(());
        }
        let problems: Vec<String> = problems.into_iter().take(3).collect();
        Err(refused(format!(
            "{shut} of {all} data keys of schema `{schema}` cannot be unwrapped: {}. Put that key back: what it has sealed cannot be read without it",
            problems.join("; ")
        )))
    }

    /// Wraps all keys anew that another key than the one in use has wrapped. Returns how many.
    pub(super) async fn rewrap(&self, db: &Db) -> Result<u64, Error> {
        let Some(in_use) = self.service.in_use() else {
            return Ok(0);
        };
        let mut tx = db.system_tx().await?;
        let rows: Vec<(String, Uuid, Vec<u8>, String)> = sqlx::query_as(
            "SELECT tenant, key_id, wrapped, wrapped_by FROM data_keys WHERE wrapped_by <> $1
             ORDER BY tenant, key_id FOR UPDATE SKIP LOCKED",
        )
        .bind(in_use)
        .fetch_all(tx.conn())
        .await?;
        let count = rows.len() as u64;
        for (tenant, id, bytes, by) in rows {
            let place = context(self.schema, &tenant, id);
            let key = self.service.unwrap(&Wrapped { by, bytes }, &place).await?;
            let anew = self.service.wrap(&key, &place).await?;
            sqlx::query(
                "UPDATE data_keys SET wrapped = $3, wrapped_by = $4 WHERE tenant = $1 AND key_id = $2",
            )
            .bind(tenant)
            .bind(id)
            .bind(anew.bytes)
            .bind(anew.by)
            .execute(tx.conn())
            .await?;
        }
        tx.commit().await?;
        Ok(count)
    }
}

impl Db {
    /// How many data keys each key has wrapped. A key that has none any more may go.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn data_keys(&self) -> Result<Vec<(String, i64)>, Error> {
        let mut tx = self.system_tx().await?;
        Ok(
            sqlx::query_as("SELECT wrapped_by, count(*) FROM data_keys GROUP BY 1 ORDER BY 1")
                .fetch_all(tx.conn())
                .await?,
        )
    }

    /// Wraps all data keys anew that another key than the one in use has wrapped. Returns how many.
    ///
    /// # Errors
    /// When one of the keys is not available.
    pub async fn rewrap_data_keys(&self) -> Result<u64, Error> {
        self.vault().rewrap(self).await
    }
}

/// What a wrapped key is bound to.
fn context(schema: &str, tenant: &str, id: Uuid) -> Vec<u8> {
    format!("data key|{schema}|{tenant}|{id}").into_bytes()
}

/// The first day of a moment's month.
fn month_of(at: DateTime<Utc>) -> NaiveDate {
    let day = at.date_naive();
    day.with_day(1).unwrap_or(day)
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DataKey {
        DataKey::new(Uuid::from_u128(7), &[3; 32]).expect("a key")
    }

    #[test]
    fn a_value_opens_at_its_place_only() {
        let key = key();
        let sealed = key
            .seal(b"schema.table.column|acme|1", b"il rubinetto perde")
            .expect("sealed");
        assert_eq!(key_id(&sealed), Some(Uuid::from_u128(7)));
        assert!(!sealed.windows(9).any(|w| w == b"rubinetto"));
        let open = |place: &[u8], bytes: &[u8]| key.open(place, bytes);
        let place = b"schema.table.column|acme|1";
        assert_eq!(
            open(place, &sealed).as_deref(),
            Some(b"il rubinetto perde".as_slice())
        );
        assert_eq!(open(b"schema.table.column|acme|2", &sealed), None);
        assert_eq!(open(b"schema.table.column|globex|1", &sealed), None);
        for at in [0, 18, HEAD, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            // The first bytes say which form and key it is, and are looked at before.
            assert_eq!(open(place, &changed).is_none(), at >= 18, "byte {at}");
            assert_eq!(open(place, &sealed[..at]), None);
        }
    }

    #[test]
    fn a_long_text_is_sealed_and_opened() {
        let (key, text) = (key(), "il rubinetto perde ".repeat(27));
        let place = b"schema.table.column|acme|0197a3c1-0000-7000-8000-000000000001";
        // The best of some rounds, for whoever reads it: the machine does other things too.
        let rounds = (0..20).map(|_| {
            let began = Instant::now();
            for _ in 0..1000 {
                let sealed = key.seal(place, text.as_bytes()).expect("sealed");
                assert_eq!(key.open(place, &sealed).as_deref(), Some(text.as_bytes()));
            }
            began.elapsed() / 1000
        });
        let each = rounds.min().unwrap_or_default();
        println!("{} characters: sealed and opened in {each:?}", text.len());
    }

    #[test]
    fn the_same_text_is_never_sealed_to_the_same_bytes() {
        let key = key();
        lock(&key.nonces).next = u32::MAX - 1;
        let sealed: HashSet<Vec<u8>> = (0..4)
            .map(|_| key.seal(b"place", b"ciao").expect("sealed"))
            .collect();
        assert_eq!(sealed.len(), 4, "also when the count begins anew");
    }
}
