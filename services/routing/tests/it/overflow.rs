//! Overflow before and while work waits, callbacks, and other policies.

use std::time::Duration;

use tonic::{Code, Status};
use trama_proto::{
    common::v1::{ChannelKind, ChannelPreference},
    resources::Document,
    routing::v1::{
        Agent, OverflowAction, RequestCallbackRequest, WorkItem, WorkItemState, WorkOverflowed,
        routing_service_client::RoutingServiceClient,
    },
    time::to_wire,
};
use trama_testkit::TestApp;

use crate::support::*;

/// A tenant whose queue `care` overflows like this; `spec` is what else is said about the queue.
fn overflowing(spec: &str, overflow: &str) -> String {
    format!(
        "
apiVersion: trama.dev/v1alpha1
kind: Queue
metadata: {{ name: care, namespace: acme }}
spec:
  serviceLevel: {{ targetSeconds: 300, goal: 0.8 }}
  {spec}
  overflow: [{overflow}]
---
apiVersion: trama.dev/v1alpha1
kind: Queue
metadata: {{ name: general, namespace: acme }}
spec:
  serviceLevel: {{ targetSeconds: 600, goal: 0.8 }}
  overflow: [{{ when: waitedSeconds > 60, action: queue, queue: care }}]
---
apiVersion: trama.dev/v1alpha1
kind: MessageTemplate
metadata: {{ name: closed, namespace: acme }}
spec: {{ text: {{ en: We are closed. }} }}
---
apiVersion: trama.dev/v1alpha1
kind: BusinessHours
metadata: {{ name: never, namespace: acme }}
spec: {{ timeZone: UTC, weekly: {{ wednesday: ['09:00-10:00'] }} }}
---
apiVersion: trama.dev/v1alpha1
kind: RoutingPolicy
metadata: {{ name: main, namespace: acme }}
spec: {{ rules: [], defaultQueue: care }}
"
    )
}

async fn overflows(app: &TestApp) -> Vec<WorkOverflowed> {
    let events = app.events::<WorkOverflowed>().await;
    events.into_iter().map(|e| e.event).collect()
}

async fn call_back(app: &TestApp, case_number: u128, at: Option<Duration>) -> Result<WorkItem, Status> {
    let request = RequestCallbackRequest {
        case_id: case(case_number).to_string(),
        at: at.map(|from_now| to_wire(app.clock.now() + from_now)),
        request_id: String::new(),
    };
    let mut client = RoutingServiceClient::new(app.grpc());
    let answer = client.request_callback(app.request(ACME, "ivr", request)).await?;
    app.settle().await;
    Ok(answer.into_inner().work_item.expect("the item"))
}

async fn left(
    app: &TestApp,
    case_number: u128,
    revision: i64,
    before: &trama_proto::case::v1::WorkRequested,
) {
    let mut event = before.clone();
    event.case_id = case(case_number).to_string();
    event.revision = revision;
    event.customer_left = true;
    request(app, &event).await;
}

#[tokio::test]
async fn a_full_queue_sends_new_work_to_another_with_its_clock() {
    let app = app_with(&overflowing(
        "maxLength: 1",
        "{ when: full, asked: beforeWaiting, action: queue, queue: general }",
    ))
    .await;
    request(&app, &asked(&app, 1, 1, ChannelKind::Email)).await;
    let second = asked(&app, 2, 1, ChannelKind::Email);
    request(&app, &second).await;
    assert_eq!(item(&app, 1).await.queue, "care");
    let moved = item(&app, 2).await;
    assert_eq!(
        (moved.queue.as_str(), moved.waiting_since),
        ("general", second.waiting_since)
    );
    let told = overflows(&app).await;
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].action(), told[0].queue.as_str(), &told[0].work_item_id),
        (OverflowAction::Queue, "general", &moved.work_item_id)
    );
    assert!(told[0].reason.contains("full"), "{}", told[0].reason);

    // What the case says later does not send it back; nor does the overflow of the other queue.
    request(&app, &asked(&app, 2, 2, ChannelKind::Email)).await;
    app.advance(Duration::from_secs(90)).await;
    assert_eq!(item(&app, 2).await.queue, "general");
    assert_eq!(overflows(&app).await.len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn who_waits_too_long_moves_on_and_whoever_is_there_takes_it() {
    let resources = overflowing(
        "skills: [rare]",
        "{ when: waitedSeconds > 60, asked: whileWaiting, action: queue, queue: general }",
    );
    // Queues that overflow into each other would keep it.
    let app = app_with(&resources.replace("waitedSeconds > 60, action", "length > 99, action")).await;
    let mut anna = Desk::available(&app, human("anna")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    app.advance(Duration::from_secs(45)).await;
    assert_eq!(item(&app, 1).await.queue, "care");
    app.advance(Duration::from_secs(30)).await;
    let offer = anna.take().await;
    assert_eq!(offer.work_item.expect("the item").queue, "general");
    app.stop().await;
}

#[tokio::test]
async fn customers_of_a_closed_queue_are_told_once_and_keep_their_place() {
    let app = app_with(&overflowing(
        "hours: never",
        "{ when: '!open', action: close, template: closed }",
    ))
    .await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    request(&app, &asked(&app, 1, 2, ChannelKind::WebChat)).await;
    app.advance(Duration::from_secs(120)).await;
    let told = overflows(&app).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (told[0].action(), told[0].message_template.as_str()),
        (OverflowAction::Closed, "closed")
    );
    let opens: chrono::DateTime<chrono::Utc> = "2026-06-03T09:00:00Z".parse().expect("a moment");
    assert_eq!(told[0].expected_at, Some(to_wire(opens)));
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Pending);
    app.stop().await;
}

