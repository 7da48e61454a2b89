//! Consent: confirmed, for a brand, for a time, withdrawn at once.

use std::time::Duration;

use tokio::join;
use tonic::Code;
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::{
        BatchResolveContactsRequest, ConfirmConsentRequest, ConsentState, ContactQuestion,
        ListConsentsRequest, Purpose, RequestConsentRequest, WithdrawConsentRequest,
    },
    notification::v1::MessageRequested,
    time::to_wire,
};
use trama_testkit::TestApp;

use crate::{
    locks::{held_up, hold},
    pains::{extract, merge, split},
    profile_world::{anna, profiles, start},
    world::{TENANT, client, identify, interaction, who},
};

fn marketing(customer: &str) -> RequestConsentRequest {
    RequestConsentRequest {
        customer_id: customer.into(),
        channel_kind: ChannelKind::Email as i32,
        purpose: Purpose::Marketing as i32,
        evidence: "form 12".into(),
        ..Default::default()
    }
}

async fn state(app: &TestApp, customer: &str, brand: &str) -> ConsentState {
    let request = ListConsentsRequest {
        customer_id: customer.into(),
    };
    let answer = profiles(app)
        .list_consents(app.request(TENANT, "bruno", request))
        .await;
    let all = answer.expect("consents").into_inner().consents;
    let found = all.iter().find(|c| {
        c.channel_kind() == ChannelKind::Email && c.purpose() == Purpose::Marketing && c.brand == brand
    });
    found.map_or(ConsentState::Unspecified, |c| c.state())
}

/// Whether advertising may go out by mail, as notification asks it.
async fn may_write(app: &TestApp, customer: &str) -> bool {
    may_write_for(app, customer, "").await
}

/// The same for a brand.
async fn may_write_for(app: &TestApp, customer: &str, brand: &str) -> bool {
    let request = BatchResolveContactsRequest {
        questions: vec![ContactQuestion {
            customer_id: customer.into(),
            purpose: Purpose::Marketing as i32,
            brand: brand.into(),
            ..Default::default()
        }],
    };
    let answer = client(app)
        .batch_resolve_contacts(app.request(TENANT, "notification", request))
        .await;
    let points = &answer.expect("answers").into_inner().answers[0].points;
    points.iter().any(|p| p.channel_kind() == ChannelKind::Email)
}

async fn ask(app: &TestApp, request: RequestConsentRequest) -> Result<String, tonic::Status> {
    let answer = profiles(app)
        .request_consent(app.request(TENANT, "bruno", request))
        .await?;
    Ok(answer.into_inner().confirmation_id)
}

/// Takes back what was agreed to by mail, for purposes or for all, and for a brand or for all.
async fn withdraw(app: &TestApp, customer: &str, purposes: &[Purpose], brand: &str) {
    let request = WithdrawConsentRequest {
        customer_id: customer.into(),
        channel_kinds: vec![ChannelKind::Email as i32],
        purposes: purposes.iter().map(|p| *p as i32).collect(),
        brand: brand.into(),
        evidence: "a call".into(),
        ..Default::default()
    };
    profiles(app)
        .withdraw_consent(app.request(TENANT, "bruno", request))
        .await
        .expect("withdrawn");
}

