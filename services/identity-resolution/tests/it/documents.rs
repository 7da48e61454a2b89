//! A document is checked by the integrator's hook: begun by a signed call, reported by a signed call, once.

use std::time::Duration;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tonic::Code;
use trama_proto::identity_resolution::v1::{
    CustomerChanged, GetVerificationRequest, GetVerificationResponse, RequireVerificationRequest,
    StartDocumentCheckRequest, StartDocumentCheckResponse,
};
use trama_testkit::TestApp;

use crate::{
    profile_world::{Calls, anna, start, verifications},
    world::{TENANT, client},
};

pub const SECRET: &str = "s3cret";

pub async fn begin(
    app: &TestApp,
    customer: &str,
    (case, request): (&str, &str),
) -> Result<StartDocumentCheckResponse, tonic::Status> {
    let request = StartDocumentCheckRequest {
        customer_id: customer.into(),
        case_id: case.into(),
        language: "de".into(),
        request_id: request.into(),
        ..Default::default()
    };
    let answer = verifications(app)
        .start_document_check(app.request(TENANT, "bruno", request))
        .await;
    answer.map(tonic::Response::into_inner)
}

/// The header that the integrator sends.
fn signed(secret: &str, seconds: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(format!("{seconds}.{body}").as_bytes());
    format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}

async fn post(app: &TestApp, tenant: &str, signature: &str, body: &str) -> (u16, String) {
    let request = reqwest::Client::default()
        .post(format!("{}/verifications/{tenant}/documents", app.http_url()))
        .header("trama-signature", signature)
        .body(body.to_owned());
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a body"))
}

