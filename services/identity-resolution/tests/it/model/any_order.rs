//! The same deliveries in another order come to the same customers with the same fields.
//!
//! What has an order by nature is not shuffled: what a person decides (a merge, a split, a correction, a consent, an erasure)
//! is about what is known at that moment; a handle that is only claimed goes to whoever claims it first; of two people who
//! contradict each other the first keeps a handle that both show; and of what one and the same source says, the newest holds.
//! Everything else is evidence, and evidence comes in any order: each person of these stories has one id in the books, uses
//! their handles, and is called one thing by each source, some of which are believed more than others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::future::join_all;
use proptest::prelude::*;
use tonic::Code;
use trama_proto::{
    identity_resolution::v1::{
        Person as Whom, RequestErasureRequest, person, privacy_service_client::PrivacyServiceClient,
    },
    ids::derive,
    ingest::v1::InteractionReceived,
};
use trama_testkit::TestApp;

use super::{
    of_seed,
    played::{SHARED, interaction_of, people, record_of, resolve, text},
    reference::{Delivery, Handle, Kind, Person, Source, Trust, implied},
    seeds, start,
};
use crate::world::handle;

/// Sets of deliveries that are played side by side, each in three orders.
const AT_ONCE: usize = 12;
const PEOPLE: u8 = 4;
const NAMES: [[&str; 3]; 4] = [
    ["Anna", "Annalisa", "Nina"],
    ["Bruno", "Bruno B", "Bru"],
    ["Dora", "Teodora", "Dora"],
    ["Carlo", "Carlo", "Carletto"],
];
const LANGUAGES: [[&str; 3]; 4] = [
    ["it", "en", "de"],
    ["en", "it", "it"],
    ["de", "de", "en"],
    ["fr", "it", "en"],
];

/// The handles of one person.
fn own(person: u8) -> Vec<Handle> {
    vec![
        Handle(Kind::Email, person),
        Handle(Kind::Email, person + PEOPLE),
        Handle(Kind::Phone, person),
        Handle(Kind::Whatsapp, person),
        Handle(Kind::Crm, person),
        Handle(Kind::Cookie, person),
        Handle(Kind::Cookie, person + PEOPLE),
        Handle(Kind::Device, person),
        Handle(Kind::Loyalty, person),
    ]
}

fn all() -> Vec<Handle> {
    (0..PEOPLE).flat_map(own).collect()
}

/// Whose, who says it, which of their handles, whether with the family's, and whether it says a name and a language.
type Given = (u8, Source, Vec<(prop::sample::Index, Trust)>, bool, (bool, bool));

fn deliveries() -> impl Strategy<Value = Vec<Delivery>> {
    let trust = prop_oneof![4 => Just(Trust::Observed), 1 => Just(Trust::Verified)];
    let one = (
        0..PEOPLE,
        prop::sample::select(vec![
            Source::Crm,
            Source::Shop,
            Source::Door(false),
            Source::Door(false),
            Source::Door(true),
        ]),
        prop::collection::vec((any::<prop::sample::Index>(), trust), 1..4),
        prop::bool::weighted(0.2),
        any::<(bool, bool)>(),
    );
    prop::collection::vec(one, 6..24).prop_map(|all| {
        let of = |(number, given): (usize, Given)| {
            let (whose, source, picks, family, says) = given;
            let mut handles: BTreeMap<Handle, Trust> = BTreeMap::new();
            for (pick, trust) in picks {
                handles.entry(own(whose)[pick.index(9)]).or_insert(trust);
            }
            // It comes by itself with the other.
            if handles.contains_key(&Handle(Kind::Whatsapp, whose)) {
                handles.remove(&Handle(Kind::Phone, whose));
            }
            let mut handles: Vec<(Handle, Trust)> = handles.into_iter().collect();
            handles.extend(family.then_some((SHARED, Trust::Observed)));
            let column = match source {
                Source::Crm => Some(0),
                Source::Shop => Some(1),
                Source::Door(false) => Some(2),
                // What is said with a login holds before all else if it is the first that is said.
                Source::Door(true) | Source::Till | Source::Agent => None,
            };
            let (named, speaks) = says;
            let whose = usize::from(whose);
            Delivery {
                number,
                source,
                handles,
                name: column.filter(|_| named).map(|c| NAMES[whose][c]),
                language: column.filter(|_| speaks).map(|c| LANGUAGES[whose][c]),
                at: 0,
            }
        };
        all.into_iter().enumerate().map(of).collect()
    })
}

