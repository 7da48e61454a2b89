//! What users of other products suffer from.

use trama_proto::{
    common::v1::{ChannelKind, CustomerContext, Interaction, Trust},
    identity_resolution::v1::{
        BatchResolveContactsRequest, ContactQuestion, ExtractHandleRequest, ExtractHandleResponse,
        FindCustomersRequest, GetCustomerRequest, LinkRelationRequest, ListHandlesRequest,
        ListRelationsRequest, MergeCustomersRequest, ProtectCustomerRequest, Purpose, RekeyHandleRequest,
        Relation, RelationKind, RelationStatus, RevokeHandleRequest, SplitCustomersRequest,
        UnlinkRelationRequest, UpdateCustomerRequest,
    },
};
use trama_testkit::TestApp;

use crate::world::{
    TENANT, client, handle, identify, interaction, logged_in, merges, start, who, with_trust,
};

pub async fn merge(app: &TestApp, survivor: &str, merged: &str) -> String {
    let request = MergeCustomersRequest {
        survivor_customer_id: survivor.into(),
        merged_customer_id: merged.into(),
        reason: "same person".into(),
        request_id: String::new(),
    };
    client(app)
        .merge_customers(app.request(TENANT, "bruno", request))
        .await
        .expect("merged")
        .into_inner()
        .merge_id
}

pub async fn split(app: &TestApp, merge_id: &str) {
    let request = SplitCustomersRequest {
        merge_id: merge_id.into(),
        request_id: String::new(),
    };
    client(app)
        .split_customers(app.request(TENANT, "bruno", request))
        .await
        .expect("split");
}

/// Makes a customer of a handle that is somebody else's.
pub async fn extract(app: &TestApp, customer: &str, text: &str) -> ExtractHandleResponse {
    let request = ExtractHandleRequest {
        customer_id: customer.into(),
        handle: Some(handle(text)),
        reason: "somebody else's".into(),
        request_id: String::new(),
    };
    client(app)
        .extract_handle(app.request(TENANT, "bruno", request))
        .await
        .expect("extracted")
        .into_inner()
}

pub async fn get(app: &TestApp, id: &str) -> CustomerContext {
    let request = GetCustomerRequest {
        customer_id: id.into(),
    };
    client(app)
        .get_customer(app.request(TENANT, "bruno", request))
        .await
        .expect("found")
        .into_inner()
        .customer
        .expect("a customer")
}

