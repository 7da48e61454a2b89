//! What is known of the customers that a batch may be about, in one statement.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _, postgres::PgRow, types::Json};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, InteractionId, TenantId};
use uuid::Uuid;

use crate::{
    domain::{
        customer::{Customer, Held, Member, Origin, Own, Profile, Verification},
        handle::{HandleKey, Trust},
        profile::View,
        resolution::World,
        rules::Rules,
        said::Said,
    },
    error::broken_row,
};

/// The worlds of the tenants of a batch.
pub type Worlds = HashMap<TenantId, World>;

/// Adds whom another load found.
pub fn add(worlds: &mut Worlds, found: Worlds) {
    for (tenant, world) in found {
        let into = worlds.entry(tenant).or_default();
        world.into_customers().for_each(|customer| into.add(customer));
    }
}

/// The rules of each tenant of a batch.
pub type RulesOf<'a> = &'a (dyn Fn(&TenantId) -> Arc<Rules> + Send + Sync);

/// What a batch wants to know.
#[derive(Debug, Default)]
pub struct Question<'a> {
    /// Handles whose owners are wanted.
    pub handles: Vec<(&'a TenantId, &'a HandleKey)>,
    /// Customers that are wanted, by their own id or an old one.
    pub customers: Vec<(&'a TenantId, CustomerId)>,
}

/// All customers that hold one of the handles or are asked for by id, each with what is kept under all of their ids.
///
/// The lateral joins with LIMIT keep the planner on the indexes, whatever it believes about fresh tables.
pub async fn load(
    conn: &mut PgConnection,
    question: &Question<'_>,
    rules: RulesOf<'_>,
    now: DateTime<Utc>,
) -> Result<Worlds, Error> {
    let mut worlds = Worlds::new();
    if question.handles.is_empty() && question.customers.is_empty() {
        return Ok(worlds);
    }
    let tenants: Vec<&str> = question.handles.iter().map(|(t, _)| t.as_str()).collect();
    let kinds: Vec<&str> = question.handles.iter().map(|(_, k)| k.kind.as_str()).collect();
    let values: Vec<&str> = question.handles.iter().map(|(_, k)| k.value.as_str()).collect();
    let id_tenants: Vec<&str> = question.customers.iter().map(|(t, _)| t.as_str()).collect();
    let ids: Vec<Uuid> = question.customers.iter().map(|(_, id)| id.uuid()).collect();
    let rows = sqlx::query(
        "WITH found AS (
             SELECT a.tenant, h.customer_id
             FROM unnest($1::text[], $2::text[], $3::text[]) AS a (tenant, kind, value)
             CROSS JOIN LATERAL (SELECT customer_id FROM handles
                 WHERE tenant = a.tenant AND kind = a.kind AND value = a.value LIMIT 1) h
             UNION
             SELECT tenant, customer_id FROM unnest($4::text[], $5::uuid[]) AS a (tenant, customer_id)
         ), roots AS (
             SELECT DISTINCT f.tenant, c.root
             FROM found f
             CROSS JOIN LATERAL (SELECT COALESCE(merged_into, customer_id) AS root FROM customers
                 WHERE tenant = f.tenant AND customer_id = f.customer_id LIMIT 1) c
         )
         SELECT r.tenant, r.root, m.customer_id, m.created_at, m.display_name, m.language, m.entitlement, m.persona_group,
                m.preferences, m.consents, m.provenance, m.said, m.protected, m.merged_at, m.view, m.version,
                h.kinds, h.vals, h.trusts, h.firsts, h.lasts, h.evidences, h.vias, h.sources, h.shared,
                v.methods, v.proofs, v.levels, v.checkers, v.verified, v.expires, v.asked
         FROM roots r
         CROSS JOIN LATERAL (
             (SELECT customer_id, created_at, display_name, language, entitlement, persona_group, preferences, consents,
                     provenance, said, protected, merged_at, view, version
              FROM customers WHERE tenant = r.tenant AND customer_id = r.root LIMIT 1)
             UNION ALL
             (SELECT customer_id, created_at, display_name, language, entitlement, persona_group, preferences, consents,
                     provenance, said, protected, merged_at, view, version
              FROM customers WHERE tenant = r.tenant AND merged_into = r.root LIMIT 100000)) m
         CROSS JOIN LATERAL (SELECT array_agg(kind) AS kinds, array_agg(value) AS vals, array_agg(trust) AS trusts,
                 array_agg(first_seen_at) AS firsts, array_agg(last_seen_at) AS lasts, array_agg(evidence) AS evidences,
                 array_agg(via_interaction) AS vias, array_agg(source) AS sources, array_agg(shared) AS shared
             FROM handles WHERE tenant = r.tenant AND customer_id = m.customer_id) h
         CROSS JOIN LATERAL (SELECT array_agg(method) AS methods, array_agg(evidence) AS proofs, array_agg(level) AS levels,
                 array_agg(verified_by) AS checkers, array_agg(verified_at) AS verified, array_agg(expires_at) AS expires,
                 array_agg(interaction_id) AS asked
             FROM verifications
             WHERE tenant = r.tenant AND customer_id = r.root AND m.customer_id = r.root AND expires_at > $6) v",
    )
    .bind(tenants)
    .bind(kinds)
    .bind(values)
    .bind(id_tenants)
    .bind(ids)
    .bind(now)
    .fetch_all(&mut *conn)
    .await?;
    let mut found: HashMap<(TenantId, CustomerId), Found> = HashMap::new();
    for row in &rows {
        let tenant: TenantId = row.try_get::<String, _>("tenant")?.parse()?;
        let root = CustomerId::new(row.try_get("root")?);
        let found = found.entry((tenant, root)).or_default();
        let member = member(row)?;
        found.handles.extend(handles(row, member.id)?);
        found.verifications.extend(verifications(row)?);
        if member.id == root {
            let view: Option<Json<View>> = row.try_get("view")?;
            found.view = view.map(|v| v.0).unwrap_or_default();
        }
        found.members.push(member);
    }
    // Only of who has proven something is it worth knowing what made one of their ids.
    let several = found
        .iter()
        .filter(|(_, found)| !found.verifications.is_empty() && found.members.len() > 1);
    let members = several.flat_map(|((tenant, _), found)| found.members.iter().map(move |m| (tenant, m.id)));
    let ties = super::merges::ties(conn, &members.collect::<Vec<_>>()).await?;
    for ((tenant, root), found) in found {
        let mut customer = Customer::of_members(root, found.members, found.handles, &rules(&tenant));
        customer.verifications = found.verifications;
        let tie = |merged: CustomerId| Some((*ties.get(&(tenant.clone(), merged))?, merged));
        customer.ties = customer.members.iter().filter_map(|m| tie(m.id)).collect();
        customer.view = found.view;
        worlds.entry(tenant).or_default().add(customer);
    }
    Ok(worlds)
}

