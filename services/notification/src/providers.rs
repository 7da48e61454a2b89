//! The outside: one shape for all providers.

mod email;
mod twilio_sms;
mod web_chat;
mod whatsapp_cloud;

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;
use trama_platform::{Clients, Context, outbound::Outbound, resources::Secrets};
use trama_proto::{
    common::v1::Handle,
    ids::{MessageId, TenantId},
    resources::{ChannelSpec, Provider as ProviderSpec},
};

/// A text ready to leave.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Whose.
    pub tenant: TenantId,
    /// Our id: goes along wherever a provider gives it back.
    pub message_id: MessageId,
    /// Name of the Channel resource.
    pub channel: String,
    /// Where to.
    pub handle: Handle,
    /// As the customer reads it.
    pub text: String,
    /// Subject, for mail.
    pub subject: String,
    /// Name of the author as the customer sees it.
    pub author_name: String,
    /// Written by the assistant, a survey or security, not by a person.
    pub automatic: bool,
    /// Provider's id of the message it answers.
    pub in_reply_to: String,
    /// BCP 47 language.
    pub language: String,
    /// Approved template at WhatsApp, `name` or `name:language`.
    pub whatsapp_template: Option<String>,
    /// Now.
    pub at: DateTime<Utc>,
}

/// A provider took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The provider's id of it.
    pub provider_message_id: String,
}

/// What may be tried after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendErrorKind {
    /// Nothing: the message itself is wrong.
    Permanent,
    /// The same again, not before `after`; nothing was sent, or the provider drops a repeat.
    Retry {
        /// What the provider asked for.
        after: Option<TimeDelta>,
    },
    /// This channel will not carry it; another one may.
    NextChannel,
    /// It may have been sent: the answer never came, and the provider does not drop a repeat.
    Unknown,
}

/// A failure to send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct SendError {
    /// What may be tried.
    pub kind: SendErrorKind,
    /// For people; without addresses and texts.
    pub words: String,
}

impl SendError {
    fn new(kind: SendErrorKind, words: impl Into<String>) -> Self {
        Self {
            kind,
            words: words.into().chars().take(200).collect(),
        }
    }

    fn retry(words: impl Into<String>) -> Self {
        Self::new(SendErrorKind::Retry { after: None }, words)
    }

    fn next_channel(words: impl Into<String>) -> Self {
        Self::new(SendErrorKind::NextChannel, words)
    }

    /// What an HTTP call without an answer means where the provider does not drop repeats.
    fn no_answer(provider: &str, error: &reqwest::Error) -> Self {
        // Its Display may hold the URL.
        if error.is_connect() || error.is_builder() {
            Self::retry(format!("{provider} cannot be reached"))
        } else {
            Self::new(SendErrorKind::Unknown, format!("{provider} did not answer"))
        }
    }
}

impl From<trama_platform::Error> for SendError {
    /// A setting or secret is wrong: another channel may work meanwhile.
    fn from(error: trama_platform::Error) -> Self {
        Self::next_channel(error.to_string())
    }
}

/// All providers with what they need.
#[derive(Clone)]
pub struct Providers {
    outbound: Outbound,
    secrets: Secrets,
    clients: Clients,
    relays: Arc<Mutex<HashMap<String, email::Relay>>>,
}

/// The provider of one channel.
enum Provider<'a> {
    Email(email::Email<'a>),
    WhatsappCloud(whatsapp_cloud::WhatsappCloud<'a>),
    TwilioSms(twilio_sms::TwilioSms<'a>),
    WebChat(web_chat::WebChat<'a>),
}

impl Providers {
    /// With the platform's client for outbound calls.
    pub fn new(context: &Context) -> Self {
        Self {
            outbound: context.outbound.clone(),
            secrets: context.secrets.clone(),
            clients: context.clients.clone(),
            relays: Arc::default(),
        }
    }

    /// Sends a message on a channel.
    ///
    /// # Errors
    /// Says what may be tried next.
    pub async fn send(&self, channel: &ChannelSpec, outgoing: &Outgoing) -> Result<Sent, SendError> {
        self.provider(channel)?.send(outgoing).await
    }

    fn provider<'a>(&'a self, channel: &'a ChannelSpec) -> Result<Provider<'a>, SendError> {
        match &channel.provider {
            ProviderSpec::Email(spec) => Ok(Provider::Email(email::Email {
                spec,
                secrets: &self.secrets,
                relays: &self.relays,
            })),
            ProviderSpec::WhatsappCloud(spec) => Ok(Provider::WhatsappCloud(whatsapp_cloud::WhatsappCloud {
                spec,
                secrets: &self.secrets,
                outbound: &self.outbound,
            })),
            ProviderSpec::TwilioSms(spec) => Ok(Provider::TwilioSms(twilio_sms::TwilioSms {
                spec,
                secrets: &self.secrets,
                outbound: &self.outbound,
            })),
            ProviderSpec::WebChat(_) => Ok(Provider::WebChat(web_chat::WebChat {
                clients: &self.clients,
            })),
            ProviderSpec::TwilioVoice(_) | ProviderSpec::Api {} => {
                Err(SendError::next_channel("this kind of channel cannot send a text"))
            }
        }
    }
}

impl Provider<'_> {
    async fn send(&self, outgoing: &Outgoing) -> Result<Sent, SendError> {
        match self {
            Provider::Email(provider) => provider.send(outgoing).await,
            Provider::WhatsappCloud(provider) => provider.send(outgoing).await,
            Provider::TwilioSms(provider) => provider.send(outgoing).await,
            Provider::WebChat(provider) => provider.send(outgoing).await,
        }
    }
}

/// What the `Retry-After` header asks for, in seconds.
fn retry_after(headers: &reqwest::header::HeaderMap) -> Option<TimeDelta> {
    let seconds: i64 = headers
        .get(reqwest::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    (0..=86_400)
        .contains(&seconds)
        .then(|| TimeDelta::seconds(seconds))
}
