//! What people decide: link, merge, split, preferences, consents.

use tonic::Code;
use trama_proto::{
    common::v1::{ChannelKind, ChannelPreference, CustomerContext},
    identity_resolution::v1::{
        BatchResolveContactsRequest, ConsentStatus, ContactQuestion, CustomerChanged, CustomerSplit,
        FindCustomersRequest, GetCustomerRequest, LinkHandleRequest, MergeCustomersRequest, Purpose,
        SetChannelPreferenceRequest, SetConsentRequest, SplitCustomersRequest, UpdateCustomerRequest,
    },
};
use trama_testkit::TestApp;

use crate::world::{TENANT, client, handle, identify, interaction, logged_in, merges, start, who};

fn link(customer: &str, text: &str, request_id: &str) -> LinkHandleRequest {
    LinkHandleRequest {
        customer_id: customer.into(),
        handle: Some(handle(text)),
        reason: "said the order number of the mail".into(),
        request_id: request_id.into(),
    }
}

async fn get(app: &TestApp, id: &str) -> CustomerContext {
    let request = app.request(
        TENANT,
        "bruno",
        GetCustomerRequest {
            customer_id: id.into(),
        },
    );
    client(app)
        .get_customer(request)
        .await
        .expect("found")
        .into_inner()
        .customer
        .expect("a customer")
}