/// Whom deliveries make, whatever their order: whoever shows a handle of somebody is them, and of each field the value of the
/// source that is believed most holds.
fn expected(deliveries: &[Delivery]) -> BTreeSet<Person> {
    let mut groups: Vec<Vec<&Delivery>> = Vec::new();
    for delivery in deliveries {
        let shown = shown(delivery);
        let (mut same, other): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group: &Vec<&Delivery>| {
            group
                .iter()
                .any(|d| self::shown(d).keys().any(|h| shown.contains_key(h)))
        });
        same.push(vec![delivery]);
        groups = other;
        groups.push(same.concat());
    }
    let best = |group: &[&Delivery], value: fn(&Delivery) -> Option<&'static str>| {
        let saying = group.iter().filter_map(|d| Some((d.source, value(d)?)));
        saying.min().map(|(_, text)| text.to_owned()).unwrap_or_default()
    };
    let person = |group: Vec<&Delivery>| {
        let mut handles = BTreeMap::new();
        for (handle, trust) in group.iter().flat_map(|d| shown(d)) {
            let held = handles.entry(handle).or_insert(trust);
            *held = trust.max(*held);
        }
        Person {
            handles,
            name: best(&group, |d| d.name),
            language: best(&group, |d| d.language),
            consent: None,
        }
    };
    groups.into_iter().map(person).collect()
}

/// What joins: handles of one person, and the telephone that a WhatsApp number is.
fn shown(delivery: &Delivery) -> BTreeMap<Handle, Trust> {
    let own = delivery.handles.iter().filter(|(h, _)| *h != SHARED);
    own.flat_map(|(h, trust)| [Some(*h), implied(*h)].into_iter().flatten().map(|h| (h, *trust)))
        .collect()
}

fn shuffled(deliveries: &[Delivery], seed: u64, order: u64) -> Vec<Delivery> {
    let mut deliveries = deliveries.to_vec();
    deliveries.sort_by_key(|d| derive(&[&seed.to_be_bytes(), &order.to_be_bytes(), &d.number.to_be_bytes()]));
    for delivery in &mut deliveries {
        // The party of a message is whoever stands first, but never the family.
        if order % 2 == 1 && delivery.handles.last().is_some_and(|(h, _)| *h != SHARED) {
            delivery.handles.reverse();
        }
    }
    deliveries
}

/// One set of deliveries, in one order, in a tenant of its own.
struct Played<'a> {
    app: &'a TestApp,
    tenant: String,
    words: String,
    deliveries: Vec<Delivery>,
    at: DateTime<Utc>,
}

