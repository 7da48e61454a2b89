//! Anything, in any order, several at once: what must hold afterwards holds.

mod floor;

use std::{collections::BTreeMap, time::Duration};

use futures::FutureExt as _;
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use tonic::{Code, Status};
use trama_proto::{
    case::v1::{WithdrawReason, WorkRequested, WorkWithdrawn},
    common::v1::ChannelKind,
    routing::v1::{
        AcceptOfferRequest, AssignWorkRequest, CompleteWorkRequest, DeclineOfferRequest, DrainQueueRequest,
        EndConsultationRequest, FinishWrapUpRequest, GetHealthRequest, Handover, OpenDeskRequest,
        ParkWorkRequest, Presence, RequeueWorkRequest, SetAgentStateRequest, SkillLevel, TransferWorkRequest,
        desk_service_client::DeskServiceClient, requeue_work_request::What,
        supervisor_service_client::SupervisorServiceClient, transfer_work_request::To,
    },
};
use trama_testkit::TestApp;
use uuid::Uuid;

use self::floor::Floor;
use crate::support::*;

const CASES: u128 = 7;
const NAMES: [&str; 4] = ["anna", "bruno", "carla", "robot"];

/// Wrap-up, rest after silence, a skill: so that everything that can happen does.
const RULES: &str = r"
apiVersion: trama.dev/v1alpha1
kind: Queue
metadata: { name: machines, namespace: acme }
spec:
  serviceLevel: { targetSeconds: 600, goal: 0.8 }
  skills: [coffee-machines]
  offerTimeoutSeconds: 20
  wrapUpSeconds: 15
  idleParkSeconds: 120
---
apiVersion: trama.dev/v1alpha1
kind: Queue
metadata: { name: general, namespace: acme }
spec: { serviceLevel: { targetSeconds: 300, goal: 0.8 } }
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
  rules: [{ name: faults, intents: [product-fault], queue: machines }]
  defaultQueue: general
";

