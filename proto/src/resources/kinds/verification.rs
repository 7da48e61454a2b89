//! Proof of identity as policy: which method is worth what for how long, and which need asks for how much.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretRef, Validate, check};

/// The strongest level there is: a document, or strong authentication.
pub const STRONGEST_LEVEL: i32 = 3;
/// What a knowledge question can be worth: who knows an answer is not yet who they say they are.
const MOST_OF_KNOWLEDGE: i32 = 1;

/// How identity is proven, how long it holds, and what needs ask for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerificationPolicy {
    /// What needs ask for, by the name of the intent.
    #[serde(default)]
    pub needs: BTreeMap<String, NeedPolicy>,
    /// Methods that differ from their defaults.
    #[serde(default)]
    pub methods: BTreeMap<ProofMethod, MethodPolicy>,
    /// When wrong answers lock.
    #[serde(default)]
    pub lock_out: LockOut,
    /// The integrator's hook that asks knowledge questions and knows the answers.
    pub knowledge_hook: Option<Hook>,
    /// The integrator's hook that has identity documents checked and reports what came of it.
    pub document_hook: Option<DocumentHook>,
}

/// What one need asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NeedPolicy {
    /// At least so strong.
    pub level: i32,
    /// At most so old; as long as the proof itself holds when absent.
    pub max_age_minutes: Option<u32>,
    /// Only by these methods; by any when empty.
    #[serde(default)]
    pub methods: Vec<ProofMethod>,
}

/// A way to prove identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProofMethod {
    /// A code sent to a handle.
    OneTimeCode,
    /// A question that an integrator asks through a hook.
    KnowledgeQuestion,
    /// A login on the company's site or app.
    Login,
    /// A tap in the company's app.
    InAppConfirm,
    /// An agent's own check, on the telephone say.
    AgentCheck,
    /// An identity document, checked by whom the integrator trusts.
    Document,
}

impl ProofMethod {
    /// All of them.
    pub const ALL: [ProofMethod; 6] = [
        ProofMethod::OneTimeCode,
        ProofMethod::KnowledgeQuestion,
        ProofMethod::Login,
        ProofMethod::InAppConfirm,
        ProofMethod::AgentCheck,
        ProofMethod::Document,
    ];

    /// As events and rows write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProofMethod::OneTimeCode => "one_time_code",
            ProofMethod::KnowledgeQuestion => "knowledge_question",
            ProofMethod::Login => "login",
            ProofMethod::InAppConfirm => "in_app_confirm",
            ProofMethod::AgentCheck => "agent_check",
            ProofMethod::Document => "document",
        }
    }

    /// Reads what events and rows write; every channel names its login as it likes, such as `site_login`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|m| m.as_str() == text)
            .or_else(|| text.ends_with("_login").then_some(ProofMethod::Login))
    }

    /// What the method is worth when the policy says nothing else.
    pub const fn default_policy(self) -> MethodPolicy {
        let (max_level, hours) = match self {
            ProofMethod::OneTimeCode | ProofMethod::Login | ProofMethod::InAppConfirm => (2, 24),
            ProofMethod::KnowledgeQuestion => (MOST_OF_KNOWLEDGE, 12),
            ProofMethod::AgentCheck => (1, 12),
            ProofMethod::Document => (STRONGEST_LEVEL, 72),
        };
        MethodPolicy {
            max_level,
            hours,
            idle_minutes: None,
        }
    }
}

/// What one method is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MethodPolicy {
    /// The highest level it can give; 0 switches it off.
    pub max_level: i32,
    /// How long a proof holds at most.
    pub hours: u32,
    /// How long a proof holds after it was last relied upon; for all its hours when absent.
    pub idle_minutes: Option<u32>,
}

/// When wrong answers lock: each count goes by itself, over the same window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LockOut {
    /// Wrong answers about one customer.
    pub per_customer: u32,
    /// Wrong answers about one handle.
    pub per_handle: u32,
    /// Wrong answers from one source: an agent, an integrator, a bot.
    pub per_source: u32,
    /// The window.
    pub window_minutes: u32,
}

impl Default for LockOut {
    fn default() -> Self {
        Self {
            per_customer: 10,
            per_handle: 10,
            per_source: 50,
            window_minutes: 60,
        }
    }
}

/// An address of the integrator's that is called with a signed body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    /// Where.
    pub url: String,
    /// Key of the signature (HMAC-SHA-256).
    pub secret: SecretRef,
}

/// Where identity documents are checked: called when a check begins, with a signed body; it reports with a body that it
/// signs by the same secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DocumentHook {
    /// Where.
    pub url: String,
    /// Key of both signatures (HMAC-SHA-256).
    pub secret: SecretRef,
    /// Minutes in which the customer must have shown the document.
    #[serde(default = "document_minutes")]
    pub minutes: u32,
}

const fn document_minutes() -> u32 {
    60
}

/// A day: whoever has not shown it by then begins anew.
const MOST_DOCUMENT_MINUTES: u32 = 24 * 60;

impl DocumentHook {
    /// Where it is called.
    pub fn hook(&self) -> Hook {
        Hook {
            url: self.url.clone(),
            secret: self.secret.clone(),
        }
    }

