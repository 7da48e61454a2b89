//! Which of several values holds. A pure function of what the sides say: the direction of a merge decides nothing, and a
//! split has nothing to restore.

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeMap,
};

use chrono::{DateTime, Utc};
use trama_proto::{
    identity_resolution::v1::ConsentStatus,
    ids::CustomerId,
    resources::{Survives, Survivorship},
};

use super::customer::{Field, Member, Origin, Own, Profile};

const GRANTED: i32 = ConsentStatus::Granted as i32;
const DENIED: i32 = ConsentStatus::Denied as i32;

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
        let mut profile = only.own.profile.clone();
        if profile.consents.keys().any(|key| of_all_brands(key).is_some()) {
            profile.consents = consents(members);
        }
        return profile;
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

/// A refusal by either side holds, until the customer says something else after the merge. One for all brands ends what a
/// brand was given before it, by either side: the same as [`super::consent::current`] says of the log.
fn consents(members: &[Member]) -> BTreeMap<String, i32> {
    /// A status, who said it when, and under which id.
    type Word<'a> = (i32, Option<&'a Origin>, CustomerId);
    let latest = latest_merge(members);
    let mut said: BTreeMap<&str, Vec<Word<'_>>> = BTreeMap::new();
    for member in members {
        for (key, status) in &member.own.profile.consents {
            let origin = member.own.origins.get(&format!("consents/{key}"));
            said.entry(key).or_default().push((*status, origin, member.id));
        }
    }
    let chosen: BTreeMap<&str, Word<'_>> = said
        .into_iter()
        .filter_map(|(key, all)| {
            let first = all.into_iter().min_by_key(|(status, origin, _)| {
                let whole = origin.filter(|o| is_of_the_whole(o, latest)).map(|o| o.at);
                let at = origin.map(|o| o.at);
                // `None` is before every moment: what was said of the whole customer comes first, the newest of it.
                (Reverse(whole), *status != DENIED, *status, Reverse(at))
            });
            first.map(|first| (key, first))
        })
        .collect();
    let ended = |key: &str, (status, given, by): &Word<'_>| {
        let Some((all, refused, by_whom)) = of_all_brands(key).and_then(|all| chosen.get(all)) else {
            return false;
        };
        let moment = |origin: &Option<&Origin>| origin.map(|o| o.at);
        *status == GRANTED
            && *all == DENIED
            && match (moment(given), moment(refused)) {
                (Some(given), Some(refused)) => refused > given || (refused == given && by != by_whom),
                // Nobody knows which came first.
                (None, _) | (_, None) => true,
            }
    };
    chosen
        .iter()
        .map(|(key, word)| {
            let status = if ended(key, word) { DENIED } else { word.0 };
            ((*key).to_owned(), status)
        })
        .collect()
}

/// `1/4` of `1/4/acme`; nothing of what is for all brands itself.
fn of_all_brands(key: &str) -> Option<&str> {
    let (kind, rest) = key.split_once('/')?;
    let (purpose, _) = rest.split_once('/')?;
    key.get(..=kind.len() + purpose.len())
}

/// When the youngest merge was made.
fn latest_merge(members: &[Member]) -> Option<DateTime<Utc>> {
    members.iter().filter_map(|m| m.merged_at).max()
}

/// Whether it was said on purpose when all sides were one already: then it is about all of them.
fn is_of_the_whole(origin: &Origin, latest: Option<DateTime<Utc>>) -> bool {
    origin.by_hand && latest.is_none_or(|merged| origin.at >= merged)
}

/// Whether what another system says takes the place of what is said under the same id. Time says nothing here: of sources that
/// are believed alike the last word holds, but a less believed one does not take what a better one said, and no system takes
/// what a person has put right, however often it says the same once more.
pub fn may_replace(own: &Own, field: Field, new: &Origin, policy: &Survivorship) -> bool {
    let Some(held) = own.origin(field).filter(|_| !own.value(field).is_empty()) else {
        return true;
    };
    let order = policy.fields.get(field.name()).unwrap_or(&policy.order);
    let decided = order.iter().map(|rule| match rule {
        Survives::Verified => held.verified.cmp(&new.verified),
        Survives::Source => rank(Some(new), policy).cmp(&rank(Some(held), policy)),
        Survives::Newest | Survives::Oldest => Ordering::Equal,
    });
    !held.by_hand && decided.fold(Ordering::Equal, Ordering::then) != Ordering::Greater
}

