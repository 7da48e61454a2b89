//! What supervisors see and do.

use tonic::Code;
use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{
        AssignWorkRequest, DrainQueueRequest, ExplainWorkRequest, GetHealthRequest, OfferAccepted, Presence,
        RequeueWorkRequest, SetAgentStateRequest, WorkItemState, requeue_work_request::What,
        routing_service_client::RoutingServiceClient, supervisor_service_client::SupervisorServiceClient,
    },
};

use crate::support::*;

#[tokio::test]
async fn work_is_requeued_assigned_and_taken_over() {
    let app = app().await;
    let mut boss = SupervisorServiceClient::new(app.grpc());
    let mut anna = Desk::available(&app, human("anna")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let work = anna.take().await.work_item.expect("the item").work_item_id;
    let since = item(&app, 1).await.waiting_since;
    anna.presence(Presence::Away).await;
    let requeue = RequeueWorkRequest {
        reason: "shift change".into(),
        request_id: "1".into(),
        what: Some(What::AgentId("anna".into())),
        ..RequeueWorkRequest::default()
    };
    for _ in 0..2 {
        let answer = boss
            .requeue_work(app.request(ACME, "boss", requeue.clone()))
            .await;
        assert_eq!(answer.expect("re-queued").into_inner().requeued, 1);
    }
    app.settle().await;
    let waiting = item(&app, 1).await;
    assert_eq!(
        (waiting.state(), waiting.waiting_since),
        (WorkItemState::Pending, since)
    );
    assert_eq!(load(&app, "anna").await, 0);

    upsert(&app, ACME, human("boss")).await;
    let take = AssignWorkRequest {
        work_item_id: work,
        ..AssignWorkRequest::default()
    };
    let answer = boss
        .assign_work(app.request(ACME, "boss", take))
        .await
        .expect("assigned");
    assert_eq!(answer.into_inner().work_item.expect("the item").agent_id, "boss");
    app.settle().await;
    assert_eq!(load(&app, "boss").await, 2);
    assert_eq!(app.events::<OfferAccepted>().await.len(), 2);
    app.stop().await;
}

#[tokio::test]
async fn a_draining_agent_gets_nothing_new_and_is_offline_when_done() {
    let app = app().await;
    let mut boss = SupervisorServiceClient::new(app.grpc());
    let mut anna = Desk::available(&app, human("anna")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let work = anna.take().await.work_item.expect("the item").work_item_id;
    let drain = SetAgentStateRequest {
        agent_id: "anna".into(),
        draining: Some(true),
        ..SetAgentStateRequest::default()
    };
    boss.set_agent_state(app.request(ACME, "boss", drain))
        .await
        .expect("drained");
    app.settle().await;
    request(&app, &asked(&app, 2, 1, ChannelKind::WebChat)).await;
    assert_eq!(item(&app, 2).await.state(), WorkItemState::Pending);
    assert_eq!(agent(&app, "anna").await.presence(), Presence::Available);
    anna.complete(&work).await.expect("done");
    assert_eq!(agent(&app, "anna").await.presence(), Presence::Offline);
    app.stop().await;
}

#[tokio::test]
async fn a_draining_queue_sends_new_work_elsewhere() {
    let app = app().await;
    let mut boss = SupervisorServiceClient::new(app.grpc());
    let drain = |overflow_to: &str| DrainQueueRequest {
        queue: "general".into(),
        draining: true,
        overflow_to: overflow_to.into(),
        request_id: String::new(),
    };
    request(&app, &asked(&app, 1, 1, ChannelKind::Email)).await;
    let bad = boss
        .drain_queue(app.request(ACME, "boss", drain("general")))
        .await;
    assert_eq!(code(bad), Code::InvalidArgument);
    boss.drain_queue(app.request(ACME, "boss", drain("machines")))
        .await
        .expect("drained");
    request(&app, &asked(&app, 2, 1, ChannelKind::Email)).await;
    assert_eq!(item(&app, 1).await.queue, "general");
    assert_eq!(item(&app, 2).await.queue, "machines");
    app.stop().await;
}

#[tokio::test]
async fn waiting_is_explained_and_the_leader_is_well() {
    let app = app().await;
    let _bruno = Desk::available(&app, human("bruno")).await;
    request(
        &app,
        &with_intent(asked(&app, 1, 1, ChannelKind::Email), "product-fault"),
    )
    .await;
    let mut client = RoutingServiceClient::new(app.grpc());
    let explain = ExplainWorkRequest {
        work_item_id: item(&app, 1).await.work_item_id,
    };
    let answer = client
        .explain_work(app.request(ACME, "boss", explain))
        .await
        .expect("explained")
        .into_inner();
    assert!(
        answer.why.iter().any(|w| w.contains("coffee-machines")),
        "{:?}",
        answer.why
    );
    assert!(!answer.what_would_help.is_empty());
    let mut boss = SupervisorServiceClient::new(app.grpc());
    let health = boss
        .get_health(app.request(ACME, "boss", GetHealthRequest {}))
        .await
        .expect("health")
        .into_inner();
    assert!(!health.leader.is_empty() && health.epoch >= 1);
    assert!(health.violations.is_empty(), "{:?}", health.violations);
    app.stop().await;
}