    fn validate(&self, field: &str) -> Result<(), String> {
        self.hook().validate(field)?;
        check(
            (1..=MOST_DOCUMENT_MINUTES).contains(&self.minutes),
            &format!("{field}.minutes must be from 1 to {MOST_DOCUMENT_MINUTES}"),
        )
    }
}

impl Hook {
    pub(super) fn validate(&self, field: &str) -> Result<(), String> {
        check(
            self.url.starts_with("https://") || self.url.starts_with("http://"),
            &format!("{field}.url must begin with https:// or http://"),
        )
    }
}

impl VerificationPolicy {
    /// What a method is worth.
    pub fn method(&self, method: ProofMethod) -> MethodPolicy {
        self.methods
            .get(&method)
            .copied()
            .unwrap_or_else(|| method.default_policy())
    }
}

impl Validate for VerificationPolicy {
    fn validate(&self) -> Result<(), String> {
        for (name, need) in &self.needs {
            check(
                (1..=STRONGEST_LEVEL).contains(&need.level),
                &format!("spec.verification.needs.{name}.level must be from 1 to 3"),
            )?;
            check(
                need.max_age_minutes != Some(0),
                &format!("spec.verification.needs.{name}.maxAgeMinutes must be positive"),
            )?;
            let reachable = ProofMethod::ALL
                .into_iter()
                .filter(|m| need.methods.is_empty() || need.methods.contains(m))
                .map(|m| self.method(m).max_level)
                .max();
            check(
                reachable >= Some(need.level),
                &format!(
                    "spec.verification.needs.{name}: no method that it allows reaches level {}",
                    need.level
                ),
            )?;
        }
        for (method, policy) in &self.methods {
            let name = method.as_str();
            check(
                (0..=STRONGEST_LEVEL).contains(&policy.max_level),
                &format!("spec.verification.methods: maxLevel of {name} must be from 0 to 3"),
            )?;
            check(
                policy.hours > 0 && policy.idle_minutes != Some(0),
                &format!("spec.verification.methods: hours and idleMinutes of {name} must be positive"),
            )?;
        }
        check(
            self.method(ProofMethod::KnowledgeQuestion).max_level <= MOST_OF_KNOWLEDGE,
            "spec.verification.methods.knowledgeQuestion.maxLevel: a question never proves more than level 1",
        )?;
        let lock = self.lock_out;
        check(
            lock.per_customer > 0 && lock.per_handle > 0 && lock.per_source > 0 && lock.window_minutes > 0,
            "spec.verification.lockOut: every number must be positive",
        )?;
        self.knowledge_hook
            .as_ref()
            .map_or(Ok(()), |hook| hook.validate("spec.verification.knowledgeHook"))?;
        self.document_hook
            .as_ref()
            .map_or(Ok(()), |hook| hook.validate("spec.verification.documentHook"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(value: serde_json::Value) -> Result<VerificationPolicy, String> {
        let policy: VerificationPolicy = serde_json::from_value(value).map_err(|e| e.to_string())?;
        policy.validate().map(|()| policy)
    }

    #[test]
    fn a_need_names_level_age_and_methods() {
        let read = policy(json!({"needs": {"pay_bill": {"level": 2, "maxAgeMinutes": 30}}})).expect("valid");
        assert_eq!(read.needs["pay_bill"].max_age_minutes, Some(30));
        assert_eq!(read.method(ProofMethod::Document).max_level, 3);
    }

    #[test]
    fn a_question_never_proves_more_than_level_1() {
        let wrong = json!({"methods": {"knowledgeQuestion": {"maxLevel": 2, "hours": 1}}});
        assert!(policy(wrong).is_err_and(|m| m.contains("never")));
    }

    #[test]
    fn a_need_that_nothing_can_meet_is_refused() {
        let wrong = json!({"needs": {"x": {"level": 3, "methods": ["oneTimeCode"]}}});
        assert!(policy(wrong).is_err_and(|m| m.contains("no method")));
    }

    #[test]
    fn a_hook_for_documents_gives_the_customer_an_hour_unless_it_says_otherwise() {
        let hook = |more: serde_json::Value| {
            let mut hook = json!({"url": "https://id.example/checks", "secret": {"name": "s", "key": "k"}});
            hook.as_object_mut()
                .expect("an object")
                .extend(more.as_object().expect("an object").clone());
            policy(json!({"documentHook": hook}))
        };
        let read = hook(json!({})).expect("valid");
        assert_eq!(read.document_hook.map(|h| h.minutes), Some(60));
        assert!(hook(json!({"minutes": 0})).is_err_and(|m| m.contains("minutes")));
        assert!(hook(json!({"minutes": 1441})).is_err_and(|m| m.contains("minutes")));
        assert!(hook(json!({"url": "ftp://id.example"})).is_err_and(|m| m.contains("documentHook.url")));
    }

    #[test]
    fn every_method_comes_back_from_its_name() {
        for method in ProofMethod::ALL {
            assert_eq!(ProofMethod::parse(method.as_str()), Some(method));
        }
        assert_eq!(ProofMethod::parse("site_login"), Some(ProofMethod::Login));
        assert_eq!(ProofMethod::parse("palm_reading"), None);
    }
}
