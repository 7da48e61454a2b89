//! How customers reach us: connections to providers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, Validate, check};
use crate::common::v1::ChannelKind;

/// One configured connection to a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelSpec {
    /// The provider and what it needs.
    pub provider: Provider,
    /// Language of customers who have not shown another one.
    #[serde(default = "italian")]
    pub language: String,
    /// The brand that speaks on it: replies to what comes in here need the consent for this brand, and messages of other
    /// brands do not go out on it. It speaks for all when empty.
    #[serde(default)]
    pub brand: String,
}

/// A provider and what it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Provider {
    /// Mail in by SMTP or LMTP, out by a relay.
    Email(EmailProvider),
    /// WhatsApp Business Cloud API.
    WhatsappCloud(WhatsappCloudProvider),
    /// Calls and short messages by Twilio.
    TwilioVoice(TwilioProvider),
    /// Short messages by Twilio.
    TwilioSms(TwilioProvider),
    /// Our own chat over WebSocket.
    WebChat(WebChatProvider),
    /// Interactions handed in over gRPC.
    Api {},
}

/// Mail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmailProvider {
    /// Mailboxes that belong to this channel.
    pub addresses: Vec<String>,
    /// Sender of what we write: `Acme Care <care@acme.example>`.
    pub from: String,
    /// Host and port of the relay, such as `relay.example:587`.
    pub relay: String,
    /// How the line to the relay is protected.
    #[serde(default)]
    pub relay_security: RelaySecurity,
    /// User at the relay.
    pub relay_user: Option<String>,
    /// Password at the relay.
    pub relay_password: Option<SecretRef>,
}

/// How the line to a relay is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RelaySecurity {
    /// STARTTLS or nothing is sent.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// None: only for a relay on the same host.
    None,
}

/// WhatsApp Business Cloud API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WhatsappCloudProvider {
    /// Our number's id; routes webhooks.
    pub phone_number_id: String,
    /// App secret: signs webhooks.
    pub app_secret: SecretRef,
    /// Token of the webhook handshake.
    pub verify_token: SecretRef,
    /// Bearer token for media and sends.
    pub access_token: SecretRef,
    /// Graph base with version.
    #[serde(default = "graph_base")]
    pub api_base_url: String,
    /// Hosts from which media may be fetched.
    #[serde(default = "meta_media_hosts")]
    pub media_hosts: Vec<String>,
}

/// Twilio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TwilioProvider {
    /// Account.
    pub account_sid: String,
    /// Signs webhooks and authorises sends.
    pub auth_token: SecretRef,
    /// Our number in E.164.
    pub number: String,
    /// API base.
    #[serde(default = "twilio_base")]
    pub api_base_url: String,
    /// Scheme and host under which Twilio calls us: part of what it signs.
    pub public_base_url: String,
}

/// Our own chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebChatProvider {
    /// Origins that may open the chat.
    pub allowed_origins: Vec<String>,
    /// Signs (HS256) the site's login tokens: `sub` is the CRM id, `email`, `phone` and `name` are taken as verified.
    pub login_secret: Option<SecretRef>,
    /// Level that a login is worth.
    #[serde(default = "one")]
    pub login_level: i32,
}

impl Validate for ChannelSpec {
    fn validate(&self) -> Result<(), String> {
        check(
            self.brand.is_empty() || super::super::valid_name(&self.brand),
            "spec.brand must be 1 to 63 of a-z, 0-9 and -, no - at the ends",
        )?;
        match &self.provider {
            Provider::Email(p) => {
                check(
                    !p.addresses.is_empty(),
                    "spec.provider.email.addresses must name a mailbox",
                )?;
                check(
                    p.addresses.iter().all(|a| a.contains('@')),
                    "spec.provider.email.addresses: no @ in one of them",
                )?;
                check(
                    p.relay
                        .rsplit_once(':')
                        .is_some_and(|(h, p)| !h.is_empty() && p.parse::<u16>().is_ok()),
                    "spec.provider.email.relay must be host:port",
                )?;
                check(
                    p.relay_user.is_some() == p.relay_password.is_some(),
                    "spec.provider.email: relayUser and relayPassword go together",
                )
            }
            Provider::WhatsappCloud(p) => {
                check(
                    !p.phone_number_id.is_empty(),
                    "spec.provider.whatsappCloud.phoneNumberId is empty",
                )?;
                check(
                    is_http_url(&p.api_base_url),
                    "spec.provider.whatsappCloud.apiBaseUrl must be an http(s) URL",
                )
            }
            Provider::TwilioVoice(p) | Provider::TwilioSms(p) => {
                check(
                    is_e164(&p.number),
                    "spec.provider.twilio…number must be E.164, such as +390212345678",
                )?;
                check(
                    is_http_url(&p.api_base_url),
                    "spec.provider.twilio…apiBaseUrl must be an http(s) URL",
                )?;
                check(
                    is_http_url(&p.public_base_url),
                    "spec.provider.twilio…publicBaseUrl must be an http(s) URL",
                )
            }
            Provider::WebChat(p) => check(
                !p.allowed_origins.is_empty(),
                "spec.provider.webChat.allowedOrigins must name an origin, or `*`",
            ),
            Provider::Api {} => Ok(()),
        }
    }
}

impl ChannelSpec {
    /// The kind of this channel.
    pub const fn kind(&self) -> ChannelKind {
        match self.provider {
            Provider::Email(_) => ChannelKind::Email,
            Provider::WhatsappCloud(_) => ChannelKind::Whatsapp,
            Provider::TwilioVoice(_) => ChannelKind::Voice,
            Provider::TwilioSms(_) => ChannelKind::Sms,
            Provider::WebChat(_) => ChannelKind::WebChat,
            Provider::Api {} => ChannelKind::Api,
        }
    }
}

fn italian() -> String {
    "it".into()
}

fn graph_base() -> String {
    "https://graph.facebook.com/v26.0".into()
}

fn twilio_base() -> String {
    "https://api.twilio.com".into()
}

fn meta_media_hosts() -> Vec<String> {
    vec!["lookaside.fbsbx.com".into()]
}

const fn one() -> i32 {
    1
}

fn is_http_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn is_e164(text: &str) -> bool {
    text.strip_prefix('+')
        .is_some_and(|d| (6..=15).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()))
}
