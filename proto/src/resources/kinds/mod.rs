//! The spec of each kind.

mod channels;
mod routing;
mod surveys;
mod understanding;
mod voice;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use channels::{
    ChannelSpec, EmailProvider, Provider, RelaySecurity, TwilioProvider, WebChatProvider,
    WhatsappCloudProvider,
};
pub use routing::{EntitlementSpec, QueueSpec, RoutingPolicySpec, RoutingRule, ServiceLevel};
pub use surveys::{Measure, SurveyQuestion, SurveySpec, SurveyTrigger};
pub use understanding::{IntentSpec, MatchingPolicySpec};
pub use voice::{MessageTemplateSpec, PersonaSpec, Register, Tone};

use crate::common::v1::ChannelKind;

/// What the shape alone cannot say.
pub trait Validate {
    /// `Err` says what is wrong and how to mend it.
    fn validate(&self) -> Result<(), String>;
}

/// Texts by BCP 47 language.
pub type Localized = BTreeMap<String, String>;

/// The text in a language, in English, or in any.
pub fn localized<'a>(texts: &'a Localized, language: &str) -> Option<&'a str> {
    let short = language.split('-').next().unwrap_or(language);
    texts
        .get(language)
        .or_else(|| texts.get(short))
        .or_else(|| texts.get("en"))
        .or_else(|| texts.values().next())
        .map(String::as_str)
}

/// Kinds of channel, as YAML writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Mail.
    Email,
    /// WhatsApp.
    Whatsapp,
    /// Telephone.
    Voice,
    /// Chat on the site.
    WebChat,
    /// Short messages.
    Sms,
    /// An integrator's own.
    Api,
}

impl From<Kind> for ChannelKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Email => ChannelKind::Email,
            Kind::Whatsapp => ChannelKind::Whatsapp,
            Kind::Voice => ChannelKind::Voice,
            Kind::WebChat => ChannelKind::WebChat,
            Kind::Sms => ChannelKind::Sms,
            Kind::Api => ChannelKind::Api,
        }
    }
}

/// Names a secret; never holds one. A Kubernetes Secret, or a file `<secrets dir>/<namespace>/<name>/<key>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    pub key: String,
}

fn check(ok: bool, message: &str) -> Result<(), String> {
    if ok { Ok(()) } else { Err(message.to_owned()) }
}
