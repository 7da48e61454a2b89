//! A desk, an agent, a request: what the tests are told in.

use std::time::Duration;

use tonic::{Code, Status, Streaming};
use trama_platform::bus::Stream;
use trama_proto::{
    case::v1::{Case, ContextSnapshot, Understanding, WithdrawReason, WorkRequested, WorkWithdrawn},
    common::v1::{ChannelKind, CustomerContext},
    ids::CaseId,
    routing::v1::{
        AcceptOfferRequest, Agent, CompleteWorkRequest, DeclineOfferRequest, EndConsultationRequest,
        GetWorkItemRequest, GetWorkItemResponse, Handover, ListAgentsRequest, Offer, OfferGone,
        OpenDeskRequest, OpenDeskResponse, Presence, SetPresenceRequest, TransferWorkRequest,
        UpsertAgentRequest, WorkItem, desk_service_client::DeskServiceClient, open_desk_response::Event,
        routing_service_client::RoutingServiceClient, transfer_work_request::To,
    },
    time::to_wire,
};
use trama_testkit::TestApp;
use uuid::Uuid;

pub const ACME: &str = "acme";

pub const RESOURCES: &str = r#"
apiVersion: trama.dev/v1alpha1
kind: Queue
metadata: { name: machines, namespace: acme }
spec:
  serviceLevel: { targetSeconds: 600, goal: 0.8, byChannel: { voice: 60 } }
  skills: [coffee-machines]
  offerTimeoutSeconds: 20
  priority: 3
---
apiVersion: trama.dev/v1alpha1
kind: Queue
metadata: { name: general, namespace: acme }
spec: { serviceLevel: { targetSeconds: 300, goal: 0.8 } }
---
apiVersion: trama.dev/v1alpha1
kind: Intent
metadata: { name: product-fault, namespace: acme }
spec: { title: { en: Fault }, examples: { en: ["it leaks"] } }
---
apiVersion: trama.dev/v1alpha1
kind: RoutingPolicy
metadata: { name: main, namespace: acme }
spec:
  rules: [{ name: faults, intents: [product-fault], queue: machines }]
  defaultQueue: general
"#;

pub async fn app() -> TestApp {
    TestApp::builder(&[trama_routing::service()])
        .resources(RESOURCES)
        .start()
        .await
}

pub async fn app_with(resources: &str) -> TestApp {
    TestApp::builder(&[trama_routing::service()])
        .resources(resources)
        .start()
        .await
}

/// An agent as supervisors see them.
pub async fn agent(app: &TestApp, id: &str) -> Agent {
    let mut client = RoutingServiceClient::new(app.grpc());
    let list = client
        .list_agents(app.request(ACME, "boss", ListAgentsRequest::default()))
        .await
        .expect("agents");
    let mut agents = list.into_inner().agents.into_iter();
    agents.find(|a| a.agent_id == id).expect("the agent")
}

/// Units an agent has in use.
pub async fn load(app: &TestApp, id: &str) -> i32 {
    agent(app, id).await.used_units
}

pub fn case(number: u128) -> CaseId {
    CaseId::new(Uuid::from_u128(number))
}

pub fn asked(app: &TestApp, case_number: u128, revision: i64, channel: ChannelKind) -> WorkRequested {
    let snapshot = ContextSnapshot {
        customer: Some(CustomerContext {
            display_name: "Anna".into(),
            ..CustomerContext::default()
        }),
        case: Some(Case {
            case_id: case(case_number).to_string(),
            ..Case::default()
        }),
        ..ContextSnapshot::default()
    };
    WorkRequested {
        case_id: case(case_number).to_string(),
        revision,
        channel_kind: channel.into(),
        waiting_since: Some(to_wire(app.clock.now())),
        preferred_agent_id: String::new(),
        snapshot: Some(snapshot),
        customer_left: false,
    }
}

pub fn with_intent(mut event: WorkRequested, intent: &str) -> WorkRequested {
    let case = event
        .snapshot
        .as_mut()
        .and_then(|s| s.case.as_mut())
        .expect("a snapshot");
    case.understanding = Some(Understanding {
        intent: intent.into(),
        ..Understanding::default()
    });
    event
}

pub async fn request(app: &TestApp, event: &WorkRequested) {
    app.publish(ACME, &event.case_id, event).await;
    app.settle().await;
}

