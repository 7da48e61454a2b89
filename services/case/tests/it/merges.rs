//! Customers become one, and two again.

use trama_proto::{
    case::v1::{
        AddNoteRequest, CaseResolved, CaseStatus, ReplyToCaseRequest, ResolveCaseRequest,
        SurveyAnswerReceived, WithdrawReason,
    },
    common::v1::{Call, CallState, ChannelKind, InteractionKind},
    identity_resolution::v1::{CustomerMerged, CustomerSplit},
    ids::{InvitationId, MergeId, MessageId, WorkItemId},
    notification::v1::MessageRequested,
    routing::v1::{OverflowAction, WorkOverflowed},
    survey::v1::SurveyQuestionAsked,
    time::to_wire,
};
use trama_testkit::TestApp;

use super::story::*;

fn merged(app: &TestApp, survivor: &str, gone: &str) -> CustomerMerged {
    CustomerMerged {
        merge_id: MergeId::derived(&[survivor.as_bytes(), gone.as_bytes()]).to_string(),
        survivor: Some(context(survivor)),
        merged_customer_id: customer(gone).to_string(),
        reason: "linked".into(),
        merged_at: Some(to_wire(app.clock.now())),
        ..CustomerMerged::default()
    }
}

async fn story(app: &TestApp) -> (String, String) {
    says(
        app,
        "anna",
        "mail",
        ChannelKind::Email,
        "la macchina del caffè perde acqua, ordine 4711",
    )
    .heard(app)
    .await;
    call(app, "stranger", 1, CallState::Ringing).heard(app).await;
    (
        only_case(app, "anna").await.case_id,
        only_case(app, "stranger").await.case_id,
    )
}

fn call(app: &TestApp, who: &str, revision: i32, state: CallState) -> Word {
    let mut word = says(app, who, "call", ChannelKind::Voice, "");
    word.interaction.revision = revision;
    word.interaction.kind = InteractionKind::Call.into();
    word.interaction.call = Some(Call {
        state: state.into(),
        duration_seconds: 0,
    });
    word
}

#[tokio::test]
async fn a_merge_joins_the_call_with_the_need_and_the_place_is_kept() {
    let app = start().await;
    let (need, calling) = story(&app).await;
    let since = only_case(&app, "anna").await.waiting_since;
    let merge = merged(&app, "anna", "stranger");
    for _ in 0..2 {
        app.publish(TENANT, &customer("anna").to_string(), &merge).await;
        app.settle().await;
    }
    let joined = case(&app, &calling).await;
    assert_eq!(joined.status(), CaseStatus::Merged);
    assert_eq!(joined.related_case_id, need);
    assert_eq!(
        withdrawals(&app, &calling).await[0].reason(),
        WithdrawReason::Merged
    );
    let case = case(&app, &need).await;
    assert_eq!(case.status(), CaseStatus::Open);
    assert_eq!(case.waiting_since, since);
    assert_eq!(
        case.channel_kind(),
        ChannelKind::Email,
        "a call is not offered twice"
    );
    let effort = case.effort.expect("counted");
    assert_eq!((effort.repeats, effort.contacts), (1, 2));
    let work = last_work(&app, &need).await.0.expect("work");
    assert_eq!(work.revision, 2);
    assert_eq!(
        work.snapshot.expect("context").timeline.len(),
        2,
        "the call is part of the story"
    );

    // The rest of the call, told under either name, updates the same line.
    call(&app, "anna", 2, CallState::Completed).heard(&app).await;
    call(&app, "stranger", 3, CallState::Completed).heard(&app).await;
    assert_eq!(timeline(&app, &need).await.len(), 2);
    // A straggler under the old name belongs to who remains.
    says(&app, "stranger", "note", ChannelKind::Whatsapp, "")
        .heard(&app)
        .await;
    assert_eq!(timeline(&app, &need).await.len(), 3);
    assert_eq!(
        cases_of(&app, "stranger").await.len(),
        2,
        "both names lead to the same cases"
    );
    app.stop().await;
}

#[tokio::test]
async fn a_merge_before_the_words_arrive_ends_the_same() {
    let app = start().await;
    app.publish(
        TENANT,
        &customer("anna").to_string(),
        &merged(&app, "anna", "stranger"),
    )
    .await;
    app.settle().await;
    says(
        &app,
        "anna",
        "mail",
        ChannelKind::Email,
        "la macchina del caffè perde acqua, ordine 4711",
    )
    .heard(&app)
    .await;
    call(&app, "stranger", 1, CallState::Ringing).heard(&app).await;
    let case = only_case(&app, "anna").await;
    assert_eq!(timeline(&app, &case.case_id).await.len(), 2);
    app.stop().await;
}

