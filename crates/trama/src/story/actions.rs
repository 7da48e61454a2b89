//! What happens: each action goes through the door a real customer, provider or front end would use.

use std::path::Path;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor,
    message::{Attachment, Mailbox, MultiPart, SinglePart, header::ContentType},
};
use serde_json::{Value, json};
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
use trama_sandbox::{Provider, sign};

use super::{
    chat::Chat,
    desk::Desk,
    script::Action,
    world::{PATIENCE, World, said},
};

const ORIGIN: &str = "https://shop.acme.example";

impl World {
    /// Does it; returns lines for the reader.
    pub(super) async fn perform(&mut self, action: &Action) -> anyhow::Result<Vec<String>> {
        self.sent += 1;
        match action {
            Action::Email {
                person,
                to,
                subject,
                text,
                attachment,
            } => self.email(person, to, subject, text, attachment.as_deref()).await,
            Action::Call { person, states } => self.call(person, states).await,
            Action::Whatsapp {
                person,
                text,
                voice_note,
            } => {
                self.whatsapp(person, text.as_deref(), voice_note.as_deref())
                    .await
            }
            Action::Chat {
                person,
                logged_in,
                text,
            } => self.chat(person, *logged_in, text).await,
            Action::Connect { agent } => self.connect(agent).await,
            Action::Accept { agent } => self.accept(agent).await,
            Action::Link {
                agent,
                person,
                reference,
            } => self.link(agent, person, reference).await,
            Action::Verify { agent, person, level } => self.verify(agent, person, *level).await,
            Action::Prefer {
                agent,
                person,
                need,
                channel,
            } => self.prefer(agent, person, need, (*channel).into()).await,
            Action::Reply {
                agent,
                person,
                text,
                article,
            } => self.reply(agent, person, text, article.as_deref()).await,
            Action::Resolve { agent, person } => self.resolve(agent, person).await,
        }
    }

    async fn email(
        &self,
        person: &str,
        to: &str,
        subject: &str,
        text: &str,
        attachment: Option<&Path>,
    ) -> anyhow::Result<Vec<String>> {
        let who = self.person(person)?;
        let address = who.email.as_ref().context("no email address")?;
        let from = Mailbox::new(Some(who.name.clone()), address.parse()?);
        let mut parts = MultiPart::mixed().singlepart(SinglePart::plain(text.to_owned()));
        if let Some(file) = attachment {
            let bytes = std::fs::read(self.folder.join(file)).with_context(|| file.display().to_string())?;
            let name = file
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or("file")
                .to_owned();
            parts = parts.singlepart(Attachment::new(name).body(bytes, ContentType::parse("image/png")?));
        }
        let mail = lettre::Message::builder()
            .from(from)
            .to(to.parse()?)
            .subject(subject)
            .message_id(Some(format!("<story-{}@example.com>", self.sent)))
            .multipart(parts)?;
        let door = self.doors.smtp;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(door.ip().to_string())
            .port(door.port())
            .build();
        for _ in 0..self.manner.copies {
            transport.send(mail.clone()).await?;
        }
        Ok(vec![format!(
            "SMTP {door}: mail from {} ({})",
            who.name,
            describe(attachment)
        )])
    }

