//! Random stories against a naive model, and many writers on the same few handles.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use tonic::Code;
use trama_proto::{
    common::v1::{CustomerContext, Trust},
    identity_resolution::v1::{
        FindCustomersRequest, GetCustomerRequest, MergeCustomersRequest, Record, ResolveRecordRequest,
        SplitCustomersRequest,
    },
};
use trama_testkit::TestApp;

use crate::world::{client, handle, interaction, receive, start, with_trust};

#[derive(Debug, Clone)]
enum Step {
    /// A delivery shows these handles.
    Observe(Vec<u8>),
    /// An old delivery comes once more.
    Again(usize),
    /// A person joins the owners of two handles.
    Merge(u8, u8),
    /// A person undoes a merge.
    Split(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let handles = prop::collection::btree_set(0..8_u8, 1..4).prop_map(|h| h.into_iter().collect());
    let step = prop_oneof![
        5 => handles.prop_map(Step::Observe),
        1 => any::<usize>().prop_map(Step::Again),
        2 => (0..8_u8, 0..8_u8).prop_map(|(a, b)| Step::Merge(a, b)),
        2 => any::<usize>().prop_map(Step::Split),
    ];
    prop::collection::vec(step, 8..24)
}

/// Ids as they were made, edges as they were drawn: nothing else is needed to know who is who.
#[derive(Default)]
struct Model {
    owner: BTreeMap<u8, usize>,
    members: usize,
    /// Survivor, merged.
    edges: BTreeMap<String, (usize, usize)>,
    apart: BTreeSet<(usize, usize)>,
}

impl Model {
    fn side(&self, member: usize) -> BTreeSet<usize> {
        let mut side = BTreeSet::from([member]);
        loop {
            let more: Vec<usize> = self
                .edges
                .values()
                .flat_map(|(a, b)| [(*a, *b), (*b, *a)])
                .filter(|(a, b)| side.contains(a) && !side.contains(b))
                .map(|(_, b)| b)
                .collect();
            if more.is_empty() {
                return side;
            }
            side.extend(more);
        }
    }

    fn root(&self, member: usize) -> usize {
        let side = self.side(member);
        let merged: BTreeSet<usize> = self.edges.values().map(|(_, merged)| *merged).collect();
        *side.iter().find(|m| !merged.contains(m)).expect("one remains")
    }

    fn are_apart(&self, a: usize, b: usize) -> bool {
        let (one, other) = (self.side(a), self.side(b));
        one.iter()
            .any(|x| other.iter().any(|y| self.apart.contains(&(*x.min(y), *x.max(y)))))
    }

    /// First seen under any id, then the id by age: what "the oldest" means.
    fn age(&self, root: usize) -> usize {
        *self.side(root).iter().min().expect("not empty")
    }

    fn observe(&mut self, handles: &[u8], merged: &mut dyn FnMut() -> String) {
        let mut known: Vec<(usize, u8)> = handles
            .iter()
            .filter_map(|h| Some((self.root(*self.owner.get(h)?), *h)))
            .collect();
        known.sort_by_key(|(root, h)| (self.age(*root), *root, format!("cookie:h{h}")));
        let member = match known.first() {
            None => {
                self.members += 1;
                self.members - 1
            }
            Some((_, anchor)) => {
                let mut group: Vec<usize> = Vec::new();
                for (root, _) in &known {
                    if !group.contains(root) && group.iter().all(|g| !self.are_apart(*g, *root)) {
                        group.push(*root);
                    }
                }
                let survivor = *group
                    .iter()
                    .min_by_key(|r| (self.age(**r), **r))
                    .expect("not empty");
                for root in group.into_iter().filter(|r| *r != survivor) {
                    self.edges.insert(merged(), (survivor, root));
                }
                self.owner[anchor]
            }
        };
        for handle in handles {
            self.owner.entry(*handle).or_insert(member);
        }
    }

