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
         ), led_to AS (
             SELECT DISTINCT ON (f.tenant, c.root) f.tenant, c.*
             FROM found f
             CROSS JOIN LATERAL (
                 SELECT customer_id, created_at, display_name, language, entitlement, persona_group, preferences, consents,
                     provenance, said, protected, merged_at, view, version, merged_into, COALESCE(merged_into, customer_id) AS root
                 FROM customers WHERE tenant = f.tenant AND customer_id = f.customer_id LIMIT 1) c
         )
         SELECT c.tenant, c.root, m.customer_id, m.created_at, m.display_name, m.language, m.entitlement,
                m.persona_group, m.preferences, m.consents, m.provenance, m.said, m.protected, m.merged_at, m.view, m.version,
                h.is_proof, h.kind, h.value, h.trust, h.first_at, h.last_at, h.evidence, h.interaction_id, h.source, h.shared
         FROM led_to c
         CROSS JOIN LATERAL (
             -- Most are nobody's alias: their row is there already.
             SELECT c.customer_id, c.created_at, c.display_name, c.language, c.entitlement, c.persona_group, c.preferences,
                 c.consents, c.provenance, c.said, c.protected, c.merged_at, c.view, c.version
             WHERE c.merged_into IS NULL
             UNION ALL
             (SELECT customer_id, created_at, display_name, language, entitlement, persona_group, preferences, consents,
                     provenance, said, protected, merged_at, view, version
              FROM customers WHERE tenant = c.tenant AND customer_id = c.merged_into LIMIT 1)
             UNION ALL
             (SELECT customer_id, created_at, display_name, language, entitlement, persona_group, preferences, consents,
                     provenance, said, protected, merged_at, view, version
              FROM customers WHERE tenant = c.tenant AND merged_into = c.root LIMIT 100000)) m
         LEFT JOIN LATERAL (
             SELECT false AS is_proof, kind, value, trust, first_seen_at AS first_at, last_seen_at AS last_at, evidence,
                 via_interaction AS interaction_id, source, shared
             FROM handles WHERE tenant = c.tenant AND customer_id = m.customer_id
             UNION ALL
             SELECT true, method, verified_by, level, verified_at, expires_at, evidence, interaction_id, '', false
             FROM verifications
             WHERE tenant = c.tenant AND customer_id = m.customer_id AND m.customer_id = c.root AND expires_at > $6
             LIMIT 100000) h ON true",
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
        let tenant: TenantId = row.try_get::<&str, _>("tenant")?.parse()?;
        let root = CustomerId::new(row.try_get("root")?);
        let found = found.entry((tenant, root)).or_default();
        let id = CustomerId::new(row.try_get("customer_id")?);
        if !found.members.iter().rev().any(|m| m.id == id) {
            if id == root {
                let view: Option<Json<View>> = row.try_get("view")?;
                found.view = view.map(|v| v.0).unwrap_or_default();
            }
            found.members.push(member(row, id)?);
        }
        match row.try_get("is_proof")? {
            Some(true) => found.verifications.push(verification(row)?),
            Some(false) => found.handles.push(handle(row, id)?),
            None => {}
        }
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

/// The rows of one customer: their ids, and beside each its handles and, of the first, proofs, which have the same shape.
#[derive(Default)]
struct Found {
    members: Vec<Member>,
    handles: Vec<Held>,
    verifications: Vec<Verification>,
    view: View,
}

fn member(row: &PgRow, id: CustomerId) -> Result<Member, Error> {
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

fn handle(row: &PgRow, owner: CustomerId) -> Result<Held, Error> {
    let key = HandleKey::of_row(row.try_get("kind")?, row.try_get("value")?);
    Ok(Held {
        key: key.ok_or_else(|| broken_row("handles", owner))?,
        trust: trust_of(row.try_get("trust")?).ok_or_else(|| broken_row("handles", owner))?,
        first_seen: row.try_get("first_at")?,
        last_seen: row.try_get("last_at")?,
        evidence: row.try_get("evidence")?,
        via: row
            .try_get::<Option<_>, _>("interaction_id")?
            .map(InteractionId::new),
        row_owner: owner,
        source: row.try_get("source")?,
        shared: row.try_get("shared")?,
    })
}

fn verification(row: &PgRow) -> Result<Verification, Error> {
    Ok(Verification {
        level: i32::from(row.try_get::<i16, _>("trust")?),
        method: row.try_get("kind")?,
        verified_by: row.try_get("value")?,
        verified_at: row.try_get("first_at")?,
        expires_at: row.try_get("last_at")?,
        evidence: row.try_get("evidence")?,
        asked_in: row
            .try_get::<Option<_>, _>("interaction_id")?
            .map(InteractionId::new),
    })
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
