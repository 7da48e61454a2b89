//! One-time codes.

use std::time::Duration;

use tonic::Code;
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::{
        CheckVerificationRequest, CustomerChanged, Purpose, RequireVerificationRequest,
        RequireVerificationResponse,
    },
    notification::v1::MessageRequested,
};
use trama_testkit::TestApp;

use crate::world::{TENANT, client, handle, identify, interaction, start, who};

async fn require(
    app: &TestApp,
    customer: &str,
    level: i32,
) -> Result<RequireVerificationResponse, tonic::Status> {
    let request = RequireVerificationRequest {
        customer_id: customer.into(),
        level,
        ..Default::default()
    };
    client(app)
        .require_verification(app.request(TENANT, "bruno", request))
        .await
        .map(tonic::Response::into_inner)
}

async fn check(app: &TestApp, challenge: &str, code: &str) -> Result<i32, tonic::Status> {
    let request = CheckVerificationRequest {
        challenge_id: challenge.into(),
        code: code.into(),
    };
    let answer = client(app)
        .check_verification(app.request(TENANT, "bruno", request))
        .await?;
    Ok(answer.into_inner().verification.expect("a proof").level)
}

async fn message(app: &TestApp, challenge: &str) -> MessageRequested {
    app.settle().await;
    app.wait_for("the code", |m: &MessageRequested| m.message_id == challenge)
        .await
}

fn wrong(code: &str) -> String {
    if code == "123456" {
        "654321".into()
    } else {
        "123456".into()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_by_mail_proves_once_for_all_channels() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let asked = require(&app, &anna, 1).await.expect("asked");
    assert!(!asked.holds);
    assert_eq!(asked.masked_handle, "a••a@example.com");
    let message = message(&app, &asked.challenge_id).await;
    assert_eq!(
        (message.purpose(), message.channel_kind()),
        (Purpose::Security, ChannelKind::Email)
    );
    assert_eq!(
        (
            message.author.as_str(),
            message.template.as_str(),
            message.language.as_str()
        ),
        ("security", "one-time-code", "it")
    );
    assert_eq!(
        message.handle.as_ref().map(|h| h.value.as_str()),
        Some("anna@example.com")
    );
    assert_eq!(message.template_values["minutes"], "10");
    let code = &message.template_values["code"];

    let refused = check(&app, &asked.challenge_id, &wrong(code))
        .await
        .expect_err("wrong");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().contains("2 more tries"),
        "{}",
        refused.message()
    );
    assert_eq!(
        check(&app, &asked.challenge_id, &format!(" {code} "))
            .await
            .expect("right"),
        1
    );
    assert_eq!(
        check(&app, &asked.challenge_id, code)
            .await
            .expect_err("spent")
            .code(),
        Code::FailedPrecondition
    );

    assert!(
        require(&app, &anna, 1).await.expect("asked").holds,
        "nothing to ask"
    );
    let next = identify(&app, &interaction("mail 2", "email:anna@example.com"))
        .await
        .customer
        .expect("a customer");
    assert_eq!(next.verification.expect("always set").level, 1);
    let changed = app
        .wait_for("the proof", |c: &CustomerChanged| {
            c.changed_fields.iter().any(|f| f == "verification")
        })
        .await;
    assert_eq!(
        changed.customer.and_then(|c| c.verification).map(|v| v.method),
        Some("one_time_code".to_owned())
    );

    app.advance(Duration::from_secs(25 * 3600)).await;
    assert!(
        !require(&app, &anna, 1).await.expect("asked").holds,
        "it holds for a day"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_wrong_codes_lock_and_too_many_codes_are_refused() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let asked = require(&app, &anna, 1).await.expect("asked");
    let code = message(&app, &asked.challenge_id).await.template_values["code"].clone();
    for expected in [
        Code::InvalidArgument,
        Code::InvalidArgument,
        Code::FailedPrecondition,
    ] {
        assert_eq!(
            check(&app, &asked.challenge_id, &wrong(&code))
                .await
                .expect_err("wrong")
                .code(),
            expected
        );
    }
    assert_eq!(
        check(&app, &asked.challenge_id, &code)
            .await
            .expect_err("locked")
            .code(),
        Code::FailedPrecondition
    );
    for _ in 0..4 {
        require(&app, &anna, 1).await.expect("asked");
    }
    assert_eq!(
        require(&app, &anna, 1).await.expect_err("enough").code(),
        Code::ResourceExhausted
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_for_minutes_and_until_the_next_one() {
    let app = start().await;
    let anna = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let first = require(&app, &anna, 1).await.expect("asked");
    let first_code = message(&app, &first.challenge_id).await.template_values["code"].clone();
    let second = require(&app, &anna, 1).await.expect("asked");
    let second_code = message(&app, &second.challenge_id).await.template_values["code"].clone();
    assert_eq!(
        check(&app, &first.challenge_id, &first_code)
            .await
            .expect_err("replaced")
            .code(),
        Code::FailedPrecondition
    );
    app.advance(Duration::from_secs(10 * 60)).await;
    assert_eq!(
        check(&app, &second.challenge_id, &second_code)
            .await
            .expect_err("too late")
            .code(),
        Code::FailedPrecondition
    );
    // Not even the database knows the codes.
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let rows: Vec<String> = sqlx::query_scalar("SELECT c::text FROM challenges c")
        .fetch_all(tx.conn())
        .await
        .expect("rows");
    assert!(
        rows.iter()
            .all(|r| !r.contains(&format!(",{first_code},")) && !r.contains(&format!(",{second_code},")))
    );
    drop(tx);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_proof_needs_a_second_handle() {
    let app = start().await;
    let mut seen = interaction("mail", "email:anna@example.com");
    seen.also_known_as = vec![handle("phone:+393331234567")];
    let anna = who(&app, &seen).await;
    assert_eq!(
        require(&app, &anna, 2).await.expect_err("no first proof").code(),
        Code::FailedPrecondition
    );
    assert_eq!(
        require(&app, &anna, 3)
            .await
            .expect_err("no code gives it")
            .code(),
        Code::FailedPrecondition
    );
    assert_eq!(
        require(&app, &anna, 0).await.expect_err("no level").code(),
        Code::InvalidArgument
    );
    for level in [1, 2] {
        let asked = require(&app, &anna, level).await.expect("asked");
        let code = message(&app, &asked.challenge_id).await.template_values["code"].clone();
        assert_eq!(
            check(&app, &asked.challenge_id, &code).await.expect("right"),
            level
        );
    }
    app.stop().await;
}