#[tokio::test]
async fn different_needs_stay_different_cases() {
    let app = start().await;
    report_a_fault(&app).await;
    says(
        &app,
        "other",
        "bill",
        ChannelKind::Email,
        "la fattura è sbagliata",
    )
    .heard(&app)
    .await;
    app.publish(
        TENANT,
        &customer("anna").to_string(),
        &merged(&app, "anna", "other"),
    )
    .await;
    app.settle().await;
    let cases = cases_of(&app, "anna").await;
    assert_eq!(cases.len(), 2);
    assert!(
        cases
            .iter()
            .all(|c| c.status() == CaseStatus::Open && c.customer_id == customer("anna").to_string())
    );
    app.stop().await;
}

#[tokio::test]
async fn an_undone_merge_gives_everything_back() {
    let app = start().await;
    let (need, calling) = story(&app).await;
    let merge = merged(&app, "anna", "stranger");
    app.publish(TENANT, &customer("anna").to_string(), &merge).await;
    app.settle().await;
    says(&app, "anna", "note of stranger", ChannelKind::Whatsapp, "")
        .heard(&app)
        .await;
    assert_eq!(timeline(&app, &need).await.len(), 3);

    let split = CustomerSplit {
        merge_id: merge.merge_id.clone(),
        survivor: Some(context("anna")),
        restored: Some(context("stranger")),
        restored_interaction_ids: vec![
            interaction_id("call").to_string(),
            interaction_id("note of stranger").to_string(),
        ],
        split_at: Some(to_wire(app.clock.now())),
        merged_at: merge.merged_at,
    };
    for _ in 0..2 {
        app.publish(TENANT, &customer("anna").to_string(), &split).await;
        app.settle().await;
    }
    let theirs = case(&app, &calling).await;
    assert_eq!(theirs.status(), CaseStatus::Open);
    assert_eq!(theirs.customer_id, customer("stranger").to_string());
    assert_eq!(timeline(&app, &calling).await.len(), 2);
    assert_eq!(timeline(&app, &need).await.len(), 1);
    assert_eq!(only_case(&app, "anna").await.effort.expect("counted").repeats, 0);
    let work = last_work(&app, &calling).await.0.expect("work again");
    assert!(work.revision > withdrawals(&app, &calling).await[0].revision);

    // A late repeat of the merge does not come true again.
    app.publish(TENANT, &customer("anna").to_string(), &merge).await;
    app.settle().await;
    assert_eq!(case(&app, &calling).await.status(), CaseStatus::Open);
    says(&app, "stranger", "later", ChannelKind::Whatsapp, "")
        .heard(&app)
        .await;
    assert_eq!(timeline(&app, &calling).await.len(), 3);
    app.stop().await;
}

/// A case on which only the stranger spoke, recognised at once as Anna.
async fn only_words_of_stranger(app: &TestApp) -> String {
    says(
        app,
        "anna",
        "note of stranger",
        ChannelKind::Whatsapp,
        "la fattura è sbagliata",
    )
    .heard(app)
    .await;
    only_case(app, "anna").await.case_id
}

fn note_of_stranger(app: &TestApp) -> CustomerSplit {
    CustomerSplit {
        merge_id: MergeId::derived(&[b"nobody heard of it"]).to_string(),
        survivor: Some(context("anna")),
        restored: Some(context("stranger")),
        restored_interaction_ids: vec![interaction_id("note of stranger").to_string()],
        split_at: Some(to_wire(app.clock.now())),
        merged_at: None,
    }
}