pub async fn report(app: &TestApp, check: &str, rest: &str) -> (u16, String) {
    let body = format!(r#"{{"checkId":"{check}",{rest}}}"#);
    let signature = signed(SECRET, app.clock.now().timestamp(), &body);
    post(app, TENANT, &signature, &body).await
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

fn checks(calls: &Calls) -> Vec<(String, String, serde_json::Value)> {
    let calls = calls.lock().expect("nobody panicked");
    let all = calls.iter().filter(|(path, ..)| path == "/documents");
    all.cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_the_hook_checked_is_proof_once_however_often_it_is_reported() {
    let (app, calls) = start().await;
    let anna = anna(&app).await;
    let begun = begin(&app, &anna, ("case-1", "r1")).await.expect("begun");
    assert_eq!(begun.link, "https://id.example/s/1");
    let (_, signature, body) = checks(&calls).pop().expect("a call");
    assert!(signature.starts_with("t=") && signature.contains(",v1="));
    assert_eq!(
        (&body["checkId"], &body["customerId"], &body["externalIds"]),
        (
            &begun.challenge_id.clone().into(),
            &anna.clone().into(),
            &serde_json::json!(["1001"])
        )
    );
    assert_eq!(
        (body["language"].as_str(), body["level"].as_i64()),
        (Some("de"), Some(3))
    );

    // Asked once more for the same, nobody is asked again.
    assert_eq!(begin(&app, &anna, ("case-1", "r1")).await.expect("known"), begun);
    assert_eq!(checks(&calls).len(), 1);

    for _ in 0..2 {
        let passed = r#""result":"passed","evidence":"electronic identity card","provider":"x""#;
        assert_eq!(
            report(&app, &begun.challenge_id, passed).await,
            (204, String::new())
        );
    }
    app.settle().await;
    let all = get(&app, &anna).await;
    assert_eq!((all.level, all.proofs.len(), all.history.len()), (3, 1, 1));
    let entry = &all.history[0];
    assert_eq!(
        (
            entry.outcome.as_str(),
            entry.method.as_str(),
            entry.evidence.as_str(),
            entry.case_id.as_str(),
            entry.subject.as_str()
        ),
        (
            "proven",
            "document",
            "electronic identity card",
            "case-1",
            "document-hook"
        )
    );
    let told = app.events::<CustomerChanged>().await;
    let proofs = told
        .iter()
        .filter(|e| e.event.changed_fields.iter().any(|f| f == "verification"));
    assert_eq!(proofs.count(), 1);
    // The opposite of what was reported is no repetition.
    let (status, words) = report(&app, &begun.challenge_id, r#""result":"failed""#).await;
    assert_eq!(status, 409, "{words}");
    assert_eq!(get(&app, &anna).await.level, 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_by_the_hook_or_not_now_is_not_let_in() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let begun = begin(&app, &anna, ("no-link", "")).await.expect("begun");
    assert_eq!(begun.link, "", "the hook reaches the customer by itself");
    let now = app.clock.now().timestamp();
    let body = format!(r#"{{"checkId":"{}","result":"passed"}}"#, begun.challenge_id);
    let right = signed(SECRET, now, &body);
    for (tenant, signature, expected) in [
        (TENANT, String::new(), 401),
        (TENANT, signed("another", now, &body), 401),
        (TENANT, signed(SECRET, now - 301, &body), 401),
        (TENANT, signed(SECRET, now, "{}"), 401),
        ("rival", right.clone(), 404),
        ("", right.clone(), 404),
    ] {
        let (status, words) = post(&app, tenant, &signature, &body).await;
        assert_eq!(status, expected, "{tenant} {signature} {words}");
    }
    assert_eq!(get(&app, &anna).await.level, 0);
    // Signed, but no report.
    let wrong = "{\"result\":\"passed\"}";
    let (status, words) = post(&app, TENANT, &signed(SECRET, now, wrong), wrong).await;
    assert_eq!(status, 400);
    assert!(words.contains("checkId"), "{words}");
    let unknown = "018f3c1e-7d2a-7000-8000-000000000001";
    assert_eq!(report(&app, unknown, r#""result":"passed""#).await.0, 404);
    assert_eq!(post(&app, TENANT, &right, &body).await.0, 204);
    assert_eq!(get(&app, &anna).await.level, 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_document_counts_as_a_wrong_answer_and_one_that_nobody_showed_does_not() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let outcomes = |all: GetVerificationResponse| {
        let history = all.history.into_iter();
        history.map(|h| h.outcome).collect::<Vec<_>>()
    };
    let first = begin(&app, &anna, ("", "")).await.expect("begun").challenge_id;
    for _ in 0..2 {
        assert_eq!(report(&app, &first, r#""result":"abandoned""#).await.0, 204);
    }
    assert!(outcomes(get(&app, &anna).await).is_empty());
    let (status, words) = report(&app, &first, r#""result":"passed""#).await;
    assert_eq!(status, 412, "{words}");

    // Four false ones lock, as four wrong codes do: the policy of this tenant says so.
    for _ in 0..4 {
        let check = begin(&app, &anna, ("", "")).await.expect("begun").challenge_id;
        for _ in 0..2 {
            assert_eq!(report(&app, &check, r#""result":"failed""#).await.0, 204);
        }
    }
    assert_eq!(outcomes(get(&app, &anna).await), ["failed"; 4]);
    let locked = begin(&app, &anna, ("", "")).await.expect_err("locked");
    assert_eq!(locked.code(), Code::ResourceExhausted);

    // Too late is too late, and the one before the newest is replaced.
    app.advance(Duration::from_secs(61 * 60)).await;
    let replaced = begin(&app, &anna, ("", "")).await.expect("begun").challenge_id;
    let late = begin(&app, &anna, ("", "")).await.expect("begun").challenge_id;
    assert_eq!(report(&app, &replaced, r#""result":"passed""#).await.0, 412);
    app.advance(Duration::from_secs(30 * 60)).await;
    assert_eq!(report(&app, &late, r#""result":"passed""#).await.0, 412);
    assert_eq!(get(&app, &anna).await.level, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_does_not_answer_is_told_of_in_words_and_asked_again_for_the_same_check() {
    const AWAY: &str = r#"
apiVersion: trama.dev/v1alpha1
kind: MatchingPolicy
metadata: {name: default, namespace: acme}
spec:
  verification: {documentHook: {url: "http://127.0.0.1:9/documents", secret: {name: hooks, key: hmac}}}
"#;
    let app = TestApp::builder(&[trama_identity_resolution::service()])
        .resources(AWAY)
        .secret(TENANT, "hooks", "hmac", SECRET)
        .start()
        .await;
    let anna = anna(&app).await;
    for _ in 0..2 {
        let refused = begin(&app, &anna, ("", "r1")).await.expect_err("away");
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(
            refused.message().contains("cannot be reached"),
            "{}",
            refused.message()
        );
    }
    // It may have begun all the same: there is one check, and its result is taken.
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let checks: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT challenge_id FROM challenges")
        .fetch_all(tx.conn())
        .await
        .expect("rows");
    drop(tx);
    assert_eq!(checks.len(), 1);
    assert_eq!(
        report(&app, &checks[0].to_string(), r#""result":"passed","level":2"#)
            .await
            .0,
        204
    );
    assert_eq!(
        get(&app, &anna).await.level,
        2,
        "the hook said how much it is worth"
    );
    let over = begin(&app, &anna, ("", "r1")).await.expect_err("over");
    assert_eq!(over.code(), Code::FailedPrecondition);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_none_is_not_passed_on_and_without_a_hook_nothing_begins() {
    let (app, _) = start().await;
    let anna = anna(&app).await;
    let refused = begin(&app, &anna, ("bad-link", "")).await.expect_err("no link");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(!refused.message().contains("javascript"));
    // A code for level 1 beside it does not end the check.
    let check = begin(&app, &anna, ("", "")).await.expect("begun").challenge_id;
    let request = RequireVerificationRequest {
        customer_id: anna.clone(),
        level: 1,
        ..RequireVerificationRequest::default()
    };
    client(&app)
        .require_verification(app.request(TENANT, "bruno", request))
        .await
        .expect("sent");
    assert_eq!(report(&app, &check, r#""result":"passed""#).await.0, 204);
    app.stop().await;

    let app = crate::world::start().await;
    let anna = crate::profile_world::anna(&app).await;
    let refused = begin(&app, &anna, ("", "")).await.expect_err("no hook");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("documentHook"));
    app.stop().await;
}
