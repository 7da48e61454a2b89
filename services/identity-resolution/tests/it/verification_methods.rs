//! Proof by any method: bounded by policy, asked once, locked, revoked.

use std::time::Duration;

use tonic::Code;
use trama_proto::identity_resolution::v1::{
    AnswerQuestionRequest, AskQuestionRequest, CheckVerificationRequest, ConfirmChallengeRequest,
    CustomerChanged, GetVerificationRequest, GetVerificationResponse, RecordVerificationRequest,
    RequireVerificationRequest, RequireVerificationResponse, RevokeVerificationRequest,
    StartConfirmationRequest,
};
use trama_testkit::TestApp;

use crate::{
    profile_world::{anna, start, verifications},
    world::{TENANT, client, identify, interaction, logged_in, who},
};

async fn require(
    app: &TestApp,
    customer: &str,
    need: &str,
) -> Result<RequireVerificationResponse, tonic::Status> {
    let request = RequireVerificationRequest {
        customer_id: customer.into(),
        need: need.into(),
        ..Default::default()
    };
    let answer = client(app)
        .require_verification(app.request(TENANT, "bruno", request))
        .await;
    answer.map(tonic::Response::into_inner)
}

async fn record(app: &TestApp, customer: &str, method: &str, level: i32) -> Result<i32, tonic::Status> {
    let request = RecordVerificationRequest {
        customer_id: customer.into(),
        method: method.into(),
        level,
        evidence: "birth date and last order".into(),
        ..Default::default()
    };
    let answer = verifications(app)
        .record_verification(app.request(TENANT, "bruno", request))
        .await?;
    Ok(answer.into_inner().verification.expect("a proof").level)
}