fn values(customer: &CustomerContext) -> Vec<&str> {
    let mut values: Vec<&str> = customer.handles.iter().map(|h| h.value.as_str()).collect();
    values.sort_unstable();
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn linking_takes_along_who_holds_nothing_else_and_splitting_gives_back() {
    let app = start().await;
    let mail = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let caller = who(&app, &interaction("call", "phone:+393331234567")).await;

    let request = link(&mail, "phone:333 1234567", "r1");
    let linked = client(&app)
        .link_handle(app.request(TENANT, "bruno", request.clone()))
        .await
        .expect("linked")
        .into_inner();
    assert_eq!(
        values(linked.customer.as_ref().expect("a customer")),
        ["+393331234567", "anna@example.com"]
    );
    let again = client(&app)
        .link_handle(app.request(TENANT, "bruno", request))
        .await
        .expect("linked")
        .into_inner();
    assert_eq!(again, linked, "a repeated call changes nothing");
    assert_eq!(merges(&app).await.len(), 1);
    assert_eq!(
        get(&app, &caller).await.customer_id,
        mail,
        "the alias leads to the survivor"
    );

    // A voice note from the same line arrives while both are one.
    let note = identify(&app, &interaction("note", "whatsapp:393331234567"))
        .await
        .customer
        .expect("a customer");
    assert_eq!(note.customer_id, mail);

    let split = SplitCustomersRequest {
        merge_id: linked.merge_id.clone(),
        request_id: "r2".into(),
    };
    let split = client(&app)
        .split_customers(app.request(TENANT, "bruno", split))
        .await
        .expect("split")
        .into_inner();
    assert_eq!(values(&split.survivor.expect("a customer")), ["anna@example.com"]);
    let restored = split.restored.expect("a customer");
    assert_eq!(restored.customer_id, caller);
    assert_eq!(
        values(&restored),
        ["+393331234567", "393331234567"],
        "what came through the line goes with it"
    );
    app.settle().await;
    let told = &app.events::<CustomerSplit>().await[0].event;
    let mut theirs = vec![
        interaction("call", "x:x").interaction_id,
        interaction("note", "x:x").interaction_id,
    ];
    theirs.sort_unstable();
    assert_eq!(told.restored_interaction_ids, theirs);

    assert_eq!(
        who(&app, &interaction("call 2", "phone:+393331234567")).await,
        caller
    );
    let again = SplitCustomersRequest {
        merge_id: linked.merge_id,
        request_id: "r3".into(),
    };
    let refused = client(&app)
        .split_customers(app.request(TENANT, "bruno", again))
        .await
        .expect_err("undone already");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linking_does_not_swallow_somebody_with_a_story_of_their_own() {
    let app = start().await;
    let mail = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let mut other = interaction("chat", "webchat:s9");
    other.also_known_as = vec![handle("phone:+393331234567")];
    let other = who(&app, &other).await;
    let refused = client(&app)
        .link_handle(app.request(TENANT, "bruno", link(&mail, "phone:+393331234567", "")))
        .await;
    let refused = refused.expect_err("refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("MergeCustomers"),
        "{}",
        refused.message()
    );

    let merge = MergeCustomersRequest {
        survivor_customer_id: mail.clone(),
        merged_customer_id: other.clone(),
        reason: "same person on the line".into(),
        request_id: "m1".into(),
    };
    let merged = client(&app)
        .merge_customers(app.request(TENANT, "bruno", merge))
        .await
        .expect("merged")
        .into_inner();
    let found = client(&app)
        .find_customers(app.request(
            TENANT,
            "bruno",
            FindCustomersRequest {
                handle: Some(handle("phone:00393331234567")),
            },
        ))
        .await
        .expect("found")
        .into_inner();
    assert_eq!(
        found
            .customers
            .iter()
            .map(|c| c.customer_id.as_str())
            .collect::<Vec<_>>(),
        [mail.as_str()]
    );
    let known = client(&app)
        .get_customer(app.request(
            TENANT,
            "bruno",
            GetCustomerRequest {
                customer_id: other.clone(),
            },
        ))
        .await;
    let known = known.expect("found").into_inner();
    assert_eq!(
        known
            .merges
            .iter()
            .map(|m| (&m.merge_id, m.decided_by.as_str()))
            .collect::<Vec<_>>(),
        [(&merged.merge_id, "bruno")]
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn matching_respects_that_a_person_parted_two() {
    let app = start().await;
    let mail = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let chat = who(&app, &interaction("hello", "webchat:s1")).await;
    identify(&app, &logged_in("login", "s1", "1001", "anna@example.com")).await;
    let merge_id = merges(&app).await[0].merge_id.clone();
    let split = SplitCustomersRequest {
        merge_id,
        request_id: String::new(),
    };
    client(&app)
        .split_customers(app.request(TENANT, "bruno", split))
        .await
        .expect("split");
    let line = who(&app, &logged_in("line", "s1", "1001", "anna@example.com")).await;
    assert_eq!(line, mail);
    assert_eq!(merges(&app).await.len(), 1, "no second merge");
    assert_eq!(get(&app, &chat).await.customer_id, chat);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contacts_follow_preference_consent_and_aliases() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let line = who(&app, &interaction("note", "whatsapp:393331234567")).await;
    let merge = MergeCustomersRequest {
        survivor_customer_id: anna.clone(),
        merged_customer_id: line.clone(),
        reason: "same person".into(),
        request_id: String::new(),
    };
    client(&app)
        .merge_customers(app.request(TENANT, "bruno", merge))
        .await
        .expect("merged");
    let preference = SetChannelPreferenceRequest {
        customer_id: anna.clone(),
        preference: Some(ChannelPreference {
            need: "product-fault".into(),
            channel_kind: ChannelKind::Whatsapp as i32,
        }),
        request_id: "p1".into(),
    };
    client(&app)
        .set_channel_preference(app.request(TENANT, "bruno", preference))
        .await
        .expect("set");
    let consent = SetConsentRequest {
        customer_id: anna.clone(),
        channel_kind: ChannelKind::Whatsapp as i32,
        purpose: Purpose::Survey as i32,
        status: ConsentStatus::Denied as i32,
        evidence: "said so in the call".into(),
        request_id: "c1".into(),
    };
    client(&app)
        .set_consent(app.request(TENANT, "bruno", consent))
        .await
        .expect("set");

    let ask = |customer: &str, need: &str, purpose: Purpose| ContactQuestion {
        customer_id: customer.into(),
        need: need.into(),
        purpose: purpose as i32,
        fallback: ChannelKind::Email as i32,
        ..ContactQuestion::default()
    };
    let questions = vec![
        ask(&line, "product-fault", Purpose::Service),
        ask(&anna, "opening-hours", Purpose::Service),
        ask(&anna, "product-fault", Purpose::Survey),
        ask(&anna, "product-fault", Purpose::Marketing),
        ask("018f3c1e-7d2a-7000-8000-000000000001", "", Purpose::Service),
    ];
    let request = app.request(TENANT, "notification", BatchResolveContactsRequest { questions });
    let answers = client(&app)
        .batch_resolve_contacts(request)
        .await
        .expect("answered")
        .into_inner()
        .answers;
    let first = |n: usize| {
        answers[n]
            .points
            .first()
            .map(|p| (p.channel_kind(), p.reason.as_str()))
    };
    assert_eq!(answers.len(), 5);
    assert_eq!(
        first(0),
        Some((ChannelKind::Whatsapp, "preference for product-fault"))
    );
    assert_eq!(
        answers[0].customer.as_ref().map(|c| c.customer_id.as_str()),
        Some(anna.as_str()),
        "after aliases"
    );
    assert_eq!(first(1), Some((ChannelKind::Email, "last used")));
    assert_eq!(
        first(2),
        Some((ChannelKind::Email, "last used")),
        "no survey by WhatsApp"
    );
    assert_eq!(first(3), None, "no advertising without consent");
    assert_eq!((answers[4].customer.as_ref(), first(4)), (None, None));
    app.settle().await;
    let changed: Vec<_> = app
        .events::<CustomerChanged>()
        .await
        .into_iter()
        .map(|p| p.event.changed_fields)
        .collect();
    assert_eq!(changed, [["preferences"], ["consent"]]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_changes_where_the_mask_says() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let update = |paths: &[&str], change: CustomerContext| UpdateCustomerRequest {
        customer: Some(CustomerContext {
            customer_id: anna.clone(),
            ..change
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|p| (*p).to_owned()).collect(),
        }),
        request_id: String::new(),
    };
    let change = CustomerContext {
        display_name: "Anna".into(),
        language: "it".into(),
        entitlement: "gold".into(),
        ..Default::default()
    };
    let request = update(&["language", "entitlement"], change);
    let now = client(&app)
        .update_customer(app.request(TENANT, "bruno", request))
        .await
        .expect("changed")
        .into_inner();
    let now = now.customer.expect("a customer");
    assert_eq!(
        (
            now.display_name.as_str(),
            now.language.as_str(),
            now.entitlement.as_str()
        ),
        ("", "it", "gold")
    );
    for (paths, change) in [
        (&["handles"][..], CustomerContext::default()),
        (&[], CustomerContext::default()),
        (
            &["entitlement"],
            CustomerContext {
                entitlement: "platinum".into(),
                ..Default::default()
            },
        ),
        (
            &["language"],
            CustomerContext {
                language: "italiano vero".into(),
                ..Default::default()
            },
        ),
    ] {
        let refused = client(&app)
            .update_customer(app.request(TENANT, "bruno", update(paths, change)))
            .await;
        assert_eq!(
            refused.expect_err("refused").code(),
            Code::InvalidArgument,
            "{paths:?}"
        );
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_sees_nothing() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let request = app.request(
        "rival",
        "eve",
        GetCustomerRequest {
            customer_id: anna.clone(),
        },
    );
    assert_eq!(
        client(&app)
            .get_customer(request)
            .await
            .expect_err("hidden")
            .code(),
        Code::NotFound
    );
    let request = app.request(
        "rival",
        "eve",
        FindCustomersRequest {
            handle: Some(handle("email:anna@example.com")),
        },
    );
    assert_eq!(
        client(&app)
            .find_customers(request)
            .await
            .expect("allowed")
            .into_inner()
            .customers,
        []
    );
    // Even a statement that forgets the tenant sees nothing.
    let mut tx = app
        .db("identity-resolution")
        .tx(&trama_testkit::tenant("rival"))
        .await
        .expect("a transaction");
    for table in ["customers", "handles", "interaction_owner"] {
        let seen: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(tx.conn())
            .await
            .expect("a count");
        assert_eq!(seen, 0, "{table}");
    }
    drop(tx);
    // The same address at another tenant is another customer.
    crate::world::receive(&app, "rival", &interaction("mail", "email:anna@example.com")).await;
    app.settle().await;
    let request = app.request(
        "rival",
        "eve",
        FindCustomersRequest {
            handle: Some(handle("email:anna@example.com")),
        },
    );
    let theirs = client(&app)
        .find_customers(request)
        .await
        .expect("allowed")
        .into_inner()
        .customers;
    assert_eq!(theirs.len(), 1);
    assert_ne!(theirs[0].customer_id, anna);
    app.stop().await;
}