#[tokio::test]
async fn a_live_customer_is_deferred_to_the_written_channel_of_their_choice() {
    let app = app_with(&overflowing(
        "skills: [rare]",
        "{ when: waitedSeconds > 30, action: defer }",
    ))
    .await;
    let mut event = asked(&app, 1, 1, ChannelKind::WebChat);
    let customer = event
        .snapshot
        .as_mut()
        .and_then(|s| s.customer.as_mut())
        .expect("a customer");
    customer.preferences = vec![
        ChannelPreference {
            need: "*".into(),
            channel_kind: ChannelKind::Voice.into(),
        },
        ChannelPreference {
            need: "*".into(),
            channel_kind: ChannelKind::Whatsapp.into(),
        },
    ];
    request(&app, &event).await;
    request(&app, &asked(&app, 2, 1, ChannelKind::WebChat)).await;
    app.advance(Duration::from_secs(60)).await;
    assert_eq!(item(&app, 1).await.channel_kind(), ChannelKind::Whatsapp);
    // Who prefers nothing waits.
    assert_eq!(item(&app, 2).await.channel_kind(), ChannelKind::WebChat);
    assert_eq!(overflows(&app).await[0].action(), OverflowAction::Defer);
    // The case still knows the channel they came by; another one ends it.
    event.revision = 2;
    request(&app, &event).await;
    assert_eq!(item(&app, 1).await.channel_kind(), ChannelKind::Whatsapp);
    event.revision = 3;
    event.channel_kind = ChannelKind::Email.into();
    request(&app, &event).await;
    assert_eq!(item(&app, 1).await.channel_kind(), ChannelKind::Email);
    app.stop().await;
}

#[tokio::test]
async fn who_leaves_a_message_may_hang_up() {
    let app = app_with(&overflowing(
        "skills: [rare]",
        "{ when: waitedSeconds > 30, action: voicemail }",
    ))
    .await;
    let call = asked(&app, 1, 1, ChannelKind::Voice);
    request(&app, &call).await;
    app.advance(Duration::from_secs(45)).await;
    assert_eq!(overflows(&app).await[0].action(), OverflowAction::Voicemail);
    left(&app, 1, 2, &call).await;
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Pending);
    app.stop().await;
}

#[tokio::test]
async fn a_predicted_wait_needs_ten_answers() {
    let app = app_with(&overflowing(
        "",
        "{ when: predictedWaitSeconds > 0 && channel == 'voice', asked: beforeWaiting, action: callback }",
    ))
    .await;
    let mut anna = Desk::available(&app, human("anna")).await;
    for n in 1..=10 {
        request(&app, &asked(&app, n, 1, ChannelKind::Voice)).await;
        assert_eq!(overflows(&app).await.len(), 0, "after {n} calls");
        let work = anna.take().await.work_item.expect("the item").work_item_id;
        anna.complete(&work).await.expect("done");
        anna.gone().await;
    }
    request(&app, &asked(&app, 11, 1, ChannelKind::Voice)).await;
    let told = overflows(&app).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].action(), OverflowAction::Callback);
    let expected = told[0].expected_at.as_ref().expect("a moment").seconds;
    assert!(expected > app.clock.now().timestamp());
    app.stop().await;
}

#[tokio::test]
async fn whoever_hangs_up_where_callbacks_are_offered_keeps_their_place() {
    let app = app_with(&overflowing("callback: { offer: true }", "")).await;
    let call = asked(&app, 1, 1, ChannelKind::Voice);
    request(&app, &call).await;
    app.advance(Duration::from_secs(20)).await;
    left(&app, 1, 2, &call).await;
    left(&app, 1, 3, &call).await;
    let waiting = item(&app, 1).await;
    assert_eq!(
        (waiting.state(), waiting.waiting_since),
        (WorkItemState::Pending, call.waiting_since)
    );
    assert_eq!(overflows(&app).await.len(), 1);
    let mut anna = Desk::available(&app, human("anna")).await;
    let work = anna.take().await.work_item.expect("the item").work_item_id;
    anna.complete(&work).await.expect("done");
    // Told again of the same caller: nobody is called twice.
    left(&app, 1, 4, &call).await;
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Completed);
    app.stop().await;
}

