//! Who is near, from the database.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::{CustomerId, TenantId};

use super::neighbourhood::Neighbourhood;
use crate::{
    domain::customer::Customer,
    matching::{
        Facts, Policy, blocking,
        hash::{BlockKey, ValueKey},
        nearest::{Reach, Shared, nearest},
        store::Homes,
    },
    store::{
        self,
        similar::{HOMES_APART, HOMES_SAME, POPULATION},
    },
};

/// More ids than profiles are looked for: one profile may have several, and the one that is asked about finds itself.
const ALIASES: usize = 2;

/// The place of keys that need not be read to know that they find nobody.
const CROWDED: usize = usize::MAX;

/// Facts whose neighbours are wanted, and by which policy.
pub type Wanted<'a, 'f> = (&'a TenantId, &'a Policy, Vec<&'f Facts>);

/// The customers near to some facts, and near to some customers, by tenant.
pub async fn neighbourhoods<'a>(
    conn: &mut PgConnection,
    wanted: &[Wanted<'a, '_>],
    besides: &[(&'a TenantId, &Customer)],
    reach: Reach,
) -> Result<HashMap<TenantId, Neighbourhood>, Error> {
    let mut all = HashMap::new();
    for (tenant, policy, _) in wanted {
        let near: &mut Neighbourhood = all.entry((*tenant).clone()).or_default();
        for (_, customer) in besides.iter().filter(|(t, _)| t == tenant) {
            let members = customer.members.iter().map(|m| (m.id, m.own.said.facts(policy)));
            near.add(customer.id, &members.collect::<Vec<_>>());
        }
    }
    widen(conn, &mut all, wanted, reach).await?;
    Ok(all)
}

/// Adds the customers near to some more facts.
pub async fn widen<'a>(
    conn: &mut PgConnection,
    all: &mut HashMap<TenantId, Neighbourhood>,
    wanted: &[Wanted<'a, '_>],
    reach: Reach,
) -> Result<(), Error> {
    let ids = nearest_ids(conn, all, wanted, reach).await?;
    let mut candidates = store::similar::candidates(conn, &ids).await?;
    for (tenant, policy, facts) in wanted {
        let near = all.entry((*tenant).clone()).or_default();
        facts.iter().for_each(|facts| near.ask_for_values(facts));
        for (root, members) in candidates.remove(*tenant).unwrap_or_default() {
            if near.knows(root) {
                continue;
            }
            let members = members.into_iter().map(|(id, said)| (id, said.facts(policy)));
            near.add(root, &members.collect::<Vec<_>>());
        }
    }
    count(conn, all).await
}

/// Who is near enough to be read.
async fn nearest_ids<'a>(
    conn: &mut PgConnection,
    all: &mut HashMap<TenantId, Neighbourhood>,
    wanted: &[Wanted<'a, '_>],
    reach: Reach,
) -> Result<BTreeSet<(&'a TenantId, CustomerId)>, Error> {
    let mut ids = BTreeSet::new();
    // Records of one batch share many keys: each is read once.
    let mut places: HashMap<(&TenantId, BlockKey), usize> = HashMap::new();
    let mut keys: Vec<(&TenantId, i64)> = Vec::new();
    let mut found_by: Vec<(&Policy, BlockKey)> = Vec::new();
    let mut most = 0;
    let mut records = Vec::new();
    for (tenant, policy, facts) in wanted {
        most = most.max(policy.limits().profiles_per_key);
        for facts in facts {
            let of_record = blocking::keys(facts).into_iter().map(|key| {
                let place = places.entry((*tenant, key)).or_insert_with(|| {
                    if policy.crowded.holds(key) {
                        return CROWDED;
                    }
                    keys.push((*tenant, key.0));
                    found_by.push((*policy, key));
                    keys.len() - 1
                });
                (key, *place)
            });
            records.push((*tenant, *policy, *facts, of_record.collect::<Vec<_>>()));
        }
    }
    let (holders, complete_to) = store::similar::holders(conn, &keys, most).await?;
    for near in all.values_mut() {
        near.complete_to = near.complete_to.min(complete_to);
    }
    for ((policy, key), holders) in found_by.into_iter().zip(&holders) {
        if holders.is_none() {
            policy.crowded.add(key);
        }
    }
    for ((tenant, key), place) in places {
        let found = holders.get(place).and_then(Option::as_ref);
        if let Some(near) = all.get_mut(tenant) {
            near.set_holders(key, found.map(Vec::len));
        }
    }
    for (tenant, policy, facts, keys) in records {
        let limits = policy.limits();
        let handles = blocking::handle_keys(facts);
        let mut shared = Vec::with_capacity(128);
        for (key, place) in keys {
            let Some(Some(holders)) = holders.get(place) else {
                continue;
            };
            if holders.len() > limits.profiles_per_key {
                continue;
            }
            let (by_handle, rarity) = (handles.contains(&key), reach.rarity(holders.len()));
            shared.extend(holders.iter().map(|id| Shared {
                id: *id,
                by_handle,
                rarity,
            }));
        }
        let (enough, most) = reach.enough(limits);
        let near = nearest(shared, enough + ALIASES, most + ALIASES);
        ids.extend(near.into_iter().map(|id| (tenant, id)));
    }
    // Who is here already need not be read again.
    ids.retain(|(tenant, id)| all.get(*tenant).is_none_or(|near| !near.knows(*id)));
    Ok(ids)
}

/// Reads how frequent values are that nobody asked for before.
async fn count(conn: &mut PgConnection, all: &mut HashMap<TenantId, Neighbourhood>) -> Result<(), Error> {
    let mut values: Vec<(TenantId, i64)> = Vec::new();
    for (tenant, near) in all.iter_mut() {
        values.extend(near.take_asked().into_iter().map(|value| (tenant.clone(), value)));
    }
    let values: Vec<(&TenantId, i64)> = values.iter().map(|(t, v)| (t, *v)).collect();
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
    Ok(())
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
