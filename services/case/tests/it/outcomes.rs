//! What other services report.

use trama_proto::{
    case::v1::{CaseStatus, OutboundStatus, ReplyToCaseRequest},
    common::v1::{ChannelKind, Handle, Verification},
    identity_resolution::v1::{CustomerChanged, Purpose},
    ids::{MessageId, OfferId, WorkItemId},
    notification::v1::{MessageDelivered, MessageFailed, MessageOutcome, MessageRead, MessageSent},
    routing::v1::{OfferAccepted, OfferMade, WorkCompleted},
    time::to_wire,
};
use trama_testkit::TestApp;

use super::story::*;

async fn replied(app: &TestApp) -> (String, MessageOutcome) {
    says(
        app,
        "anna",
        "mail",
        ChannelKind::Email,
        "la macchina del caffè perde acqua",
    )
    .heard(app)
    .await;
    let case_id = only_case(app, "anna").await.case_id;
    let request = ReplyToCaseRequest {
        case_id: case_id.clone(),
        text: "Chiuda il rubinetto.".into(),
        ..ReplyToCaseRequest::default()
    };
    let reply = cases(app)
        .reply_to_case(app.request(TENANT, "carla", request))
        .await
        .expect("replied")
        .into_inner();
    app.settle().await;
    let outcome = MessageOutcome {
        message_id: reply.message_id,
        customer_id: customer("anna").to_string(),
        case_id: case_id.clone(),
        channel: "whatsapp".into(),
        channel_kind: ChannelKind::Whatsapp.into(),
        handle: Some(Handle {
            kind: "whatsapp".into(),
            value: "39333".into(),
            trust: 0,
        }),
        provider_message_id: "wamid.1".into(),
        at: Some(to_wire(app.clock.now())),
        author: "carla".into(),
        purpose: Purpose::Service.into(),
        ..MessageOutcome::default()
    };
    (case_id, outcome)
}

#[tokio::test]
async fn reports_in_any_order_and_twice_leave_the_furthest() {
    let app = start().await;
    let (case_id, outcome) = replied(&app).await;
    let key = customer("anna").to_string();
    for _ in 0..2 {
        app.publish(
            TENANT,
            &key,
            &MessageRead {
                outcome: Some(outcome.clone()),
            },
        )
        .await;
        app.publish(
            TENANT,
            &key,
            &MessageSent {
                outcome: Some(outcome.clone()),
                text: "Buongiorno! Chiuda il rubinetto.".into(),
                ..MessageSent::default()
            },
        )
        .await;
        app.publish(
            TENANT,
            &key,
            &MessageDelivered {
                outcome: Some(outcome.clone()),
            },
        )
        .await;
        app.publish(
            TENANT,
            &key,
            &MessageFailed {
                outcome: Some(outcome.clone()),
            },
        )
        .await;
        app.settle().await;
    }
    let lines = timeline(&app, &case_id).await;
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1].outbound_status(), OutboundStatus::Read);
    let said = lines[1].interaction.clone().expect("the reply");
    assert_eq!(
        said.text, "Buongiorno! Chiuda il rubinetto.",
        "as the customer reads it"
    );
    assert_eq!(
        (said.channel_kind(), said.provider_id.as_str()),
        (ChannelKind::Whatsapp, "wamid.1")
    );
    assert_eq!(case(&app, &case_id).await.status(), CaseStatus::Waiting);
    app.stop().await;
}

#[tokio::test]
async fn an_answer_that_will_not_arrive_is_work_again() {
    let app = start().await;
    let (case_id, outcome) = replied(&app).await;
    for _ in 0..2 {
        app.publish(
            TENANT,
            &customer("anna").to_string(),
            &MessageFailed {
                outcome: Some(outcome.clone()),
            },
        )
        .await;
        app.settle().await;
    }
    assert_eq!(case(&app, &case_id).await.status(), CaseStatus::Open);
    let (work, count) = last_work(&app, &case_id).await;
    assert_eq!(count, 2);
    let work = work.expect("work");
    assert_eq!(work.preferred_agent_id, "carla");
    assert_eq!(
        work.snapshot.expect("context").timeline[1].outbound_status(),
        OutboundStatus::Failed
    );
    app.stop().await;
}

