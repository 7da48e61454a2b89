//! A story on the real service, with the model beside it.

use std::collections::{BTreeMap, BTreeSet};

use tonic::Code;
use trama_proto::{
    common::v1::{self as common, ChannelKind, CustomerContext, Interaction, Login},
    identity_resolution::v1::{
        ConsentState, ConsentStatus, FindCustomersRequest, ListConsentsRequest, MergeCustomersRequest,
        Person as Whom, PersonFacts, Purpose, Record, RequestErasureRequest, ResolveRecordRequest,
        SetConsentRequest, SplitCustomersRequest, UpdateCustomerRequest, person,
        privacy_service_client::PrivacyServiceClient,
    },
    ingest::v1::InteractionReceived,
    time::to_wire,
};
use trama_testkit::TestApp;
use uuid::Uuid;

use super::{
    reference::{Delivery, Handle, Kind, Model, Person, Source, Trust},
    stories::{Step, all_handles},
};
use crate::{
    profile_world::profiles,
    world::{client, handle, interaction, with_trust},
};

/// Of a family: the policy says that several people use it.
pub const SHARED: Handle = Handle(Kind::Phone, 99);

/// As the service writes it.
pub fn text(Handle(kind, number): Handle) -> String {
    match kind {
        Kind::Phone if number == SHARED.1 => "phone:+390299999999".into(),
        Kind::Email => format!("email:h{number}@shop.test"),
        Kind::Phone => format!("phone:+39333123450{number}"),
        Kind::Whatsapp => format!("whatsapp:39333123450{number}"),
        Kind::Crm => format!("crm:100{number}"),
        Kind::Cookie => format!("cookie:c{number}"),
        Kind::Device => format!("device:0f9c-aa31-77d{number}"),
        Kind::Loyalty => format!("loyalty:77000{number}"),
    }
}

fn wire_trust(trust: Trust) -> common::Trust {
    match trust {
        Trust::Claimed => common::Trust::Claimed,
        Trust::Observed => common::Trust::Observed,
        Trust::Verified => common::Trust::Verified,
    }
}

fn read_handle(wire: &common::Handle) -> (Handle, Trust) {
    let spelt = format!("{}:{}", wire.kind, wire.value);
    let numbers = (0..10).chain([SHARED.1]);
    let mut known = numbers.flat_map(|number| Kind::ALL.map(|kind| Handle(kind, number)));
    let handle = known.find(|h| text(*h) == spelt).expect("a handle of the story");
    let trust = match wire.trust() {
        common::Trust::Unspecified | common::Trust::Claimed => Trust::Claimed,
        common::Trust::Observed => Trust::Observed,
        common::Trust::Verified => Trust::Verified,
    };
    (handle, trust)
}

pub struct Played<'a> {
    app: &'a TestApp,
    tenant: &'a str,
    seed: u64,
    model: Model,
    now: u32,
    /// The clock at each moment of the story.
    moments: Vec<chrono::DateTime<chrono::Utc>>,
    deliveries: Vec<Delivery>,
    /// The ids of the model's members, and whose is still to be learnt.
    ids: BTreeMap<usize, Uuid>,
    made: Option<usize>,
    told: Vec<String>,
}

impl<'a> Played<'a> {
    pub fn new(app: &'a TestApp, tenant: &'a str, seed: u64) -> Self {
        Self {
            app,
            tenant,
            seed,
            model: Model::default(),
            now: 0,
            moments: vec![app.clock.now()],
            deliveries: Vec::new(),
            ids: BTreeMap::new(),
            made: None,
            told: Vec::new(),
        }
    }

    /// Lets a step happen, there and here.
    pub async fn take(&mut self, step: &Step) {
        self.now += 1;
        self.moments.push(self.app.clock.now());
        self.told.push(format!("{step:?}"));
        match step {
            Step::See {
                source,
                handles,
                name,
                language,
            } => {
                let delivery = Delivery {
                    number: self.deliveries.len(),
                    source: *source,
                    handles: handles.clone(),
                    name: *name,
                    language: *language,
                    at: self.now,
                };
                self.deliveries.push(delivery.clone());
                self.deliver(&delivery).await;
            }
            Step::Again(which) => {
                if let Some(number) = which.checked_rem(self.deliveries.len()) {
                    let delivery = self.deliveries[number].clone();
                    self.deliver(&delivery).await;
                }
            }
            Step::Merge(a, b) => {
                if let (Some(a), Some(b)) = (self.model.owner(*a), self.model.owner(*b))
                    && a != b
                {
                    self.merge(a, b).await;
                    self.model.join_by_hand(a, b, self.now);
                }
            }
            Step::Split(which) => {
                if let Some(edge) = which.checked_rem(self.model.edges.len()) {
                    self.split(edge).await;
                }
            }
            Step::Erase(handle) => {
                if let Some(root) = self.model.owner(*handle) {
                    self.erase(root).await;
                    self.model.erase(root, self.now);
                }
            }
            Step::Rename(handle, name) => {
                if let Some(root) = self.model.owner(*handle) {
                    self.rename(root, name).await;
                    self.model.rename(root, name, self.now);
                }
            }
            Step::Agree(handle, agreed) => {
                if let Some(root) = self.model.owner(*handle) {
                    self.agree(root, *agreed).await;
                    self.model.agree(root, *agreed, self.now);
                }
            }
        }
    }

