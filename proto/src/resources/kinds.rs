//! The spec of each kind.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// One configured connection to a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelSpec {
    /// The provider and what it needs.
    pub provider: Provider,
    /// Language of customers who have not shown another one.
    #[serde(default = "italian")]
    pub language: String,
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

/// Where work waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueueSpec {
    /// How fast work is answered.
    pub service_level: ServiceLevel,
    /// Skills an agent must have for anything in this queue.
    #[serde(default)]
    pub skills: Vec<String>,
    /// How long an offer is held.
    #[serde(default = "offer_timeout")]
    pub offer_timeout_seconds: u32,
    /// Added to the priority of everything in this queue.
    #[serde(default)]
    pub priority: i32,
}

/// How fast work is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceLevel {
    /// Answered within so many seconds …
    pub target_seconds: i64,
    /// … in this share of cases.
    pub goal: f64,
    /// Other targets for some kinds of channel.
    #[serde(default)]
    pub by_channel: BTreeMap<Kind, i64>,
}

/// Which work waits where. The first rule that fits wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutingPolicySpec {
    /// In order.
    pub rules: Vec<RoutingRule>,
    /// For what no rule fits.
    pub default_queue: String,
}

/// One rule: every list that is not empty must contain the work's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutingRule {
    /// For explanations.
    pub name: String,
    /// Intents.
    #[serde(default)]
    pub intents: Vec<String>,
    /// Kinds of channel.
    #[serde(default)]
    pub channel_kinds: Vec<Kind>,
    /// Entitlements.
    #[serde(default)]
    pub entitlements: Vec<String>,
    /// At least so urgent, 0 to 1.
    #[serde(default)]
    pub min_urgency: f64,
    /// Only follow-ups of bad survey answers.
    #[serde(default)]
    pub recovery_only: bool,
    /// Where it waits.
    pub queue: String,
    /// Added to the priority.
    #[serde(default)]
    pub priority: i32,
    /// Further skills.
    #[serde(default)]
    pub skills: Vec<String>,
}

/// What customers are entitled to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntitlementSpec {
    /// For customers whom no other entitlement names.
    #[serde(default)]
    pub default: bool,
    /// Handles (`crm:1001`, `email:anna@example.com`) and mail domains (`email:*@example.com`) that have it.
    #[serde(default)]
    pub members: Vec<String>,
    /// Added to the priority.
    #[serde(default)]
    pub priority: i32,
    /// Multiplies targets: 0.5 means twice as fast.
    #[serde(default = "one_f")]
    pub target_factor: f64,
}

/// What customers want, learnt from examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IntentSpec {
    /// Name for people.
    pub title: Localized,
    /// How customers say it, by language.
    pub examples: BTreeMap<String, Vec<String>>,
    /// The assistant may answer from knowledge.
    #[serde(default)]
    pub self_service: bool,
    /// The customer asks for a person: hands over, is no need of its own.
    #[serde(default)]
    pub asks_for_person: bool,
    /// How urgent it is by itself, 0 to 1.
    #[serde(default)]
    pub urgency: f64,
    /// Level of verification it needs.
    #[serde(default)]
    pub verification_level: i32,
}

/// What is asked after a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SurveySpec {
    /// When it is asked.
    pub trigger: SurveyTrigger,
    /// How long after the trigger.
    #[serde(default)]
    pub delay_seconds: u32,
    /// Share of cases that are asked, 0 to 1; drawn by customer and case, reproducibly.
    #[serde(default = "one_f")]
    pub sample_rate: f64,
    /// Not asked again within so many days.
    #[serde(default = "quarantine")]
    pub quarantine_days: u32,
    /// An answer counts within so many hours.
    #[serde(default = "answer_window")]
    pub answer_within_hours: u32,
    /// In order; at most three in messaging.
    pub questions: Vec<SurveyQuestion>,
}

/// When a survey is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SurveyTrigger {
    /// When a case is resolved.
    CaseResolved,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SurveyQuestion {
    /// Id in this survey.
    pub id: String,
    /// What it measures; decides the scale.
    pub measures: Measure,
    /// The question.
    pub text: Localized,
    /// An answer up to this score opens a follow-up case.
    pub follow_up_at_most: Option<i32>,
}

/// What a question measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// Net promoter score, 0 to 10.
    Nps,
    /// Customer satisfaction, 1 to 5.
    Csat,
    /// Customer effort score, 1 to 7.
    Ces,
}

impl Measure {
    /// The smallest and largest answer. NPS starts at 0: a scale from 1 is a different measure.
    pub const fn scale(self) -> (i32, i32) {
        match self {
            Measure::Nps => (0, 10),
            Measure::Csat => (1, 5),
            Measure::Ces => (1, 7),
        }
    }
}

/// Text with places to fill (`{{ name }}`), in the template language of minijinja.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageTemplateSpec {
    /// The text.
    pub text: Localized,
    /// Subject, for mail.
    #[serde(default)]
    pub subject: Localized,
    /// Name and language of the approved template at WhatsApp, for use outside the 24-hour window.
    pub whatsapp_template: Option<String>,
}

/// Tone of voice of everything that leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PersonaSpec {
    /// The one in force when several exist.
    #[serde(default)]
    pub default: bool,
    /// Name that customers see for the assistant.
    pub assistant_name: String,
    /// By language.
    pub languages: BTreeMap<String, Tone>,
}

/// Tone in one language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tone {
    /// Form of address.
    pub register: Register,
    /// First line, a template with `name` and `author`.
    pub greeting: String,
    /// Last line, a template with `author`.
    pub closing: String,
    /// Words to avoid and what to write instead.
    #[serde(default)]
    pub prefer: BTreeMap<String, String>,
    /// Phrases that may not leave.
    #[serde(default)]
    pub forbidden: Vec<String>,
    /// Longest sentence in words before the persona complains.
    #[serde(default = "sentence_words")]
    pub max_sentence_words: usize,
}