/// What may happen; agents and cases are numbers, and what somebody answers or ends is the first they have.
#[derive(Debug, Clone)]
enum Op {
    Asks {
        case: u128,
        channel: ChannelKind,
        fault: bool,
        left: bool,
    },
    Withdrawn {
        case: u128,
        reason: WithdrawReason,
    },
    /// The last message of a case comes again, under its own or another id.
    Again {
        case: u128,
        same_id: bool,
    },
    Is {
        agent: usize,
        presence: Presence,
    },
    Accepts(usize),
    Declines(usize),
    Completes(usize),
    WrapsUp(usize),
    Parks(usize),
    Gives {
        agent: usize,
        how: Handover,
        to: usize,
    },
    EndsConsultation {
        agent: usize,
        hand_over: bool,
    },
    Requeued(usize),
    Assigned {
        case: u128,
        to: usize,
    },
    Drains {
        agent: usize,
        draining: bool,
    },
    QueueDrains(bool),
    LosesTheLine(usize),
    Passes(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    let agent = || 0..NAMES.len();
    let case = || 1..=CASES;
    let channel = prop_oneof![
        Just(ChannelKind::Voice),
        Just(ChannelKind::WebChat),
        Just(ChannelKind::Whatsapp),
        Just(ChannelKind::Email)
    ];
    let reason = prop_oneof![
        Just(WithdrawReason::Resolved),
        Just(WithdrawReason::Merged),
        Just(WithdrawReason::Answered)
    ];
    let presence = prop_oneof![
        4 => Just(Presence::Available),
        1 => Just(Presence::Away),
        1 => Just(Presence::Offline)
    ];
    let how = prop_oneof![
        Just(Handover::Blind),
        Just(Handover::Warm),
        Just(Handover::Consult)
    ];
    prop_oneof![
        8 => (case(), channel, any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(case, channel, fault, left)| Op::Asks { case, channel, fault, left }),
        2 => (case(), reason).prop_map(|(case, reason)| Op::Withdrawn { case, reason }),
        1 => (case(), any::<bool>()).prop_map(|(case, same_id)| Op::Again { case, same_id }),
        6 => (agent(), presence).prop_map(|(agent, presence)| Op::Is { agent, presence }),
        10 => agent().prop_map(Op::Accepts),
        2 => agent().prop_map(Op::Declines),
        4 => agent().prop_map(Op::Completes),
        2 => agent().prop_map(Op::WrapsUp),
        3 => agent().prop_map(Op::Parks),
        4 => (agent(), how, 0..6_usize).prop_map(|(agent, how, to)| Op::Gives { agent, how, to }),
        2 => (agent(), any::<bool>())
            .prop_map(|(agent, hand_over)| Op::EndsConsultation { agent, hand_over }),
        1 => agent().prop_map(Op::Requeued),
        1 => (case(), agent()).prop_map(|(case, to)| Op::Assigned { case, to }),
        1 => (agent(), prop::bool::weighted(0.3)).prop_map(|(agent, draining)| Op::Drains { agent, draining }),
        1 => any::<bool>().prop_map(Op::QueueDrains),
        1 => agent().prop_map(Op::LosesTheLine),
        4 => (1..90_u64).prop_map(Op::Passes),
    ]
}

/// What cases said last, and how.
#[derive(Default)]
struct Said {
    revisions: BTreeMap<u128, i64>,
    last: BTreeMap<u128, Word>,
}

#[derive(Clone)]
enum Word {
    Asked(Uuid, Box<WorkRequested>),
    Withdrawn(Uuid, WorkWithdrawn),
}

/// A refusal is an answer; anything else that is not a yes is a fault of ours.
fn allowed<T>(op: &Op, answer: Result<T, Status>) {
    if let Err(status) = answer {
        let fine = matches!(
            status.code(),
            Code::FailedPrecondition | Code::NotFound | Code::InvalidArgument | Code::PermissionDenied
        );
        assert!(fine, "{op:?}: {status}");
    }
}

struct World<'a> {
    app: &'a TestApp,
    floor: &'a Floor,
}