    /// Everything comes twice; what a channel says comes a third time, as the same message of the bus.
    async fn deliver(&mut self, delivery: &Delivery) {
        for _ in 0..2 {
            let expected = self.model.see(delivery, self.now);
            self.made = self.made.or(expected.flatten());
            let at = self.moments[delivery.at as usize];
            if delivery.source.is_channel() {
                let event = InteractionReceived {
                    interaction: Some(interaction_of(self.tenant, delivery, at)),
                };
                let key = text(delivery.handles[0].0);
                let id = self.app.publish(self.tenant, &key, &event).await;
                self.app.deliver_again(id, self.tenant, &key, &event).await;
            } else {
                let answer = resolve(self.app, self.tenant, record_of(delivery, at)).await;
                let code = answer.err().map(|status| status.code());
                let refused = expected.is_none().then_some(Code::FailedPrecondition);
                assert_eq!(code, refused, "{}", self.story());
            }
        }
    }

    fn id(&self, member: usize) -> String {
        self.ids[&member].to_string()
    }

    async fn merge(&self, survivor: usize, merged: usize) {
        let request = MergeCustomersRequest {
            survivor_customer_id: self.id(survivor),
            merged_customer_id: self.id(merged),
            reason: "test".into(),
            request_id: String::new(),
        };
        let request = self.app.request(self.tenant, "bruno", request);
        client(self.app).merge_customers(request).await.expect("merged");
    }

    async fn split(&mut self, edge: usize) {
        let (survivor, merged) = self.model.edges[edge];
        let wanted = (self.ids[&survivor], self.ids[&merged]);
        let real = edges(self.app, self.tenant).await;
        let found = real.iter().find(|(_, edge)| **edge == wanted);
        let (merge_id, _) = found.unwrap_or_else(|| panic!("no such merge: {}", self.story()));
        split(self.app, self.tenant, *merge_id).await.expect("split");
        self.model.split(edge);
    }

    async fn erase(&self, root: usize) {
        let request = RequestErasureRequest {
            person: Some(Whom {
                person: Some(person::Person::CustomerId(self.id(root))),
            }),
            reason: "asked".into(),
            request_id: String::new(),
        };
        let request = self.app.request(self.tenant, "dora", request);
        PrivacyServiceClient::new(self.app.grpc())
            .request_erasure(request)
            .await
            .expect("erased");
    }

    async fn rename(&self, root: usize, name: &str) {
        let request = UpdateCustomerRequest {
            customer: Some(CustomerContext {
                customer_id: self.id(root),
                display_name: name.into(),
                ..CustomerContext::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["display_name".into()],
            }),
            request_id: String::new(),
        };
        let request = self.app.request(self.tenant, "bruno", request);
        client(self.app).update_customer(request).await.expect("renamed");
    }

    async fn agree(&self, root: usize, agreed: bool) {
        let status = match agreed {
            true => ConsentStatus::Granted,
            false => ConsentStatus::Denied,
        };
        let request = SetConsentRequest {
            customer_id: self.id(root),
            channel_kind: ChannelKind::Email as i32,
            purpose: Purpose::Marketing as i32,
            status: status as i32,
            evidence: "a form".into(),
            request_id: String::new(),
        };
        let request = self.app.request(self.tenant, "bruno", request);
        client(self.app).set_consent(request).await.expect("noted");
    }

    pub async fn undo_everything(&mut self) {
        while !self.model.edges.is_empty() {
            self.split(0).await;
        }
        self.told.push("all merges undone".into());
    }

    /// The same customers with the same fields, and the same merges in force, there and here.
    pub async fn compare(&mut self) {
        if let Some(member) = self.made.take() {
            let handle = self.model.handle_of(member).expect("whoever is new got a handle");
            let id = row_of(self.app, self.tenant, handle).await;
            let id = id.unwrap_or_else(|| panic!("nobody was made for {handle:?}: {}", self.story()));
            self.ids.insert(member, id);
        }
        let found = people(self.app, self.tenant, &all_handles()).await;
        assert_eq!(found, self.model.people(), "{}", self.story());
        let real: BTreeSet<(Uuid, Uuid)> = edges(self.app, self.tenant).await.into_values().collect();
        let ours = self.model.edges.iter().map(|(a, b)| (self.ids[a], self.ids[b]));
        assert_eq!(real, ours.collect(), "{}", self.story());
    }

    fn story(&self) -> String {
        let (seed, steps) = (self.seed, self.told.join("\n  "));
        format!("play it again with TRAMA_TEST_SEED={seed} TRAMA_TEST_SEQUENCES=1\n  {steps}")
    }
}