/// Form of address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Register {
    /// Italian *tu*, plain English.
    Informal,
    /// Italian *Lei*, formal English.
    Formal,
}

/// Who is who.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchingPolicySpec {
    /// Values that never identify anybody, besides the built-in ones.
    #[serde(default)]
    pub blocked_values: Vec<String>,
    /// Handles that several people share (family phone, company mailbox): they never merge by themselves.
    #[serde(default)]
    pub shared_handles: Vec<String>,
    /// Country for telephone numbers without a prefix, such as `39`.
    #[serde(default = "italy")]
    pub default_country_code: String,
    /// How long a verification holds.
    #[serde(default = "verification_hours")]
    pub verification_hours: u32,
    /// Wrong codes before a challenge is locked.
    #[serde(default = "verification_attempts")]
    pub verification_attempts: u32,
}

impl Default for MatchingPolicySpec {
    fn default() -> Self {
        Self {
            blocked_values: Vec::new(),
            shared_handles: Vec::new(),
            default_country_code: italy(),
            verification_hours: verification_hours(),
            verification_attempts: verification_attempts(),
        }
    }
}

fn italian() -> String {
    "it".into()
}
fn italy() -> String {
    "39".into()
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
const fn one_f() -> f64 {
    1.0
}
const fn offer_timeout() -> u32 {
    30
}
const fn quarantine() -> u32 {
    30
}
const fn answer_window() -> u32 {
    72
}
const fn sentence_words() -> usize {
    30
}
const fn verification_hours() -> u32 {
    24
}
const fn verification_attempts() -> u32 {
    5
}

fn check(ok: bool, message: &str) -> Result<(), String> {
    if ok { Ok(()) } else { Err(message.to_owned()) }
}

fn is_http_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn is_e164(text: &str) -> bool {
    text.strip_prefix('+')
        .is_some_and(|d| (6..=15).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()))
}

impl Validate for ChannelSpec {
    fn validate(&self) -> Result<(), String> {
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

impl Validate for QueueSpec {
    fn validate(&self) -> Result<(), String> {
        check(
            self.service_level.target_seconds > 0,
            "spec.serviceLevel.targetSeconds must be positive",
        )?;
        check(
            (0.0..=1.0).contains(&self.service_level.goal),
            "spec.serviceLevel.goal must be from 0 to 1",
        )?;
        check(
            self.service_level.by_channel.values().all(|s| *s > 0),
            "spec.serviceLevel.byChannel must be positive",
        )?;
        check(
            self.offer_timeout_seconds > 0,
            "spec.offerTimeoutSeconds must be positive",
        )
    }
}

impl Validate for RoutingPolicySpec {
    fn validate(&self) -> Result<(), String> {
        check(
            self.rules.iter().all(|r| (0.0..=1.0).contains(&r.min_urgency)),
            "spec.rules: minUrgency must be from 0 to 1",
        )
    }
}

impl Validate for EntitlementSpec {
    fn validate(&self) -> Result<(), String> {
        check(
            self.target_factor > 0.0 && self.target_factor.is_finite(),
            "spec.targetFactor must be positive",
        )?;
        check(
            self.members.iter().all(|m| m.contains(':')),
            "spec.members are handles such as crm:1001 or email:*@acme.example",
        )
    }
}

impl Validate for IntentSpec {
    fn validate(&self) -> Result<(), String> {
        check(
            self.examples.values().any(|e| !e.is_empty()),
            "spec.examples must hold at least one sentence",
        )?;
        check(
            (0.0..=1.0).contains(&self.urgency),
            "spec.urgency must be from 0 to 1",
        )
    }
}

impl Validate for SurveySpec {
    fn validate(&self) -> Result<(), String> {
        check(
            (1..=3).contains(&self.questions.len()),
            "spec.questions: one to three",
        )?;
        check(
            (0.0..=1.0).contains(&self.sample_rate),
            "spec.sampleRate must be from 0 to 1",
        )?;
        let ids: std::collections::BTreeSet<_> = self.questions.iter().map(|q| &q.id).collect();
        check(
            ids.len() == self.questions.len(),
            "spec.questions: an id stands twice",
        )?;
        for question in &self.questions {
            check(
                !question.text.is_empty(),
                "spec.questions: a question without text",
            )?;
            let (low, high) = question.measures.scale();
            check(
                question
                    .follow_up_at_most
                    .is_none_or(|f| (low..=high).contains(&f)),
                "spec.questions: followUpAtMost is outside the scale",
            )?;
        }
        Ok(())
    }
}

impl Validate for MessageTemplateSpec {
    fn validate(&self) -> Result<(), String> {
        check(!self.text.is_empty(), "spec.text must hold a text")
    }
}

impl Validate for PersonaSpec {
    fn validate(&self) -> Result<(), String> {
        check(!self.languages.is_empty(), "spec.languages must hold a language")?;
        check(
            self.languages.values().all(|t| t.max_sentence_words > 4),
            "spec.languages: maxSentenceWords must be above 4",
        )
    }
}

impl Validate for MatchingPolicySpec {
    fn validate(&self) -> Result<(), String> {
        check(
            !self.default_country_code.is_empty()
                && self.default_country_code.bytes().all(|b| b.is_ascii_digit()),
            "spec.defaultCountryCode must be digits, such as 39",
        )?;
        check(
            self.verification_attempts > 0,
            "spec.verificationAttempts must be positive",
        )
    }
}
