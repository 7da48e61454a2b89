//! Who is who: how people are recognised, joined and proven.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Validate, VerificationPolicy, check};

/// Who is who.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MatchingPolicySpec {
    /// Values that never identify anybody, besides the built-in ones.
    pub blocked_values: Vec<String>,
    /// Handles that several people share (family phone, company mailbox): they never merge by themselves.
    pub shared_handles: Vec<String>,
    /// A handle that more customers than this were seen with is shared, whoever had it first.
    pub shared_after_customers: u32,
    /// Names before the `@` that several people read, besides the built-in ones such as `info`.
    pub role_mailboxes: Vec<String>,
    /// Country for telephone numbers without a prefix, such as `39`.
    pub default_country_code: String,
    /// Which spellings of a mail address are the same mailbox.
    pub mail: MailSpelling,
    /// By kind of handle: how many a person has, which is believed when two disagree, and how much at most. Kinds that are not
    /// named are as shipped: `crm` one and first, `loyalty` next, `device` and `push` after all others but `review`.
    pub identifiers: BTreeMap<String, IdentifierRule>,
    /// How often matching may join customers by itself.
    pub merges: MergeLimits,
    /// Which of two values stays when customers are joined.
    pub survivorship: Survivorship,
    /// Matching by what people are called and where they live.
    pub similarity: Similarity,
    /// How long a verification holds.
    pub verification_hours: u32,
    /// Wrong codes before a challenge is locked.
    pub verification_attempts: u32,
    /// How identity is proven, and which need asks for how much.
    pub verification: VerificationPolicy,
}

/// Which spellings of a mail address are the same mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MailSpelling {
    /// Providers at which `anna+shop@` is the mailbox `anna@`; `*` stands for all.
    pub sub_addressing: Vec<String>,
    /// Providers that ignore dots before the `@`.
    pub ignoring_dots: Vec<String>,
}

/// What holds for one kind of handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IdentifierRule {
    /// How many of the kind one customer may hold by matching; what would exceed it joins nobody. 0: no limit.
    pub limit: u32,
    /// The smallest number is believed first when a delivery shows handles of several customers.
    pub priority: u32,
    /// The most that a handle of the kind is believed, whatever a channel says of it.
    pub most_trust: MostTrust,
}

/// How much a handle may be believed to be somebody's at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MostTrust {
    /// It is only said: found by it when there is nothing better, never joined by it.
    Claimed,
    /// It was used.
    Observed,
    /// Possession can be proven.
    #[default]
    Verified,
}

/// How often matching may join customers by itself; beyond it a person decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MergeLimits {
    /// Into one customer within 24 hours.
    pub per_day: u32,
    /// Into one customer ever.
    pub ever: u32,
}

/// Which of two values stays when customers are joined. Nothing is lost: the other stays with its own side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Survivorship {
    /// Sources, the most believed first: `agent`, a channel's name, `import:crm`. Others come after them.
    pub sources: Vec<String>,
    /// What decides, in this order, unless the field has its own.
    pub order: Vec<Survives>,
    /// What decides for single fields: `display_name`, `language`, `entitlement`, `persona_group`, `preferences`.
    pub fields: BTreeMap<String, Vec<Survives>>,
}

/// What makes one value stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Survives {
    /// Said with a proof of identity.
    Verified,
    /// The source that stands further up.
    Source,
    /// The newest.
    Newest,
    /// The oldest.
    Oldest,
}

/// Matching by what people are called and where they live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Similarity {
    /// Whether it is done.
    pub enabled: bool,
    /// Whether what is surely the same is joined at once; otherwise a person decides that, too.
    pub joins: bool,
    /// Weights as `trama identity train` writes them; the shipped ones when absent.
    pub model: Option<serde_json::Value>,
    /// Hours in which a person shall decide about a doubtful pair.
    pub review_hours: u32,
}

impl Default for MatchingPolicySpec {
    fn default() -> Self {
        Self {
            blocked_values: Vec::new(),
            shared_handles: Vec::new(),
            shared_after_customers: 3,
            role_mailboxes: Vec::new(),
            default_country_code: "39".into(),
            mail: MailSpelling::default(),
            identifiers: shipped_identifiers(),
            merges: MergeLimits::default(),
            survivorship: Survivorship::default(),
            similarity: Similarity::default(),
            verification_hours: 24,
            verification_attempts: 5,
            verification: VerificationPolicy::default(),
        }
    }
}

/// What holds for kinds of handles unless a policy says otherwise.
fn shipped_identifiers() -> BTreeMap<String, IdentifierRule> {
    let rule = |limit, priority| IdentifierRule {
        limit,
        priority,
        ..IdentifierRule::default()
    };
    let alias = IdentifierRule {
        most_trust: MostTrust::Claimed,
        ..rule(0, 30)
    };
    BTreeMap::from(
        [
            ("crm", rule(1, 1)),
            ("loyalty", rule(0, 2)),
            ("cookie", rule(0, 20)),
            ("device", rule(0, 20)),
            ("push", rule(0, 20)),
            ("review", alias),
        ]
        .map(|(kind, rule)| (kind.to_owned(), rule)),
    )
}

impl MatchingPolicySpec {
    /// The rules by kind of handle: the shipped ones, and the policy's own in their stead.
    pub fn identifiers_in_force(&self) -> BTreeMap<String, IdentifierRule> {
        let mut rules = shipped_identifiers();
        rules.extend(self.identifiers.iter().map(|(kind, rule)| (kind.clone(), *rule)));
        rules
    }
}

impl Default for MailSpelling {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Self {
            sub_addressing: list(&[
                "gmail.com",
                "googlemail.com",
                "outlook.com",
                "outlook.it",
                "hotmail.com",
                "hotmail.it",
                "live.com",
                "live.it",
                "icloud.com",
                "proton.me",
                "protonmail.com",
                "fastmail.com",
            ]),
            ignoring_dots: list(&["gmail.com", "googlemail.com"]),
        }
    }
}

impl Default for IdentifierRule {
    fn default() -> Self {
        Self {
            limit: 0,
            priority: 10,
            most_trust: MostTrust::default(),
        }
    }
}

impl Default for MergeLimits {
    fn default() -> Self {
        Self {
            per_day: 20,
            ever: 100,
        }
    }
}

impl Default for Survivorship {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            order: vec![Survives::Verified, Survives::Source, Survives::Newest],
            // A channel's nickname of today says less than the name of the first mail.
            fields: BTreeMap::from([(
                "display_name".into(),
                vec![Survives::Verified, Survives::Source, Survives::Oldest],
            )]),
        }
    }
}

impl Default for Similarity {
    fn default() -> Self {
        Self {
            enabled: true,
            joins: true,
            model: None,
            review_hours: 48,
        }
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
        )?;
        self.verification.validate()?;
        check(
            self.shared_after_customers > 0,
            "spec.sharedAfterCustomers must be positive",
        )?;
        check(
            self.merges.per_day <= self.merges.ever,
            "spec.merges.perDay must not be more than spec.merges.ever",
        )?;
        check(
            self.similarity.review_hours > 0,
            "spec.similarity.reviewHours must be positive",
        )?;
        const FIELDS: [&str; 5] = [
            "display_name",
            "language",
            "entitlement",
            "persona_group",
            "preferences",
        ];
        for field in self.survivorship.fields.keys() {
            check(
                FIELDS.contains(&field.as_str()),
                "spec.survivorship.fields: known are display_name, language, entitlement, persona_group and preferences",
            )?;
        }
        Ok(())
    }
}
