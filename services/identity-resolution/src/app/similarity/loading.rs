//! Who is near, from the database.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::{CustomerId, TenantId};

use super::neighbourhood::Neighbourhood;
use crate::{
    domain::{customer::Customer, said::Said},
    matching::{Facts, Policy, blocking, hash::ValueKey, store::Homes},
    store::{
        self,
        similar::{HOMES_APART, HOMES_SAME, Most, POPULATION, WantedKey},
    },
};

/// More ids than profiles are looked for: one profile may have several, and the one that is asked about finds itself.
const ALIASES: i64 = 8;

/// The customers near to some facts, and near to some customers, by tenant.
pub async fn neighbourhoods<'a>(
    conn: &mut PgConnection,
    wanted: &[(&'a TenantId, &'a Policy, Vec<&Facts>)],
    besides: &[(&'a TenantId, &Customer)],
) -> Result<HashMap<TenantId, Neighbourhood>, Error> {
    let mut all = HashMap::new();
    let mut keys: Vec<WantedKey<'_>> = Vec::new();
    let mut most = Most::default();
    let mut record = 0;
    for (tenant, policy, facts) in wanted {
        let limits = policy.limits();
        let number = |limit: usize| i64::try_from(limit).unwrap_or(i64::from(i32::MAX));
        most.per_key = most.per_key.max(number(limits.profiles_per_key));
        most.per_record = most.per_record.max(number(limits.profiles_per_record) + ALIASES);
        for facts in facts {
            record += 1;
            let handles = blocking::handle_keys(facts);
            keys.extend(blocking::keys(facts).into_iter().map(|key| WantedKey {
                tenant,
                record,
                by_handle: handles.contains(&key),
                key: key.0,
            }));
        }
    }
    if keys.is_empty() && besides.is_empty() {
        return Ok(all);
    }
    let mut candidates = store::similar::candidates(conn, &keys, most).await?;
    let mut values: BTreeMap<&TenantId, Vec<i64>> = BTreeMap::new();
    for (tenant, policy, facts) in wanted {
        let mut near = Neighbourhood::new();
        let counted = values
            .entry(tenant)
            .or_insert_with(|| vec![POPULATION, HOMES_SAME, HOMES_APART]);
        let mut count = |facts: &Facts| {
            counted.extend(facts.counted_values().into_iter().map(|v| v.0.cast_signed()));
        };
        facts.iter().for_each(|f| count(f));
        let own = besides.iter().filter(|(t, _)| t == tenant).map(|(_, customer)| {
            let members = customer.members.iter().map(|m| (m.id, m.own.said.clone()));
            (customer.id, members.collect::<Vec<(CustomerId, Said)>>())
        });
        for (root, members) in candidates
            .remove(*tenant)
            .unwrap_or_default()
            .into_iter()
            .chain(own)
        {
            let members: Vec<_> = members
                .into_iter()
                .map(|(member, said)| (member, said.facts(policy)))
                .collect();
            members.iter().for_each(|(_, f)| count(f));
            near.add(root, &members);
        }
        counted.sort_unstable();
        counted.dedup();
        all.insert((*tenant).clone(), near);
    }
    let values: Vec<(&TenantId, i64)> = values
        .into_iter()
        .flat_map(|(tenant, values)| values.into_iter().map(move |v| (tenant, v)))
        .collect();
    for (tenant, value, customers) in store::similar::frequencies(conn, &values).await? {
        if let Some(near) = all.get_mut(&tenant) {
            let mut homes = near.homes();
            if count_home(&mut homes, value, customers) {
                near.store.set_homes(homes);
            } else if value == POPULATION {
                near.store.set_population(u64::from(customers));
            } else {
                near.store
                    .set_frequency(ValueKey(value.cast_unsigned()), customers);
            }
        }
    }
    Ok(all)
}

/// Whether people of one home are several in a tenant, as far as is known.
pub async fn homes_are_shared(
    conn: &mut PgConnection,
    tenant: &TenantId,
    policy: &Policy,
) -> Result<bool, Error> {
    let values = [(tenant, HOMES_SAME), (tenant, HOMES_APART)];
    let mut homes = Homes::default();
    for (_, value, count) in store::similar::frequencies(conn, &values).await? {
        count_home(&mut homes, value, count);
    }
    Ok(policy.homes_are_shared(homes))
}

/// Takes a count that is about homes; tells whether it was.
fn count_home(homes: &mut Homes, value: i64, count: u32) -> bool {
    match value {
        HOMES_SAME => homes.same = u64::from(count),
        HOMES_APART => homes.apart = u64::from(count),
        _ => return false,
    }
    true
}
