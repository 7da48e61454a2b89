//! What is begun for whoever speaks in an interaction proves them, and nobody else who is taken for the customer.

use tonic::Code;
use trama_proto::{
    common::v1::Trust,
    identity_resolution::v1::{
        AnswerQuestionRequest, AskQuestionRequest, ConfirmChallengeRequest, StartConfirmationRequest,
        StartDocumentCheckRequest,
    },
};
use trama_testkit::TestApp;

use crate::{
    documents,
    profile_world::{anna, start, verifications},
    standing::{PHONE, ask_in, link},
    world::{TENANT, interaction, who},
};

/// Begins a check of another kind than a code for whoever speaks in an interaction.
async fn begin_in(
    app: &TestApp,
    method: &str,
    customer: &str,
    interaction_id: &str,
) -> Result<String, tonic::Status> {
    let (customer_id, interaction_id) = (customer.to_owned(), interaction_id.to_owned());
    let mut service = verifications(app);
    match method {
        "in_app_confirm" => {
            let request = StartConfirmationRequest {
                customer_id,
                interaction_id,
                ..Default::default()
            };
            let begun = service.start_confirmation(app.request(TENANT, "bruno", request));
            begun.await.map(|b| b.into_inner().challenge_id)
        }
        "knowledge_question" => {
            let request = AskQuestionRequest {
                customer_id,
                interaction_id,
                ..Default::default()
            };
            let begun = service.ask_question(app.request(TENANT, "bruno", request));
            begun.await.map(|b| b.into_inner().challenge_id)
        }
        "document" => {
            let request = StartDocumentCheckRequest {
                customer_id,
                interaction_id,
                ..Default::default()
            };
            let begun = service.start_document_check(app.request(TENANT, "bruno", request));
            begun.await.map(|b| b.into_inner().challenge_id)
        }
        _ => panic!("no such method: {method}"),
    }
}

async fn pass(app: &TestApp, method: &str, challenge_id: String) {
    let mut service = verifications(app);
    match method {
        "in_app_confirm" => {
            let request = ConfirmChallengeRequest {
                challenge_id,
                crm_id: "1001".into(),
                confirmed: true,
                request_id: String::new(),
            };
            let request = app.request(TENANT, "the-app", request);
            service.confirm_challenge(request).await.expect("confirmed");
        }
        "knowledge_question" => {
            let request = AnswerQuestionRequest {
                challenge_id,
                answer: "rosso".into(),
            };
            let request = app.request(TENANT, "bruno", request);
            service.answer_question(request).await.expect("right");
        }
        "document" => {
            let (status, words) = documents::report(app, &challenge_id, r#""result":"passed""#).await;
            assert_eq!(status, 204, "{words}");
        }
        _ => panic!("no such method: {method}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_in_an_interaction_proves_whoever_speaks_in_it() {
    for (method, worth) in [("in_app_confirm", 2), ("knowledge_question", 1), ("document", 3)] {
        let (app, _) = start().await;
        let anna = anna(&app).await;
        link(&app, &anna, PHONE, Trust::Claimed).await;
        let calls = ["call 0", "call 1", "call 2"].map(|name| interaction(name, PHONE));
        for call in &calls {
            assert_eq!(who(&app, call).await, anna);
        }

        // Begun for the customer, it says nothing of who calls from a number that was only claimed.
        let begun = begin_in(&app, method, &anna, "").await.expect("begun");
        pass(&app, method, begun).await;
        assert!(
            !ask_in(&app, &anna, &calls[0]).await.expect("asked").holds,
            "{method}"
        );

        let begun = begin_in(&app, method, &anna, &calls[1].interaction_id).await;
        pass(&app, method, begun.expect("begun")).await;
        let holds = ask_in(&app, &anna, &calls[1]).await.expect("told");
        assert_eq!(
            (holds.holds, holds.verification.expect("a proof").level),
            (true, worth),
            "{method}"
        );
        assert!(
            !ask_in(&app, &anna, &calls[2]).await.expect("asked").holds,
            "{method}"
        );

        let strangers = interaction("somebody's", "email:bruno@example.com");
        assert_ne!(who(&app, &strangers).await, anna);
        let refused = begin_in(&app, method, &anna, &strangers.interaction_id).await;
        let status = refused.expect_err("is nobody's of hers");
        assert_eq!(status.code(), Code::InvalidArgument, "{method}: {status}");
        app.stop().await;
    }
}
