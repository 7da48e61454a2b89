use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;
use trama_proto::{
    ids::derive,
    resources::{MatchingPolicySpec, TenantResources},
};

use super::*;

struct Story {
    world: World,
    rules: Rules,
    count: u32,
}

impl Story {
    fn new() -> Self {
        Self {
            world: World::default(),
            rules: Rules::default(),
            count: 0,
        }
    }

    fn sharing(handle: &str) -> Self {
        let mut resources = TenantResources::default();
        let policy = MatchingPolicySpec {
            shared_handles: vec![handle.to_owned()],
            ..Default::default()
        };
        resources
            .matching_policies
            .insert("default".into(), Arc::new(policy));
        Self {
            rules: Rules::new(Some(&resources)),
            ..Self::new()
        }
    }

    fn see(&mut self, handles: &[(&str, Trust)]) -> Outcome {
        self.count += 1;
        let now = DateTime::<Utc>::UNIX_EPOCH + Duration::minutes(i64::from(self.count));
        let number = self.count.to_be_bytes();
        let seen = Observation {
            interaction: InteractionId::new(derive(&[b"i", &number])),
            handles: handles
                .iter()
                .map(|(h, trust)| Handle {
                    key: HandleKey::stored(h).expect("valid"),
                    trust: *trust,
                })
                .collect(),
            display_name: String::new(),
            language: String::new(),
            new_id: CustomerId::new(derive(&[b"c", &number])),
        };
        let mut merges = 0_u8;
        let count = self.count;
        self.world.observe(&seen, &self.rules, now, &mut || {
            merges += 1;
            derive(&[b"m", &count.to_be_bytes(), &[merges]])
        })
    }

    fn owner(&self, handle: &str) -> Option<CustomerId> {
        self.world
            .owner(&HandleKey::stored(handle).expect("valid"))
            .map(|c| c.id)
    }
}

use Trust::{Claimed, Observed, Verified};

#[test]
fn a_login_joins_what_was_two() {
    let mut story = Story::new();
    let mail = story.see(&[("email:a@x.example", Observed)]);
    let chat = story.see(&[("webchat:1", Observed)]);
    let login = story.see(&[
        ("webchat:1", Observed),
        ("crm:1001", Verified),
        ("email:a@x.example", Verified),
    ]);
    assert_eq!(login.customer, mail.customer, "the oldest remains");
    assert_eq!(login.merges.len(), 1);
    assert_eq!(login.merges[0].merged, chat.customer);
    assert_eq!(story.owner("crm:1001"), Some(mail.customer));
}

#[test]
fn a_claim_never_joins_and_never_takes() {
    let mut story = Story::new();
    let mail = story.see(&[("email:a@x.example", Observed)]);
    let chat = story.see(&[("webchat:1", Observed), ("email:a@x.example", Claimed)]);
    assert_ne!(chat.customer, mail.customer);
    assert_eq!(chat.merges, []);
    assert_eq!(story.owner("email:a@x.example"), Some(mail.customer));
}

#[test]
fn proof_takes_what_another_only_claimed() {
    let mut story = Story::new();
    let claimant = story.see(&[("webchat:1", Observed), ("email:a@x.example", Claimed)]);
    let owner = story.see(&[("crm:1", Verified)]);
    let seen = story.see(&[("crm:1", Verified), ("email:a@x.example", Verified)]);
    assert_eq!(seen.customer, owner.customer);
    assert_eq!(seen.merges, []);
    assert_eq!(
        seen.moved.iter().map(|m| (m.from, m.to)).collect::<Vec<_>>(),
        [(claimant.customer, owner.customer)]
    );
}

#[test]
fn a_shared_handle_is_recognised_but_joins_nobody() {
    let mut story = Story::sharing("phone:+390212345");
    let family = story.see(&[("phone:+390212345", Observed)]);
    assert_eq!(
        story.see(&[("phone:+390212345", Observed)]).customer,
        family.customer
    );
    let son = story.see(&[("crm:7", Verified)]);
    let call = story.see(&[("phone:+390212345", Observed), ("crm:7", Verified)]);
    assert_eq!((call.customer, call.merges.len()), (son.customer, 0));
    assert_eq!(story.owner("phone:+390212345"), Some(family.customer));
}

#[test]
fn two_ids_in_the_books_are_two_people() {
    let mut story = Story::new();
    let anna = story.see(&[("crm:1", Verified), ("email:home@x.example", Observed)]);
    let berto = story.see(&[("crm:2", Verified), ("email:home@x.example", Observed)]);
    assert_ne!(anna.customer, berto.customer);
    assert_eq!(story.owner("email:home@x.example"), Some(anna.customer));
    let again = story.see(&[("crm:2", Verified), ("email:home@x.example", Observed)]);
    assert_eq!((again.customer, again.merges.len()), (berto.customer, 0));
}

#[test]
fn who_was_parted_stays_apart() {
    let mut story = Story::new();
    let one = story.see(&[("email:a@x.example", Observed)]).customer;
    let other = story.see(&[("webchat:1", Observed)]).customer;
    story.world.keep_apart(other, one);
    let seen = story.see(&[("email:a@x.example", Verified), ("webchat:1", Observed)]);
    assert_eq!((seen.customer, seen.merges.len()), (one, 0));
    assert_eq!(story.owner("webchat:1"), Some(other));
}

#[test]
fn no_handle_at_all_is_still_somebody() {
    let mut story = Story::new();
    let one = story.see(&[]);
    let other = story.see(&[]);
    assert!(one.is_new && other.is_new);
    assert_ne!(one.customer, other.customer);
    assert_eq!(one.evidence, evidence_of_customer(one.customer));
}

#[test]
fn the_same_delivery_twice_changes_nothing() {
    let mut story = Story::new();
    let handles = [("whatsapp:39333", Observed), ("phone:+39333", Observed)];
    let first = story.see(&handles);
    story.count -= 1;
    let second = story.see(&handles);
    assert_eq!(
        (
            second.customer,
            second.is_new,
            second.sightings.len(),
            second.merges.len()
        ),
        (first.customer, false, 0, 0)
    );
}

/// Groups of handles that are one customer's.
fn partition(deliveries: &[Vec<u8>]) -> BTreeSet<BTreeSet<u8>> {
    let mut story = Story::new();
    let mut all = BTreeSet::new();
    for handles in deliveries {
        let names: Vec<String> = handles.iter().map(|h| format!("cookie:{h}")).collect();
        story.see(&names.iter().map(|n| (n.as_str(), Observed)).collect::<Vec<_>>());
        all.extend(handles.iter().copied());
    }
    let mut groups: HashMap<Option<CustomerId>, BTreeSet<u8>> = HashMap::new();
    for handle in all {
        groups
            .entry(story.owner(&format!("cookie:{handle}")))
            .or_default()
            .insert(handle);
    }
    groups.into_values().collect()
}

proptest! {
    #[test]
    fn the_order_of_deliveries_does_not_matter(
        deliveries in prop::collection::vec(prop::collection::btree_set(0..12_u8, 1..4), 0..10)
            .prop_map(|d| d.into_iter().map(|s| s.into_iter().collect::<Vec<_>>()).collect::<Vec<_>>()),
        seed in any::<u64>(),
    ) {
        let mut shuffled = deliveries.clone();
        shuffled.sort_by_key(|d| derive(&[&seed.to_be_bytes(), d]));
        for handles in &mut shuffled {
            handles.reverse();
        }
        prop_assert_eq!(partition(&deliveries), partition(&shuffled));
    }
}