    async fn call(&self, person: &str, states: &[String]) -> anyhow::Result<Vec<String>> {
        let who = self.person(person)?;
        let phone = who.phone.as_ref().context("no telephone")?;
        let mut states = states.to_vec();
        if self.manner.disorder {
            states.reverse();
        }
        let path = format!("/webhooks/{}/phone", self.tenant);
        let mut lines = Vec::new();
        for state in &states {
            let sequence = match state.as_str() {
                "ringing" => "0",
                "in-progress" => "1",
                _ => "2",
            };
            let mut form: Vec<(String, String)> = [
                ("CallSid", "CA00000000000000000000000000004711"),
                ("AccountSid", self.doors.twilio_account.as_str()),
                ("From", phone),
                ("To", "+390212345678"),
                ("Direction", "inbound"),
                ("CallStatus", state),
                ("SequenceNumber", sequence),
                ("ApiVersion", "2010-04-01"),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .to_vec();
            if state == "completed" {
                form.push(("CallDuration".into(), "142".into()));
            }
            let url = format!("http://{}{path}", self.doors.http);
            let signature = sign::twilio(&self.doors.twilio_token, &url, &form);
            for _ in 0..self.manner.copies {
                let request = self
                    .http
                    .request(reqwest::Method::POST, &url)
                    .map_err(crate::commands::detail)?;
                let response = request
                    .header("X-Twilio-Signature", &signature)
                    .form(&form)
                    .send()
                    .await?;
                ensure!(
                    response.status().is_success(),
                    "the webhook answered {}",
                    response.status()
                );
            }
            lines.push(format!("POST {path}: call {state} (X-Twilio-Signature)"));
        }
        Ok(lines)
    }

    async fn whatsapp(
        &self,
        person: &str,
        text: Option<&str>,
        voice_note: Option<&Path>,
    ) -> anyhow::Result<Vec<String>> {
        let who = self.person(person)?;
        let number = who
            .phone
            .as_ref()
            .context("no telephone")?
            .trim_start_matches('+')
            .to_owned();
        let mut message = json!({
            "from": number,
            "id": format!("wamid.{}", base64::engine::general_purpose::STANDARD.encode(format!("story-{}", self.sent))),
            "timestamp": chrono::DateTime::timestamp(&trama_platform::Clock::system().now()).to_string(),
        });
        if let Some(text) = text {
            message["type"] = "text".into();
            message["text"] = json!({"body": text});
        } else if let Some(file) = voice_note {
            let bytes = std::fs::read(self.folder.join(file)).with_context(|| file.display().to_string())?;
            let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
            let mime = "audio/ogg; codecs=opus";
            let id = self.sandbox.add_media(bytes, mime);
            message["type"] = "audio".into();
            message["audio"] = json!({
                "id": id.as_str(), "mime_type": mime, "voice": true,
                "sha256": base64::engine::general_purpose::STANDARD.encode(digest.as_ref()),
            });
        }
        let body: Value = json!({
            "object": "whatsapp_business_account",
            "entry": [{"id": "102290129340398", "changes": [{"field": "messages", "value": {
                "messaging_product": "whatsapp",
                "metadata": {"display_phone_number": "390212345678", "phone_number_id": self.doors.phone_number_id},
                "contacts": [{"profile": {"name": who.name}, "wa_id": number}],
                "messages": [message],
            }}]}],
        });
        let bytes = sign::meta_json(&body);
        let signature = sign::meta(&self.doors.whatsapp_secret, &bytes);
        let path = format!("/webhooks/{}/whatsapp", self.tenant);
        let url = format!("http://{}{path}", self.doors.http);
        for _ in 0..self.manner.copies {
            let request = self
                .http
                .request(reqwest::Method::POST, &url)
                .map_err(crate::commands::detail)?;
            let request = request
                .header("X-Hub-Signature-256", &signature)
                .header("Content-Type", "application/json");
            let response = request.body(bytes.clone()).send().await?;
            ensure!(
                response.status().is_success(),
                "the webhook answered {}",
                response.status()
            );
        }
        let what = text.map_or_else(
            || "a voice note, fetched in two steps".to_owned(),
            |t| format!("“{t}”"),
        );
        Ok(vec![format!("POST {path}: {what} (X-Hub-Signature-256)")])
    }

    async fn chat(&mut self, person: &str, logged_in: bool, text: &str) -> anyhow::Result<Vec<String>> {
        let path = format!("/chat/{}/site-chat", self.tenant);
        if !self.chats.contains_key(person) {
            let who = self.person(person)?.clone();
            let token = if logged_in {
                let claims = json!({
                    "sub": who.crm.as_ref().context("no CRM id")?, "email": who.email, "name": who.name,
                    "exp": trama_platform::Clock::system().now().timestamp() + 600,
                });
                let key = jsonwebtoken::EncodingKey::from_secret(self.doors.chat_secret.as_bytes());
                Some(jsonwebtoken::encode(
                    &jsonwebtoken::Header::default(),
                    &claims,
                    &key,
                )?)
            } else {
                None
            };
            let chat = Chat::open(&format!("ws://{}{path}", self.doors.http), ORIGIN, token).await?;
            self.chats.insert(person.to_owned(), chat);
        }
        let (id, copies) = (format!("line-{}", self.sent), self.manner.copies);
        let chat = self.chats.get_mut(person).context("the window is open")?;
        chat.write(&id, text, copies).await?;
        let login = if logged_in { ", logged in" } else { "" };
        Ok(vec![format!("WebSocket {path}{login}: “{text}”")])
    }

    async fn connect(&mut self, agent: &str) -> anyhow::Result<Vec<String>> {
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

    async fn accept(&self, agent: &str) -> anyhow::Result<Vec<String>> {
        let desk = self.desks.get(agent).context("the agent is not at the desk")?;
        let offer = desk.offers().into_iter().find(|o| {
            o.work_item
                .as_ref()
                .is_some_and(|w| w.state() == WorkItemState::Offered)
        });
        let offer = offer.context("there is no open offer on the desk")?;
        let request = AcceptOfferRequest {
            offer_id: offer.offer_id,
            request_id: format!("story-accept-{}", self.sent),
        };
        let mut client = DeskServiceClient::new(self.grpc());
        let taken = client
            .accept_offer(self.request(agent, request)?)
            .await
            .map_err(said)?
            .into_inner();
        let queue = taken.work_item.map(|w| w.queue).unwrap_or_default();
        Ok(vec![format!(
            "gRPC DeskService.AcceptOffer: {agent} takes it (queue {queue})"
        )])
    }

    async fn link(&self, agent: &str, person: &str, reference: &str) -> anyhow::Result<Vec<String>> {
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

    async fn verify(&self, agent: &str, person: &str, level: i32) -> anyhow::Result<Vec<String>> {
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
                PATIENCE,
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

    async fn prefer(
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
            super::print::kind(channel as i32)
        )])
    }

    async fn reply(
        &mut self,
        agent: &str,
        person: &str,
        text: &str,
        article: Option<&str>,
    ) -> anyhow::Result<Vec<String>> {
        let request = ReplyToCaseRequest {
            case_id: self.case(person).await?.case_id,
            text: text.to_owned(),
            article_version: article.unwrap_or_default().to_owned(),
            channel_kind: 0,
            request_id: format!("story-reply-{}", self.sent),
        };
        let mut cases = CaseServiceClient::new(self.grpc());
        let sent = cases
            .reply_to_case(self.request(agent, request)?)
            .await
            .map_err(said)?
            .into_inner();
        self.replies.insert(person.to_owned(), sent.message_id);
        Ok(vec![format!("gRPC CaseService.ReplyToCase: “{text}”")])
    }

    async fn resolve(&self, agent: &str, person: &str) -> anyhow::Result<Vec<String>> {
        let request = ResolveCaseRequest {
            case_id: self.case(person).await?.case_id,
            etag: String::new(),
            request_id: format!("story-resolve-{}", self.sent),
        };
        let mut cases = CaseServiceClient::new(self.grpc());
        cases
            .resolve_case(self.request(agent, request)?)
            .await
            .map_err(said)?;
        Ok(vec!["gRPC CaseService.ResolveCase: the need is met".to_owned()])
    }
}

fn describe(attachment: Option<&Path>) -> String {
    attachment.map_or_else(|| "no attachment".to_owned(), |a| format!("with {}", a.display()))
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
