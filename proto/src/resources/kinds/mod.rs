//! The spec of each kind.

mod channels;
mod customers;
mod hours;
mod identity;
mod retention;
mod routing;
mod surveys;
mod understanding;
mod verification;
mod voice;

use std::{borrow::Cow, collections::BTreeMap};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

pub use channels::{
    ChannelSpec, EmailProvider, Provider, RelaySecurity, TwilioProvider, WebChatProvider,
    WhatsappCloudProvider,
};
pub use customers::{
    BUILT_IN_FIELDS, CustomerSchemaSpec, FieldSpec, FieldType, GenerationSpec, SegmentCondition,
    SegmentFacts, SegmentSpec,
};
pub use hours::{BusinessHoursSpec, Date, SpecialDay, TimeRange, TimeZone, Weekday};
pub use identity::{
    IdentifierRule, MailSpelling, MatchingPolicySpec, MergeLimits, MostTrust, Similarity, Survives,
    Survivorship,
};
pub use retention::{KeptRecords, RetentionPolicySpec};
pub use routing::{
    AgentOrder, Asked, CASE_KINDS, CHANNELS, Callback, ChannelCapacity, ChoiceSpec, EntitlementSpec, LEVELS,
    MOODS, MatchingSpec, OffersSpec, Overflow, OverflowAction, PreferredAgent, QueueSpec, QueueWords,
    RankingSpec, ReserveSize, ReserveSpec, RoutingPolicySpec, RoutingRule, ServiceLevel, Skills,
    SteeringSpec, WideningStep, WorkWords,
};
pub use surveys::{Measure, SurveyQuestion, SurveySpec, SurveyTrigger};
pub use understanding::IntentSpec;
pub use verification::{
    DocumentHook, Hook, LockOut, MethodPolicy, NeedPolicy, ProofMethod, STRONGEST_LEVEL, VerificationPolicy,
};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
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

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        by_name(deserializer, &Self::ALL, &Self::ALL.map(Self::name))
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Email,
        Self::Whatsapp,
        Self::Voice,
        Self::WebChat,
        Self::Sms,
        Self::Api,
    ];

    /// As YAML writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Email => "email",
            Kind::Whatsapp => "whatsapp",
            Kind::Voice => "voice",
            Kind::WebChat => "webChat",
            Kind::Sms => "sms",
            Kind::Api => "api",
        }
    }
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

/// Reads a value by its name. Not derived: as keys of a map, derived enums are missing in the path of an error.
fn by_name<'de, T: Copy, D: Deserializer<'de>>(
    deserializer: D,
    all: &[T],
    names: &[&str],
) -> Result<T, D::Error> {
    let name = Cow::<str>::deserialize(deserializer)?;
    let place = names.iter().position(|known| *known == name);
    place.and_then(|place| all.get(place)).copied().ok_or_else(|| {
        de::Error::custom(format!(
            "`{name}` is not known; it is one of {}",
            names.join(", ")
        ))
    })
}

fn check(ok: bool, message: &str) -> Result<(), String> {
    if ok { Ok(()) } else { Err(message.to_owned()) }
}