/// The rows of one customer.
#[derive(Default)]
struct Found {
    members: Vec<Member>,
    handles: Vec<Held>,
    verifications: Vec<Verification>,
    view: View,
}

fn member(row: &PgRow) -> Result<Member, Error> {
    let id = CustomerId::new(row.try_get("customer_id")?);
    let map = |column| -> Result<BTreeMap<String, i32>, Error> {
        Ok(row
            .try_get::<Option<Json<BTreeMap<String, i32>>>, _>(column)?
            .map(|m| m.0)
            .unwrap_or_default())
    };
    let said: Option<&[u8]> = row.try_get("said")?;
    let origins: Option<Json<BTreeMap<String, Origin>>> = row.try_get("provenance")?;
    Ok(Member {
        id,
        created_at: row.try_get("created_at")?,
        merged_at: row.try_get("merged_at")?,
        own: Own {
            profile: Profile {
                display_name: row.try_get("display_name")?,
                language: row.try_get("language")?,
                entitlement: row.try_get("entitlement")?,
                persona_group: row.try_get("persona_group")?,
                preferences: map("preferences")?,
                consents: map("consents")?,
            },
            origins: origins.map(|o| o.0).unwrap_or_default(),
            said: match said {
                None => Said::default(),
                Some(bytes) => Said::decode(bytes).ok_or_else(|| broken_row("customers", id))?,
            },
            protected: row.try_get("protected")?,
        },
        version: row.try_get("version")?,
    })
}

fn handles(row: &PgRow, owner: CustomerId) -> Result<Vec<Held>, Error> {
    let Some(kinds) = row.try_get::<Option<Vec<String>>, _>("kinds")? else {
        return Ok(Vec::new());
    };
    let values: Vec<String> = row.try_get("vals")?;
    let trusts: Vec<i16> = row.try_get("trusts")?;
    let firsts: Vec<DateTime<Utc>> = row.try_get("firsts")?;
    let lasts: Vec<DateTime<Utc>> = row.try_get("lasts")?;
    let evidences: Vec<Option<i64>> = row.try_get("evidences")?;
    let vias: Vec<Option<Uuid>> = row.try_get("vias")?;
    let sources: Vec<String> = row.try_get("sources")?;
    let shared: Vec<bool> = row.try_get("shared")?;
    let mut handles = Vec::with_capacity(kinds.len());
    for (position, ((kind, value), source)) in kinds.into_iter().zip(values).zip(sources).enumerate() {
        let key = HandleKey::of_row(&kind, value).ok_or_else(|| broken_row("handles", owner))?;
        handles.push(Held {
            key,
            trust: trust_of(trusts[position]).ok_or_else(|| broken_row("handles", owner))?,
            first_seen: firsts[position],
            last_seen: lasts[position],
            evidence: evidences[position],
            via: vias[position].map(InteractionId::new),
            row_owner: owner,
            source,
            shared: shared[position],
        });
    }
    Ok(handles)
}

fn verifications(row: &PgRow) -> Result<Vec<Verification>, Error> {
    let Some(methods) = row.try_get::<Option<Vec<String>>, _>("methods")? else {
        return Ok(Vec::new());
    };
    let proofs: Vec<i64> = row.try_get("proofs")?;
    let levels: Vec<i16> = row.try_get("levels")?;
    let checkers: Vec<String> = row.try_get("checkers")?;
    let verified: Vec<DateTime<Utc>> = row.try_get("verified")?;
    let expires: Vec<DateTime<Utc>> = row.try_get("expires")?;
    let asked: Vec<Option<Uuid>> = row.try_get("asked")?;
    Ok(methods
        .into_iter()
        .zip(checkers)
        .enumerate()
        .map(|(position, (method, verified_by))| Verification {
            level: i32::from(levels[position]),
            method,
            verified_by,
            verified_at: verified[position],
            expires_at: expires[position],
            evidence: proofs[position],
            asked_in: asked[position].map(InteractionId::new),
        })
        .collect())
}

/// Trust, from its column.
pub(super) const fn trust_of(number: i16) -> Option<Trust> {
    match number {
        1 => Some(Trust::Claimed),
        2 => Some(Trust::Observed),
        3 => Some(Trust::Verified),
        _ => None,
    }
}

/// Trust, for its column.
pub(super) const fn trust_number(trust: Trust) -> i16 {
    match trust {
        Trust::Claimed => 1,
        Trust::Observed => 2,
        Trust::Verified => 3,
    }
}