impl Played<'_> {
    /// Everything comes twice. Says which records were refused.
    async fn deliver(&self, deliveries: &[Delivery]) -> BTreeSet<usize> {
        let mut refused = BTreeSet::new();
        for delivery in deliveries.iter().flat_map(|d| [d, d]) {
            if delivery.source.is_channel() {
                let event = InteractionReceived {
                    interaction: Some(interaction_of(&self.tenant, delivery, self.at)),
                };
                let key = text(delivery.handles[0].0);
                self.app.publish(&self.tenant, &key, &event).await;
            } else if let Err(status) = resolve(self.app, &self.tenant, record_of(delivery, self.at)).await {
                assert_eq!(
                    status.code(),
                    Code::FailedPrecondition,
                    "{status:?} {}",
                    self.words
                );
                refused.insert(delivery.number);
            }
        }
        refused
    }

    async fn are(&self, expected: &BTreeSet<Person>) {
        let mut found = BTreeSet::new();
        for mut person in people(self.app, &self.tenant, &all()).await {
            // Whose the family's telephone is does depend on who came first, and joins nobody.
            person.handles.remove(&SHARED);
            found.insert(person);
        }
        assert_eq!(found, *expected, "{}\n{:#?}", self.words, self.deliveries);
    }

    async fn erase(&self, whose: Handle) {
        let request = RequestErasureRequest {
            person: Some(Whom {
                person: Some(person::Person::Handle(handle(&text(whose)))),
            }),
            reason: "asked".into(),
            request_id: String::new(),
        };
        let request = self.app.request(&self.tenant, "dora", request);
        PrivacyServiceClient::new(self.app.grpc())
            .request_erasure(request)
            .await
            .expect("erased");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_in_any_order_and_doubled_make_the_same_customers_and_bring_back_nobody() {
    for seeds in seeds(AT_ONCE).chunks(AT_ONCE) {
        let names: Vec<(u64, u64, String)> = seeds
            .iter()
            .flat_map(|seed| (0..3).map(move |order| (*seed, order, format!("order{seed}-{order}"))))
            .collect();
        let tenants: Vec<String> = names.iter().map(|(.., name)| name.clone()).collect();
        let app = start(&tenants).await;
        let played: Vec<Played<'_>> = names
            .into_iter()
            .map(|(seed, order, tenant)| Played {
                app: &app,
                tenant,
                words: format!(
                    "order {order}; play it again with TRAMA_TEST_SEED={seed} TRAMA_TEST_SEQUENCES=1"
                ),
                deliveries: shuffled(&of_seed(&deliveries(), seed), seed, order),
                at: app.clock.now(),
            })
            .collect();
        // The first two orders one by one, as time goes by; the last one all at once.
        let longest = played
            .iter()
            .map(|p| p.deliveries.len())
            .max()
            .unwrap_or_default();
        for now in 0..longest {
            let next = played
                .iter()
                .enumerate()
                .map(|(place, p)| match (place % 3, now) {
                    (2, 0) => p.deliver(&p.deliveries),
                    (2, _) => p.deliver(&[]),
                    _ => p.deliver(p.deliveries.get(now..=now).unwrap_or_default()),
                });
            join_all(next).await;
            app.advance(Duration::from_secs(61)).await;
        }
        let people: Vec<BTreeSet<Person>> = played.iter().map(|p| expected(&p.deliveries)).collect();
        join_all(played.iter().zip(&people).map(|(p, people)| p.are(people))).await;

        // Somebody is forgotten, and all that was ever said comes once more.
        let gone = people.iter().map(|people| people.first().expect("somebody"));
        let gone: Vec<&Person> = gone.collect();
        let whose = |person: &Person| *person.handles.keys().next().expect("a handle");
        join_all(played.iter().zip(&gone).map(|(p, person)| p.erase(whose(person)))).await;
        app.advance(Duration::from_secs(61)).await;
        let again = played.iter().zip(&gone).map(|(p, gone)| async move {
            let refused = p.deliver(&shuffled(&p.deliveries, 0, 9)).await;
            for delivery in p.deliveries.iter().filter(|d| !d.source.is_channel()) {
                let theirs = shown(delivery).keys().any(|h| gone.handles.contains_key(h));
                assert!(!theirs || refused.contains(&delivery.number), "{}", p.words);
            }
        });
        join_all(again).await;
        app.settle().await;
        let left = played.iter().zip(&people).zip(&gone).map(|((p, people), gone)| {
            let left: BTreeSet<Person> = people.iter().filter(|p| p != gone).cloned().collect();
            async move { p.are(&left).await }
        });
        join_all(left).await;
        app.stop().await;
    }
}