impl World<'_> {
    /// Orders what an agent orders; what it is about was seen before the group of operations began.
    async fn run(&self, op: &Op) {
        let (app, floor) = (self.app, self.floor);
        let mut desk = DeskServiceClient::new(app.grpc());
        let mut boss = SupervisorServiceClient::new(app.grpc());
        let request_id = String::new;
        let name = |agent: usize| NAMES[agent];
        match *op {
            Op::Is { agent, presence } => {
                let request = SetPresenceIs(presence).request();
                allowed(
                    op,
                    desk.set_presence(app.request(ACME, name(agent), request)).await,
                );
            }
            Op::Accepts(agent) => {
                let Some(offer_id) = floor.offer(name(agent)) else {
                    return;
                };
                let request = AcceptOfferRequest {
                    offer_id,
                    request_id: request_id(),
                };
                allowed(
                    op,
                    desk.accept_offer(app.request(ACME, name(agent), request)).await,
                );
            }
            Op::Declines(agent) => {
                let Some(offer_id) = floor.offer(name(agent)) else {
                    return;
                };
                let request = DeclineOfferRequest {
                    offer_id,
                    ..DeclineOfferRequest::default()
                };
                allowed(
                    op,
                    desk.decline_offer(app.request(ACME, name(agent), request)).await,
                );
            }
            Op::Completes(agent) => {
                let Some(work_item_id) = floor.work(name(agent)) else {
                    return;
                };
                let request = CompleteWorkRequest {
                    work_item_id,
                    request_id: request_id(),
                };
                allowed(
                    op,
                    desk.complete_work(app.request(ACME, name(agent), request)).await,
                );
            }
            Op::WrapsUp(agent) => {
                let Some(work_item_id) = floor.work(name(agent)) else {
                    return;
                };
                let request = FinishWrapUpRequest {
                    work_item_id,
                    request_id: request_id(),
                };
                allowed(
                    op,
                    desk.finish_wrap_up(app.request(ACME, name(agent), request)).await,
                );
            }
            Op::Parks(agent) => {
                let Some(work_item_id) = floor.work(name(agent)) else {
                    return;
                };
                let request = ParkWorkRequest {
                    work_item_id,
                    request_id: request_id(),
                };
                allowed(op, desk.park_work(app.request(ACME, name(agent), request)).await);
            }
            Op::Gives { agent, how, to } => {
                let Some(work_item_id) = floor.work(name(agent)) else {
                    return;
                };
                let to = match to {
                    4 => To::Queue("machines".into()),
                    5 => To::Skill(SkillLevel {
                        skill: "coffee-machines".into(),
                        level: 4,
                    }),
                    other => To::AgentId(name(other).into()),
                };
                let request = TransferWorkRequest {
                    work_item_id,
                    handover: how.into(),
                    to: Some(to),
                    ..TransferWorkRequest::default()
                };
                allowed(
                    op,
                    desk.transfer_work(app.request(ACME, name(agent), request)).await,
                );
            }
            Op::EndsConsultation { agent, hand_over } => {
                let Some(work_item_id) = floor.work(name(agent)) else {
                    return;
                };
                let request = EndConsultationRequest {
                    work_item_id,
                    hand_over,
                    request_id: request_id(),
                };
                allowed(
                    op,
                    desk.end_consultation(app.request(ACME, name(agent), request))
                        .await,
                );
            }
            Op::Requeued(agent) => {
                let what = Some(What::AgentId(name(agent).into()));
                let request = RequeueWorkRequest {
                    what,
                    ..RequeueWorkRequest::default()
                };
                allowed(op, boss.requeue_work(app.request(ACME, "boss", request)).await);
            }
            Op::Assigned { case, to } => {
                let Some(work_item_id) = floor.item_of(case) else {
                    return;
                };
                let request = AssignWorkRequest {
                    work_item_id,
                    agent_id: name(to).into(),
                    ..AssignWorkRequest::default()
                };
                allowed(op, boss.assign_work(app.request(ACME, "boss", request)).await);
            }
            Op::Drains { agent, draining } => {
                let request = SetAgentStateRequest {
                    agent_id: name(agent).into(),
                    draining: Some(draining),
                    ..SetAgentStateRequest::default()
                };
                allowed(op, boss.set_agent_state(app.request(ACME, "boss", request)).await);
            }
            Op::QueueDrains(draining) => {
                let request = DrainQueueRequest {
                    queue: "general".into(),
                    draining,
                    overflow_to: "machines".into(),
                    request_id: request_id(),
                };
                allowed(op, boss.drain_queue(app.request(ACME, "boss", request)).await);
            }
            Op::LosesTheLine(agent) => {
                let open = OpenDeskRequest::default();
                let stream = desk.open_desk(app.request(ACME, name(agent), open)).await;
                stream
                    .expect("a desk")
                    .into_inner()
                    .message()
                    .await
                    .expect("ready");
            }
            // The bus and the clock are not the agents' business.
            Op::Asks { .. } | Op::Withdrawn { .. } | Op::Again { .. } | Op::Passes(_) => {}
        }
    }
}

struct SetPresenceIs(Presence);

impl SetPresenceIs {
    fn request(self) -> trama_proto::routing::v1::SetPresenceRequest {
        trama_proto::routing::v1::SetPresenceRequest {
            presence: self.0.into(),
            ..Default::default()
        }
    }
}