async fn places(app: &TestApp, id: &str) -> Vec<String> {
    let question = ContactQuestion {
        customer_id: id.into(),
        need: String::new(),
        purpose: Purpose::Service as i32,
        fallback: ChannelKind::Email as i32,
        ..ContactQuestion::default()
    };
    let request = BatchResolveContactsRequest {
        questions: vec![question],
    };
    let answers = client(app)
        .batch_resolve_contacts(app.request(TENANT, "notification", request))
        .await
        .expect("answered")
        .into_inner()
        .answers;
    let points = answers[0].points.iter();
    points
        .filter_map(|p| p.handle.as_ref().map(|h| h.value.clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_never_goes_to_the_merged_away_persons_channel() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let berto = who(&app, &interaction("call", "phone:+393331234567")).await;
    let merge_id = merge(&app, &anna, &berto).await;
    assert_eq!(
        places(&app, &anna).await.len(),
        2,
        "while they are one, both ways lead to them"
    );
    split(&app, &merge_id).await;
    assert_eq!(places(&app, &anna).await, ["anna@example.com"]);
    assert_eq!(places(&app, &berto).await, ["+393331234567"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_direction_of_a_merge_does_not_destroy_the_better_record() {
    let app = start().await;
    let rich = Interaction {
        display_name: "Anna Rossi".into(),
        language: "it".into(),
        ..interaction("mail", "email:anna@example.com")
    };
    let rich = who(&app, &rich).await;
    let poor = who(&app, &interaction("call", "phone:+393331234567")).await;
    let change = UpdateCustomerRequest {
        customer: Some(CustomerContext {
            customer_id: rich.clone(),
            entitlement: "gold".into(),
            ..CustomerContext::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["entitlement".into()],
        }),
        request_id: String::new(),
    };
    client(&app)
        .update_customer(app.request(TENANT, "bruno", change))
        .await
        .expect("changed");
    let before = (get(&app, &rich).await, get(&app, &poor).await);
    // Into the poorer record: nothing of the richer one is lost.
    let merge_id = merge(&app, &poor, &rich).await;
    let one = get(&app, &rich).await;
    assert_eq!(one.customer_id, poor);
    assert_eq!(
        (
            one.display_name.as_str(),
            one.language.as_str(),
            one.entitlement.as_str()
        ),
        ("Anna Rossi", "it", "gold")
    );
    split(&app, &merge_id).await;
    assert_eq!((get(&app, &rich).await, get(&app, &poor).await), before);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_has_several_emails_and_phones() {
    let app = start().await;
    let mut anna = String::new();
    for (number, extra) in [
        "email:home@example.com",
        "email:work@example.com",
        "phone:+393331234567",
        "phone:+39021234567",
    ]
    .iter()
    .enumerate()
    {
        let mut line = logged_in(&format!("line {number}"), "s1", "1001", "anna@example.com");
        line.also_known_as.push(with_trust(extra, Trust::Verified));
        anna = who(&app, &line).await;
    }
    for known in [
        "email:home@example.com",
        "email:WORK@example.com",
        "phone:333 1234567",
        "phone:02 1234567",
    ] {
        let request = FindCustomersRequest {
            handle: Some(handle(known)),
        };
        let found = client(&app)
            .find_customers(app.request(TENANT, "bruno", request))
            .await
            .expect("found")
            .into_inner()
            .customers;
        assert_eq!(found[0].customer_id, anna, "{known}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_in_a_thread_does_not_inherit_the_customer() {
    let app = start().await;
    let thread = |name: &str, party: &str| Interaction {
        conversation_key: "thread-1".into(),
        in_reply_to: "<first@example.com>".into(),
        ..interaction(name, party)
    };
    let anna = identify(&app, &logged_in("chat", "s1", "1001", "anna@example.com")).await;
    let anna = anna.customer.expect("a customer").customer_id;
    assert_eq!(who(&app, &thread("mail", "email:anna@example.com")).await, anna);
    let stranger = identify(&app, &thread("forwarded", "email:stranger@example.org")).await;
    let stranger = stranger.customer.expect("a customer");
    assert_ne!(stranger.customer_id, anna);
    assert!(stranger.is_new);
    assert_eq!(stranger.verification.expect("always set").level, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_in_merges_are_undone_in_any_order() {
    let app = start().await;
    let a = who(&app, &interaction("1", "email:a@example.com")).await;
    let b = who(&app, &interaction("2", "phone:+393330000001")).await;
    let c = who(&app, &interaction("3", "crm:3")).await;
    let before = (get(&app, &a).await, get(&app, &b).await, get(&app, &c).await);
    let inner = merge(&app, &b, &c).await;
    let outer = merge(&app, &a, &b).await;
    // The inner one first: who was merged into the merged one comes out of the whole.
    split(&app, &inner).await;
    assert_eq!(get(&app, &c).await, before.2);
    assert_eq!(get(&app, &b).await.customer_id, a);
    split(&app, &outer).await;
    assert_eq!(
        (get(&app, &a).await, get(&app, &b).await, get(&app, &c).await),
        before
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_never_was_hers_is_taken_out_with_what_came_by_it() {
    let app = start().await;
    let anna = who(&app, &logged_in("chat", "s1", "1001", "anna@example.com")).await;
    let mut wrong = logged_in("line", "s1", "1001", "anna@example.com");
    wrong
        .also_known_as
        .push(with_trust("phone:+393331234567", Trust::Observed));
    identify(&app, &wrong).await;
    assert_eq!(who(&app, &interaction("call", "phone:+393331234567")).await, anna);
    let taken = extract(&app, &anna, "phone:+393331234567").await;
    let brother = taken.extracted.expect("a customer").customer_id;
    assert_ne!(brother, anna);
    assert!(!places(&app, &anna).await.contains(&"+393331234567".to_owned()));
    assert_eq!(
        who(&app, &interaction("call 2", "phone:+393331234567")).await,
        brother
    );
    app.settle().await;
    let told = app
        .events::<trama_proto::identity_resolution::v1::CustomerSplit>()
        .await;
    assert_eq!(
        told[0].event.restored_interaction_ids,
        [interaction("call", "x:x").interaction_id]
    );
    // One delivery that shows both again does not undo what a person decided.
    let mut both = logged_in("both", "s1", "1001", "anna@example.com");
    both.also_known_as
        .push(with_trust("phone:+393331234567", Trust::Observed));
    assert_eq!(who(&app, &both).await, anna);
    assert_eq!(merges(&app).await.len(), 0);
    assert_eq!(
        crate::world::count(&app, "reviews").await,
        1,
        "but a person is asked"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_that_came_by_a_handle_goes_with_it() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let mut both = interaction("both", "email:anna@example.com");
    both.also_known_as = vec![with_trust("phone:+393331234567", Trust::Observed)];
    identify(&app, &both).await;
    let call = Interaction {
        display_name: "Marco Bianchi".into(),
        ..interaction("call", "phone:+393331234567")
    };
    assert_eq!(who(&app, &call).await, anna);
    assert_eq!(get(&app, &anna).await.display_name, "Marco Bianchi");
    let taken = extract(&app, &anna, "phone:+393331234567").await;
    assert_eq!(taken.extracted.expect("a customer").display_name, "Marco Bianchi");
    assert_eq!(taken.customer.expect("a customer").display_name, "");
    let mail = Interaction {
        display_name: "Anna Rossi".into(),
        ..interaction("mail 2", "email:anna@example.com")
    };
    identify(&app, &mail).await;
    assert_eq!(get(&app, &anna).await.display_name, "Anna Rossi");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_are_followed_revoked_and_shown_with_where_they_come_from() {
    let app = start().await;
    let anna = who(&app, &interaction("note", "whatsapp:IT.1349")).await;
    let rekey = RekeyHandleRequest {
        from: Some(handle("whatsapp:IT.1349")),
        to: Some(handle("whatsapp:IT.9999")),
        reason: "user_changed_user_id".into(),
        request_id: "k1".into(),
    };
    client(&app)
        .rekey_handle(app.request(TENANT, "ingest", rekey))
        .await
        .expect("followed");
    assert_eq!(who(&app, &interaction("note 2", "whatsapp:IT.9999")).await, anna);
    assert_ne!(who(&app, &interaction("note 3", "whatsapp:IT.1349")).await, anna);
    let revoke = RevokeHandleRequest {
        customer_id: anna.clone(),
        handle: Some(handle("whatsapp:IT.9999")),
        reason: "number given up".into(),
        request_id: "v1".into(),
    };
    client(&app)
        .revoke_handle(app.request(TENANT, "bruno", revoke))
        .await
        .expect("revoked");
    assert_ne!(who(&app, &interaction("note 4", "whatsapp:IT.9999")).await, anna);
    let listed = client(&app)
        .list_handles(app.request(TENANT, "bruno", ListHandlesRequest { customer_id: anna }))
        .await
        .expect("listed")
        .into_inner()
        .handles;
    let shown: Vec<_> = listed
        .iter()
        .map(|h| (h.revoked_reason.as_str(), h.source.as_str()))
        .collect();
    assert_eq!(
        shown,
        [("user_changed_user_id", "door"), ("number given up", "door")]
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_profile_is_never_made_an_alias_by_matching() {
    let app = start().await;
    let old = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let canonical = who(&app, &interaction("hello", "webchat:s1")).await;
    let protect = ProtectCustomerRequest {
        customer_id: canonical.clone(),
        protected: true,
        reason: "key account".into(),
        request_id: "p1".into(),
    };
    client(&app)
        .protect_customer(app.request(TENANT, "bruno", protect))
        .await
        .expect("protected");
    let chat = who(&app, &logged_in("login", "s1", "1001", "anna@example.com")).await;
    assert_eq!(chat, canonical);
    assert_eq!(get(&app, &old).await.customer_id, canonical);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_belongs_together_is_linked_and_not_merged() {
    let app = start().await;
    let firm = who(&app, &interaction("firm", "email:info@firm.example")).await;
    let buyer = who(&app, &interaction("buyer", "email:buyer@firm.example")).await;
    let relation = Relation {
        customer_id: firm.clone(),
        other_customer_id: buyer.clone(),
        kind: RelationKind::CompanyContact as i32,
        role: "buyer".into(),
        evidence: "signature of the mail".into(),
        ..Relation::default()
    };
    let request = LinkRelationRequest {
        relation: Some(relation),
        request_id: "l1".into(),
    };
    let linked = client(&app)
        .link_relation(app.request(TENANT, "bruno", request))
        .await
        .expect("linked")
        .into_inner()
        .relation
        .expect("a relation");
    assert_eq!(linked.status(), RelationStatus::Confirmed);
    let list = |id: &str| ListRelationsRequest {
        customer_id: id.into(),
        ..ListRelationsRequest::default()
    };
    for side in [&firm, &buyer] {
        let listed = client(&app)
            .list_relations(app.request(TENANT, "bruno", list(side)))
            .await
            .expect("listed")
            .into_inner()
            .relations;
        assert_eq!(listed, std::slice::from_ref(&linked));
    }
    let request = UnlinkRelationRequest {
        relation_id: linked.relation_id,
        request_id: "u1".into(),
    };
    client(&app)
        .unlink_relation(app.request(TENANT, "bruno", request))
        .await
        .expect("unlinked");
    let listed = client(&app)
        .list_relations(app.request(TENANT, "bruno", list(&buyer)))
        .await
        .expect("listed")
        .into_inner()
        .relations;
    assert_eq!(listed, []);
    app.stop().await;
}