#[tokio::test]
async fn messages_of_others_stand_in_the_timeline_but_codes_are_not_kept() {
    let app = start().await;
    let (case_id, outcome) = replied(&app).await;
    let key = customer("anna").to_string();
    let code = MessageOutcome {
        message_id: MessageId::derived(&[b"code"]).to_string(),
        author: "security".into(),
        purpose: Purpose::Security.into(),
        ..outcome.clone()
    };
    let survey = MessageOutcome {
        message_id: MessageId::derived(&[b"survey"]).to_string(),
        author: "survey".into(),
        purpose: Purpose::Survey.into(),
        ..outcome
    };
    app.publish(
        TENANT,
        &key,
        &MessageSent {
            outcome: Some(code),
            text: "123456".into(),
            ..MessageSent::default()
        },
    )
    .await;
    app.publish(
        TENANT,
        &key,
        &MessageDelivered {
            outcome: Some(survey.clone()),
        },
    )
    .await;
    app.publish(
        TENANT,
        &key,
        &MessageSent {
            outcome: Some(survey),
            text: "Da 0 a 10?".into(),
            ..MessageSent::default()
        },
    )
    .await;
    app.settle().await;
    let lines = timeline(&app, &case_id).await;
    assert_eq!(lines.len(), 4);
    let by = |author: &str| {
        lines
            .iter()
            .find(|l| l.interaction.as_ref().is_some_and(|i| i.author == author))
            .expect("a line")
    };
    assert_eq!(by("security").interaction.as_ref().expect("some").text, "");
    assert_eq!(
        by("survey").interaction.as_ref().expect("some").text,
        "Da 0 a 10?"
    );
    assert_eq!(by("survey").outbound_status(), OutboundStatus::Delivered);
    app.stop().await;
}

