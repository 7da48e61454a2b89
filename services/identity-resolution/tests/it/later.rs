//! What is learnt later changes what was decided: joined is parted, asked is answered, agreed is withdrawn.

use std::time::Duration;

use trama_proto::{
    common::v1::{ChannelKind, Trust},
    identity_resolution::v1::{
        BatchResolveContactsRequest, ConsentState, ConsentStatus, ContactQuestion, CustomerSplit,
        FindCustomersRequest, GetReviewRequest, InteractionIdentified, ListAccessRequest,
        ListConsentsRequest, PersonFacts, Purpose, RequestConsentRequest, ReviewStatus, SetConsentRequest,
        UpdateCustomerRequest,
    },
    ingest::v1::InteractionReceived,
};
use trama_testkit::TestApp;

use crate::{
    pains::{extract, get, merge, split},
    profile_world::profiles,
    similar::{anna, id, open_reviews, record, resolve, reviews},
    world::{TENANT, client, count, handle, interaction, logged_in, merges, start, who},
};

const A_NIGHT: Duration = Duration::from_secs(26 * 3600);

#[tokio::test(flavor = "multi_thread")]
async fn a_match_that_no_longer_holds_is_taken_back_at_night() {
    let app = start().await;
    let first = id(&resolve(
        &app,
        record("crm", "1", &["email:annalisa@shop.test"], anna("Milano")),
    )
    .await);
    let other = PersonFacts {
        given_name: "Bartolomeo".into(),
        surname: "Squarcialupi".into(),
        birth_date: "1961-11-02".into(),
        ..PersonFacts::default()
    };
    let second = id(&resolve(&app, record("crm", "2", &["phone:+393331234567"], other)).await);
    assert_ne!(first, second);
    app.advance(Duration::from_secs(10)).await;
    app.settle().await;
    // As if older weights had joined them.
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    sqlx::query(
        "INSERT INTO merges (tenant, merge_id, survivor, merged, decided_by, reason, bits, evidence, merged_at)
         VALUES ($1, $2::text::uuid, $3::text::uuid, $2::text::uuid, 'matching', 'test', 9,
             '{\"bits\": 9, \"parts\": [], \"model\": \"old\"}', now())",
    )
    .bind(TENANT)
    .bind(&second)
    .bind(&first)
    .execute(tx.conn())
    .await
    .expect("an edge");
    sqlx::query("UPDATE customers SET merged_into = $1::text::uuid, merged_at = now() WHERE customer_id = $2::text::uuid")
        .bind(&first)
        .bind(&second)
        .execute(tx.conn())
        .await
        .expect("an alias");
    tx.commit().await.expect("joined");
    assert_eq!(get(&app, &second).await.customer_id, first);

    app.advance(A_NIGHT).await;
    app.settle().await;
    let told = app.events::<CustomerSplit>().await;
    assert_eq!(told.len(), 1, "everybody is told");
    let restored = told[0].event.restored.as_ref().expect("a customer");
    assert_eq!(restored.customer_id, second);
    assert_eq!(restored.handles, [handle("phone:+393331234567")]);
    assert_eq!(get(&app, &second).await.customer_id, second);
    assert_eq!(get(&app, &first).await.customer_id, first);
    assert_eq!(
        count(&app, "kept_apart").await,
        0,
        "more evidence may join them again"
    );
    app.advance(A_NIGHT).await;
    app.settle().await;
    assert_eq!(app.events::<CustomerSplit>().await.len(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_when_later_evidence_tells_both_apart() {
    let app = start().await;
    let twin = PersonFacts {
        given_name: "Ludovica".into(),
        ..anna("Milano")
    };
    resolve(
        &app,
        record("crm", "1", &["email:annalisa@shop.test"], anna("Milano")),
    )
    .await;
    let second = resolve(&app, record("crm", "2", &["phone:+393339999999"], twin)).await;
    app.advance(Duration::from_secs(10)).await;
    app.settle().await;
    let open = open_reviews(&app).await;
    assert_eq!(open.len(), 1);
    // Wrongly keyed in: the record is of somebody else altogether.
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    sqlx::query("UPDATE customers SET said = NULL WHERE customer_id = $1::text::uuid")
        .bind(id(&second))
        .execute(tx.conn())
        .await
        .expect("forgotten");
    tx.commit().await.expect("forgotten");
    let somebody = PersonFacts {
        given_name: "Bartolomeo".into(),
        surname: "Squarcialupi".into(),
        birth_date: "1961-11-02".into(),
        ..PersonFacts::default()
    };
    let same = resolve(&app, record("shop", "x", &["phone:+393339999999"], somebody)).await;
    assert_eq!(id(&same), id(&second));
    app.advance(Duration::from_secs(10)).await;
    app.settle().await;
    let request = GetReviewRequest {
        review_id: open[0].review_id.clone(),
    };
    let review = reviews(&app)
        .get_review(app.request(TENANT, "bruno", request))
        .await
        .expect("shown")
        .into_inner()
        .review
        .expect("the review");
    assert_eq!(review.status(), ReviewStatus::Different);
    assert_eq!(review.decided_by, "matching");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_whose_acknowledgement_was_lost_is_worked_in_once() {
    let app = start().await;
    who(&app, &interaction("mail", "email:anna@example.com")).await;
    let mut chat = logged_in("login", "s1", "1001", "anna@example.com");
    chat.display_name = "Anna Rossi".into();
    let event = InteractionReceived {
        interaction: Some(chat),
    };
    // Committed, and the process died before it acknowledged: the stream delivers the very same message again.
    let envelope = app.publish(TENANT, "s1", &event).await;
    app.settle().await;
    let told = app.events::<InteractionIdentified>().await.len();
    let joined = merges(&app).await.len();
    let mut before = Vec::new();
    for table in [
        "customers",
        "handles",
        "observations",
        "block_keys",
        "verifications",
        "interaction_owner",
        "reviews",
    ] {
        before.push((table, count(&app, table).await));
    }
    for _ in 0..3 {
        app.deliver_again(envelope, TENANT, "s1", &event).await;
    }
    app.settle().await;
    for (table, rows) in before {
        assert_eq!(count(&app, table).await, rows, "{table}");
    }
    assert_eq!(app.events::<InteractionIdentified>().await.len(), told);
    assert_eq!(merges(&app).await.len(), joined);
    app.stop().await;
}

async fn level(app: &TestApp, customer: &str) -> i32 {
    get(app, customer).await.verification.map_or(0, |v| v.level)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_stays_with_who_gave_it() {
    let app = start().await;
    let chat = who(&app, &logged_in("login", "s1", "1001", "anna@example.com")).await;
    let caller = who(&app, &interaction("call", "phone:+393331234567")).await;
    assert_eq!((level(&app, &chat).await, level(&app, &caller).await), (1, 0));
    // Merged away, parted again: the proof went along and came back.
    let merged = merge(&app, &caller, &chat).await;
    split(&app, &merged).await;
    assert_eq!((level(&app, &chat).await, level(&app, &caller).await), (1, 0));
    let merged = merge(&app, &chat, &caller).await;
    assert_eq!(level(&app, &chat).await, 1);
    split(&app, &merged).await;
    assert_eq!((level(&app, &chat).await, level(&app, &caller).await), (1, 0));
    // A handle that is taken out takes only what was proven by it.
    let mut both = logged_in("both", "s1", "1001", "anna@example.com");
    both.also_known_as
        .push(crate::world::with_trust("whatsapp:393339999999", Trust::Observed));
    assert_eq!(who(&app, &both).await, chat);
    let extracted = extract(&app, &chat, "whatsapp:393339999999")
        .await
        .extracted
        .expect("a customer");
    assert_eq!(
        (
            level(&app, &chat).await,
            level(&app, &extracted.customer_id).await
        ),
        (1, 0)
    );
    app.stop().await;
}

async fn states(app: &TestApp, customer: &str) -> (ConsentState, bool) {
    let request = ListConsentsRequest {
        customer_id: customer.into(),
    };
    let answer = profiles(app)
        .list_consents(app.request(TENANT, "bruno", request))
        .await;
    let consents = answer.expect("consents").into_inner().consents;
    let request = BatchResolveContactsRequest {
        questions: vec![ContactQuestion {
            customer_id: customer.into(),
            purpose: Purpose::Marketing as i32,
            ..ContactQuestion::default()
        }],
    };
    let answer = client(app)
        .batch_resolve_contacts(app.request(TENANT, "notification", request))
        .await;
    let points = &answer.expect("answers").into_inner().answers[0].points;
    let state = consents.iter().find(|c| c.purpose() == Purpose::Marketing);
    (
        state.map_or(ConsentState::Unspecified, |c| c.state()),
        points.iter().any(|p| p.channel_kind() == ChannelKind::Email),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_are_one_the_refusal_holds_until_the_customer_says_otherwise() {
    let app = start().await;
    let one = who(&app, &interaction("1", "email:anna@example.com")).await;
    let other = who(&app, &interaction("2", "email:anna@work.example")).await;
    let said = |customer: &str, status: ConsentStatus| SetConsentRequest {
        customer_id: customer.into(),
        channel_kind: ChannelKind::Email as i32,
        purpose: Purpose::Marketing as i32,
        status: status as i32,
        evidence: "form".into(),
        ..SetConsentRequest::default()
    };
    for (customer, status) in [(&one, ConsentStatus::Granted), (&other, ConsentStatus::Denied)] {
        let request = app.request(TENANT, "bruno", said(customer, status));
        client(&app).set_consent(request).await.expect("said");
    }
    assert_eq!(states(&app, &one).await, (ConsentState::Granted, true));
    app.advance(Duration::from_secs(60)).await;
    let merged = merge(&app, &one, &other).await;
    assert_eq!(states(&app, &one).await, (ConsentState::Denied, false));
    app.advance(Duration::from_secs(60)).await;
    let request = RequestConsentRequest {
        customer_id: one.clone(),
        channel_kind: ChannelKind::Email as i32,
        purpose: Purpose::Marketing as i32,
        evidence: "call".into(),
        ..RequestConsentRequest::default()
    };
    profiles(&app)
        .request_consent(app.request(TENANT, "bruno", request))
        .await
        .expect("agreed");
    assert_eq!(states(&app, &one).await, (ConsentState::Granted, true));
    app.advance(Duration::from_secs(60)).await;
    let request = app.request(TENANT, "bruno", said(&other, ConsentStatus::Denied));
    client(&app).set_consent(request).await.expect("said");
    assert_eq!(states(&app, &one).await, (ConsentState::Denied, false));
    split(&app, &merged).await;
    assert_eq!(states(&app, &other).await, (ConsentState::Denied, false));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_finds_or_changes_a_customer_is_noted() {
    let app = start().await;
    let one = who(&app, &interaction("1", "email:anna@example.com")).await;
    get(&app, &one).await;
    let request = FindCustomersRequest {
        handle: Some(handle("email:anna@example.com")),
    };
    client(&app)
        .find_customers(app.request(TENANT, "carla", request))
        .await
        .expect("found");
    let request = UpdateCustomerRequest {
        customer: Some(trama_proto::common::v1::CustomerContext {
            customer_id: one.clone(),
            language: "it".into(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["language".into()],
        }),
        ..UpdateCustomerRequest::default()
    };
    client(&app)
        .update_customer(app.request(TENANT, "carla", request))
        .await
        .expect("changed");
    let request = ListAccessRequest {
        customer_id: one,
        ..ListAccessRequest::default()
    };
    let log = profiles(&app)
        .list_access(app.request(TENANT, "auditor", request))
        .await;
    let mut log: Vec<(String, String, String)> = log
        .expect("the log")
        .into_inner()
        .entries
        .into_iter()
        .map(|e| (e.subject, e.action, e.detail))
        .collect();
    log.sort();
    let line = |who: &str, what: &str, detail: &str| (who.to_owned(), what.to_owned(), detail.to_owned());
    assert_eq!(
        log,
        [
            line("bruno", "read", ""),
            line("carla", "changed", "language"),
            line("carla", "found", "email")
        ]
    );
    app.stop().await;
}