pub async fn withdraw(app: &TestApp, case_number: u128, revision: i64, reason: WithdrawReason) {
    let case_id = case(case_number).to_string();
    let event = WorkWithdrawn {
        case_id: case_id.clone(),
        revision,
        reason: reason.into(),
    };
    app.publish(ACME, &case_id, &event).await;
    app.settle().await;
}

pub async fn dead(app: &TestApp) -> u64 {
    app.count(Stream::DeadLetters).await
}

pub fn human(agent_id: &str) -> Agent {
    Agent {
        agent_id: agent_id.into(),
        display_name: agent_id.to_uppercase(),
        channel_kinds: [
            ChannelKind::WebChat,
            ChannelKind::Whatsapp,
            ChannelKind::Email,
            ChannelKind::Voice,
        ]
        .map(i32::from)
        .to_vec(),
        capacity_units: 6,
        ..Agent::default()
    }
}

pub async fn upsert(app: &TestApp, tenant: &str, agent: Agent) -> Agent {
    let request = UpsertAgentRequest {
        agent: Some(agent),
        request_id: String::new(),
    };
    let answer = RoutingServiceClient::new(app.grpc())
        .upsert_agent(app.request(tenant, "admin", request))
        .await;
    answer.expect("an agent").into_inner().agent.expect("the agent")
}

pub async fn get(app: &TestApp, case_number: u128) -> GetWorkItemResponse {
    try_get(app, ACME, case_number).await.expect("a work item")
}

pub async fn try_get(app: &TestApp, tenant: &str, case_number: u128) -> Result<GetWorkItemResponse, Status> {
    let request = GetWorkItemRequest {
        case_id: case(case_number).to_string(),
    };
    let mut client = RoutingServiceClient::new(app.grpc());
    Ok(client
        .get_work_item(app.request(tenant, "boss", request))
        .await?
        .into_inner())
}

pub async fn item(app: &TestApp, case_number: u128) -> WorkItem {
    get(app, case_number).await.work_item.expect("the item")
}

/// Hands work over to a colleague, by name.
pub async fn transfer(app: &TestApp, by: &str, item: &str, handover: Handover, to: &str) -> WorkItem {
    let request = TransferWorkRequest {
        work_item_id: item.into(),
        handover: handover.into(),
        note: "she prefers the phone".into(),
        request_id: format!("transfer {item}"),
        to: Some(To::AgentId(to.into())),
    };
    let mut desk = DeskServiceClient::new(app.grpc());
    let answer = desk
        .transfer_work(app.request(ACME, by, request))
        .await
        .expect("transferred");
    app.settle().await;
    answer.into_inner().work_item.expect("the item")
}

pub async fn end_consultation(app: &TestApp, by: &str, item: &str, hand_over: bool) -> WorkItem {
    let request = EndConsultationRequest {
        work_item_id: item.into(),
        hand_over,
        request_id: String::new(),
    };
    let mut desk = DeskServiceClient::new(app.grpc());
    let answer = desk
        .end_consultation(app.request(ACME, by, request))
        .await
        .expect("ended");
    app.settle().await;
    answer.into_inner().work_item.expect("the item")
}

pub fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.expect_err("refused").code()
}

/// An agent at work.
pub struct Desk<'a> {
    app: &'a TestApp,
    pub agent: String,
    /// Of the last response.
    pub token: String,
    stream: Streaming<OpenDeskResponse>,
    client: DeskServiceClient<tonic::transport::Channel>,
}

