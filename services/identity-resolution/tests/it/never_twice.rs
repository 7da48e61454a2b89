//! Whoever has proven who they are is not asked again while it holds, by whichever method; and it is known who proved what.

use std::time::Duration;

use trama_proto::{
    common::v1::{Interaction, Login, Trust},
    identity_resolution::v1::{
        AnswerQuestionRequest, AskQuestionRequest, CheckVerificationRequest, ConfirmChallengeRequest,
        GetVerificationRequest, RecordVerificationRequest, RequireVerificationRequest,
        RequireVerificationResponse, StartConfirmationRequest, VerificationEntry,
    },
    notification::v1::MessageRequested,
};
use trama_testkit::TestApp;

use crate::{
    documents,
    profile_world::{start, verifications},
    world::{TENANT, client, identify, interaction, who, with_trust},
};

/// Somebody with a mail address and an id in the books, numbered.
async fn somebody(app: &TestApp, number: usize) -> (String, String) {
    let account = format!("9{number:03}");
    let mut mail = interaction(
        &format!("mail {number}"),
        &format!("email:person{number}@example.com"),
    );
    mail.also_known_as = vec![with_trust(&format!("crm:{account}"), Trust::Observed)];
    (who(app, &mail).await, account)
}

fn logged_in(name: &str, channel: &str, account: &str) -> Interaction {
    let mut chat = interaction(name, &format!("webchat:{name}"));
    chat.channel = channel.to_owned();
    chat.also_known_as = vec![with_trust(&format!("crm:{account}"), Trust::Verified)];
    chat.login = Some(Login {
        subject: account.into(),
        method: "site_login".into(),
        expires_at: None,
    });
    chat
}

async fn require(app: &TestApp, customer: &str) -> RequireVerificationResponse {
    let request = RequireVerificationRequest {
        customer_id: customer.into(),
        level: 1,
        ..Default::default()
    };
    client(app)
        .require_verification(app.request(TENANT, "bot", request))
        .await
        .expect("told")
        .into_inner()
}

async fn history(app: &TestApp, customer: &str) -> Vec<VerificationEntry> {
    let request = GetVerificationRequest {
        customer_id: customer.into(),
    };
    let answer = verifications(app)
        .get_verification(app.request(TENANT, "bruno", request))
        .await;
    answer.expect("the proofs").into_inner().history
}

async fn prove(app: &TestApp, method: &str, (customer, account): (&str, &str)) {
    let mut service = verifications(app);
    let customer_id = customer.to_owned();
    match method {
        "one_time_code" => {
            let challenge_id = require(app, customer).await.challenge_id;
            app.settle().await;
            let sent = app
                .wait_for("the code", |m: &MessageRequested| m.message_id == challenge_id)
                .await;
            let request = CheckVerificationRequest {
                challenge_id,
                code: sent.template_values["code"].clone(),
            };
            let request = app.request(TENANT, "bruno", request);
            client(app).check_verification(request).await.expect("right");
        }
        "knowledge_question" => {
            let request = AskQuestionRequest {
                customer_id,
                ..Default::default()
            };
            let request = app.request(TENANT, "bruno", request);
            let asked = service.ask_question(request).await.expect("asked").into_inner();
            let request = AnswerQuestionRequest {
                challenge_id: asked.challenge_id,
                answer: "rosso".into(),
            };
            let request = app.request(TENANT, "bruno", request);
            service.answer_question(request).await.expect("right");
        }
        "in_app_confirm" => {
            let request = StartConfirmationRequest {
                customer_id,
                ..Default::default()
            };
            let request = app.request(TENANT, "bruno", request);
            let open = service
                .start_confirmation(request)
                .await
                .expect("open")
                .into_inner();
            let request = ConfirmChallengeRequest {
                challenge_id: open.challenge_id,
                crm_id: account.into(),
                confirmed: true,
                request_id: String::new(),
            };
            let request = app.request(TENANT, "the-app", request);
            service.confirm_challenge(request).await.expect("confirmed");
        }
        "agent_check" => {
            let request = RecordVerificationRequest {
                customer_id,
                method: method.into(),
                level: 1,
                evidence: "birth date and last order".into(),
                ..Default::default()
            };
            let request = app.request(TENANT, "bruno", request);
            service.record_verification(request).await.expect("recorded");
        }
        "document" => {
            let begun = documents::begin(app, customer, ("", "")).await.expect("begun");
            let answer = documents::report(app, &begun.challenge_id, r#""result":"passed""#).await;
            assert_eq!(answer.0, 204);
        }
        "site_login" => {
            identify(app, &logged_in("login", "site", account)).await;
        }
        _ => panic!("no such method: {method}"),
    }
    app.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_proven_by_any_method_is_not_asked_again_within_its_life() {
    let (app, _) = start().await;
    let methods = [
        "one_time_code",
        "knowledge_question",
        "in_app_confirm",
        "agent_check",
        "document",
        "site_login",
    ];
    let mut people = Vec::new();
    for (number, method) in methods.into_iter().enumerate() {
        let (customer, account) = somebody(&app, number).await;
        assert!(history(&app, &customer).await.is_empty(), "{method}");
        prove(&app, method, (&customer, &account)).await;
        let log = history(&app, &customer).await;
        assert_eq!(log.len(), 1, "{method}: {log:?}");
        assert_eq!(
            (log[0].outcome.as_str(), log[0].method.as_str()),
            ("proven", method)
        );
        assert!(
            !log[0].subject.is_empty() && !log[0].evidence.is_empty(),
            "{method}"
        );

        let sent = app.events::<MessageRequested>().await.len();
        for _ in 0..2 {
            let answer = require(&app, &customer).await;
            assert!(answer.holds && answer.challenge_id.is_empty(), "{method}");
            assert_eq!(answer.verification.expect("which holds").method, method);
        }
        app.settle().await;
        assert_eq!(
            app.events::<MessageRequested>().await.len(),
            sent,
            "{method}: nothing was sent"
        );
        people.push((method, customer));
    }
    // No method holds for longer than a document, three days.
    app.advance(Duration::from_secs(73 * 3600)).await;
    for (method, customer) in people {
        assert!(
            !require(&app, &customer).await.holds,
            "{method}: its life is over"
        );
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_stands_in_the_log_once_and_a_second_one_elsewhere_once_more() {
    let (app, _) = start().await;
    let (customer, account) = somebody(&app, 1).await;
    for line in ["hello", "my order", "thanks"] {
        let chat = logged_in(line, "site", &account);
        assert_eq!(who(&app, &chat).await, customer);
    }
    let log = history(&app, &customer).await;
    assert_eq!(log.len(), 1, "each line carries the login: {log:?}");
    assert_eq!(
        (log[0].subject.as_str(), log[0].evidence.as_str()),
        ("site", "logged in")
    );
    assert_eq!(log[0].level, 1);

    app.advance(Duration::from_secs(60)).await;
    identify(&app, &logged_in("from the app", "app", &account)).await;
    let log = history(&app, &customer).await;
    assert_eq!(log.len(), 2);
    assert_eq!(
        (log[0].subject.as_str(), log[0].evidence.as_str()),
        ("app", "logged in while a proof as strong held")
    );
    // A delivery that comes again proves nothing new.
    identify(&app, &logged_in("from the app", "app", &account)).await;
    assert_eq!(history(&app, &customer).await.len(), 2);

    app.advance(Duration::from_secs(25 * 3600)).await;
    identify(&app, &logged_in("the next day", "app", &account)).await;
    let log = history(&app, &customer).await;
    assert_eq!((log.len(), log[0].evidence.as_str()), (3, "logged in"));
    app.stop().await;
}