#[tokio::test]
async fn a_promised_callback_is_dialled_shortly_before_it_is_due() {
    let app = app_with(&overflowing("", "")).await;
    let call = asked(&app, 1, 1, ChannelKind::Voice);
    request(&app, &call).await;
    let promised = call_back(&app, 1, Some(Duration::from_secs(3_600)))
        .await
        .expect("a callback");
    assert_eq!(
        promised.callback_at,
        Some(to_wire(app.clock.now() + Duration::from_secs(3_600)))
    );
    assert_eq!(promised.due_at, promised.callback_at);
    left(&app, 1, 2, &call).await;
    let mut anna = Desk::available(&app, human("anna")).await;
    app.advance(Duration::from_secs(3_560)).await;
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Pending);
    app.advance(Duration::from_secs(11)).await;
    anna.take().await;

    let past = call_back(&app, 2, None).await;
    assert_eq!(code(past), Code::NotFound);
    request(&app, &asked(&app, 3, 1, ChannelKind::Email)).await;
    assert_eq!(code(call_back(&app, 3, None).await), Code::FailedPrecondition);
    assert_eq!(
        code(call_back(&app, 1, Some(Duration::from_secs(31 * 86_400))).await),
        Code::InvalidArgument
    );
    app.stop().await;
}

#[tokio::test]
async fn who_does_not_answer_our_call_is_called_as_often_as_the_queue_allows() {
    let app = app_with(&overflowing("callback: { attempts: 2 }", "")).await;
    let mut anna = Desk::available(&app, human("anna")).await;
    anna.presence(trama_proto::routing::v1::Presence::Away).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::Voice)).await;
    call_back(&app, 1, None).await.expect("a callback");
    anna.presence(trama_proto::routing::v1::Presence::Available).await;
    anna.take().await;
    let again = call_back(&app, 1, Some(Duration::from_secs(600)))
        .await
        .expect("once more");
    assert_eq!(again.state(), WorkItemState::Pending);
    assert_eq!(load(&app, "anna").await, 0);
    app.advance(Duration::from_secs(600)).await;
    let work = anna.next_offer().await;
    anna.accept(&work.offer_id).await.expect("accepted");
    assert_eq!(code(call_back(&app, 1, None).await), Code::FailedPrecondition);
    app.stop().await;
}

#[tokio::test]
async fn waiting_work_is_routed_anew_when_the_policy_changes() {
    let app = app().await;
    for n in 1..=3 {
        request(&app, &asked(&app, n, 1, ChannelKind::Email)).await;
    }
    assert_eq!(item(&app, 1).await.queue, "general");
    let document = |kind: &str, name: &str, spec: serde_json::Value| Document {
        origin: name.to_owned(),
        content: serde_json::json!({
            "apiVersion": "trama.dev/v1alpha1",
            "kind": kind,
            "metadata": { "name": name, "namespace": ACME },
            "spec": spec,
        }),
    };
    let level = serde_json::json!({ "targetSeconds": 600, "goal": 0.8 });
    let problems = app.running.resources.apply(&[
        document(
            "Queue",
            "machines",
            serde_json::json!({ "serviceLevel": level, "skills": ["coffee-machines"] }),
        ),
        document(
            "RoutingPolicy",
            "main",
            serde_json::json!({ "rules": [], "defaultQueue": "machines" }),
        ),
    ]);
    assert!(problems.is_empty(), "{problems:?}");
    app.eventually("the leader routes anew", async || {
        let mut queues = Vec::new();
        for n in 1..=3 {
            queues.push(item(&app, n).await.queue);
        }
        queues.iter().all(|q| q == "machines")
    })
    .await;
    app.settle().await;
    let skilled = Agent {
        skills: [("coffee-machines".to_owned(), 5)].into(),
        ..human("sara")
    };
    let mut sara = Desk::available(&app, skilled).await;
    assert_eq!(sara.take().await.work_item.expect("the item").queue, "machines");
    app.stop().await;
}

#[tokio::test]
async fn who_is_not_at_work_gets_nothing_new() {
    // It is Monday, ten o'clock.
    let hours = "
---
apiVersion: trama.dev/v1alpha1
kind: BusinessHours
metadata: { name: shift, namespace: acme }
spec: { timeZone: UTC, weekly: { monday: ['11:00-12:00'] } }
";
    let app = app_with(&format!("{RESOURCES}{hours}")).await;
    let agent = Agent {
        working_hours: "shift".into(),
        ..human("anna")
    };
    let mut anna = Desk::available(&app, agent).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Pending);
    app.advance(Duration::from_secs(3_601)).await;
    anna.take().await;
    app.advance(Duration::from_secs(3_600)).await;
    request(&app, &asked(&app, 2, 1, ChannelKind::WebChat)).await;
    assert_eq!(item(&app, 2).await.state(), WorkItemState::Pending);
    app.stop().await;
}
