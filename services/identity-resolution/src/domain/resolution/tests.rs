use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use proptest::prelude::*;
use trama_proto::{
    ids::derive,
    resources::{MatchingPolicySpec, TenantResources},
};

use super::*;

fn key(text: &str) -> HandleKey {
    let (kind, value) = text.split_once(':').expect("kind:value");
    HandleKey::of_row(kind, value.to_owned()).expect("valid")
}

struct Story {
    world: World,
    rules: Rules,
    count: u32,
    contradicts: HashSet<CustomerId>,
    verdict: Verdict,
}

impl Story {
    fn new() -> Self {
        Self {
            world: World::default(),
            rules: Rules::default(),
            count: 0,
            contradicts: HashSet::new(),
            verdict: Verdict::Nobody,
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
            interaction: Some(InteractionId::new(derive(&[b"i", &number]))),
            record: None,
            handles: handles
                .iter()
                .map(|(h, trust)| Handle {
                    key: key(h),
                    trust: *trust,
                })
                .collect(),
            said: Said::default(),
            fields: Vec::new(),
            source: "test".into(),
            verified: false,
            contradicts: self.contradicts.clone(),
            verdict: self.verdict.clone(),
            settled: None,
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
        self.world.owner(&key(handle)).map(|c| c.id)
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
fn a_mailbox_that_calls_itself_a_familys_is_recognised_but_joins_nobody() {
    for mailbox in [
        "email:casa.rossi71@x.example",
        "email:famigliarossi@x.example",
        "email:rossi-family@x.example",
    ] {
        let mut story = Story::new();
        let mother = story.see(&[(mailbox, Observed)]).customer;
        assert_eq!(story.see(&[(mailbox, Observed)]).customer, mother);
        let son = story.see(&[("phone:+393331234567", Observed), (mailbox, Observed)]);
        assert!(son.is_new, "{mailbox}");
        let again = story.see(&[("phone:+393331234567", Observed), (mailbox, Observed)]);
        assert_eq!((again.customer, again.merges.len()), (son.customer, 0));
        assert_eq!(story.owner(mailbox), Some(mother));
    }
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

#[test]
fn a_handle_of_many_names_nobody() {
    let mut story = Story::new();
    let owner = story.see(&[("phone:+390212345", Observed)]).customer;
    let customer = story.world.get_mut(owner).expect("is there");
    customer.handles[0].shared = true;
    let other = story.see(&[("phone:+390212345", Observed)]);
    assert!(other.is_new);
    assert_ne!(other.customer, owner);
    assert_eq!(other.merges, []);
}

#[test]
fn who_is_called_something_else_is_not_meant() {
    let mut story = Story::new();
    let owner = story.see(&[("phone:+390212345", Observed)]).customer;
    story.contradicts = HashSet::from([owner]);
    let other = story.see(&[("phone:+390212345", Observed)]);
    assert_ne!(other.customer, owner);
    assert_eq!(other.claims, [key("phone:+390212345")]);
    assert_eq!(story.owner("phone:+390212345"), Some(owner));
}

#[test]
fn a_protected_profile_remains_whoever_is_older() {
    let mut story = Story::new();
    story.see(&[("email:a@x.example", Observed)]);
    let canonical = story.see(&[("webchat:1", Observed)]).customer;
    let own = story.world.get_mut(canonical).and_then(|c| c.own_mut(canonical));
    own.expect("their own").protected = true;
    let login = story.see(&[("webchat:1", Observed), ("email:a@x.example", Verified)]);
    assert_eq!((login.customer, login.merges.len()), (canonical, 1));
}

#[test]
fn what_bridges_two_whom_a_person_parted_is_asked_and_never_dropped() {
    let mut story = Story::new();
    let one = story.see(&[("email:a@x.example", Observed)]).customer;
    let other = story.see(&[("webchat:1", Observed)]).customer;
    story.world.keep_apart(other, one);
    let seen = story.see(&[("email:a@x.example", Verified), ("webchat:1", Observed)]);
    assert_eq!(seen.merges, []);
    let asked: Vec<_> = seen.questions.iter().map(|q| (q.one, q.other, q.doubt)).collect();
    assert_eq!(asked, [(one, other, Doubt::Bridge)]);
}

#[test]
fn what_would_exceed_a_limit_is_left_out_by_priority() {
    let mut resources = TenantResources::default();
    let mut policy = MatchingPolicySpec::default();
    let rule = |limit, priority| trama_proto::resources::IdentifierRule {
        limit,
        priority,
        ..Default::default()
    };
    policy.identifiers.insert("email".into(), rule(1, 2));
    policy.identifiers.insert("cookie".into(), rule(0, 9));
    resources
        .matching_policies
        .insert("default".into(), Arc::new(policy));
    let mut story = Story {
        rules: Rules::new(Some(&resources)),
        ..Story::new()
    };
    let anna = story.see(&[("email:a@x.example", Observed)]).customer;
    let berto = story
        .see(&[("email:b@x.example", Observed), ("cookie:1", Observed)])
        .customer;
    let seen = story.see(&[("cookie:1", Observed), ("email:a@x.example", Observed)]);
    assert_eq!((seen.customer, seen.merges.len()), (anna, 0));
    assert_eq!(story.owner("cookie:1"), Some(berto));
}

#[test]
fn somebody_surely_the_same_is_joined_by_an_edge_of_their_own() {
    let mut story = Story::new();
    let known = story.see(&[("email:a@x.example", Observed)]).customer;
    let likeness = Likeness {
        bits: 12.0,
        parts: Vec::new(),
        vetoes: Vec::new(),
        model: "test".into(),
    };
    story.verdict = Verdict::Same {
        customer: known,
        likeness: likeness.clone(),
    };
    let seen = story.see(&[("phone:+390212345", Observed)]);
    assert_eq!((seen.customer, seen.is_new, seen.merges.len()), (known, false, 1));
    assert_eq!(seen.merges[0].likeness, Some(likeness));
    assert_eq!(Some(seen.merges[0].merged), seen.created);
    assert_eq!(story.owner("phone:+390212345"), Some(known));
}
