//! Customers speak.

use trama_proto::{
    case::v1::{CaseOpened, CaseStatus, ListCasesRequest},
    common::v1::{Call, CallState, ChannelKind, InteractionKind},
    time::to_wire,
};

use super::story::*;

#[tokio::test]
async fn a_need_becomes_a_case_and_work() {
    let app = start().await;
    let mut word = says(
        &app,
        "anna",
        "mail",
        ChannelKind::Email,
        "Buongiorno, la macchina del caffè perde acqua, ordine 4711",
    );
    word.interaction.subject = "Macchina che perde".into();
    word.heard(&app).await;

    let case = only_case(&app, "anna").await;
    let understood = case.understanding.clone().expect("understood");
    assert_eq!(case.status(), CaseStatus::Open);
    assert_eq!(case.subject, "Macchina che perde");
    assert_eq!(understood.intent, "product-fault");
    assert_eq!(understood.references, ["order:4711"]);
    assert_eq!(understood.language, "it");
    assert!(understood.urgency >= 0.6 && !understood.intent_evidence.is_empty());
    assert_eq!(case.waiting_since, word.interaction.occurred_at);
    assert_eq!(case.effort.expect("counted").contacts, 1);

    let (work, count) = last_work(&app, &case.case_id).await;
    let work = work.expect("work");
    assert_eq!((work.revision, count), (1, 1));
    assert_eq!(work.channel_kind(), ChannelKind::Email);
    let snapshot = work.snapshot.expect("context");
    assert_eq!(snapshot.timeline.len(), 1);
    assert_eq!(snapshot.customer.expect("who").display_name, "anna");
    assert_eq!(app.events::<CaseOpened>().await.len(), 1);

    let request = ListCasesRequest {
        reference: "order:4711".into(),
        ..ListCasesRequest::default()
    };
    let found = cases(&app)
        .list_cases(app.request(TENANT, "bruno", request))
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(found.cases[0].case_id, case.case_id);
    app.stop().await;
}

#[tokio::test]
async fn one_need_stays_one_case_across_channels_and_keeps_its_place() {
    let app = start().await;
    let first = says(
        &app,
        "anna",
        "mail",
        ChannelKind::Email,
        "la macchina del caffè perde acqua, ordine 4711",
    );
    first.heard(&app).await;
    says(&app, "anna", "voice note", ChannelKind::Whatsapp, "")
        .heard(&app)
        .await;
    says(
        &app,
        "anna",
        "chat",
        ChannelKind::WebChat,
        "ci sono novità sulla macchina che perde?",
    )
    .heard(&app)
    .await;

    let case = only_case(&app, "anna").await;
    let effort = case.effort.expect("counted");
    assert_eq!((effort.contacts, effort.channel_switches), (3, 2));
    assert_eq!(case.channel_kind(), ChannelKind::WebChat);
    let (work, _) = last_work(&app, &case.case_id).await;
    let work = work.expect("work");
    assert_eq!(work.revision, 3);
    assert_eq!(
        work.waiting_since, first.interaction.occurred_at,
        "the place in the queue is kept"
    );
    assert_eq!(work.snapshot.expect("context").timeline.len(), 3);

    says(&app, "anna", "bill", ChannelKind::Email, "la fattura è sbagliata")
        .heard(&app)
        .await;
    assert_eq!(
        cases_of(&app, "anna").await.len(),
        2,
        "another need is another case"
    );
    app.stop().await;
}

#[tokio::test]
async fn second_delivery_changes_nothing() {
    let app = start().await;
    let word = says(
        &app,
        "anna",
        "mail",
        ChannelKind::Email,
        "la macchina del caffè perde acqua",
    );
    let id = app
        .publish(TENANT, &word.context.customer_id, &word.event())
        .await;
    app.settle().await;
    let before = only_case(&app, "anna").await;
    app.deliver_again(id, TENANT, &word.context.customer_id, &word.event())
        .await;
    // The same content in another envelope, as after a replay of the journal.
    app.publish(TENANT, &word.context.customer_id, &word.event())
        .await;
    app.settle().await;
    assert_eq!(only_case(&app, "anna").await, before);
    assert_eq!(timeline(&app, &before.case_id).await.len(), 1);
    assert_eq!(last_work(&app, &before.case_id).await.1, 1);
    app.stop().await;
}