#[tokio::test]
async fn a_split_of_a_merge_that_nobody_was_told_of_gives_back_what_was_said() {
    let app = start().await;
    let (need, _) = story(&app).await;
    // The stranger was recognised at once: their first word came under Anna's name.
    says(
        &app,
        "anna",
        "note of stranger",
        ChannelKind::Whatsapp,
        "la macchina del caffè perde acqua",
    )
    .heard(&app)
    .await;
    assert_eq!(timeline(&app, &need).await.len(), 2);
    let split = note_of_stranger(&app);
    for _ in 0..2 {
        app.publish(TENANT, &customer("anna").to_string(), &split).await;
        app.settle().await;
    }
    assert_eq!(timeline(&app, &need).await.len(), 1, "Anna's own word stays hers");
    // Routing knows cases, not customers: it is told of both anew.
    let hers = last_work(&app, &need)
        .await
        .0
        .expect("work")
        .snapshot
        .expect("context");
    assert_eq!(hers.timeline.len(), 1);
    assert_eq!(
        hers.customer.expect("known").customer_id,
        customer("anna").to_string()
    );
    let theirs = cases_of(&app, "stranger").await;
    let mut told = Vec::new();
    for case in &theirs {
        let work = last_work(&app, &case.case_id).await.0.expect("work");
        let known = work.snapshot.and_then(|s| s.customer).expect("known");
        assert_eq!(known.customer_id, customer("stranger").to_string());
        assert_eq!(case.customer_id, customer("stranger").to_string());
        told.extend(timeline(&app, &case.case_id).await);
    }
    let ids: Vec<String> = told
        .into_iter()
        .filter_map(|line| Some(line.interaction?.interaction_id))
        .collect();
    assert!(ids.contains(&interaction_id("note of stranger").to_string()));
    says(&app, "stranger", "later", ChannelKind::Whatsapp, "")
        .heard(&app)
        .await;
    assert_eq!(timeline(&app, &need).await.len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn news_after_a_split_does_not_follow_a_word_that_went_away() {
    let app = start().await;
    let (need, _) = story(&app).await;
    let words = "la macchina del caffè perde acqua";
    says(&app, "anna", "note of stranger", ChannelKind::Whatsapp, words)
        .heard(&app)
        .await;
    app.publish(TENANT, &customer("anna").to_string(), &note_of_stranger(&app))
        .await;
    app.settle().await;
    let event = WorkOverflowed {
        work_item_id: WorkItemId::derived(&[b"item"]).to_string(),
        case_id: need.clone(),
        action: OverflowAction::Defer.into(),
        message_template: "we-answer-later".into(),
        at: Some(to_wire(app.clock.now())),
        ..WorkOverflowed::default()
    };
    app.publish(TENANT, &need, &event).await;
    let news = app
        .wait_for("the news", |m: &MessageRequested| m.template == "we-answer-later")
        .await;
    assert_eq!(
        (news.customer_id, news.interaction_id),
        (customer("anna").to_string(), String::new())
    );
    app.stop().await;
}

#[tokio::test]
async fn what_agents_noted_and_wrote_goes_with_the_only_words_on_a_case() {
    let app = start().await;
    let only = only_words_of_stranger(&app).await;
    let note = AddNoteRequest {
        case_id: only.clone(),
        text: "wants it corrected by Friday".into(),
        ..AddNoteRequest::default()
    };
    cases(&app)
        .add_note(app.request(TENANT, "carla", note))
        .await
        .expect("noted");
    app.publish(TENANT, &customer("anna").to_string(), &note_of_stranger(&app))
        .await;
    app.settle().await;
    assert_eq!(
        case(&app, &only).await.customer_id,
        customer("stranger").to_string(),
        "nobody else said anything on it"
    );
    assert_eq!(timeline(&app, &only).await.len(), 2);
    assert_eq!(cases_of(&app, "anna").await.len(), 0);
    app.stop().await;
}

#[tokio::test]
async fn an_answer_and_the_end_of_a_case_say_which_word_of_the_customer_they_follow() {
    let app = start().await;
    report_a_fault(&app).await;
    says(&app, "anna", "again", ChannelKind::Whatsapp, "perde ancora acqua")
        .heard(&app)
        .await;
    let case_id = only_case(&app, "anna").await.case_id;
    let reply = ReplyToCaseRequest {
        case_id: case_id.clone(),
        text: "Arriviamo domani.".into(),
        request_id: "reply".into(),
        ..ReplyToCaseRequest::default()
    };
    cases(&app)
        .reply_to_case(app.request(TENANT, "carla", reply))
        .await
        .expect("answered");
    let resolve = ResolveCaseRequest {
        case_id: case_id.clone(),
        request_id: "resolve".into(),
        ..ResolveCaseRequest::default()
    };
    cases(&app)
        .resolve_case(app.request(TENANT, "carla", resolve))
        .await
        .expect("resolved");
    let last = interaction_id("again").to_string();
    let asked = app
        .wait_for("the answer", |e: &MessageRequested| {
            e.case_id == case_id && e.author == "carla"
        })
        .await;
    assert_eq!(asked.interaction_id, last);
    let resolved = app.wait_for("the end", |_: &CaseResolved| true).await;
    assert_eq!(resolved.interaction_id, last);
    app.stop().await;
}

#[tokio::test]
async fn an_open_survey_question_goes_with_the_case_that_is_given_back() {
    let app = start().await;
    let given = only_words_of_stranger(&app).await;
    let question = SurveyQuestionAsked {
        invitation_id: InvitationId::derived(&[b"i"]).to_string(),
        question_id: "nps".into(),
        customer_id: customer("anna").to_string(),
        case_id: given.clone(),
        min_score: 0,
        max_score: 10,
        closes_at: Some(to_wire(app.clock.now() + chrono::TimeDelta::hours(2))),
        message_id: MessageId::derived(&[b"q"]).to_string(),
        ..SurveyQuestionAsked::default()
    };
    app.publish(TENANT, &customer("anna").to_string(), &question)
        .await;
    app.settle().await;
    app.publish(TENANT, &customer("anna").to_string(), &note_of_stranger(&app))
        .await;
    app.settle().await;
    assert_eq!(
        case(&app, &given).await.customer_id,
        customer("stranger").to_string()
    );
    says(&app, "anna", "a number", ChannelKind::Whatsapp, "9")
        .heard(&app)
        .await;
    assert_eq!(
        app.events::<SurveyAnswerReceived>().await.len(),
        0,
        "she was not asked"
    );
    says(&app, "stranger", "their number", ChannelKind::Whatsapp, "9")
        .heard(&app)
        .await;
    assert_eq!(app.events::<SurveyAnswerReceived>().await.len(), 1);
    app.stop().await;
}