    /// Handles that are one customer's.
    fn partition(&self) -> BTreeSet<BTreeSet<u8>> {
        let mut groups: BTreeMap<usize, BTreeSet<u8>> = BTreeMap::new();
        for (handle, member) in &self.owner {
            groups.entry(self.root(*member)).or_default().insert(*handle);
        }
        groups.into_values().collect()
    }
}

async fn owner(app: &TestApp, tenant: &str, number: u8) -> Option<CustomerContext> {
    let request = FindCustomersRequest {
        handle: Some(handle(&format!("cookie:h{number}"))),
    };
    let found = client(app)
        .find_customers(app.request(tenant, "bruno", request))
        .await
        .expect("allowed")
        .into_inner();
    found.customers.into_iter().next()
}

async fn partition(app: &TestApp, tenant: &str) -> BTreeSet<BTreeSet<u8>> {
    let mut groups: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
    for number in 0..8 {
        if let Some(customer) = owner(app, tenant, number).await {
            groups.entry(customer.customer_id).or_default().insert(number);
        }
    }
    groups.into_values().collect()
}

/// The merges in force of a tenant: id → survivor and merged.
async fn edges(app: &TestApp, tenant: &str) -> BTreeMap<String, (String, String)> {
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let rows: Vec<(uuid::Uuid, uuid::Uuid, uuid::Uuid)> = sqlx::query_as(
        "SELECT merge_id, survivor, merged FROM merges WHERE tenant = $1 AND undone_at IS NULL ORDER BY merged_at, merge_id",
    )
    .bind(tenant)
    .fetch_all(tx.conn())
    .await
    .expect("rows");
    rows.into_iter()
        .map(|(id, a, b)| (id.to_string(), (a.to_string(), b.to_string())))
        .collect()
}

async fn play(app: &TestApp, tenant: &str, steps: &[Step]) {
    let mut model = Model::default();
    let mut deliveries: Vec<Vec<u8>> = Vec::new();
    let mut number = 0;
    for step in steps {
        app.advance(Duration::from_secs(61)).await;
        match step {
            Step::Observe(_) | Step::Again(_) => {
                let handles = match step {
                    Step::Observe(handles) => handles.clone(),
                    Step::Again(which) if deliveries.is_empty() => vec![(*which % 8) as u8],
                    Step::Again(which) => deliveries[which % deliveries.len()].clone(),
                    Step::Merge(..) | Step::Split(_) => continue,
                };
                let mut seen = interaction(
                    &format!("{tenant} {handles:?}"),
                    &format!("cookie:h{}", handles[0]),
                );
                seen.also_known_as = handles[1..]
                    .iter()
                    .map(|h| with_trust(&format!("cookie:h{h}"), Trust::Observed))
                    .collect();
                // Everything comes twice.
                receive(app, tenant, &seen).await;
                receive(app, tenant, &seen).await;
                app.settle().await;
                for _ in 0..2 {
                    model.observe(&handles, &mut || {
                        number += 1;
                        format!("model {number}")
                    });
                }
                deliveries.push(handles);
            }
            Step::Merge(a, b) => {
                let (Some(a_owner), Some(b_owner)) =
                    (owner(app, tenant, *a).await, owner(app, tenant, *b).await)
                else {
                    continue;
                };
                if a_owner.customer_id == b_owner.customer_id {
                    continue;
                }
                let request = MergeCustomersRequest {
                    survivor_customer_id: a_owner.customer_id,
                    merged_customer_id: b_owner.customer_id,
                    reason: "test".into(),
                    request_id: String::new(),
                };
                client(app)
                    .merge_customers(app.request(tenant, "bruno", request))
                    .await
                    .expect("merged");
                let (survivor, merged) = (model.root(model.owner[a]), model.root(model.owner[b]));
                for x in model.side(survivor) {
                    for y in model.side(merged) {
                        model.apart.remove(&(x.min(y), x.max(y)));
                    }
                }
                number += 1;
                model.edges.insert(format!("model {number}"), (survivor, merged));
            }
            Step::Split(which) => {
                let real = edges(app, tenant).await;
                if real.is_empty() {
                    continue;
                }
                let (id, (survivor, merged)) = real.iter().nth(which % real.len()).expect("not empty");
                let before = get(app, tenant, merged).await;
                split(app, tenant, id).await;
                // The model's edge is the one that merged the same id: found by the handles that part.
                let restored: BTreeSet<u8> = handles_of(&get(app, tenant, merged).await);
                let kept: BTreeSet<u8> = handles_of(&get(app, tenant, survivor).await);
                assert!(restored.is_disjoint(&kept));
                let candidates: Vec<String> = model.edges.keys().cloned().collect();
                let edge = candidates.into_iter().find(|edge| {
                    let mut without = Model {
                        owner: model.owner.clone(),
                        members: model.members,
                        edges: model.edges.clone(),
                        apart: BTreeSet::new(),
                    };
                    let (_, gone) = without.edges.remove(edge).expect("is there");
                    let theirs: BTreeSet<u8> = without
                        .owner
                        .iter()
                        .filter(|(_, m)| without.root(**m) == without.root(gone))
                        .map(|(h, _)| *h)
                        .collect();
                    theirs == restored && handles_of(&before).is_superset(&theirs)
                });
                let edge = edge.expect("the model knows such a merge");
                let (_, gone) = model.edges[&edge];
                let whole = model.root(gone);
                model.edges.remove(&edge);
                model.apart.insert((whole.min(gone), whole.max(gone)));
            }
        }
        assert_eq!(
            partition(app, tenant).await,
            model.partition(),
            "{step:?} of {steps:?}"
        );
    }
    // Undone to the last, everybody has what came to them by their own evidence.
    loop {
        let real = edges(app, tenant).await;
        let Some(id) = real.keys().next() else { break };
        split(app, tenant, id).await;
    }
    let mut own: BTreeMap<usize, BTreeSet<u8>> = BTreeMap::new();
    for (handle, member) in &model.owner {
        own.entry(*member).or_default().insert(*handle);
    }
    assert_eq!(partition(app, tenant).await, own.into_values().collect());
}

async fn get(app: &TestApp, tenant: &str, id: &str) -> CustomerContext {
    let request = GetCustomerRequest {
        customer_id: id.into(),
    };
    let found = client(app)
        .get_customer(app.request(tenant, "bruno", request))
        .await;
    found.expect("found").into_inner().customer.expect("a customer")
}

fn handles_of(customer: &CustomerContext) -> BTreeSet<u8> {
    customer
        .handles
        .iter()
        .filter_map(|h| h.value.strip_prefix('h')?.parse().ok())
        .collect()
}

async fn split(app: &TestApp, tenant: &str, merge_id: &str) {
    let request = SplitCustomersRequest {
        merge_id: merge_id.into(),
        request_id: String::new(),
    };
    client(app)
        .split_customers(app.request(tenant, "bruno", request))
        .await
        .expect("split");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_story_ends_as_the_naive_model_says() {
    let app = start().await;
    let mut runner = TestRunner::deterministic();
    for case in 0..6 {
        let story = steps().new_tree(&mut runner).expect("a story").current();
        play(&app, &format!("model{case}"), &story).await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_on_a_few_handles_never_deadlock_and_leave_no_orphan() {
    let app = start().await;
    let writer = |writer: usize| {
        let app = &app;
        async move {
            for number in 0..20_usize {
                let mut handles = vec![
                    with_trust(&format!("cookie:hot{}", (writer + number) % 5), Trust::Observed),
                    with_trust(
                        &format!("email:p{}@shop.test", (writer * 7 + number) % 40),
                        Trust::Observed,
                    ),
                ];
                if number.is_multiple_of(3) {
                    handles.reverse();
                }
                let request = ResolveRecordRequest {
                    record: Some(Record {
                        source: format!("writer{writer}"),
                        external_id: number.to_string(),
                        handles,
                        ..Record::default()
                    }),
                    dry_run: false,
                };
                let answer = client(app)
                    .resolve_record(app.request("hot", "crm", request))
                    .await;
                match answer {
                    Ok(_) => {}
                    Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
                }
                if writer < 4 && number.is_multiple_of(5) {
                    let open = edges(app, "hot").await;
                    if let Some(id) = open.keys().nth(writer) {
                        let request = SplitCustomersRequest {
                            merge_id: id.clone(),
                            request_id: String::new(),
                        };
                        let split = client(app)
                            .split_customers(app.request("hot", "bruno", request))
                            .await;
                        if let Err(status) = split {
                            assert!(
                                matches!(status.code(), Code::Aborted | Code::FailedPrecondition),
                                "{status:?}"
                            );
                        }
                    }
                }
            }
        }
    };
    futures::future::join_all((0..16).map(writer)).await;
    app.settle().await;
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let astray: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM handles h
         LEFT JOIN customers c USING (tenant, customer_id)
         LEFT JOIN customers r ON r.tenant = c.tenant AND r.customer_id = c.merged_into
         WHERE c.customer_id IS NULL OR (c.merged_into IS NOT NULL AND (r.customer_id IS NULL OR r.merged_into IS NOT NULL))",
    )
    .fetch_one(tx.conn())
    .await
    .expect("a count");
    assert_eq!(astray, 0, "every handle leads to somebody who is nobody's alias");
    let aliases: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM customers c WHERE (c.merged_into IS NOT NULL)
         <> EXISTS (SELECT FROM merges m WHERE m.tenant = c.tenant AND m.merged = c.customer_id AND m.undone_at IS NULL)",
    )
    .fetch_one(tx.conn())
    .await
    .expect("a count");
    assert_eq!(
        aliases, 0,
        "an alias has exactly one merge in force, and nobody else has one"
    );
    drop(tx);
    app.stop().await;
}
