//! Agents read, reply, note and resolve.

use tonic::Code;
use trama_proto::{
    case::v1::{
        AddNoteRequest, CaseResolved, CaseStatus, GetCaseRequest, GetSnapshotRequest, ListCasesRequest,
        ListTimelineRequest, ReplyToCaseRequest, ResolveCaseRequest, WithdrawReason,
    },
    common::v1::ChannelKind,
    notification::v1::MessageRequested,
};

use super::story::*;

fn reply(case_id: &str, text: &str, request_id: &str) -> ReplyToCaseRequest {
    ReplyToCaseRequest {
        case_id: case_id.to_owned(),
        text: text.to_owned(),
        request_id: request_id.to_owned(),
        ..ReplyToCaseRequest::default()
    }
}

#[tokio::test]
async fn a_reply_leaves_once_and_the_case_waits_for_the_customer() {
    let app = start().await;
    let fault = article(
        "leak",
        "Perde acqua",
        "Chiuda il rubinetto e sostituisca la guarnizione.",
        &[],
        &["product-fault"],
    );
    publish(&app, fault).await;
    let mut word = says(
        &app,
        "anna",
        "mail",
        ChannelKind::Email,
        "la macchina del caffè perde acqua",
    );
    word.interaction.subject = "Aiuto".into();
    word.heard(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    let suggested = snapshot(&app, &case_id)
        .await
        .suggested_article
        .expect("an article for the fault");
    assert_eq!(suggested.article_version, "leak@1");

    let request = ReplyToCaseRequest {
        article_version: suggested.article_version,
        ..reply(&case_id, "Chiuda il rubinetto.", "r1")
    };
    let mut client = cases(&app);
    let first = client
        .reply_to_case(app.request(TENANT, "carla", request.clone()))
        .await
        .expect("replied")
        .into_inner();
    let again = client
        .reply_to_case(app.request(TENANT, "carla", request))
        .await
        .expect("replayed")
        .into_inner();
    assert_eq!(first, again);
    app.settle().await;
    let sent = app.events::<MessageRequested>().await;
    assert_eq!(sent.len(), 1);
    let message = &sent[0].event;
    assert_eq!(
        (message.need.as_str(), message.author.as_str()),
        ("product-fault", "carla")
    );
    assert_eq!(
        (message.in_reply_to.as_str(), message.subject.as_str()),
        ("provider-mail", "Aiuto")
    );
    assert_eq!(
        (message.fallback, message.channel_kind()),
        (ChannelKind::Email as i32, ChannelKind::Unspecified)
    );
    assert!(message.greet);
    let case = case(&app, &case_id).await;
    assert_eq!(case.status(), CaseStatus::Waiting);
    assert_eq!(case.effort.expect("counted").waited_seconds, 60);

    let second = client
        .reply_to_case(app.request(TENANT, "carla", reply(&case_id, "Tutto bene?", "r2")))
        .await;
    second.expect("replied");
    app.settle().await;
    assert!(
        !app.events::<MessageRequested>().await[1].event.greet,
        "greeted once"
    );

    let back = says(&app, "anna", "back", ChannelKind::Whatsapp, "perde ancora");
    back.heard(&app).await;
    let work = last_work(&app, &case_id).await.0.expect("work again");
    assert_eq!(work.preferred_agent_id, "carla");
    assert_eq!(work.waiting_since, back.interaction.occurred_at);
    app.stop().await;
}

#[tokio::test]
async fn a_case_is_resolved_once() {
    let app = start().await;
    report_a_fault(&app).await;
    let open = only_case(&app, "anna").await;
    let mut client = cases(&app);
    let stale = ResolveCaseRequest {
        case_id: open.case_id.clone(),
        etag: "99".into(),
        request_id: "r0".into(),
    };
    let refused = client
        .resolve_case(app.request(TENANT, "carla", stale))
        .await
        .expect_err("stale");
    assert_eq!(refused.code(), Code::Aborted);
    let request = ResolveCaseRequest {
        case_id: open.case_id.clone(),
        etag: open.etag,
        request_id: "r1".into(),
    };
    let first = client
        .resolve_case(app.request(TENANT, "carla", request.clone()))
        .await
        .expect("resolved")
        .into_inner();
    let again = client
        .resolve_case(app.request(TENANT, "carla", request))
        .await
        .expect("replayed")
        .into_inner();
    assert_eq!(first, again);
    let other = ResolveCaseRequest {
        case_id: open.case_id.clone(),
        etag: String::new(),
        request_id: "r2".into(),
    };
    let refused = client
        .resolve_case(app.request(TENANT, "carla", other))
        .await
        .expect_err("resolved before");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    app.settle().await;
    let resolved = app.events::<CaseResolved>().await;
    assert_eq!(resolved.len(), 1);
    assert_eq!(resolved[0].event.resolved_by, "carla");
    assert_eq!(
        resolved[0].event.customer.as_ref().expect("who").display_name,
        "anna"
    );
    let withdrawn = withdrawals(&app, &open.case_id).await;
    assert_eq!(
        (withdrawn.len(), withdrawn[0].reason(), withdrawn[0].revision),
        (1, WithdrawReason::Resolved, 2)
    );
    let late = client
        .reply_to_case(app.request(TENANT, "carla", reply(&open.case_id, "ciao", "")))
        .await;
    assert_eq!(late.expect_err("at its end").code(), Code::FailedPrecondition);

    says(&app, "anna", "thanks", ChannelKind::Email, "Grazie mille!")
        .heard(&app)
        .await;
    assert_eq!(cases_of(&app, "anna").await.len(), 1, "thanks open nothing");
    says(
        &app,
        "anna",
        "new",
        ChannelKind::Email,
        "la macchina perde di nuovo",
    )
    .heard(&app)
    .await;
    assert_eq!(cases_of(&app, "anna").await.len(), 2);
    app.stop().await;
}

#[tokio::test]
async fn notes_are_for_agents_and_lists_come_in_pages() {
    let app = start().await;
    for n in 0..3 {
        says(
            &app,
            "anna",
            &format!("m{n}"),
            ChannelKind::Email,
            "la macchina del caffè perde acqua",
        )
        .heard(&app)
        .await;
    }
    let case_id = only_case(&app, "anna").await.case_id;
    let note = AddNoteRequest {
        case_id: case_id.clone(),
        text: "richiamare domani".into(),
        request_id: "n".into(),
    };
    cases(&app)
        .add_note(app.request(TENANT, "carla", note))
        .await
        .expect("noted");
    assert!(app.events::<MessageRequested>().await.is_empty());
    let mut token = String::new();
    let mut seen = Vec::new();
    loop {
        let request = ListTimelineRequest {
            case_id: case_id.clone(),
            page_size: 3,
            page_token: token,
        };
        let page = cases(&app)
            .list_timeline(app.request(TENANT, "carla", request))
            .await
            .expect("listed")
            .into_inner();
        seen.extend(page.entries);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[3].interaction.as_ref().expect("the note").author, "carla");
    app.stop().await;
}

#[tokio::test]
async fn a_tenant_sees_and_touches_only_its_own() {
    let app = start().await;
    says(
        &app,
        "anna",
        "mail",
        ChannelKind::Email,
        "la macchina del caffè perde acqua, ordine 4711",
    )
    .heard(&app)
    .await;
    publish_hours(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    let mut client = cases(&app);
    let get = client
        .get_case(app.request(
            "other",
            "eve",
            GetCaseRequest {
                case_id: case_id.clone(),
            },
        ))
        .await;
    assert_eq!(get.expect_err("hidden").code(), Code::NotFound);
    let peek = client
        .get_snapshot(app.request(
            "other",
            "eve",
            GetSnapshotRequest {
                case_id: case_id.clone(),
            },
        ))
        .await;
    assert_eq!(peek.expect_err("hidden").code(), Code::NotFound);
    let write = client
        .reply_to_case(app.request("other", "eve", reply(&case_id, "ciao", "")))
        .await;
    assert_eq!(write.expect_err("hidden").code(), Code::NotFound);
    let resolve = ResolveCaseRequest {
        case_id,
        ..ResolveCaseRequest::default()
    };
    assert_eq!(
        client
            .resolve_case(app.request("other", "eve", resolve))
            .await
            .expect_err("hidden")
            .code(),
        Code::NotFound
    );
    let list = ListCasesRequest {
        reference: "order:4711".into(),
        ..ListCasesRequest::default()
    };
    assert!(
        client
            .list_cases(app.request("other", "eve", list))
            .await
            .expect("empty")
            .into_inner()
            .cases
            .is_empty()
    );
    let search = trama_proto::case::v1::SearchArticlesRequest {
        query: "orari".into(),
        ..Default::default()
    };
    let found = knowledge(&app)
        .search_articles(app.request("other", "eve", search))
        .await
        .expect("empty");
    assert!(found.into_inner().articles.is_empty());

    // The same customer id of another tenant is another customer.
    let word = says(
        &app,
        "anna",
        "mail2",
        ChannelKind::Email,
        "la fattura è sbagliata",
    );
    app.publish("other", &word.context.customer_id, &word.event())
        .await;
    app.settle().await;
    assert_eq!(cases_of(&app, "anna").await.len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn bad_input_is_named() {
    let app = start().await;
    let mut client = cases(&app);
    let bad = client
        .get_case(app.request(TENANT, "carla", GetCaseRequest { case_id: "x".into() }))
        .await;
    let bad = bad.expect_err("no id");
    assert_eq!(bad.code(), Code::InvalidArgument);
    assert!(bad.message().contains("case_id"));
    report_a_fault(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    let version = |v: &str| ReplyToCaseRequest {
        article_version: v.into(),
        ..reply(&case_id, "ciao", "")
    };
    for request in [
        reply(&case_id, "  ", ""),
        version("no-number"),
        version("no-such@7"),
        ReplyToCaseRequest {
            channel_kind: 99,
            ..reply(&case_id, "a", "")
        },
    ] {
        let refused = client
            .reply_to_case(app.request(TENANT, "carla", request))
            .await
            .expect_err("bad");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    let list = ListCasesRequest {
        page_token: "junk".into(),
        ..ListCasesRequest::default()
    };
    assert_eq!(
        client
            .list_cases(app.request(TENANT, "carla", list))
            .await
            .expect_err("bad")
            .code(),
        Code::InvalidArgument
    );
    assert_eq!(
        only_case(&app, "anna").await.status(),
        CaseStatus::Open,
        "nothing happened"
    );
    app.stop().await;
}

#[tokio::test]
async fn a_request_id_belongs_to_who_used_it() {
    let app = start().await;
    report_a_fault(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    for who in ["carla", "bruno", "carla"] {
        let note = AddNoteRequest {
            case_id: case_id.clone(),
            text: format!("{who} was here"),
            request_id: "1".into(),
        };
        cases(&app)
            .add_note(app.request(TENANT, who, note))
            .await
            .expect("noted");
    }
    assert_eq!(timeline(&app, &case_id).await.len(), 3, "the mail and two notes");
    app.stop().await;
}
