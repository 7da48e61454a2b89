//! What agents do.

use anyhow::{Context as _, ensure};
use trama_platform::bus::TRACE_HEADER;
use trama_proto::{
    case::v1::{
        ListCasesRequest, ReplyToCaseRequest, ResolveCaseRequest, case_service_client::CaseServiceClient,
    },
    common::v1::{ChannelKind, ChannelPreference, Handle},
    identity_resolution::v1::{
        CheckVerificationRequest, LinkHandleRequest, RequireVerificationRequest, SetChannelPreferenceRequest,
        identity_service_client::IdentityServiceClient,
    },
    routing::v1::{
        AcceptOfferRequest, Agent, OpenDeskRequest, Presence, SetPresenceRequest, UpsertAgentRequest,
        WorkItemState, desk_service_client::DeskServiceClient, routing_service_client::RoutingServiceClient,
    },
};
use trama_sandbox::Provider;

use crate::story::{
    desk::Desk,
    print::kind,
    world::{World, said},
};

impl World {
    pub(super) async fn connect(&mut self, agent: &str) -> anyhow::Result<Vec<String>> {
        let who = self.agents.get(agent).context("an agent of the story")?.clone();
        let description = Agent {
            agent_id: agent.to_owned(),
            display_name: who.name.clone(),
            skills: who.skills.into_iter().collect(),
            languages: who.languages,
            channel_kinds: who
                .channels
                .into_iter()
                .map(|k| ChannelKind::from(k) as i32)
                .collect(),
            capacity_units: who.units,
            ..Agent::default()
        };
        let request = UpsertAgentRequest {
            agent: Some(description),
            request_id: format!("story-agent-{agent}"),
        };
        RoutingServiceClient::new(self.grpc())
            .upsert_agent(self.request("supervisor", request)?)
            .await
            .map_err(said)?;
        let mut desk = DeskServiceClient::new(self.grpc());
        let stream = desk
            .open_desk(self.request(agent, OpenDeskRequest::default())?)
            .await
            .map_err(said)?
            .into_inner();
        self.desks.insert(agent.to_owned(), Desk::open(stream));
        let available = SetPresenceRequest {
            presence: Presence::Available as i32,
            ..Default::default()
        };
        desk.set_presence(self.request(agent, available)?)
            .await
            .map_err(said)?;
        Ok(vec![format!(
            "gRPC DeskService.OpenDesk: {} is available",
            who.name
        )])
    }

    pub(super) async fn accept(&self, agent: &str) -> anyhow::Result<Vec<String>> {
        let desk = self.desks.get(agent).context("the agent is not at the desk")?;
        let offer = desk.offers().into_iter().find(|o| {
            o.work_item
                .as_ref()
                .is_some_and(|w| w.state() == WorkItemState::Offered)
        });
        let offer = offer.context("there is no open offer on the desk")?;
        let request = AcceptOfferRequest {
            offer_id: offer.offer_id.clone(),
            request_id: format!("story-accept-{}", self.sent),
        };
        let mut client = DeskServiceClient::new(self.grpc());
        let taken = client
            .accept_offer(self.in_trace(agent, &offer.traceparent, request)?)
            .await
            .map_err(said)?
            .into_inner();
        let queue = taken.work_item.map(|w| w.queue).unwrap_or_default();
        Ok(vec![format!(
            "gRPC DeskService.AcceptOffer: {agent} takes it (queue {queue})"
        )])
    }

    pub(super) async fn link(
        &self,
        agent: &str,
        person: &str,
        reference: &str,
    ) -> anyhow::Result<Vec<String>> {
        let phone = self.person(person)?.phone.clone().context("no telephone")?;
        let request = ListCasesRequest {
            reference: reference.to_owned(),
            ..Default::default()
        };
        let mut cases = CaseServiceClient::new(self.grpc());
        let found = cases
            .list_cases(self.request(agent, request)?)
            .await
            .map_err(said)?
            .into_inner()
            .cases;
        let case = found
            .first()
            .with_context(|| format!("no case with {reference}"))?;
        let request = LinkHandleRequest {
            customer_id: case.customer_id.clone(),
            handle: Some(Handle {
                kind: "phone".into(),
                value: phone.clone(),
                trust: 0,
            }),
            reason: format!("told the {reference} of her case on the phone"),
            request_id: format!("story-link-{}", self.sent),
        };
        let mut identity = IdentityServiceClient::new(self.grpc());
        let linked = identity
            .link_handle(self.request(agent, request)?)
            .await
            .map_err(said)?
            .into_inner();
        ensure!(
            !linked.merge_id.is_empty(),
            "the caller's number was nobody's: nothing was merged"
        );
        Ok(vec![
            format!("gRPC CaseService.ListCases({reference}): one case"),
            format!(
                "gRPC IdentityService.LinkHandle({phone}): two customers are one; merge {} can be undone",
                short(&linked.merge_id)
            ),
        ])
    }

