//! For whom a proof holds: not for everybody who is taken for the customer.

use tonic::Code;
use trama_proto::{
    common::v1::{Interaction, Trust},
    identity_resolution::v1::{
        CheckVerificationRequest, CustomerChanged, CustomerSplit, LinkHandleRequest, ListHandlesRequest,
        PreviewSplitRequest, RecordVerificationRequest, RequireVerificationRequest,
        RequireVerificationResponse, RevokeHandleRequest,
    },
    notification::v1::MessageRequested,
};
use trama_testkit::TestApp;

use crate::{
    pains::{extract, get, merge, split},
    profile_world::verifications,
    similar::{anna, id, record, resolve},
    world::{TENANT, client, handle, identify, interaction, logged_in, merges, start, who, with_trust},
};

const MAIL: &str = "email:anna@example.com";
pub const PHONE: &str = "phone:+393331234567";

async fn ask(
    app: &TestApp,
    request: RequireVerificationRequest,
) -> Result<RequireVerificationResponse, tonic::Status> {
    let request = RequireVerificationRequest { level: 1, ..request };
    let answer = client(app)
        .require_verification(app.request(TENANT, "bruno", request))
        .await;
    answer.map(tonic::Response::into_inner)
}

/// Of whoever speaks in an interaction.
pub async fn ask_in(
    app: &TestApp,
    customer: &str,
    interaction: &Interaction,
) -> Result<RequireVerificationResponse, tonic::Status> {
    let request = RequireVerificationRequest {
        customer_id: customer.into(),
        interaction_id: interaction.interaction_id.clone(),
        ..Default::default()
    };
    ask(app, request).await
}

async fn answer(app: &TestApp, asked: &RequireVerificationResponse) -> i32 {
    app.settle().await;
    let message = app
        .wait_for("the code", |m: &MessageRequested| {
            m.message_id == asked.challenge_id
        })
        .await;
    let request = CheckVerificationRequest {
        challenge_id: asked.challenge_id.clone(),
        code: message.template_values["code"].clone(),
    };
    let proven = client(app)
        .check_verification(app.request(TENANT, "bruno", request))
        .await
        .expect("right")
        .into_inner();
    proven.verification.expect("a proof").level
}

/// Proves who a customer is by a code to this handle.
async fn prove(app: &TestApp, customer: &str, place: &str) {
    let asked = ask(
        app,
        RequireVerificationRequest {
            customer_id: customer.into(),
            handle: Some(handle(place)),
            ..Default::default()
        },
    )
    .await
    .expect("asked");
    assert!(!asked.holds);
    answer(app, &asked).await;
}

/// What everybody is told of whoever speaks.
async fn level(app: &TestApp, interaction: &Interaction) -> i32 {
    let customer = identify(app, interaction).await.customer.expect("a customer");
    customer.verification.expect("always set").level
}

pub async fn link(app: &TestApp, customer: &str, text: &str, trust: Trust) {
    let request = LinkHandleRequest {
        customer_id: customer.into(),
        handle: Some(with_trust(text, trust)),
        reason: "said so".into(),
        request_id: String::new(),
    };
    client(app)
        .link_handle(app.request(TENANT, "bruno", request))
        .await
        .expect("linked");
}