#[tokio::test]
async fn offers_and_acceptances_make_the_journey_and_count_transfers_once() {
    let app = start().await;
    report_a_fault(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    let accepted = |app: &TestApp, agent: &str| OfferAccepted {
        offer_id: OfferId::derived(&[agent.as_bytes()]).to_string(),
        work_item_id: WorkItemId::derived(&[b"item"]).to_string(),
        case_id: case_id.clone(),
        agent_id: agent.to_owned(),
        accepted_at: Some(to_wire(app.clock.now())),
        channel_kind: ChannelKind::Email.into(),
        waited_seconds: 60,
    };
    let made = OfferMade {
        offer_id: OfferId::derived(&[b"bruno"]).to_string(),
        work_item_id: WorkItemId::derived(&[b"item"]).to_string(),
        case_id: case_id.clone(),
        agent_id: "bruno".into(),
        offered_at: Some(to_wire(app.clock.now())),
        expires_at: None,
    };
    app.publish(TENANT, &case_id, &made).await;
    let first = accepted(&app, "bruno");
    app.publish(TENANT, &case_id, &first).await;
    app.advance(std::time::Duration::from_secs(60)).await;
    app.publish(TENANT, &case_id, &accepted(&app, "carla")).await;
    app.settle().await;
    app.publish(TENANT, &case_id, &first).await;
    app.publish(TENANT, &case_id, &made).await;
    app.settle().await;
    let case = case(&app, &case_id).await;
    assert_eq!(case.assigned_agent_id, "carla");
    assert_eq!(case.effort.expect("counted").transfers, 1);
    let steps: Vec<(String, String)> = journey(&app, "anna")
        .await
        .steps
        .into_iter()
        .map(|s| (s.what, s.actor))
        .collect();
    let wanted = [
        ("message", "customer"),
        ("offered", "bruno"),
        ("assigned", "bruno"),
        ("assigned", "carla"),
    ];
    let mut sorted = steps.clone();
    sorted.sort();
    let mut wanted: Vec<(String, String)> = wanted
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect();
    wanted.sort();
    assert_eq!(sorted, wanted);
    app.stop().await;
}

#[tokio::test]
async fn work_that_was_done_by_word_of_mouth_waits_for_the_customer() {
    let app = start().await;
    says(&app, "anna", "call", ChannelKind::Voice, "")
        .heard(&app)
        .await;
    let case_id = only_case(&app, "anna").await.case_id;
    let accepted = OfferAccepted {
        offer_id: OfferId::derived(&[b"o"]).to_string(),
        work_item_id: WorkItemId::derived(&[b"i"]).to_string(),
        case_id: case_id.clone(),
        agent_id: "bruno".into(),
        accepted_at: Some(to_wire(app.clock.now())),
        channel_kind: ChannelKind::Voice.into(),
        waited_seconds: 60,
    };
    app.publish(TENANT, &case_id, &accepted).await;
    app.advance(std::time::Duration::from_secs(60)).await;
    let completed = WorkCompleted {
        work_item_id: accepted.work_item_id.clone(),
        case_id: case_id.clone(),
        agent_id: "bruno".into(),
        handle_seconds: 60,
        completed_at: Some(to_wire(app.clock.now())),
    };
    app.publish(TENANT, &case_id, &completed).await;
    app.settle().await;
    assert_eq!(case(&app, &case_id).await.status(), CaseStatus::Waiting);
    app.stop().await;
}

#[tokio::test]
async fn a_revoked_proof_leaves_open_cases_at_once() {
    let app = start().await;
    report_a_fault(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    let mut proven = context("anna");
    proven.verification = Some(Verification {
        level: 1,
        method: "one_time_code".into(),
        verified_by: "bruno".into(),
        verified_at: Some(to_wire(app.clock.now())),
        expires_at: Some(to_wire(app.clock.now() + chrono::Duration::hours(24))),
    });
    for (customer_now, fields) in [
        (proven, vec!["verification".to_owned()]),
        (
            context("anna"),
            vec!["verification".to_owned(), "verification_revoked".to_owned()],
        ),
    ] {
        let event = CustomerChanged {
            customer: Some(customer_now),
            changed_fields: fields,
            ..CustomerChanged::default()
        };
        app.publish(TENANT, &customer("anna").to_string(), &event).await;
        app.settle().await;
    }
    let (work, _) = last_work(&app, &case_id).await;
    let known = work
        .and_then(|w| w.snapshot)
        .and_then(|s| s.customer)
        .expect("a customer");
    assert_eq!(known.verification, None);
    app.stop().await;
}

#[tokio::test]
async fn a_proof_of_identity_travels_with_every_later_snapshot() {
    let app = start().await;
    report_a_fault(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    let prove = |app: &TestApp| {
        let mut context = context("anna");
        context.verification = Some(Verification {
            level: 1,
            method: "one_time_code".into(),
            verified_by: "bruno".into(),
            verified_at: Some(to_wire(app.clock.now())),
            expires_at: Some(to_wire(app.clock.now() + chrono::Duration::hours(24))),
        });
        CustomerChanged {
            customer: Some(context),
            changed_fields: vec!["verification".into()],
            ..CustomerChanged::default()
        }
    };
    let first = prove(&app);
    for _ in 0..2 {
        app.publish(TENANT, &customer("anna").to_string(), &first).await;
        app.settle().await;
    }
    let (work, count) = last_work(&app, &case_id).await;
    assert_eq!(count, 2);
    let verification = work
        .expect("work")
        .snapshot
        .expect("context")
        .customer
        .expect("who")
        .verification
        .expect("proof");
    assert_eq!(verification.method, "one_time_code");
    assert_eq!(
        case(&app, &case_id)
            .await
            .effort
            .expect("counted")
            .reverifications,
        0
    );
    assert_eq!(
        journey(&app, "anna")
            .await
            .steps
            .iter()
            .filter(|s| s.what == "verified")
            .count(),
        1
    );
    app.clock.advance(std::time::Duration::from_secs(600));
    app.publish(TENANT, &customer("anna").to_string(), &prove(&app))
        .await;
    app.settle().await;
    assert_eq!(
        case(&app, &case_id)
            .await
            .effort
            .expect("counted")
            .reverifications,
        1
    );
    app.stop().await;
}

#[tokio::test]
async fn whoever_takes_a_case_sees_the_proof_of_who_spoke_last_on_it() {
    let app = start().await;
    let mail = says(
        &app,
        "anna",
        "mail",
        ChannelKind::Email,
        "la macchina del caffè perde acqua",
    );
    let code = Verification {
        level: 1,
        method: "one_time_code".into(),
        verified_by: "bruno".into(),
        verified_at: Some(to_wire(app.clock.now())),
        expires_at: Some(to_wire(app.clock.now() + chrono::Duration::hours(24))),
    };
    let mut proven = context("anna");
    proven.verification = Some(code.clone());
    let mut event = mail.event();
    event.customer = Some(proven.clone());
    app.publish(TENANT, &customer("anna").to_string(), &event).await;
    app.settle().await;
    let case_id = only_case(&app, "anna").await.case_id;
    let level = async || {
        let (work, _) = last_work(&app, &case_id).await;
        let known = work.and_then(|w| w.snapshot).and_then(|s| s.customer);
        known.expect("a customer").verification.map_or(0, |v| v.level)
    };
    assert_eq!(level().await, 1);

    // Somebody calls about the same from a number that was only claimed to be hers.
    app.clock.advance(std::time::Duration::from_secs(60));
    let call = says(
        &app,
        "anna",
        "call",
        ChannelKind::Voice,
        "la macchina del caffè perde acqua",
    );
    let mut event = call.event();
    event.in_doubt = true;
    app.publish(TENANT, &customer("anna").to_string(), &event).await;
    app.settle().await;
    assert_eq!(only_case(&app, "anna").await.case_id, case_id);
    assert_eq!(level().await, 0);

    // What proves the customer elsewhere does not prove who calls; what was asked for in the call does.
    for (asked_in, seen) in [("chat", 0), ("call", 1)] {
        let event = CustomerChanged {
            customer: Some(proven.clone()),
            changed_fields: vec!["verification".into()],
            proof: Some(code.clone()),
            interaction_id: interaction_id(asked_in).to_string(),
        };
        app.publish(TENANT, &customer("anna").to_string(), &event).await;
        app.settle().await;
        assert_eq!(level().await, seen, "{asked_in}");
    }
    app.stop().await;
}