impl Said {
    async fn say(&mut self, app: &TestApp, op: &Op) {
        match *op {
            Op::Asks {
                case,
                channel,
                fault,
                left,
            } => {
                let revision = self.next(case);
                let mut event = asked(app, case, revision, channel);
                if fault {
                    event = with_intent(event, "product-fault");
                }
                event.customer_left = left;
                let id = app.publish(ACME, &event.case_id, &event).await;
                self.last.insert(case, Word::Asked(id, Box::new(event)));
            }
            Op::Withdrawn { case, reason } => {
                let event = WorkWithdrawn {
                    case_id: crate::support::case(case).to_string(),
                    revision: self.next(case),
                    reason: reason.into(),
                };
                let id = app.publish(ACME, &event.case_id, &event).await;
                self.last.insert(case, Word::Withdrawn(id, event));
            }
            Op::Again { case, same_id } => {
                let other = app.clock.new_id();
                match self.last.get(&case) {
                    Some(Word::Asked(id, event)) => {
                        let id = if same_id { *id } else { other };
                        app.deliver_again(id, ACME, &event.case_id, event.as_ref()).await;
                    }
                    Some(Word::Withdrawn(id, event)) => {
                        let id = if same_id { *id } else { other };
                        app.deliver_again(id, ACME, &event.case_id, event).await;
                    }
                    None => {}
                }
            }
            Op::Passes(seconds) => app.clock.advance(Duration::from_secs(seconds)),
            _ => {}
        }
    }

    fn next(&mut self, case: u128) -> i64 {
        let revision = self.revisions.entry(case).or_default();
        *revision += 1;
        *revision
    }
}

async fn staff(app: &TestApp) {
    for (number, name) in NAMES.into_iter().enumerate() {
        let mut agent = human(name);
        agent.bot = number == 3;
        if number != 1 {
            agent.skills = [("coffee-machines".to_owned(), 5)].into_iter().collect();
        }
        upsert(app, ACME, agent).await;
    }
    upsert(app, ACME, human("boss")).await;
}

async fn play(groups: &[Vec<Op>]) {
    let app = app_with(RULES).await;
    staff(&app).await;
    let mut said = Said::default();
    for group in groups {
        let floor = Floor::of(&app).await;
        for op in group {
            said.say(&app, op).await;
        }
        // At once: they meet in the database, and with what the bus brings.
        let world = World {
            app: &app,
            floor: &floor,
        };
        futures::future::join_all(group.iter().map(|op| world.run(op))).await;
        app.settle().await;
        let floor = Floor::of(&app).await;
        floor.balances();
        for (case, word) in &said.last {
            floor.knows(
                *case,
                said.revisions[case],
                matches!(word, Word::Asked(_, e) if !e.customer_left),
            );
        }
        floor.nobody_waits_needlessly(&app).await;
    }
    assert_eq!(dead(&app).await, 0);
    let mut boss = SupervisorServiceClient::new(app.grpc());
    let health = boss
        .get_health(app.request(ACME, "boss", GetHealthRequest {}))
        .await
        .expect("health");
    assert_eq!(health.into_inner().violations, Vec::<String>::new());
    app.stop().await;
}

#[test]
fn whatever_happens_in_whatever_order_the_books_balance_and_nobody_waits_needlessly() {
    // The same sequences in every run, unless somebody looks for new ones: TRAMA_TEST_SEQUENCES=100.
    let wanted: Option<u32> = std::env::var("TRAMA_TEST_SEQUENCES")
        .ok()
        .and_then(|n| n.parse().ok());
    let cases = wanted.unwrap_or(5);
    let config = ProptestConfig {
        cases,
        max_shrink_iters: 12,
        failure_persistence: None,
        ..Default::default()
    };
    let groups = prop::collection::vec(prop::collection::vec(any_op(), 1..4), 30..50);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let mut runner = match wanted {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let played = runner.run(&groups, |groups| {
        let outcome = runtime.block_on(std::panic::AssertUnwindSafe(play(&groups)).catch_unwind());
        outcome.map_err(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            TestCaseError::fail(words.unwrap_or_default())
        })
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
}