    pub(super) async fn verify(&self, agent: &str, person: &str, level: i32) -> anyhow::Result<Vec<String>> {
        let customer_id = self.customer(person).await?.customer_id;
        let case_id = self.case(person).await.map(|c| c.case_id).unwrap_or_default();
        let mut identity = IdentityServiceClient::new(self.grpc());
        let ask = |request_id: String| RequireVerificationRequest {
            customer_id: customer_id.clone(),
            level,
            case_id: case_id.clone(),
            request_id,
            ..Default::default()
        };
        let asked = ask(format!("story-verify-{}", self.sent));
        let challenge = identity
            .require_verification(self.request(agent, asked)?)
            .await
            .map_err(said)?
            .into_inner();
        ensure!(!challenge.holds, "a proof held already");
        let address = self.person(person)?.email.clone().context("no email address")?;
        let mail = self
            .sandbox
            .wait_for_sent(
                |s| s.provider == Provider::Smtp && s.to.contains(&address),
                self.manner.patience,
            )
            .await
            .context("the code did not arrive in the mailbox")?;
        let code: String = mail
            .body_text
            .unwrap_or_default()
            .split(|c: char| !c.is_ascii_digit())
            .find(|digits| digits.len() == 6)
            .context("the mail holds no code of six digits")?
            .to_owned();
        let check = CheckVerificationRequest {
            challenge_id: challenge.challenge_id,
            code,
        };
        let proof = identity
            .check_verification(self.request(agent, check)?)
            .await
            .map_err(said)?
            .into_inner();
        let level = proof.verification.map(|v| v.level).unwrap_or_default();
        Ok(vec![
            format!(
                "gRPC IdentityService.RequireVerification: a code goes to {}",
                challenge.masked_handle
            ),
            format!("gRPC IdentityService.CheckVerification: the code she reads out is right, level {level}"),
        ])
    }

    pub(super) async fn prefer(
        &self,
        agent: &str,
        person: &str,
        need: &str,
        channel: ChannelKind,
    ) -> anyhow::Result<Vec<String>> {
        let request = SetChannelPreferenceRequest {
            customer_id: self.customer(person).await?.customer_id,
            preference: Some(ChannelPreference {
                need: need.to_owned(),
                channel_kind: channel as i32,
            }),
            request_id: format!("story-prefer-{}", self.sent),
        };
        let mut identity = IdentityServiceClient::new(self.grpc());
        identity
            .set_channel_preference(self.request(agent, request)?)
            .await
            .map_err(said)?;
        Ok(vec![format!(
            "gRPC IdentityService.SetChannelPreference: {need} by {}",
            kind(channel as i32)
        )])
    }

    pub(super) async fn reply(
        &mut self,
        agent: &str,
        person: &str,
        text: &str,
        article: Option<&str>,
    ) -> anyhow::Result<Vec<String>> {
        let case_id = self.case(person).await?.case_id;
        let trace = self.desk_trace(agent, &case_id);
        let request = ReplyToCaseRequest {
            case_id,
            text: text.to_owned(),
            article_version: article.unwrap_or_default().to_owned(),
            channel_kind: 0,
            request_id: format!("story-reply-{}", self.sent),
        };
        let mut cases = CaseServiceClient::new(self.grpc());
        let sent = cases
            .reply_to_case(self.in_trace(agent, &trace, request)?)
            .await
            .map_err(said)?
            .into_inner();
        self.replies.insert(person.to_owned(), sent.message_id);
        Ok(vec![format!("gRPC CaseService.ReplyToCase: “{text}”")])
    }

    pub(super) async fn resolve(&self, agent: &str, person: &str) -> anyhow::Result<Vec<String>> {
        let case_id = self.case(person).await?.case_id;
        let trace = self.desk_trace(agent, &case_id);
        let request = ResolveCaseRequest {
            case_id,
            etag: String::new(),
            request_id: format!("story-resolve-{}", self.sent),
        };
        let mut cases = CaseServiceClient::new(self.grpc());
        cases
            .resolve_case(self.in_trace(agent, &trace, request)?)
            .await
            .map_err(said)?;
        Ok(vec!["gRPC CaseService.ResolveCase: the need is met".to_owned()])
    }

    /// The trace that an agent's work on a case belongs to.
    fn desk_trace(&self, agent: &str, case_id: &str) -> String {
        let desk = self.desks.get(agent);
        desk.map(|d| d.trace_of(case_id)).unwrap_or_default()
    }

    /// A request that stays in the trace of the offer, as a front end sends it.
    fn in_trace<T>(&self, agent: &str, trace: &str, message: T) -> anyhow::Result<tonic::Request<T>> {
        let mut request = self.request(agent, message)?;
        if !trace.is_empty() {
            request.metadata_mut().insert(TRACE_HEADER, trace.parse()?);
        }
        Ok(request)
    }
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
