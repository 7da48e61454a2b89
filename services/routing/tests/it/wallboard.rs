//! What supervisors see live.

use std::time::Duration;

use tonic::{Code, Streaming};
use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{
        Agent, DrainQueueRequest, Presence, QueueNow, WatchWallboardRequest, WatchWallboardResponse,
        supervisor_service_client::SupervisorServiceClient,
    },
};
use trama_testkit::TestApp;

use crate::support::*;

async fn watch(
    app: &TestApp,
    tenant: &str,
    request: WatchWallboardRequest,
) -> Streaming<WatchWallboardResponse> {
    let mut boss = SupervisorServiceClient::new(app.grpc());
    let answer = boss.watch_wallboard(app.request(tenant, "boss", request)).await;
    answer.expect("a wallboard").into_inner()
}

async fn next(board: &mut Streaming<WatchWallboardResponse>) -> WatchWallboardResponse {
    tokio::time::timeout(Duration::from_secs(10), board.message())
        .await
        .expect("something within 10 s")
        .expect("no error")
        .expect("an open board")
}

/// The queue as soon as it is like this.
async fn until(
    board: &mut Streaming<WatchWallboardResponse>,
    name: &str,
    fits: impl Fn(&QueueNow) -> bool,
) -> QueueNow {
    loop {
        let news = next(board).await;
        if let Some(queue) = news.queues.into_iter().find(|q| q.queue == name && fits(q)) {
            return queue;
        }
    }
}

#[tokio::test]
async fn supervisors_see_everything_at_once_and_then_what_changes() {
    let app = app().await;
    let sara = Agent {
        skills: [("coffee-machines".to_owned(), 5)].into(),
        teams: vec!["repairs".into()],
        ..human("sara")
    };
    let mut sara = Desk::available(&app, sara).await;
    upsert(&app, ACME, human("luca")).await;
    let mut board = watch(&app, ACME, WatchWallboardRequest::default()).await;
    let first = next(&mut board).await;
    let names: Vec<&str> = first.queues.iter().map(|q| q.queue.as_str()).collect();
    assert_eq!(names, ["general", "machines"]);
    assert_eq!(first.agents.len(), 2);
    let machines = &first.queues[1];
    assert_eq!(
        (
            machines.agents_free,
            machines.agents_online,
            machines.open,
            machines.waiting
        ),
        (1, 1, true, 0)
    );

    let fault = with_intent(asked(&app, 1, 1, ChannelKind::WebChat), "product-fault");
    request(&app, &fault).await;
    sara.take().await;
    let busy = until(&mut board, "machines", |q| q.assigned == 1).await;
    assert_eq!((busy.waiting, busy.offered, busy.figures[0].answered), (0, 0, 1));

    // A second supervisor sees the same, cut to what they asked for.
    let narrow = WatchWallboardRequest {
        queues: vec!["general".into()],
        teams: vec!["repairs".into()],
    };
    let mut other = watch(&app, ACME, narrow).await;
    let shown = next(&mut other).await;
    assert_eq!((shown.queues.len(), shown.agents.len()), (1, 1));
    assert_eq!(shown.agents[0].used_units, 2);

    sara.presence(Presence::Away).await;
    request(&app, &asked(&app, 2, 1, ChannelKind::Email)).await;
    let waits = until(&mut board, "general", |q| q.waiting == 1).await;
    assert_eq!((waits.agents_free, waits.agents_online), (0, 1));

    let mut elsewhere = watch(&app, "globex", WatchWallboardRequest::default()).await;
    let theirs = next(&mut elsewhere).await;
    assert_eq!((theirs.queues.len(), theirs.agents.len()), (0, 0));
    app.stop().await;
}

#[tokio::test]
async fn names_that_cannot_be_are_refused() {
    let app = app().await;
    let mut boss = SupervisorServiceClient::new(app.grpc());
    let odd = WatchWallboardRequest {
        queues: vec![String::new()],
        teams: Vec::new(),
    };
    let refused = boss.watch_wallboard(app.request(ACME, "boss", odd)).await;
    assert_eq!(refused.expect_err("refused").code(), Code::InvalidArgument);
    app.stop().await;
}

#[tokio::test]
async fn a_queue_that_drains_is_shown_with_what_it_still_holds() {
    let app = app().await;
    for n in 1..=2 {
        request(&app, &asked(&app, n, 1, ChannelKind::Email)).await;
    }
    let mut boss = SupervisorServiceClient::new(app.grpc());
    let drain = DrainQueueRequest {
        queue: "general".into(),
        draining: true,
        overflow_to: "machines".into(),
        request_id: "1".into(),
    };
    for _ in 0..2 {
        let answer = boss.drain_queue(app.request(ACME, "boss", drain.clone())).await;
        let queue = answer.expect("drained").into_inner().queue.expect("the queue");
        assert_eq!(
            (queue.waiting, queue.draining, queue.overflow_to.as_str()),
            (2, true, "machines")
        );
    }
    app.stop().await;
}