async fn get(app: &TestApp, customer: &str) -> GetVerificationResponse {
    let request = GetVerificationRequest {
        customer_id: customer.into(),
    };
    let answer = verifications(app)
        .get_verification(app.request(TENANT, "bruno", request))
        .await;
    answer.expect("the proofs").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_need_asks_for_level_and_age_and_names_what_is_missing() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let document = require(&app, &anna, "close_account").await.expect("told");
    assert!(!document.holds && document.challenge_id.is_empty());
    assert_eq!(document.methods, ["document"]);
    assert_eq!(
        require(&app, &anna, "fly").await.expect_err("unknown").code(),
        Code::InvalidArgument
    );

    assert_eq!(record(&app, &anna, "document", 3).await.expect("recorded"), 3);
    for need in ["close_account", "pay_bill", "see_order"] {
        assert!(require(&app, &anna, need).await.expect("told").holds, "{need}");
    }
    // Paying wants a fresh proof; seeing an order does not.
    app.advance(Duration::from_secs(31 * 60)).await;
    assert!(require(&app, &anna, "see_order").await.expect("told").holds);
    let again = require(&app, &anna, "pay_bill").await.expect("told");
    assert!(!again.holds && !again.challenge_id.is_empty());
    let all = get(&app, &anna).await;
    let open: Vec<&str> = all
        .needs
        .iter()
        .filter(|n| !n.holds)
        .map(|n| n.need.as_str())
        .collect();
    assert_eq!((all.level, open), (3, vec!["pay_bill"]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_need_of_level_2_names_the_ways_there_from_nothing_and_takes_the_second_step_by_a_code() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let asked = require(&app, &anna, "pay_bill").await.expect("told");
    assert!(!asked.holds && asked.challenge_id.is_empty());
    assert_eq!(asked.methods, ["in_app_confirm", "document"]);
    assert_eq!(
        asked.first_methods,
        ["knowledge_question", "login", "agent_check"],
        "beside one of these a code is enough; to two codes there is but one address"
    );
    assert_eq!(record(&app, &anna, "agent_check", 1).await.expect("recorded"), 1);
    let second = require(&app, &anna, "pay_bill").await.expect("asked");
    assert_eq!(second.masked_handle, "a••a@example.com");
    assert_eq!(second.methods, ["one_time_code", "in_app_confirm", "document"]);
    assert!(second.first_methods.is_empty());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_need_without_any_address_for_codes_names_what_else_proves_it() {
    let (app, _) = start().await;
    let visitor = who(&app, &interaction("hello", "cookie:c1")).await;
    let order = require(&app, &visitor, "see_order").await.expect("told");
    assert!(!order.holds && order.challenge_id.is_empty());
    assert_eq!(
        order.methods,
        ["knowledge_question", "login", "agent_check", "document"]
    );
    let bill = require(&app, &visitor, "pay_bill").await.expect("told");
    assert_eq!(bill.methods, ["document"]);
    assert!(bill.first_methods.is_empty());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_need_that_nothing_can_prove_is_refused_in_words() {
    const CODES_ONLY: &str = r#"
apiVersion: trama.dev/v1alpha1
kind: MatchingPolicy
metadata: {name: default, namespace: acme}
spec: {verification: {needs: {pay_bill: {level: 2, methods: [oneTimeCode]}}}}
"#;
    let app = TestApp::builder(&[trama_identity_resolution::service()])
        .resources(CODES_ONLY)
        .start()
        .await;
    let visitor = who(&app, &interaction("hello", "cookie:c1")).await;
    let refused = require(&app, &visitor, "pay_bill")
        .await
        .expect_err("nothing can");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("no mail address"),
        "{}",
        refused.message()
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_bounds_what_a_check_is_worth_and_idle_proofs_end() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    assert_eq!(
        record(&app, &anna, "agent_check", 2)
            .await
            .expect_err("too much")
            .code(),
        Code::InvalidArgument
    );
    assert_eq!(
        record(&app, &anna, "knowledge_question", 1)
            .await
            .expect_err("no")
            .code(),
        Code::InvalidArgument
    );
    assert_eq!(record(&app, &anna, "agent_check", 1).await.expect("recorded"), 1);
    // Relied upon every 20 minutes it holds on, left alone for 30 it ends.
    for _ in 0..3 {
        app.advance(Duration::from_secs(20 * 60)).await;
        assert!(require(&app, &anna, "see_order").await.expect("told").holds);
    }
    app.advance(Duration::from_secs(30 * 60)).await;
    assert!(!require(&app, &anna, "see_order").await.expect("told").holds);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_proves_no_more_than_the_policy_says_of_logins() {
    const NO_LOGINS: &str = r#"
apiVersion: trama.dev/v1alpha1
kind: MatchingPolicy
metadata: {name: default, namespace: acme}
spec: {verification: {methods: {login: {maxLevel: 0, hours: 1}}}}
"#;
    let app = TestApp::builder(&[trama_identity_resolution::service()])
        .resources(NO_LOGINS)
        .start()
        .await;
    let chat = identify(&app, &logged_in("login", "s1", "1001", "anna@example.com")).await;
    let proof = chat
        .customer
        .expect("a customer")
        .verification
        .expect("always set");
    assert_eq!(proof.level, 0, "the policy switched logins off");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_in_the_app_proves_the_account_that_was_asked() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let open = StartConfirmationRequest {
        customer_id: anna.clone(),
        ..Default::default()
    };
    let challenge = verifications(&app)
        .start_confirmation(app.request(TENANT, "bruno", open))
        .await
        .expect("open")
        .into_inner()
        .challenge_id;
    let tap = |crm: &str, confirmed: bool| ConfirmChallengeRequest {
        challenge_id: challenge.clone(),
        crm_id: crm.into(),
        confirmed,
        request_id: String::new(),
    };
    let confirm = |request| {
        let (mut client, request) = (verifications(&app), app.request(TENANT, "the-app", request));
        async move {
            client
                .confirm_challenge(request)
                .await
                .map(tonic::Response::into_inner)
        }
    };
    assert_eq!(
        confirm(tap("1002", true))
            .await
            .expect_err("another account")
            .code(),
        Code::InvalidArgument
    );
    let proof = confirm(tap("1001", true))
        .await
        .expect("proven")
        .verification
        .expect("a proof");
    assert_eq!(
        (proof.level, proof.method.as_str(), proof.verified_by.as_str()),
        (2, "in_app_confirm", "the-app")
    );
    assert_eq!(
        confirm(tap("1001", true)).await.expect_err("spent").code(),
        Code::FailedPrecondition
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_asked_and_judged_by_the_hook_and_never_proves_more_than_level_1() {
    let (app, calls) = start().await;
    let anna = anna(&app).await;
    let ask = AskQuestionRequest {
        customer_id: anna.clone(),
        ..Default::default()
    };
    let asked = verifications(&app)
        .ask_question(app.request(TENANT, "bruno", ask))
        .await
        .expect("asked")
        .into_inner();
    assert!(asked.question.contains("macchina"));
    let answer = |text: &str| {
        let request = AnswerQuestionRequest {
            challenge_id: asked.challenge_id.clone(),
            answer: text.into(),
        };
        let (mut client, request) = (verifications(&app), app.request(TENANT, "bruno", request));
        async move {
            client
                .answer_question(request)
                .await
                .map(tonic::Response::into_inner)
        }
    };
    assert_eq!(
        answer("blu").await.expect_err("wrong").code(),
        Code::InvalidArgument
    );
    let proof = answer("rosso")
        .await
        .expect("right")
        .verification
        .expect("a proof");
    assert_eq!(proof.level, 1);
    let calls = calls.lock().unwrap().clone();
    let (path, signature, body) = &calls[0];
    assert_eq!(
        (path.as_str(), body["externalIds"][0].as_str()),
        ("/questions", Some("1001"))
    );
    assert!(signature.starts_with("t=") && signature.contains(",v1="));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_lock_the_customer_over_all_challenges_until_the_window_is_over() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let mut wrong = 0;
    let refused = loop {
        match require(&app, &anna, "see_order").await {
            Err(status) => break status,
            Ok(asked) => {
                let check = CheckVerificationRequest {
                    challenge_id: asked.challenge_id,
                    code: "000000".into(),
                };
                let answer = client(&app)
                    .check_verification(app.request(TENANT, "bruno", check))
                    .await;
                assert!(answer.is_err());
                wrong += 1;
            }
        }
    };
    assert_eq!((wrong, refused.code()), (4, Code::ResourceExhausted));
    let all = get(&app, &anna).await;
    assert!(all.locked_until.is_some());
    assert_eq!(all.history.iter().filter(|h| h.outcome == "failed").count(), 4);
    app.advance(Duration::from_secs(61 * 60)).await;
    assert!(require(&app, &anna, "see_order").await.is_ok());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_proof_is_gone_at_once_and_a_repeat_changes_nothing() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    record(&app, &anna, "document", 3).await.expect("recorded");
    let revoke = RevokeVerificationRequest {
        customer_id: anna.clone(),
        reason: "the telephone was stolen".into(),
        request_id: "r1".into(),
        ..Default::default()
    };
    for _ in 0..2 {
        let answer = verifications(&app)
            .revoke_verification(app.request(TENANT, "bruno", revoke.clone()))
            .await
            .expect("revoked");
        assert_eq!(answer.into_inner().revoked, 1);
    }
    assert_eq!(get(&app, &anna).await.level, 0);
    app.settle().await;
    let told = app.events::<CustomerChanged>().await;
    let revoked = told
        .iter()
        .filter(|e| e.event.changed_fields.iter().any(|f| f == "verification_revoked"));
    assert_eq!(revoked.count(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_sees_and_changes_nothing() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let request = GetVerificationRequest {
        customer_id: anna.clone(),
    };
    let other = verifications(&app)
        .get_verification(app.request("rival", "eve", request))
        .await;
    assert_eq!(other.expect_err("nobody").code(), Code::NotFound);
    app.stop().await;
}