/// What a customer does who got the message.
async fn confirm(app: &TestApp, id: &str, code: &str, token: &str) -> Result<(), tonic::Status> {
    let request = ConfirmConsentRequest {
        confirmation_id: id.into(),
        code: code.into(),
        token: token.into(),
    };
    let request = app.request(TENANT, "site", request);
    profiles(app).confirm_consent(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brand_writes_by_its_own_consent_or_by_the_one_for_all() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let of = |brand: &str, request_id: &str| RequestConsentRequest {
        brand: brand.into(),
        request_id: request_id.into(),
        ..marketing(&anna)
    };
    ask(&app, of("bottega", "b1")).await.expect("granted");
    assert!(may_write_for(&app, &anna, "bottega").await);
    assert!(!may_write_for(&app, &anna, "acme").await, "another brand's");
    assert!(!may_write(&app, &anna).await, "nobody's in particular");
    // For all brands: then only the one that was refused may not.
    ask(&app, of("", "b2")).await.expect("granted");
    withdraw(&app, &anna, &[Purpose::Marketing], "bottega").await;
    assert!(!may_write_for(&app, &anna, "bottega").await);
    assert!(may_write_for(&app, &anna, "acme").await);
    assert!(may_write(&app, &anna).await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_opt_in_counts_once_it_is_confirmed() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let request = RequestConsentRequest {
        double_opt_in: true,
        request_id: "c1".into(),
        ..marketing(&anna)
    };
    let id = ask(&app, request.clone()).await.expect("asked");
    assert_eq!(ask(&app, request).await.expect("replayed"), id);
    assert_eq!(state(&app, &anna, "").await, ConsentState::Pending);
    assert!(!may_write(&app, &anna).await);
    app.settle().await;
    let message = app
        .wait_for("the message", |m: &MessageRequested| m.message_id == id)
        .await;
    let token = &message.template_values["token"];
    assert_eq!(
        confirm(&app, &id, "", "0000").await.expect_err("wrong").code(),
        Code::InvalidArgument
    );
    confirm(&app, &id, "", token).await.expect("confirmed");
    assert_eq!(
        confirm(&app, &id, "", token).await.expect_err("spent").code(),
        Code::FailedPrecondition
    );
    assert_eq!(state(&app, &anna, "").await, ConsentState::Granted);
    assert!(may_write(&app, &anna).await);
    app.stop().await;
}

/// Asks for consent that must be confirmed; gives its id and the token of the link.
async fn ask_to_confirm(app: &TestApp, customer: &str) -> (String, String) {
    let request = RequestConsentRequest {
        double_opt_in: true,
        ..marketing(customer)
    };
    let id = ask(app, request).await.expect("asked");
    app.settle().await;
    let mut message = app
        .wait_for("the message", |m: &MessageRequested| m.message_id == id)
        .await;
    let token = message.template_values.remove("token").expect("a token");
    (id, token)
}

/// Anna, whom somebody who called is taken for: the caller, Anna, and how they were merged.
async fn taken_for_anna(app: &TestApp) -> (String, String, String) {
    let anna = anna(app).await;
    let caller = who(app, &interaction("a call", "phone:+393331234567")).await;
    let merge = merge(app, &caller, &anna).await;
    (caller, anna, merge)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_confirms_after_a_split_is_whoever_has_the_address() {
    let (app, _) = start().await;
    let (caller, anna, merge) = taken_for_anna(&app).await;
    let (id, token) = ask_to_confirm(&app, &caller).await;
    split(&app, &merge).await;
    assert_eq!(state(&app, &anna, "").await, ConsentState::Pending);
    assert_eq!(state(&app, &caller, "").await, ConsentState::Unspecified);
    confirm(&app, &id, "", &token).await.expect("confirmed");
    assert_eq!(state(&app, &anna, "").await, ConsentState::Granted);
    assert!(may_write(&app, &anna).await);
    assert_eq!(state(&app, &caller, "").await, ConsentState::Unspecified);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_confirmed_before_a_split_is_whoever_has_the_address() {
    let (app, _) = start().await;
    let (caller, anna, merged) = taken_for_anna(&app).await;
    let (id, token) = ask_to_confirm(&app, &caller).await;
    confirm(&app, &id, "", &token).await.expect("confirmed");
    assert_eq!(state(&app, &caller, "").await, ConsentState::Granted);
    split(&app, &merged).await;
    assert_eq!(state(&app, &anna, "").await, ConsentState::Granted);
    assert!(may_write(&app, &anna).await);
    assert_eq!(
        state(&app, &caller, "").await,
        ConsentState::Unspecified,
        "whoever called has agreed to nothing"
    );
    // What was taken back of the whole is taken back of both, and nobody gets it again by being one once more.
    let again = merge(&app, &caller, &anna).await;
    assert_eq!(state(&app, &caller, "").await, ConsentState::Granted);
    withdraw(&app, &caller, &[], "").await;
    split(&app, &again).await;
    for customer in [&caller, &anna] {
        assert_eq!(state(&app, customer, "").await, ConsentState::Denied);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_through_a_handle_goes_along_when_it_is_extracted() {
    let (app, _) = start().await;
    let (caller, ..) = taken_for_anna(&app).await;
    let (id, token) = ask_to_confirm(&app, &caller).await;
    confirm(&app, &id, "", &token).await.expect("confirmed");
    let extracted = extract(&app, &caller, "email:anna@example.com")
        .await
        .extracted
        .expect("a customer")
        .customer_id;
    assert_eq!(state(&app, &extracted, "").await, ConsentState::Granted);
    assert!(may_write(&app, &extracted).await);
    assert_eq!(state(&app, &caller, "").await, ConsentState::Unspecified);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_confirms_while_the_address_is_extracted_confirms_for_nobody_else() {
    let (app, _) = start().await;
    let (caller, ..) = taken_for_anna(&app).await;
    let (id, token) = ask_to_confirm(&app, &caller).await;
    let holding = hold(&app, caller.parse().expect("an id")).await;
    let confirming = async {
        held_up(&app, 1).await;
        confirm(&app, &id, "", &token).await
    };
    let release = async {
        held_up(&app, 2).await;
        drop(holding);
    };
    let (extracted, overtaken, ()) = join!(
        extract(&app, &caller, "email:anna@example.com"),
        confirming,
        release
    );
    assert_eq!(overtaken.expect_err("another's by now").code(), Code::Aborted);
    let extracted = extracted.extracted.expect("a customer").customer_id;
    for customer in [&caller, &extracted] {
        assert_ne!(state(&app, customer, "").await, ConsentState::Granted);
    }
    confirm(&app, &id, "", &token).await.expect("confirmed");
    assert_eq!(state(&app, &extracted, "").await, ConsentState::Granted);
    assert_eq!(state(&app, &caller, "").await, ConsentState::Unspecified);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_confirms_in_time_never_counts() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let request = RequestConsentRequest {
        double_opt_in: true,
        ..marketing(&anna)
    };
    let id = ask(&app, request).await.expect("asked");
    app.settle().await;
    let message = app
        .wait_for("the message", |m: &MessageRequested| m.message_id == id)
        .await;
    app.advance(Duration::from_secs(49 * 3600)).await;
    let late = confirm(&app, &id, &message.template_values["code"], "").await;
    assert_eq!(late.expect_err("late").code(), Code::FailedPrecondition);
    assert!(!may_write(&app, &anna).await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_ends_by_time_without_anybody_asking() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let until = app.clock.now() + chrono::Duration::days(2);
    ask(
        &app,
        RequestConsentRequest {
            expire_time: Some(to_wire(until)),
            ..marketing(&anna)
        },
    )
    .await
    .expect("granted");
    assert!(may_write(&app, &anna).await);
    app.advance(Duration::from_secs(2 * 24 * 3600)).await;
    assert!(!may_write(&app, &anna).await);
    assert_eq!(state(&app, &anna, "").await, ConsentState::Expired);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawing_for_all_brands_withdraws_what_single_brands_were_given() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    ask(
        &app,
        RequestConsentRequest {
            brand: "bottega".into(),
            ..marketing(&anna)
        },
    )
    .await
    .expect("granted");
    let unknown = RequestConsentRequest {
        brand: "rival".into(),
        ..marketing(&anna)
    };
    assert_eq!(
        ask(&app, unknown).await.expect_err("unknown").code(),
        Code::InvalidArgument
    );
    withdraw(&app, &anna, &[], "").await;
    for brand in ["", "bottega"] {
        assert_eq!(state(&app, &anna, brand).await, ConsentState::Denied, "{brand}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_word_on_the_channel_withdraws_what_is_said_there() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    ask(&app, marketing(&anna)).await.expect("granted");
    let mut stop = interaction("stop", "email:anna@example.com");
    stop.channel_kind = ChannelKind::Email as i32;
    stop.text = "STOP".into();
    identify(&app, &stop).await;
    assert_eq!(state(&app, &anna, "").await, ConsentState::Denied);
    assert!(!may_write(&app, &anna).await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_to_a_brand_is_for_that_brand_and_stop_all_is_for_all() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    for brand in ["", "acme", "bottega"] {
        let of_brand = RequestConsentRequest {
            brand: brand.into(),
            request_id: format!("agreed {brand}"),
            ..marketing(&anna)
        };
        ask(&app, of_brand).await.expect("granted");
    }
    let word = |name: &str, text: &str| {
        let mut said = interaction(name, "email:anna@example.com");
        said.channel = "bottega-mail".into();
        said.channel_kind = ChannelKind::Email as i32;
        said.text = text.into();
        said
    };
    identify(&app, &word("stop", "Stop")).await;
    assert!(!may_write_for(&app, &anna, "bottega").await);
    assert!(may_write_for(&app, &anna, "acme").await);
    assert!(may_write(&app, &anna).await);
    identify(&app, &word("stop all", "STOP ALL")).await;
    assert!(!may_write_for(&app, &anna, "acme").await);
    assert!(!may_write(&app, &anna).await);
    app.stop().await;
}
