//! Which of several values holds. A pure function of what the sides say: the direction of a merge decides nothing, and a
//! split has nothing to restore.

use std::{cmp::Ordering, collections::BTreeMap};

use chrono::{DateTime, Utc};
use trama_proto::{
    identity_resolution::v1::ConsentStatus,
    resources::{Survives, Survivorship},
};

use super::customer::{Field, Member, Origin, Profile};

/// A value that one side says.
#[derive(Debug, Clone, Copy)]
pub struct Stated<'a> {
    /// The value.
    pub value: &'a str,
    /// Under which id.
    pub member: &'a Member,
    /// Where it comes from.
    pub origin: Option<&'a Origin>,
}

/// What holds for a customer with these ids.
pub fn choose(members: &[Member], policy: &Survivorship) -> Profile {
    if let [only] = members {
        return only.own.profile.clone();
    }
    let value = |field| {
        stated(members, field, policy)
            .first()
            .map(|s| s.value.to_owned())
            .unwrap_or_default()
    };
    Profile {
        display_name: value(Field::DisplayName),
        language: value(Field::Language),
        entitlement: value(Field::Entitlement),
        persona_group: value(Field::PersonaGroup),
        preferences: preferences(members, policy),
        consents: consents(members),
    }
}

/// What the sides say of a field, what holds first.
pub fn stated<'a>(members: &'a [Member], field: Field, policy: &Survivorship) -> Vec<Stated<'a>> {
    let mut all: Vec<Stated<'a>> = members
        .iter()
        .map(|member| Stated {
            value: member.own.value(field),
            member,
            origin: member.own.origin(field),
        })
        .filter(|s| !s.value.is_empty())
        .collect();
    let latest = latest_merge(members);
    all.sort_by(|a, b| before(a, b, field.name(), policy, latest));
    all
}

fn preferences(members: &[Member], policy: &Survivorship) -> BTreeMap<String, i32> {
    let mut said: BTreeMap<&str, Vec<(i32, Stated<'_>)>> = BTreeMap::new();
    for member in members {
        for (need, kind) in &member.own.profile.preferences {
            let origin = member.own.origins.get(&format!("preferences/{need}"));
            let value = need.as_str();
            said.entry(value).or_default().push((
                *kind,
                Stated {
                    value,
                    member,
                    origin,
                },
            ));
        }
    }
    let latest = latest_merge(members);
    said.into_iter()
        .filter_map(|(need, all)| {
            let first = all
                .into_iter()
                .min_by(|(_, a), (_, b)| before(a, b, "preferences", policy, latest));
            first.map(|(kind, _)| (need.to_owned(), kind))
        })
        .collect()
}

/// A refusal by either side holds, until the customer says something else after the merge.
fn consents(members: &[Member]) -> BTreeMap<String, i32> {
    let latest = latest_merge(members);
    let mut said: BTreeMap<&str, Vec<(i32, Option<&Origin>)>> = BTreeMap::new();
    for member in members {
        for (key, status) in &member.own.profile.consents {
            let origin = member.own.origins.get(&format!("consents/{key}"));
            said.entry(key).or_default().push((*status, origin));
        }
    }
    said.into_iter()
        .filter_map(|(key, all)| {
            let first = all.into_iter().min_by_key(|(status, origin)| {
                let whole = origin.filter(|o| is_of_the_whole(o, latest)).map(|o| o.at);
                let refused = *status == ConsentStatus::Denied as i32;
                // `None` is before every moment: what was said of the whole customer comes first, the newest of it.
                (std::cmp::Reverse(whole), !refused, *status)
            });
            first.map(|(status, _)| (key.to_owned(), status))
        })
        .collect()
}

/// When the youngest merge was made.
fn latest_merge(members: &[Member]) -> Option<DateTime<Utc>> {
    members.iter().filter_map(|m| m.merged_at).max()
}

/// Whether it was said on purpose when all sides were one already: then it is about all of them.
fn is_of_the_whole(origin: &Origin, latest: Option<DateTime<Utc>>) -> bool {
    origin.by_hand && latest.is_none_or(|merged| origin.at >= merged)
}

fn before(
    a: &Stated<'_>,
    b: &Stated<'_>,
    field: &str,
    policy: &Survivorship,
    latest: Option<DateTime<Utc>>,
) -> Ordering {
    let whole = |s: &Stated<'_>| s.origin.filter(|o| is_of_the_whole(o, latest)).map(|o| o.at);
    let order = policy.fields.get(field).unwrap_or(&policy.order);
    whole(b)
        .cmp(&whole(a))
        .then_with(|| {
            let decided = order.iter().map(|rule| by_rule(*rule, a, b, policy));
            decided.fold(Ordering::Equal, Ordering::then)
        })
        .then_with(|| (a.member.created_at, a.member.id).cmp(&(b.member.created_at, b.member.id)))
}

fn by_rule(rule: Survives, a: &Stated<'_>, b: &Stated<'_>, policy: &Survivorship) -> Ordering {
    let at = |s: &Stated<'_>| s.origin.map_or(s.member.created_at, |o| o.at);
    let rank = |s: &Stated<'_>| {
        let source = s.origin.map(|o| o.source.as_str()).unwrap_or_default();
        let place = policy.sources.iter().position(|p| p == source);
        place.unwrap_or(policy.sources.len())
    };
    let verified = |s: &Stated<'_>| s.origin.is_some_and(|o| o.verified);
    match rule {
        Survives::Verified => verified(b).cmp(&verified(a)),
        Survives::Source => rank(a).cmp(&rank(b)),
        Survives::Newest => at(b).cmp(&at(a)),
        Survives::Oldest => at(a).cmp(&at(b)),
    }
}