/// How far up a source stands.
fn rank(origin: Option<&Origin>, policy: &Survivorship) -> usize {
    let source = origin.map(|o| o.source.as_str()).unwrap_or_default();
    let place = policy.sources.iter().position(|p| p == source);
    place.unwrap_or(policy.sources.len())
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
    let verified = |s: &Stated<'_>| s.origin.is_some_and(|o| o.verified);
    match rule {
        Survives::Verified => verified(b).cmp(&verified(a)),
        Survives::Source => rank(a.origin, policy).cmp(&rank(b.origin, policy)),
        Survives::Newest => at(b).cmp(&at(a)),
        Survives::Oldest => at(a).cmp(&at(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use proptest::prelude::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    /// Somebody who is called so: said by a source at a moment, proven or not.
    fn side(number: u8, name: &str, source: &str, minutes: i64, verified: bool) -> Member {
        let mut own = Own::default();
        name.clone_into(&mut own.profile.display_name);
        let origin = Origin {
            source: source.to_owned(),
            at: at(minutes),
            verified,
            by_hand: false,
        };
        own.origins.insert(Field::DisplayName.name().to_owned(), origin);
        Member {
            id: CustomerId::derived(&[[number].as_slice()]),
            created_at: at(i64::from(number)),
            merged_at: (number > 0).then(|| at(1_000)),
            own,
            version: 1,
        }
    }

    fn policy(order: &[Survives], sources: &[&str]) -> Survivorship {
        Survivorship {
            order: order.to_vec(),
            sources: sources.iter().map(|s| (*s).to_owned()).collect(),
            fields: BTreeMap::new(),
        }
    }

    #[test]
    fn each_rule_decides_by_itself_and_the_next_one_where_it_is_silent() {
        let sides = [
            side(0, "Anna", "shop", 30, false),
            side(1, "Annalisa", "crm", 20, false),
            side(2, "Annina", "shop", 10, true),
        ];
        for (order, sources, winner) in [
            (vec![Survives::Verified], vec![], "Annina"),
            (vec![Survives::Source], vec!["crm", "shop"], "Annalisa"),
            (vec![Survives::Newest], vec![], "Anna"),
            (vec![Survives::Oldest], vec![], "Annina"),
            (vec![Survives::Source, Survives::Oldest], vec!["shop"], "Annina"),
            (vec![Survives::Source, Survives::Newest], vec!["shop"], "Anna"),
            (vec![Survives::Source], vec!["till"], "Anna"),
        ] {
            let policy = policy(&order, &sources);
            assert_eq!(
                choose(&sides, &policy).display_name,
                winner,
                "{order:?} {sources:?}"
            );
            // What did not win is kept, and shown as such.
            assert_eq!(stated(&sides, Field::DisplayName, &policy).len(), 3);
        }
    }

    #[test]
    fn under_one_id_a_system_replaces_what_is_believed_no_more_than_it_and_nothing_that_a_person_said() {
        let policy = policy(
            &[Survives::Verified, Survives::Source, Survives::Oldest],
            &["crm", "shop"],
        );
        let origin = |source: &str, verified, by_hand| Origin {
            source: source.to_owned(),
            at: at(1),
            verified,
            by_hand,
        };
        let says = |held: Origin, new: Origin| {
            let mut own = Own::default();
            own.say(Field::DisplayName, "Anna", held);
            may_replace(&own, Field::DisplayName, &new, &policy)
        };
        let by = |source| origin(source, false, false);
        assert!(says(by("shop"), by("crm")) && says(by("shop"), by("shop")));
        assert!(says(by("web"), by("till")), "alike: the last word");
        assert!(!says(by("crm"), by("shop")) && !says(by("shop"), by("till")));
        assert!(!says(origin("web", true, false), by("crm")), "proven");
        assert!(
            !says(origin("agent", false, true), by("crm")),
            "put right by a person"
        );
        let empty = Own::default();
        assert!(may_replace(&empty, Field::DisplayName, &by("till"), &policy));
    }

    #[test]
    fn a_field_may_have_rules_of_its_own_and_an_empty_value_says_nothing() {
        let mut sides = [
            side(0, "Anna", "shop", 30, false),
            side(1, "", "crm", 40, true),
            side(2, "Annina", "crm", 10, true),
        ];
        sides[0].own.profile.language = "it".into();
        let mut policy = policy(&[Survives::Verified], &[]);
        policy
            .fields
            .insert(Field::DisplayName.name().to_owned(), vec![Survives::Newest]);
        let chosen = choose(&sides, &policy);
        assert_eq!(
            (chosen.display_name.as_str(), chosen.language.as_str()),
            ("Anna", "it")
        );
    }

    #[test]
    fn what_a_person_says_after_the_merge_goes_before_all_rules() {
        let mut sides = [
            side(0, "Anna", "crm", 10, true),
            side(1, "Annina", "agent", 2_000, false),
        ];
        let policy = policy(&[Survives::Verified, Survives::Source], &["crm"]);
        assert_eq!(choose(&sides, &policy).display_name, "Anna");
        if let Some(origin) = sides[1].own.origins.get_mut(Field::DisplayName.name()) {
            origin.by_hand = true;
        }
        assert_eq!(choose(&sides, &policy).display_name, "Annina");
    }

    fn consenting(number: u8, said: &[(&str, i32, i64)]) -> Member {
        let mut member = side(number, "", "crm", 0, false);
        for (key, status, minutes) in said {
            let origin = Origin {
                source: "bruno".into(),
                at: at(*minutes),
                verified: false,
                by_hand: true,
            };
            member.own.profile.consents.insert((*key).to_owned(), *status);
            member.own.origins.insert(format!("consents/{key}"), origin);
        }
        member
    }

    #[test]
    fn a_refusal_for_all_brands_ends_what_either_side_gave_a_brand_before() {
        let (all, acme) = ("1/4", "1/4/acme");
        let chosen = |sides: &[Member]| consents(sides)[acme];
        let refused = consenting(0, &[(all, DENIED, 20)]);
        let before = consenting(1, &[(acme, GRANTED, 10)]);
        let later = consenting(1, &[(acme, GRANTED, 30)]);
        assert_eq!(chosen(&[refused.clone(), before]), DENIED);
        assert_eq!(chosen(&[refused, later]), GRANTED);
        assert_eq!(
            chosen(&[consenting(0, &[(all, DENIED, 20), (acme, GRANTED, 10)])]),
            DENIED
        );
        assert_eq!(
            chosen(&[consenting(0, &[(all, DENIED, 20), (acme, GRANTED, 20)])]),
            GRANTED,
            "said in one breath, the brand by itself"
        );
        // Who agreed for all since has taken the refusal back.
        let again = consenting(0, &[(all, GRANTED, 2_000)]);
        let refused = consenting(1, &[(all, DENIED, 20), (acme, GRANTED, 30)]);
        assert_eq!(chosen(&[again, refused]), GRANTED);
    }

    proptest! {
        #[test]
        fn the_order_of_the_sides_decides_nothing(
            said in prop::collection::vec((0..3_usize, 0..4_i64, any::<bool>()), 2..6),
            turn in 0..6_usize,
        ) {
            let mut sides: Vec<Member> = said
                .iter()
                .zip(0_u8..)
                .map(|((source, minutes, verified), number)| {
                    let source = ["crm", "shop", "till"][*source];
                    side(number, &format!("name {number}"), source, *minutes, *verified)
                })
                .collect();
            let policy = policy(&[Survives::Verified, Survives::Source, Survives::Newest], &["crm"]);
            let before = choose(&sides, &policy);
            let turn = turn % sides.len();
            sides.rotate_left(turn);
            prop_assert_eq!(choose(&sides, &policy), before);
        }
    }
}