pub fn interaction_of(tenant: &str, delivery: &Delivery, at: chrono::DateTime<chrono::Utc>) -> Interaction {
    let wire = |(h, trust): &(Handle, Trust)| with_trust(&text(*h), wire_trust(*trust));
    let mut interaction = interaction(
        &format!("{tenant} {}", delivery.number),
        &text(delivery.handles[0].0),
    );
    interaction.party = Some(wire(&delivery.handles[0]));
    interaction.also_known_as = delivery.handles[1..].iter().map(wire).collect();
    interaction.display_name = delivery.name.unwrap_or_default().into();
    interaction.language = delivery.language.unwrap_or_default().into();
    interaction.occurred_at = Some(to_wire(at));
    interaction.login = (delivery.source == Source::Door(true)).then(|| Login {
        method: "site_login".into(),
        ..Login::default()
    });
    interaction
}

pub fn record_of(delivery: &Delivery, at: chrono::DateTime<chrono::Utc>) -> Record {
    let source = match delivery.source {
        Source::Crm => "crm",
        Source::Shop => "shop",
        Source::Till => "till",
        Source::Door(_) | Source::Agent => unreachable!("no system"),
    };
    let wire = |(h, trust): &(Handle, Trust)| with_trust(&text(*h), wire_trust(*trust));
    Record {
        source: source.into(),
        external_id: delivery.number.to_string(),
        handles: delivery.handles.iter().map(wire).collect(),
        facts: Some(PersonFacts {
            full_name: delivery.name.unwrap_or_default().into(),
            ..PersonFacts::default()
        }),
        language: delivery.language.unwrap_or_default().into(),
        recorded_at: Some(to_wire(at)),
    }
}

pub async fn resolve(app: &TestApp, tenant: &str, record: Record) -> Result<(), tonic::Status> {
    let request = ResolveRecordRequest {
        record: Some(record),
        dry_run: false,
    };
    client(app)
        .resolve_record(app.request(tenant, "crm", request))
        .await
        .map(drop)
}

/// Everybody who can be found by one of these handles, as the service shows them.
pub async fn people(app: &TestApp, tenant: &str, by: &[Handle]) -> BTreeSet<Person> {
    let mut people = BTreeSet::new();
    let mut seen: BTreeSet<Handle> = BTreeSet::new();
    for &wanted in by {
        if seen.contains(&wanted) {
            continue;
        }
        let request = FindCustomersRequest {
            handle: Some(handle(&text(wanted))),
        };
        let found = client(app)
            .find_customers(app.request(tenant, "bruno", request))
            .await;
        let Some(customer) = found.expect("allowed").into_inner().customers.into_iter().next() else {
            continue;
        };
        let handles: BTreeMap<Handle, Trust> = customer.handles.iter().map(read_handle).collect();
        assert!(handles.contains_key(&wanted), "found by what they do not hold");
        assert!(handles.keys().all(|h| seen.insert(*h)), "a handle of two");
        people.insert(Person {
            handles,
            name: customer.display_name,
            language: customer.language,
            consent: consent(app, tenant, &customer.customer_id).await,
        });
    }
    people
}

async fn consent(app: &TestApp, tenant: &str, customer: &str) -> Option<bool> {
    let request = ListConsentsRequest {
        customer_id: customer.into(),
    };
    let answer = profiles(app)
        .list_consents(app.request(tenant, "bruno", request))
        .await;
    let consents = answer.expect("consents").into_inner().consents;
    consents.first().map(|c| c.state() == ConsentState::Granted)
}

/// The merges in force of a tenant: who remained and who became an alias.
pub async fn edges(app: &TestApp, tenant: &str) -> BTreeMap<Uuid, (Uuid, Uuid)> {
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let rows: Vec<(Uuid, Uuid, Uuid)> = sqlx::query_as(
        "SELECT merge_id, survivor, merged FROM merges WHERE tenant = $1 AND undone_at IS NULL",
    )
    .bind(tenant)
    .fetch_all(tx.conn())
    .await
    .expect("rows");
    rows.into_iter().map(|(id, a, b)| (id, (a, b))).collect()
}

pub async fn split(app: &TestApp, tenant: &str, merge_id: Uuid) -> Result<(), tonic::Status> {
    let request = SplitCustomersRequest {
        merge_id: merge_id.to_string(),
        request_id: String::new(),
    };
    client(app)
        .split_customers(app.request(tenant, "bruno", request))
        .await
        .map(drop)
}

/// The id under which a handle is kept, whoever's alias it is.
async fn row_of(app: &TestApp, tenant: &str, handle: Handle) -> Option<Uuid> {
    let spelt = text(handle);
    let (kind, value) = spelt.split_once(':').expect("kind:value");
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    sqlx::query_scalar("SELECT customer_id FROM handles WHERE tenant = $1 AND kind = $2 AND value = $3")
        .bind(tenant)
        .bind(kind)
        .bind(value)
        .fetch_optional(tx.conn())
        .await
        .expect("a row")
}
