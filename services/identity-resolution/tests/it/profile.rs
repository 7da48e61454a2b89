//! The customer as a whole.

use std::time::Duration;

use tonic::Code;
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::{
        CustomerChanged, GetProfileRequest, GetProfileResponse, GrantEntitlementRequest, ListAccessRequest,
        MergeCustomersRequest, SearchCustomersRequest, SetTraitsRequest, SplitCustomersRequest,
        UpsertCustomerRequest,
    },
    time::to_wire,
};
use trama_testkit::TestApp;

use crate::{
    profile_world::{anna, profiles, start},
    world::{TENANT, client, count, handle, identify, interaction},
};

async fn profile(app: &TestApp, customer: &str) -> GetProfileResponse {
    let request = GetProfileRequest {
        customer_id: customer.into(),
        reason: "case 7".into(),
    };
    let answer = profiles(app)
        .get_profile(app.request(TENANT, "bruno", request))
        .await;
    answer.expect("a profile").into_inner()
}

async fn set(
    app: &TestApp,
    customer: &str,
    source: &str,
    traits: &[(&str, &str)],
) -> Result<(), tonic::Status> {
    let request = SetTraitsRequest {
        customer_id: customer.into(),
        traits: traits.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        source: source.into(),
        request_id: String::new(),
    };
    profiles(app)
        .set_traits(app.request(TENANT, "bruno", request))
        .await
        .map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_says_who_said_what_and_what_follows_from_it() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    set(&app, &anna, "shop", &[("city", "Torino"), ("orders", "12")])
        .await
        .expect("set");
    app.clock.advance(Duration::from_secs(60));
    set(
        &app,
        &anna,
        "crm",
        &[
            ("city", "Milano"),
            ("birth_year", "1950"),
            ("accessibility_needs", "large_text"),
        ],
    )
    .await
    .expect("set");
    let seen = profile(&app, &anna).await;
    let city = seen.traits.iter().find(|t| t.name == "city").expect("a city");
    let (current, other) = (city.current.as_ref().expect("one"), &city.others[0]);
    assert_eq!(
        (current.value.as_str(), current.source.as_str()),
        ("Milano", "crm")
    );
    assert_eq!((other.value.as_str(), other.source.as_str()), ("Torino", "shop"));
    assert_eq!(seen.missing_traits, ["tax_code"]);
    assert!(seen.persona_group_by_generation && seen.interactions == 1 && seen.handles.len() == 2);
    let context = seen.customer.expect("a customer");
    assert_eq!(context.segments, ["many-orders"]);
    assert_eq!(context.accessibility_needs, ["large_text"]);
    assert_eq!(context.persona_group, "conservative");
    assert_eq!(context.preferences[0].channel_kind(), ChannelKind::Voice);
    // Only what is marked `routing` travels, and it travels with what she does next.
    let next = identify(&app, &interaction("again", "email:anna@example.com"))
        .await
        .customer
        .expect("anna");
    assert_eq!((next.traits.len(), next.traits["orders"].as_str()), (1, "12"));
    assert_eq!(next.segments, ["many-orders"]);
    // What the CRM no longer says leaves what the shop says.
    set(&app, &anna, "crm", &[("city", "")]).await.expect("cleared");
    let seen = profile(&app, &anna).await;
    let city = seen
        .traits
        .iter()
        .find(|t| t.name == "city")
        .and_then(|t| t.current.clone())
        .expect("a city");
    assert_eq!(city.value, "Torino");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_the_schema_does_not_know_are_refused_by_field() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    for (name, value) in [
        ("colour", "red"),
        ("orders", "many"),
        ("tax_code", "XYZ"),
        ("birth_year", "1650"),
    ] {
        let status = set(&app, &anna, "crm", &[(name, value)])
            .await
            .expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(
            status.message().contains(&format!("traits.{name}")),
            "{}",
            status.message()
        );
        assert!(!status.message().contains(value));
    }
    assert_eq!(count(&app, "traits").await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entitlement_begins_and_ends_by_itself() {
    let (app, _) = start().await;
    let bea = crate::world::who(&app, &interaction("bea", "email:bea@example.com")).await;
    let entitlement = |seen: &GetProfileResponse| seen.customer.as_ref().expect("bea").entitlement.clone();
    let now = app.clock.now();
    let grant = GrantEntitlementRequest {
        customer_id: bea.clone(),
        entitlement: "silver".into(),
        valid_from: Some(to_wire(now + chrono::Duration::hours(1))),
        valid_until: Some(to_wire(now + chrono::Duration::hours(3))),
        source: "contract 12".into(),
        request_id: "g1".into(),
    };
    for _ in 0..2 {
        profiles(&app)
            .grant_entitlement(app.request(TENANT, "bruno", grant.clone()))
            .await
            .expect("granted");
    }
    assert_eq!(entitlement(&profile(&app, &bea).await), "standard");
    app.advance(Duration::from_secs(2 * 3600)).await;
    let seen = profile(&app, &bea).await;
    assert_eq!(
        (
            entitlement(&seen).as_str(),
            seen.entitlements.len(),
            seen.entitlements[0].in_force
        ),
        ("silver", 1, true)
    );
    app.advance(Duration::from_secs(2 * 3600)).await;
    assert_eq!(entitlement(&profile(&app, &bea).await), "standard");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_are_found_by_name_handle_and_segment_page_by_page() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    for name in ["Rita Rossini", "Marco Rossetti", "Lia Rossato"] {
        let mut mail = interaction(name, &format!("email:{}@example.com", &name[..3]));
        mail.display_name = name.into();
        identify(&app, &mail).await;
    }
    set(&app, &anna, "crm", &[("orders", "11")]).await.expect("set");
    let search = |request: SearchCustomersRequest| {
        let (mut client, request) = (profiles(&app), app.request(TENANT, "bruno", request));
        async move {
            client
                .search_customers(request)
                .await
                .map(tonic::Response::into_inner)
        }
    };
    let mut found = Vec::new();
    let mut page = SearchCustomersRequest {
        name: "ROSS".into(),
        page_size: 2,
        ..Default::default()
    };
    loop {
        let answer = search(page.clone()).await.expect("found");
        found.extend(answer.customers.into_iter().map(|c| c.display_name));
        if answer.next_page_token.is_empty() {
            break;
        }
        page.page_token = answer.next_page_token;
    }
    assert_eq!(
        found,
        ["Lia Rossato", "Marco Rossetti", "Anna Rossi", "Rita Rossini"]
    );
    let by_segment = search(SearchCustomersRequest {
        segment: "many-orders".into(),
        ..Default::default()
    })
    .await;
    assert_eq!(by_segment.expect("found").customers[0].customer_id, anna);
    let by_handle = SearchCustomersRequest {
        handle: Some(handle("email:ANNA@example.com")),
        ..Default::default()
    };
    assert_eq!(
        search(by_handle).await.expect("found").customers[0].customer_id,
        anna
    );
    for wrong in [
        SearchCustomersRequest::default(),
        SearchCustomersRequest {
            name: "r".into(),
            ..Default::default()
        },
    ] {
        assert_eq!(
            search(wrong).await.expect_err("refused").code(),
            Code::InvalidArgument
        );
    }
    let other = profiles(&app)
        .search_customers(app.request(
            "rival",
            "eve",
            SearchCustomersRequest {
                name: "ross".into(),
                ..Default::default()
            },
        ))
        .await;
    assert!(other.expect("an answer").into_inner().customers.is_empty());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_known_who_read_and_changed_whom_until_it_is_forgotten() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    profile(&app, &anna).await;
    app.clock.advance(Duration::from_secs(1));
    set(&app, &anna, "crm", &[("city", "Milano")]).await.expect("set");
    let list = || {
        let request = ListAccessRequest {
            customer_id: anna.clone(),
            ..Default::default()
        };
        let (mut client, request) = (profiles(&app), app.request(TENANT, "auditor", request));
        async move {
            client
                .list_access(request)
                .await
                .expect("the log")
                .into_inner()
                .entries
        }
    };
    assert!(list().await.iter().all(|e| e.origin == "127.0.0.1"));
    let log: Vec<(String, String)> = list().await.into_iter().map(|e| (e.action, e.detail)).collect();
    assert_eq!(
        log,
        [
            ("changed".into(), "city".into()),
            ("read".into(), "case 7".into())
        ]
    );
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    assert!(
        sqlx::query("UPDATE access_log SET subject = 'nobody'")
            .execute(tx.conn())
            .await
            .is_err()
    );
    drop(tx);
    app.advance(Duration::from_secs(32 * 24 * 3600)).await;
    assert!(list().await.is_empty());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn days_go_by_and_segments_follow() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    app.eventually("the first walk", || async {
        count(&app, "segment_walks").await == 1
    })
    .await;
    app.settle().await;
    for _ in 0..31 {
        app.advance(Duration::from_secs(24 * 3600)).await;
    }
    assert_eq!(count(&app, "segment_members").await, 1);
    let changes = app.events::<CustomerChanged>().await;
    let regular = changes.iter().any(|c| {
        c.event
            .customer
            .as_ref()
            .is_some_and(|c| c.customer_id == anna && c.segments == ["regulars"])
    });
    assert!(regular);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crm_writes_its_records_and_hears_of_ours() {
    let (app, calls) = start().await;
    let record = |version: i64, name: &str, request_id: &str| UpsertCustomerRequest {
        source: "crm".into(),
        external_id: "2002".into(),
        handles: vec![handle("email:carla@example.com")],
        display_name: name.into(),
        traits: [("city".to_owned(), "Bari".to_owned())].into(),
        source_version: version,
        request_id: request_id.into(),
        ..Default::default()
    };
    let upsert = |request| {
        let (mut client, request) = (profiles(&app), app.request(TENANT, "salesforce", request));
        async move {
            client
                .upsert_customer(request)
                .await
                .map(tonic::Response::into_inner)
        }
    };
    let first = upsert(record(5, "Carla", "a")).await.expect("written");
    assert!(first.created);
    let carla = first.customer.expect("carla").customer_id;
    assert!(upsert(record(5, "Carla", "a")).await.expect("replayed").created);
    assert_eq!(
        upsert(record(4, "Clara", "b")).await.expect_err("older").code(),
        Code::Aborted
    );
    let second = upsert(record(6, "Carla Bianchi", "c")).await.expect("written");
    let customer = second.customer.expect("carla");
    assert!(!second.created && customer.customer_id == carla && customer.display_name == "Carla Bianchi");
    set(&app, &carla, "shop", &[("orders", "20")]).await.expect("set");
    app.settle().await;
    app.eventually("the change is told", || async {
        let calls = calls.lock().unwrap();
        calls.iter().any(|(path, _, body)| {
            path == "/changes"
                && body["type"] == "customer_changed"
                && body["customer"]["segments"][0] == "many-orders"
        })
    })
    .await;
    app.eventually("nothing is left to tell", || async {
        count(&app, "told_changes").await == 0
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_joins_what_is_known_and_a_split_gives_it_back() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let other = crate::world::who(&app, &interaction("other", "email:zeno@example.com")).await;
    set(&app, &other, "crm", &[("orders", "15"), ("city", "Bari")])
        .await
        .expect("set");
    set(&app, &anna, "shop", &[("city", "Torino")])
        .await
        .expect("set");
    let merge = MergeCustomersRequest {
        survivor_customer_id: anna.clone(),
        merged_customer_id: other.clone(),
        reason: "the same person".into(),
        request_id: String::new(),
    };
    let merged = client(&app)
        .merge_customers(app.request(TENANT, "bruno", merge))
        .await
        .expect("merged");
    app.settle().await;
    let city = |seen: &GetProfileResponse| {
        let city = seen
            .traits
            .iter()
            .find(|t| t.name == "city")
            .and_then(|t| t.current.clone());
        city.expect("a city").value
    };
    let joined = profile(&app, &anna).await;
    assert_eq!(
        (city(&joined).as_str(), joined.alias_customer_ids.len()),
        ("Bari", 1)
    );
    let next = identify(&app, &interaction("next", "email:anna@example.com"))
        .await
        .customer
        .expect("anna");
    assert_eq!(
        (next.segments, next.traits["orders"].as_str()),
        (vec!["many-orders".to_owned()], "15")
    );
    let split = SplitCustomersRequest {
        merge_id: merged.into_inner().merge_id,
        ..Default::default()
    };
    client(&app)
        .split_customers(app.request(TENANT, "bruno", split))
        .await
        .expect("split");
    app.settle().await;
    assert_eq!(city(&profile(&app, &anna).await), "Torino");
    assert_eq!(city(&profile(&app, &other).await), "Bari");
    let next = identify(&app, &interaction("last", "email:anna@example.com"))
        .await
        .customer
        .expect("anna");
    assert!(next.segments.is_empty() && next.traits.is_empty());
    app.stop().await;
}
