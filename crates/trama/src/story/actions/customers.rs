//! What customers do.

use std::path::Path;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor,
    message::{Attachment, Mailbox, MultiPart, SinglePart, header::ContentType},
};
use serde_json::{Value, json};
use trama_sandbox::sign;

use crate::story::{chat::Chat, world::World};

const ORIGIN: &str = "https://shop.acme.example";

impl World {
    pub(super) async fn email(
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

    pub(super) async fn call(&self, person: &str, states: &[String]) -> anyhow::Result<Vec<String>> {
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

    pub(super) async fn whatsapp(
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

    pub(super) async fn chat(
        &mut self,
        person: &str,
        logged_in: bool,
        text: &str,
    ) -> anyhow::Result<Vec<String>> {
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
}

fn describe(attachment: Option<&Path>) -> String {
    attachment.map_or_else(|| "no attachment".to_owned(), |a| format!("with {}", a.display()))
}