async fn trust(app: &TestApp, customer: &str, text: &str) -> Option<Trust> {
    let request = ListHandlesRequest {
        customer_id: customer.into(),
    };
    let listed = client(app)
        .list_handles(app.request(TENANT, "bruno", request))
        .await
        .expect("listed")
        .into_inner();
    let known = listed.handles.into_iter().filter_map(|h| h.handle);
    known
        .filter(|h| format!("{}:{}", h.kind, h.value) == text)
        .map(|h| h.trust())
        .next()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_from_a_number_that_was_only_claimed_is_recognised_but_proves_nothing() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", MAIL)).await;
    link(&app, &anna, PHONE, Trust::Claimed).await;
    prove(&app, &anna, MAIL).await;

    let call = interaction("call", PHONE);
    let caller = identify(&app, &call).await.customer.expect("a customer");
    assert_eq!(caller.customer_id, anna, "they are meant");
    assert_eq!(caller.verification.expect("always set").level, 0);
    let asked = ask_in(&app, &anna, &call).await.expect("asked");
    assert_eq!(
        (asked.holds, asked.masked_handle.as_str()),
        (false, "a••a@example.com")
    );
    assert!(
        ask_in(&app, &anna, &interaction("mail", MAIL))
            .await
            .expect("told")
            .holds,
        "who writes from the mailbox is not asked again"
    );
    let by_number = RequireVerificationRequest {
        customer_id: anna.clone(),
        handle: Some(handle(PHONE)),
        ..Default::default()
    };
    assert_eq!(
        ask(&app, by_number).await.expect_err("no place for codes").code(),
        Code::FailedPrecondition
    );

    // Whoever reads out the code on the telephone is the customer, in this call.
    assert_eq!(answer(&app, &asked).await, 1);
    let told = app
        .wait_for("the proof", |e: &CustomerChanged| !e.interaction_id.is_empty())
        .await;
    assert_eq!(
        (told.interaction_id, told.proof.map_or(0, |p| p.level)),
        (call.interaction_id.clone(), 1),
        "so a case knows for whom it holds"
    );
    assert!(identify(&app, &call).await.in_doubt);
    assert!(!identify(&app, &interaction("mail", MAIL)).await.in_doubt);
    assert!(ask_in(&app, &anna, &call).await.expect("told").holds);
    assert_eq!(level(&app, &interaction("call 2", PHONE)).await, 0);
    assert_eq!(level(&app, &interaction("mail 2", MAIL)).await, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_number_takes_no_codes_however_often_somebody_calls_from_it() {
    let app = start().await;
    let anna = who(&app, &interaction("visit", "cookie:c1")).await;
    link(&app, &anna, PHONE, Trust::Claimed).await;
    for call in ["call", "call 2", "call 3"] {
        assert_eq!(who(&app, &interaction(call, PHONE)).await, anna);
    }
    let note = who(&app, &interaction("note", "whatsapp:393331234567")).await;
    assert_eq!(note, anna, "the line is the same");
    assert_eq!(trust(&app, &anna, PHONE).await, Some(Trust::Claimed));
    assert_eq!(
        trust(&app, &anna, "whatsapp:393331234567").await,
        Some(Trust::Claimed),
        "what comes by a claim is no more than that"
    );
    let request = RequireVerificationRequest {
        customer_id: anna.clone(),
        ..Default::default()
    };
    assert_eq!(
        ask(&app, request.clone()).await.expect_err("nowhere").code(),
        Code::FailedPrecondition
    );
    // Something else that is hers leads there as well: now it is hers.
    let mut both = interaction("both", "cookie:c1");
    both.also_known_as = vec![handle(PHONE)];
    assert_eq!(who(&app, &both).await, anna);
    assert_eq!(trust(&app, &anna, PHONE).await, Some(Trust::Observed));
    let asked = ask(&app, request).await.expect("asked");
    assert_eq!(asked.masked_handle, "+39•••••67");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_telephone_that_turns_out_to_be_a_familys_takes_no_codes() {
    let app = start().await;
    let mut first = interaction("first", PHONE);
    first.display_name = "Anna Rossi".into();
    first.also_known_as = vec![with_trust(MAIL, Trust::Observed)];
    let anna = who(&app, &first).await;
    let by_number = RequireVerificationRequest {
        customer_id: anna.clone(),
        handle: Some(handle(PHONE)),
        ..Default::default()
    };
    let asked = ask(&app, by_number.clone()).await.expect("asked");
    assert_eq!(asked.masked_handle, "+39•••••67", "nobody else was seen there");
    for name in ["Giulia", "Teresa", "Ottavio"] {
        let address = format!("email:{name}@example.com").to_lowercase();
        let mut of_family = interaction(name, &address);
        of_family.display_name = format!("{name} Bianchi");
        who(&app, &of_family).await;
        let mut call = interaction(&format!("{name} calls"), &address);
        call.party = Some(with_trust(&address, Trust::Verified));
        call.also_known_as = vec![with_trust(PHONE, Trust::Observed)];
        assert_ne!(who(&app, &call).await, anna);
    }
    let refused = ask(&app, by_number)
        .await
        .expect_err("whoever is at home reads it");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let request = RequireVerificationRequest {
        customer_id: anna.clone(),
        ..Default::default()
    };
    let asked = ask(&app, request).await.expect("asked");
    assert_eq!(asked.masked_handle, "a••a@example.com", "her own is offered");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_says_an_address_does_not_come_by_it() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", MAIL)).await;
    prove(&app, &anna, MAIL).await;
    let said = Interaction {
        party: Some(with_trust(MAIL, Trust::Claimed)),
        ..interaction("form", MAIL)
    };
    let seen = identify(&app, &said).await.customer.expect("a customer");
    assert_eq!(
        (
            seen.customer_id.as_str(),
            seen.verification.expect("always set").level
        ),
        (anna.as_str(), 0)
    );
    assert!(!ask_in(&app, &anna, &said).await.expect("asked").holds);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn likeness_makes_one_customer_but_lends_nobody_a_proof() {
    let app = start().await;
    let first = id(&resolve(&app, record("crm", "1", &[MAIL], anna("Milano"))).await);
    prove(&app, &first, MAIL).await;
    let second = id(&resolve(&app, record("shop", "a", &[PHONE], anna("Milano"))).await);
    assert_eq!(second, first, "they say the same of themselves");
    assert!(
        identify(&app, &interaction("mail 0", MAIL)).await.in_doubt,
        "what the other proves is not theirs"
    );
    let call = interaction("call", PHONE);
    let caller = identify(&app, &call).await.customer.expect("a customer");
    assert_eq!(
        (
            caller.customer_id.as_str(),
            caller.verification.expect("always set").level
        ),
        (first.as_str(), 0)
    );
    assert!(!ask_in(&app, &first, &call).await.expect("asked").holds);
    assert_eq!(level(&app, &interaction("mail", MAIL)).await, 1);
    // Their own number is as good as the mailbox, for whoever comes by it.
    prove(&app, &first, PHONE).await;
    assert_eq!(level(&app, &interaction("call 2", PHONE)).await, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_person_or_a_delivery_made_one_is_asked_once() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", MAIL)).await;
    let caller = who(&app, &interaction("call", PHONE)).await;
    merge(&app, &anna, &caller).await;
    prove(&app, &anna, MAIL).await;
    let again = interaction("call 2", PHONE);
    assert_eq!(level(&app, &again).await, 1);
    assert!(ask_in(&app, &anna, &again).await.expect("told").holds);
    let chat = who(&app, &interaction("hello", "webchat:s1")).await;
    identify(&app, &logged_in("login", "s1", "1001", "anna@example.com")).await;
    assert_eq!(get(&app, &chat).await.customer_id, anna);
    assert_eq!(level(&app, &interaction("line", "webchat:s1")).await, 1);
    assert_eq!(
        ask_in(&app, &anna, &interaction("unknown", PHONE))
            .await
            .expect_err("not hers")
            .code(),
        Code::InvalidArgument
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_check_on_a_call_holds_for_the_call() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", MAIL)).await;
    link(&app, &anna, PHONE, Trust::Claimed).await;
    let call = interaction("call", PHONE);
    assert_eq!(who(&app, &call).await, anna);
    let check = RecordVerificationRequest {
        customer_id: anna.clone(),
        method: "agent_check".into(),
        level: 1,
        evidence: "birth date and last order".into(),
        interaction_id: call.interaction_id.clone(),
        ..Default::default()
    };
    verifications(&app)
        .record_verification(app.request(TENANT, "bruno", check))
        .await
        .expect("recorded");
    assert!(ask_in(&app, &anna, &call).await.expect("told").holds);
    let later = interaction("call 2", PHONE);
    assert_eq!(level(&app, &later).await, 0);
    assert!(!ask_in(&app, &anna, &later).await.expect("asked").holds);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_in_takes_the_address_that_another_only_claimed() {
    let app = start().await;
    let mut chat = interaction("hello", "webchat:s9");
    chat.also_known_as = vec![with_trust(MAIL, Trust::Claimed)];
    let somebody = who(&app, &chat).await;
    let anna = who(&app, &logged_in("login", "s1", "1001", "anna@example.com")).await;
    assert_ne!(anna, somebody, "a claim is no reason to see what she writes");
    assert_eq!(who(&app, &interaction("mail", MAIL)).await, anna);
    assert_eq!(level(&app, &interaction("hello 2", "webchat:s9")).await, 0);
    assert_eq!(merges(&app).await.len(), 0);
    app.stop().await;
}

async fn revoke(app: &TestApp, customer: &str, text: &str) {
    let request = RevokeHandleRequest {
        customer_id: customer.into(),
        handle: Some(handle(text)),
        reason: "the telephone was stolen".into(),
        request_id: String::new(),
    };
    client(app)
        .revoke_handle(app.request(TENANT, "bruno", request))
        .await
        .expect("revoked");
}

async fn level_of(app: &TestApp, customer: &str) -> i32 {
    get(app, customer).await.verification.expect("always set").level
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_revoked_handle_proved_does_not_come_back_with_a_split() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", MAIL)).await;
    let berto = who(&app, &interaction("call", PHONE)).await;
    prove(&app, &berto, PHONE).await;
    let merge_id = merge(&app, &anna, &berto).await;
    revoke(&app, &anna, PHONE).await;
    split(&app, &merge_id).await;
    assert_eq!(level_of(&app, &berto).await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_an_alias_goes_with_the_handle_that_is_taken_out() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", MAIL)).await;
    let berto = who(&app, &interaction("call", PHONE)).await;
    prove(&app, &berto, PHONE).await;
    merge(&app, &anna, &berto).await;
    let taken = extract(&app, &anna, PHONE).await;
    let brother = taken.extracted.expect("a customer");
    assert_eq!(brother.verification.expect("always set").level, 1);
    assert_eq!(level(&app, &interaction("call 2", PHONE)).await, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_tells_the_level_that_holds_after_it() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", MAIL)).await;
    let berto = who(&app, &interaction("call", PHONE)).await;
    prove(&app, &berto, PHONE).await;
    let merge_id = merge(&app, &anna, &berto).await;
    let preview = PreviewSplitRequest {
        merge_id: merge_id.clone(),
    };
    let preview = client(&app)
        .preview_split(app.request(TENANT, "bruno", preview))
        .await
        .expect("previewed")
        .into_inner();
    split(&app, &merge_id).await;
    app.settle().await;
    let told = &app.events::<CustomerSplit>().await[0].event;
    let restored = told.restored.as_ref().expect("a customer");
    assert_eq!(restored.verification.as_ref().map(|v| v.level), Some(1));
    assert_eq!(preview.restored.as_ref(), Some(restored));
    assert_eq!(level_of(&app, &berto).await, 1);
    assert_eq!(level_of(&app, &anna).await, 0);
    app.stop().await;
}
