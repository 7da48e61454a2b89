//! Work that waits for one agent: who is waited for, for how long, and who is asked first.

use std::time::Duration;

use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{
        Agent, ExplainWorkRequest, ExplainWorkResponse, Handover, Presence, SetAgentStateRequest,
        WorkItemState, routing_service_client::RoutingServiceClient,
        supervisor_service_client::SupervisorServiceClient,
    },
};
use trama_testkit::TestApp;

use crate::support::*;

const RULES: &str = r"
apiVersion: trama.dev/v1alpha1
kind: Queue
metadata: { name: general, namespace: acme }
spec:
  serviceLevel: { targetSeconds: 300, goal: 0.8 }
  preferredAgent: { waitSeconds: 40, shareOfTarget: 0.5 }
---
apiVersion: trama.dev/v1alpha1
kind: Intent
metadata: { name: product-fault, namespace: acme }
spec: { title: { en: Fault }, examples: { en: ['it leaks'] } }
---
apiVersion: trama.dev/v1alpha1
kind: RoutingPolicy
metadata: { name: main, namespace: acme }
spec:
  rules: [{ name: faults, intents: [product-fault], queue: general, agents: botsFirst }]
  defaultQueue: general
";

async fn explain(app: &TestApp, case: u128) -> ExplainWorkResponse {
    let request = ExplainWorkRequest {
        work_item_id: item(app, case).await.work_item_id,
    };
    let mut client = RoutingServiceClient::new(app.grpc());
    let answer = client.explain_work(app.request(ACME, "boss", request)).await;
    answer.expect("explained").into_inner()
}

fn says(lines: &[String], words: &str) -> bool {
    lines.iter().any(|line| line.contains(words))
}

/// A chat of somebody whom an agent knows.
async fn request_for(app: &TestApp, case: u128, name: &str) {
    let mut event = asked(app, case, 1, ChannelKind::WebChat);
    event.preferred_agent_id = name.into();
    request(app, &event).await;
}

/// An agent with a call in hand: nothing else fits.
async fn on_a_call<'a>(app: &'a TestApp, name: &str, case: u128) -> (Desk<'a>, String) {
    let mut desk = Desk::available(app, human(name)).await;
    request(app, &asked(app, case, 1, ChannelKind::Voice)).await;
    let offer = desk.take().await;
    (desk, offer.work_item.expect("the item").work_item_id)
}

/// Anna has a chat and gives it to bruno by name, who is on a call.
async fn given_to_bruno(app: &TestApp) -> (Desk<'_>, Desk<'_>, String) {
    let mut anna = Desk::available(app, human("anna")).await;
    request(app, &asked(app, 1, 1, ChannelKind::WebChat)).await;
    let work = anna.take().await.work_item.expect("the item").work_item_id;
    let (bruno, _) = on_a_call(app, "bruno", 2).await;
    transfer(app, "anna", &work, Handover::Blind, "bruno").await;
    (anna, bruno, work)
}

#[tokio::test]
async fn work_waits_for_the_agent_who_knows_it_while_they_are_busy_and_only_so_long() {
    let app = app_with(RULES).await;
    let (_anna, _) = on_a_call(&app, "anna", 1).await;
    let mut bruno = Desk::available(&app, human("bruno")).await;
    request_for(&app, 2, "anna").await;
    assert_eq!(item(&app, 2).await.state(), WorkItemState::Pending);
    let why = explain(&app, 2).await;
    assert!(
        says(&why.why, "It is held for anna, who knows the customer."),
        "{why:?}"
    );
    assert!(
        says(&why.what_would_help, "In 40 s it may go to anybody."),
        "{why:?}"
    );
    app.advance(Duration::from_secs(39)).await;
    assert_eq!(item(&app, 2).await.state(), WorkItemState::Pending);
    app.advance(Duration::from_secs(1)).await;
    assert_eq!(
        bruno.offer().await.work_item.expect("the item").case_id,
        case(2).to_string()
    );
    app.stop().await;
}

#[tokio::test]
async fn work_waits_for_nobody_who_has_gone() {
    let app = app_with(RULES).await;
    let (mut anna, _) = on_a_call(&app, "anna", 1).await;
    let mut bruno = Desk::available(&app, human("bruno")).await;
    request_for(&app, 2, "anna").await;
    assert_eq!(item(&app, 2).await.state(), WorkItemState::Pending);
    anna.presence(Presence::Offline).await;
    assert_eq!(
        bruno.offer().await.work_item.expect("the item").case_id,
        case(2).to_string()
    );
    app.stop().await;
}

