//! Consent that was taken back stays taken back: by files, by splits, by what single brands were given, by old links.

use std::time::Duration;

use tonic::Code;
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::{
        BatchResolveContactsRequest, ColumnMapping, ConfirmConsentRequest, ConsentStatus, ContactQuestion,
        GetImportResponse, Purpose, RecordFormat, RequestConsentRequest, SetConsentRequest,
        StartImportRequest, WithdrawConsentRequest,
    },
    notification::v1::MessageRequested,
    time::to_wire,
};
use trama_testkit::TestApp;

use crate::{
    import::{export, open, send},
    locks::held_up,
    pains::{extract, merge, split},
    profile_world::{anna, profiles, start},
    world::{TENANT, client, count, handle, identify, interaction, receive, who},
};

const A_DAY: Duration = Duration::from_secs(24 * 3600);
const A_MINUTE: Duration = Duration::from_secs(60);

/// Whether advertising of a brand, or of none, may go out by mail, as notification asks it.
async fn may_write(app: &TestApp, customer: &str, brand: &str) -> bool {
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

fn marketing(customer: &str, brand: &str) -> RequestConsentRequest {
    RequestConsentRequest {
        customer_id: customer.into(),
        channel_kind: ChannelKind::Email as i32,
        purpose: Purpose::Marketing as i32,
        brand: brand.into(),
        evidence: "form 12".into(),
        ..Default::default()
    }
}

async fn agree(app: &TestApp, customer: &str, brand: &str) {
    let request = app.request(TENANT, "bruno", marketing(customer, brand));
    profiles(app).request_consent(request).await.expect("agreed");
    app.advance(A_MINUTE).await;
}

/// Asks to confirm by a message; gives the confirmation and the token of its link.
async fn ask(app: &TestApp, customer: &str) -> Result<(String, String), tonic::Status> {
    let request = RequestConsentRequest {
        double_opt_in: true,
        ..marketing(customer, "")
    };
    let asked = profiles(app)
        .request_consent(app.request(TENANT, "bruno", request))
        .await?;
    let id = asked.into_inner().confirmation_id;
    app.settle().await;
    let message = app
        .wait_for("the message", |m: &MessageRequested| m.message_id == id)
        .await;
    app.advance(A_MINUTE).await;
    Ok((id, message.template_values["token"].clone()))
}

async fn open_link(app: &TestApp, (id, token): &(String, String)) -> Result<(), tonic::Status> {
    let request = ConfirmConsentRequest {
        confirmation_id: id.clone(),
        token: token.clone(),
        ..Default::default()
    };
    let answer = profiles(app)
        .confirm_consent(app.request(TENANT, "site", request))
        .await;
    answer.map(|_| ())
}

/// Somebody writes a word by mail, and nothing else.
async fn write(app: &TestApp, from: &str, name: &str, word: &str) {
    let mut said = interaction(name, from);
    said.channel_kind = ChannelKind::Email as i32;
    said.text = word.into();
    identify(app, &said).await;
    app.advance(A_MINUTE).await;
}

async fn refuse(app: &TestApp, customer: &str) {
    let request = SetConsentRequest {
        customer_id: customer.into(),
        channel_kind: ChannelKind::Email as i32,
        purpose: Purpose::Marketing as i32,
        status: ConsentStatus::Denied as i32,
        evidence: "a call".into(),
        ..Default::default()
    };
    client(app)
        .set_consent(app.request(TENANT, "bruno", request))
        .await
        .expect("refused");
    app.advance(A_MINUTE).await;
}

/// A file of the CRM, written at a moment or nobody knows when.
async fn file(app: &TestApp, text: &str, dated: bool) -> GetImportResponse {
    let columns = [
        ("id", "external_id"),
        ("ok", "consent:email/marketing"),
        ("ok since", "consent_time:email/marketing"),
    ];
    let request = StartImportRequest {
        format: RecordFormat::Csv as i32,
        mapping: columns
            .map(|(column, target)| ColumnMapping {
                column: column.into(),
                target: target.into(),
            })
            .into(),
        source: "crm".into(),
        recorded_at: dated.then(|| to_wire(app.clock.now())),
        ..Default::default()
    };
    let import = open(app, request).await.expect("open");
    let done = send(app, &import, text.as_bytes(), 1000).await;
    app.advance(A_MINUTE).await;
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nightly_file_that_has_not_heard_of_it_does_not_bring_back_withdrawn_consent() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let nightly = "id,ok,ok since\n1001,true,\n";
    file(&app, nightly, true).await;
    assert!(may_write(&app, &anna, "").await);
    write(&app, "email:anna@example.com", "monday", "STOP").await;
    let lines = count(&app, "consents").await;
    for dated in [true, false] {
        app.advance(A_DAY).await;
        let done = file(&app, nightly, dated).await;
        assert!(!may_write(&app, &anna, "").await, "dated: {dated}");
        assert_eq!((done.failed, done.unchanged), (0, 1));
        let told: Vec<_> = done.errors.iter().map(|e| (e.line, e.column.as_str())).collect();
        assert_eq!(told, [(2, "ok")], "the importer is told");
    }
    assert_eq!(count(&app, "consents").await, lines);
    // Who agreed again since has agreed.
    let day = app.clock.now().format("%Y-%m-%d");
    let done = file(&app, &format!("id,ok,ok since\n1001,true,{day}\n"), true).await;
    assert!(done.errors.is_empty(), "{:?}", done.errors);
    assert!(may_write(&app, &anna, "").await);
    app.stop().await;
}

/// A withdrawal that is written and not yet committed.
async fn about_to_withdraw(app: &TestApp, customer: &str) -> trama_platform::Tx {
    let db = app.db("identity-resolution");
    let mut tx = db.system_tx().await.expect("a transaction");
    let subject = format!("{}/{}", ChannelKind::Email as i32, Purpose::Marketing as i32);
    sqlx::query(
        "INSERT INTO consents (tenant, consent_id, customer_id, channel_kind, purpose, status, evidence, recorded_by, recorded_at)
         VALUES ($1, $2, $3::text::uuid, $4, $5, 2, 'a call', 'bruno', $6)",
    )
    .bind(TENANT)
    .bind(tx.new_id())
    .bind(customer)
    .bind(ChannelKind::Email as i16)
    .bind(Purpose::Marketing as i16)
    .bind(app.clock.now())
    .execute(tx.conn())
    .await
    .expect("logged");
    sqlx::query(
        "UPDATE customers SET consents = jsonb_build_object($2::text, 2) WHERE customer_id = $1::text::uuid",
    )
    .bind(customer)
    .bind(subject)
    .execute(tx.conn())
    .await
    .expect("kept");
    tx
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_that_is_committed_while_a_file_is_worked_in_stands() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    file(&app, "id,ok,ok since\n1001,,\n", true).await;
    let tx = about_to_withdraw(&app, &anna).await;
    let withdraw = async {
        held_up(&app, 1).await;
        tx.commit().await.expect("withdrawn");
    };
    let (done, ()) = tokio::join!(file(&app, "id,ok,ok since\n1001,true,\n", true), withdraw);
    assert_eq!(done.errors.len(), 1, "{:?}", done.errors);
    assert!(!may_write(&app, &anna, "").await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_that_is_committed_while_a_message_is_worked_in_stands() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    agree(&app, &anna, "").await;
    let tx = about_to_withdraw(&app, &anna).await;
    let mut mail = interaction("another mail", "email:anna@example.com");
    mail.language = "it".into();
    mail.also_known_as = vec![handle("phone:+393331234567")];
    receive(&app, TENANT, &mail).await;
    held_up(&app, 1).await;
    tx.commit().await.expect("withdrawn");
    app.settle().await;
    assert!(!may_write(&app, &anna, "").await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_does_not_outvote_an_alias_that_refused() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let other = who(&app, &interaction("other", "email:anna@work.example")).await;
    write(&app, "email:anna@work.example", "stop", "STOP").await;
    merge(&app, &anna, &other).await;
    app.advance(A_MINUTE).await;
    let done = file(&app, "id,ok,ok since\n1001,true,\n", true).await;
    assert_eq!(done.errors.len(), 1);
    assert!(!may_write(&app, &anna, "").await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_merged_brands_and_refusals_says_nothing_new_when_it_comes_back() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let other = who(&app, &interaction("other", "email:anna@work.example")).await;
    agree(&app, &anna, "acme").await;
    agree(&app, &anna, "").await;
    refuse(&app, &other).await;
    agree(&app, &other, "bottega").await;
    merge(&app, &anna, &other).await;
    app.advance(A_MINUTE).await;
    let lines = count(&app, "consents").await;
    let (text, _) = export(&app, RecordFormat::JsonLines, "").await;
    let request = StartImportRequest {
        format: RecordFormat::JsonLines as i32,
        source: "crm".into(),
        ..Default::default()
    };
    let import = open(&app, request).await.expect("open");
    let done = send(&app, &import, text.as_bytes(), 1000).await;
    assert!(done.errors.is_empty(), "{:?}", done.errors);
    assert_eq!(count(&app, "consents").await, lines);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_said_while_two_were_one_holds_for_both_after_a_split() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let other = who(&app, &interaction("other", "email:anna@work.example")).await;
    for customer in [&anna, &other] {
        agree(&app, customer, "").await;
        agree(&app, customer, "acme").await;
    }
    let merged = merge(&app, &anna, &other).await;
    app.advance(A_MINUTE).await;
    write(&app, "email:anna@work.example", "stop", "STOP").await;
    split(&app, &merged).await;
    for customer in [&anna, &other] {
        for brand in ["", "acme"] {
            assert!(!may_write(&app, customer, brand).await, "{brand}");
        }
    }
    // Each agrees for themselves again.
    agree(&app, &other, "").await;
    assert!(may_write(&app, &other, "").await);
    assert!(!may_write(&app, &anna, "").await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_gives_nobody_a_refusal_from_before_they_were_one_nor_the_others_consent() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let other = who(&app, &interaction("other", "email:anna@work.example")).await;
    let third = who(&app, &interaction("third", "email:anna@third.example")).await;
    agree(&app, &other, "").await;
    refuse(&app, &anna).await;
    let merged = merge(&app, &anna, &other).await;
    app.advance(A_MINUTE).await;
    // A third joins with a refusal of their own, from after the first two were one.
    refuse(&app, &third).await;
    merge(&app, &anna, &third).await;
    app.advance(A_MINUTE).await;
    agree(&app, &anna, "bottega").await;
    split(&app, &merged).await;
    assert!(may_write(&app, &other, "").await);
    assert!(!may_write(&app, &anna, "").await);
    assert!(may_write(&app, &anna, "bottega").await);
    agree(&app, &other, "acme").await;
    assert!(!may_write(&app, &anna, "acme").await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_holds_for_whoever_is_taken_out_of_a_customer_too() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    write(&app, "email:anna@example.com", "stop", "STOP").await;
    let extracted = extract(&app, &anna, "crm:1001")
        .await
        .extracted
        .expect("a customer");
    let mut mail = interaction("his mail", "crm:1001");
    mail.also_known_as = vec![handle("email:brother@example.com")];
    assert_eq!(who(&app, &mail).await, extracted.customer_id);
    let request = BatchResolveContactsRequest {
        questions: vec![ContactQuestion {
            customer_id: extracted.customer_id,
            purpose: Purpose::Survey as i32,
            ..Default::default()
        }],
    };
    let answer = client(&app)
        .batch_resolve_contacts(app.request(TENANT, "notification", request))
        .await;
    let points = &answer.expect("answers").into_inner().answers[0].points;
    assert!(points.iter().all(|p| p.channel_kind() != ChannelKind::Email));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_all_brands_binds_what_the_other_side_gave_a_brand_before() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let other = who(&app, &interaction("other", "email:anna@work.example")).await;
    agree(&app, &other, "bottega").await;
    refuse(&app, &anna).await;
    agree(&app, &other, "acme").await;
    let merged = merge(&app, &anna, &other).await;
    app.advance(A_MINUTE).await;
    assert!(!may_write(&app, &anna, "bottega").await, "given before");
    assert!(may_write(&app, &anna, "acme").await, "given later");
    agree(&app, &anna, "bottega").await;
    assert!(may_write(&app, &anna, "bottega").await);
    split(&app, &merged).await;
    assert!(may_write(&app, &other, "bottega").await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_refuses_all_brands_by_form_or_by_file_refuses_what_single_ones_were_given() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    agree(&app, &anna, "bottega").await;
    refuse(&app, &anna).await;
    assert!(!may_write(&app, &anna, "bottega").await);
    agree(&app, &anna, "bottega").await;
    agree(&app, &anna, "").await;
    assert!(may_write(&app, &anna, "bottega").await);
    file(&app, "id,ok,ok since\n1001,false,\n", true).await;
    assert!(!may_write(&app, &anna, "bottega").await);
    agree(&app, &anna, "bottega").await;
    assert!(may_write(&app, &anna, "bottega").await, "said later");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_link_does_not_undo_a_later_withdrawal() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let old = ask(&app, &anna).await.expect("asked");
    let request = WithdrawConsentRequest {
        customer_id: anna.clone(),
        evidence: "a call".into(),
        ..Default::default()
    };
    profiles(&app)
        .withdraw_consent(app.request(TENANT, "bruno", request))
        .await
        .expect("withdrawn");
    app.advance(A_MINUTE).await;
    let refused = open_link(&app, &old).await.expect_err("withdrawn since");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("withdrawn"), "{}", refused.message());
    assert!(!may_write(&app, &anna, "").await);
    // A new link is a new word.
    let new = ask(&app, &anna).await.expect("asked");
    open_link(&app, &new).await.expect("confirmed");
    assert!(may_write(&app, &anna, "").await);
    open_link(&app, &old).await.expect_err("still withdrawn");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_one_who_was_joined_to_somebody_that_refused_since_is_void() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let other = who(&app, &interaction("other", "email:anna@work.example")).await;
    let old = ask(&app, &anna).await.expect("asked");
    write(&app, "email:anna@work.example", "stop", "STOP").await;
    merge(&app, &anna, &other).await;
    app.advance(A_MINUTE).await;
    open_link(&app, &old).await.expect_err("refused since");
    assert!(!may_write(&app, &anna, "").await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_to_confirm_without_limit() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    for _ in 0..5 {
        ask(&app, &anna).await.expect("asked");
    }
    let refused = ask(&app, &anna).await.expect_err("too often");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    app.advance(Duration::from_secs(3600)).await;
    ask(&app, &anna).await.expect("an hour later");
    app.stop().await;
}