impl<'a> Desk<'a> {
    /// Creates the agent, opens the desk, is available.
    pub async fn available(app: &'a TestApp, agent: Agent) -> Desk<'a> {
        upsert(app, ACME, agent.clone()).await;
        let mut desk = Self::open(app, &agent.agent_id).await;
        desk.presence(Presence::Available).await;
        desk
    }

    pub async fn open(app: &'a TestApp, agent: &str) -> Desk<'a> {
        Self::resume(app, agent, "").await
    }

    /// Opens the desk where another line ended.
    pub async fn resume(app: &'a TestApp, agent: &str, token: &str) -> Desk<'a> {
        let mut client = DeskServiceClient::new(app.grpc());
        let request = OpenDeskRequest {
            resume_token: token.to_owned(),
        };
        let request = app.request(ACME, agent, request);
        let stream = client.open_desk(request).await.expect("a desk").into_inner();
        let mut desk = Desk {
            app,
            agent: agent.to_owned(),
            token: String::new(),
            stream,
            client,
        };
        match desk.next().await {
            Event::Ready(ready) => assert_eq!(ready.agent_id, agent),
            other => panic!("ready comes first, not {other:?}"),
        }
        desk
    }

    /// What the desk shows next, heartbeats and the agent's load aside.
    pub async fn next(&mut self) -> Event {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.stream.message());
            let response = next
                .await
                .expect("something within 10 s")
                .expect("no error")
                .expect("an open line");
            self.token = response.resume_token;
            match response.event.expect("an event") {
                Event::Heartbeat(_) | Event::AgentChanged(_) => {}
                event => return event,
            }
        }
    }

    pub async fn offer(&mut self) -> Offer {
        match self.next().await {
            Event::OfferMade(offer) => offer,
            other => panic!("an offer was expected, not {other:?}"),
        }
    }

    pub async fn gone(&mut self) -> OfferGone {
        match self.next().await {
            Event::OfferGone(gone) => gone,
            other => panic!("the end of an offer was expected, not {other:?}"),
        }
    }

    pub async fn updated(&mut self) -> Offer {
        match self.next().await {
            Event::WorkUpdated(offer) => offer,
            other => panic!("an update was expected, not {other:?}"),
        }
    }

    pub async fn presence(&mut self, presence: Presence) {
        let request = SetPresenceRequest {
            presence: presence.into(),
            ..SetPresenceRequest::default()
        };
        self.client
            .set_presence(self.app.request(ACME, &self.agent, request))
            .await
            .expect("presence");
        self.app.settle().await;
    }

    pub async fn accept(&mut self, offer_id: &str) -> Result<WorkItem, Status> {
        let request = AcceptOfferRequest {
            offer_id: offer_id.into(),
            request_id: format!("accept {offer_id}"),
        };
        let answer = self
            .client
            .accept_offer(self.app.request(ACME, &self.agent, request))
            .await?;
        self.app.settle().await;
        Ok(answer.into_inner().work_item.expect("the item"))
    }

    pub async fn decline(&mut self, offer_id: &str) -> Result<(), Status> {
        let request = DeclineOfferRequest {
            offer_id: offer_id.into(),
            ..DeclineOfferRequest::default()
        };
        self.client
            .decline_offer(self.app.request(ACME, &self.agent, request))
            .await?;
        self.app.settle().await;
        Ok(())
    }

    pub async fn complete(&mut self, work_item_id: &str) -> Result<WorkItem, Status> {
        let request = CompleteWorkRequest {
            work_item_id: work_item_id.into(),
            ..CompleteWorkRequest::default()
        };
        let answer = self
            .client
            .complete_work(self.app.request(ACME, &self.agent, request))
            .await?;
        self.app.settle().await;
        Ok(answer.into_inner().work_item.expect("the item"))
    }

    /// Says what it is, without waiting for what follows.
    pub async fn set(&mut self, presence: Presence) {
        let request = SetPresenceRequest {
            presence: presence.into(),
            ..SetPresenceRequest::default()
        };
        let answer = self
            .client
            .set_presence(self.app.request(ACME, &self.agent, request))
            .await;
        answer.expect("presence");
    }

    /// The next offer, whatever else comes before it.
    pub async fn next_offer(&mut self) -> Offer {
        loop {
            if let Event::OfferMade(offer) = self.next().await {
                return offer;
            }
        }
    }

    /// Accepts without waiting for what follows.
    pub async fn accept_only(&mut self, offer_id: &str) {
        let request = AcceptOfferRequest {
            offer_id: offer_id.into(),
            request_id: String::new(),
        };
        let answer = self
            .client
            .accept_offer(self.app.request(ACME, &self.agent, request))
            .await;
        answer.expect("accepted");
    }

    /// Completes without waiting for what follows.
    pub async fn complete_only(&mut self, work_item_id: &str) {
        let request = CompleteWorkRequest {
            work_item_id: work_item_id.into(),
            request_id: String::new(),
        };
        let answer = self
            .client
            .complete_work(self.app.request(ACME, &self.agent, request))
            .await;
        answer.expect("completed");
    }

    /// The next offer, taken.
    pub async fn take(&mut self) -> Offer {
        let offer = self.offer().await;
        self.accept(&offer.offer_id).await.expect("accepted");
        assert_eq!(self.updated().await.offer_id, offer.offer_id);
        offer
    }
}