#[tokio::test]
async fn work_waits_for_who_is_away_for_a_moment_and_not_for_who_is_away_for_long() {
    let app = app_with(RULES).await;
    let mut anna = Desk::available(&app, human("anna")).await;
    let mut bruno = Desk::available(&app, human("bruno")).await;
    anna.presence(Presence::Away).await;
    request_for(&app, 1, "anna").await;
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Pending);
    anna.presence(Presence::Available).await;
    anna.offer().await;
    anna.presence(Presence::Offline).await;
    anna.presence(Presence::Away).await;
    bruno.take().await;
    app.advance(Duration::from_secs(120)).await;
    request_for(&app, 2, "anna").await;
    assert_eq!(item(&app, 2).await.agent_id, "bruno");
    app.stop().await;
}

#[tokio::test]
async fn work_given_to_somebody_by_name_waits_for_them_no_longer_than_its_target() {
    let app = app_with(RULES).await;
    let (mut anna, _bruno, work) = given_to_bruno(&app).await;
    anna.presence(Presence::Away).await;
    let mut carla = Desk::available(&app, human("carla")).await;
    let why = explain(&app, 1).await;
    assert!(
        says(&why.why, "It is held for bruno, to whom it was given by name."),
        "{why:?}"
    );
    app.advance(Duration::from_secs(299)).await;
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Pending);
    app.advance(Duration::from_secs(1)).await;
    let offer = carla.take().await;
    assert_eq!(offer.work_item.expect("the item").work_item_id, work);
    app.stop().await;
}

#[tokio::test]
async fn what_waits_for_an_agent_by_name_waits_for_anybody_when_they_take_nothing_new() {
    let app = app_with(RULES).await;
    let (_anna, _bruno, work) = given_to_bruno(&app).await;
    let mut carla = Desk::available(&app, human("carla")).await;
    let request = SetAgentStateRequest {
        agent_id: "bruno".into(),
        draining: Some(true),
        ..SetAgentStateRequest::default()
    };
    let mut boss = SupervisorServiceClient::new(app.grpc());
    let answer = boss.set_agent_state(app.request(ACME, "boss", request)).await;
    answer.expect("draining");
    app.settle().await;
    let offer = carla.take().await;
    assert_eq!(offer.work_item.expect("the item").work_item_id, work);
    app.stop().await;
}

#[tokio::test]
async fn who_helps_a_colleague_is_not_called_away_and_the_call_goes_to_who_is_free() {
    let app = app_with(RULES).await;
    let mut anna = Desk::available(&app, human("anna")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::Email)).await;
    let work = anna.take().await.work_item.expect("the item").work_item_id;
    let mut bruno = Desk::available(&app, human("bruno")).await;
    transfer(&app, "anna", &work, Handover::Consult, "bruno").await;
    let question = bruno.offer().await;
    bruno.accept(&question.offer_id).await.expect("accepted");
    anna.presence(Presence::Away).await;
    // By now bruno has been idle longest.
    app.advance(Duration::from_secs(900)).await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 2, 1, ChannelKind::Voice)).await;
    assert_eq!(item(&app, 2).await.agent_id, "carla");
    carla.take().await;
    request(&app, &asked(&app, 3, 1, ChannelKind::Voice)).await;
    assert_eq!(item(&app, 3).await.state(), WorkItemState::Pending);
    assert_eq!((load(&app, "anna").await, load(&app, "bruno").await), (4, 4));
    app.stop().await;
}

#[tokio::test]
async fn whoever_calls_while_their_letter_rests_is_not_kept_waiting_for_the_end_of_another_call() {
    let app = app_with(RULES).await;
    let mut anna = Desk::available(&app, human("anna")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::Email)).await;
    anna.take().await;
    request(&app, &asked(&app, 2, 1, ChannelKind::Voice)).await;
    let call = anna.next_offer().await;
    anna.accept(&call.offer_id).await.expect("accepted");
    let mut bruno = Desk::available(&app, human("bruno")).await;
    request(&app, &asked(&app, 1, 2, ChannelKind::Voice)).await;
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Pending);
    assert_eq!(load(&app, "anna").await, 6);
    app.advance(Duration::from_secs(40)).await;
    let offer = bruno.offer().await.work_item.expect("the item");
    assert_eq!(offer.case_id, case(1).to_string());
    app.stop().await;
}

#[tokio::test]
async fn where_bots_are_asked_first_a_person_is_asked_only_when_no_bot_has_room() {
    let app = app_with(RULES).await;
    let mut anna = Desk::available(&app, human("anna")).await;
    app.advance(Duration::from_secs(600)).await;
    let robot = Agent {
        bot: true,
        capacity_units: 2,
        ..human("robot")
    };
    let mut robot = Desk::available(&app, robot).await;
    let fault = |number| with_intent(asked(&app, number, 1, ChannelKind::WebChat), "product-fault");
    request(&app, &fault(1)).await;
    let first = robot.offer().await;
    assert!(first.explanation.contains("Bots are asked first."), "{first:?}");
    request(&app, &fault(2)).await;
    let second = anna.offer().await;
    assert!(
        second
            .explanation
            .contains("Bots are asked first, and none could take it."),
        "{second:?}"
    );
    app.stop().await;
}