#[tokio::test]
async fn the_events_of_a_call_are_one_line_in_any_order() {
    let app = start().await;
    let ring = |revision: i32, state: CallState| {
        let mut word = says(&app, "bruna", "call", ChannelKind::Voice, "");
        word.interaction.revision = revision;
        word.interaction.kind = InteractionKind::Call.into();
        word.interaction.call = Some(Call {
            state: state.into(),
            duration_seconds: 0,
        });
        word
    };
    ring(2, CallState::InProgress).heard(&app).await;
    ring(1, CallState::Ringing).heard(&app).await;
    ring(3, CallState::Completed).heard(&app).await;
    ring(3, CallState::Completed).heard(&app).await;
    let case = only_case(&app, "bruna").await;
    let lines = timeline(&app, &case.case_id).await;
    assert_eq!(lines.len(), 1);
    let call = lines[0]
        .interaction
        .clone()
        .expect("a call")
        .call
        .expect("a call");
    assert_eq!(call.state(), CallState::Completed);
    assert_eq!(case.effort.expect("counted").contacts, 1);
    assert_eq!(case.understanding.expect("some").intent, "");
    app.stop().await;
}

#[tokio::test]
async fn a_batch_of_many_customers_and_words_is_right() {
    let app = start().await;
    let words: Vec<_> = (0..120)
        .map(|n| {
            let text = [
                "la macchina del caffè perde acqua",
                "ci sono novità?",
                "la fattura è sbagliata",
            ][n / 40];
            says(
                &app,
                &format!("c{}", n % 40),
                &format!("w{n}"),
                ChannelKind::Email,
                text,
            )
        })
        .collect();
    for word in &words {
        app.publish(TENANT, &word.context.customer_id, &word.event())
            .await;
    }
    app.settle().await;
    for n in 0..40 {
        let found = cases_of(&app, &format!("c{n}")).await;
        let intents: std::collections::BTreeSet<String> = found
            .iter()
            .map(|c| c.understanding.clone().expect("some").intent)
            .collect();
        assert_eq!(
            intents.into_iter().collect::<Vec<_>>(),
            ["billing", "product-fault"]
        );
    }
    app.stop().await;
}

#[tokio::test]
async fn a_machine_opens_no_case_and_gets_no_answer() {
    let app = start().await;
    publish_hours(&app).await;
    let mut vacation = says(
        &app,
        "anna",
        "vacation",
        ChannelKind::Email,
        "a che ora aprite? sono in ferie",
    );
    vacation.interaction.automatic = true;
    vacation.heard(&app).await;
    assert!(cases_of(&app, "anna").await.is_empty());
    assert!(
        app.events::<trama_proto::notification::v1::MessageRequested>()
            .await
            .is_empty()
    );
    assert_eq!(
        journey(&app, "anna").await.steps.len(),
        1,
        "it is kept all the same"
    );
    app.stop().await;
}

#[tokio::test]
async fn a_bad_event_sinks_nobody_else() {
    let app = start().await;
    let mut bad = says(&app, "anna", "bad", ChannelKind::Email, "ciao");
    bad.interaction.interaction_id = "no id".into();
    let good = says(
        &app,
        "anna",
        "good",
        ChannelKind::Email,
        "la macchina del caffè perde acqua",
    );
    app.publish(TENANT, &bad.context.customer_id, &bad.event()).await;
    app.publish(TENANT, &good.context.customer_id, &good.event())
        .await;
    app.settle().await;
    only_case(&app, "anna").await;
    assert_eq!(app.count(trama_platform::bus::Stream::DeadLetters).await, 1);
    app.stop().await;
}

#[tokio::test]
async fn a_clock_that_runs_ahead_makes_nobody_wait_from_tomorrow() {
    let app = start().await;
    let mut word = says(&app, "anna", "future", ChannelKind::Sms, "la fattura è sbagliata");
    word.interaction.occurred_at = Some(to_wire(app.clock.now() + chrono::Duration::days(1)));
    word.heard(&app).await;
    let since = only_case(&app, "anna").await.waiting_since.expect("waits");
    assert!(trama_proto::time::from_wire(Some(&since)).expect("valid") <= app.clock.now());
    app.stop().await;
}
