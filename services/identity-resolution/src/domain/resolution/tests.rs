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
use crate::domain::said::Attribute;

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
    /// What whoever is seen says they are called.
    name: &'static str,
}

impl Story {
    fn new() -> Self {
        Self {
            world: World::default(),
            rules: Rules::default(),
            count: 0,
            contradicts: HashSet::new(),
            verdict: Verdict::Nobody,
            name: "",
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
        let mut said = Said::default();
        said.add(Attribute::FullName, self.name, Claimed);
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
            said,
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

    fn see_as(&mut self, name: &'static str, handles: &[(&str, Trust)]) -> Outcome {
        self.name = name;
        let outcome = self.see(handles);
        self.name = "";
        outcome
    }

    fn trust(&self, handle: &str) -> Option<Trust> {
        let key = key(handle);
        self.world.owner(&key)?.holds(&key).map(|held| held.trust)
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

#[test]
fn handles_do_not_join_two_who_are_called_something_else() {
    let mut story = Story::new();
    let mario = story
        .see_as("Mario Rossi", &[("cookie:kiosk", Observed)])
        .customer;
    let giulia = story
        .see_as("Giulia Bianchi", &[("email:giulia@x.example", Observed)])
        .customer;
    let seen = story.see(&[("cookie:kiosk", Observed), ("email:giulia@x.example", Observed)]);
    assert_eq!((seen.customer, seen.merges.len()), (giulia, 0));
    assert_eq!(seen.claims, [key("cookie:kiosk")], "seen with somebody else");
    assert_eq!(story.owner("cookie:kiosk"), Some(mario));
    let asked = &seen.questions[0];
    assert_eq!(
        (asked.one, asked.other, asked.doubt),
        (giulia, mario, Doubt::Bridge)
    );
    assert!(asked.likeness.is_some());
    let again = story
        .see_as("Giuliana Bianchi", &[("email:g@x.example", Observed)])
        .customer;
    let same = story.see(&[
        ("email:g@x.example", Observed),
        ("email:giulia@x.example", Observed),
    ]);
    assert_eq!(same.merges.len(), 1, "what fits is joined as before");
    assert_eq!(same.merges[0].merged, again);
}

#[test]
fn a_merge_by_handles_remembers_on_which_it_rests() {
    let mut story = Story::new();
    story.see(&[("whatsapp:39333", Observed), ("phone:+39333", Observed)]);
    story.see(&[("email:a@x.example", Observed), ("cookie:1", Observed)]);
    let seen = story.see(&[
        ("whatsapp:39333", Observed),
        ("phone:+39333", Observed),
        ("email:a@x.example", Observed),
        ("cookie:1", Observed),
    ]);
    let mut rests_on = seen.merges[0].rests_on.clone();
    rests_on.sort_unstable();
    let mut line = [key("whatsapp:39333").evidence(), key("phone:+39333").evidence()];
    line.sort_unstable();
    assert_eq!(
        rests_on, line,
        "an address and a cookie are two reasons, a line is one"
    );
}

#[test]
fn a_claim_stays_a_claim_however_often_it_is_used() {
    let mut story = Story::new();
    let anna = story
        .see(&[("cookie:1", Observed), ("phone:+39333", Claimed)])
        .customer;
    for _ in 0..2 {
        let call = story.see(&[("phone:+39333", Observed), ("push:abc", Observed)]);
        assert_eq!(call.customer, anna, "they are meant");
        assert!(call.standing.is_weak());
    }
    assert_eq!(story.trust("phone:+39333"), Some(Claimed));
    assert_eq!(
        story.trust("push:abc"),
        Some(Claimed),
        "it came by no more than a claim"
    );
    let berto = story.see(&[("crm:2", Verified)]).customer;
    let call = story.see(&[("crm:2", Verified), ("phone:+39333", Observed)]);
    assert_eq!((call.customer, call.merges.len()), (berto, 0));
    assert_eq!(
        story.owner("phone:+39333"),
        Some(berto),
        "whoever proves it has it"
    );
}

#[test]
fn another_handle_of_the_customer_makes_a_claim_more_than_that() {
    let mut story = Story::new();
    let anna = story
        .see(&[("cookie:1", Observed), ("phone:+39333", Claimed)])
        .customer;
    let both = story.see(&[("phone:+39333", Observed), ("cookie:1", Observed)]);
    assert_eq!((both.customer, both.standing.is_weak()), (anna, false));
    assert_eq!(story.trust("phone:+39333"), Some(Observed));
    assert!(!story.see(&[("phone:+39333", Observed)]).standing.is_weak());
}

#[test]
fn who_proves_who_they_are_does_not_become_who_claimed_it() {
    let mut story = Story::new();
    let somebody = story
        .see(&[("webchat:1", Observed), ("email:a@x.example", Claimed)])
        .customer;
    let login = story.see(&[
        ("webchat:2", Observed),
        ("crm:1", Verified),
        ("email:a@x.example", Verified),
    ]);
    assert_ne!(login.customer, somebody);
    assert_eq!(story.owner("email:a@x.example"), Some(login.customer));
}
