//! What a company keeps of its customers: fields of its own, segments, generations, and where changes are told.

mod segment;

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use segment::{SegmentCondition, SegmentFacts};

use super::{Hook, Kind, Localized, Validate, check};

/// What is kept of customers. A tenant has one: `default`, or the first by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomerSchemaSpec {
    /// Fields of the company's own, by name.
    #[serde(default)]
    pub fields: BTreeMap<String, FieldSpec>,
    /// Sources, the most believed first; of those not named the latest word counts.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Groups of customers.
    #[serde(default)]
    pub segments: BTreeMap<String, SegmentSpec>,
    /// What people of an age usually want, until they say otherwise.
    #[serde(default)]
    pub generations: Vec<GenerationSpec>,
    /// Accessibility needs that can be recorded.
    #[serde(default = "accessibility_needs")]
    pub accessibility_needs: Vec<String>,
    /// Brands that consent can be given to; any when empty.
    #[serde(default)]
    pub brands: Vec<String>,
    /// Hours in which a double opt-in must be confirmed.
    #[serde(default = "confirmation_hours")]
    pub confirmation_hours: u32,
    /// Days for which it is kept who read or changed whom.
    #[serde(default = "access_log_days")]
    pub access_log_days: u32,
    /// Where changes of customers are told, such as a CRM.
    pub webhook: Option<Hook>,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldSpec {
    /// What its values are.
    #[serde(rename = "type")]
    pub is: FieldType,
    /// Name for people.
    #[serde(default)]
    pub title: Localized,
    /// Profiles without it are shown as incomplete.
    #[serde(default)]
    pub required: bool,
    /// Regular expression that a text must match as a whole.
    pub pattern: Option<String>,
    /// The values of an enum.
    #[serde(default)]
    pub values: Vec<String>,
    /// Travels with the customer, so that routing policies can use it.
    #[serde(default)]
    pub routing: bool,
}

/// What the values of a field are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FieldType {
    /// Text of at most 500 characters.
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// A day: `2026-11-22`.
    Date,
    /// One of a few.
    Enum,
}

/// A group of customers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SegmentSpec {
    /// Name for people.
    #[serde(default)]
    pub title: Localized,
    /// Who belongs to it.
    pub when: SegmentCondition,
}

/// What people born in some years usually want.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenerationSpec {
    /// First year of birth.
    pub born_from: i32,
    /// Last year of birth.
    pub born_until: i32,
    /// Persona group: `progressive` or `conservative`.
    #[serde(default)]
    pub persona_group: String,
    /// Channel by need; `*` for every need.
    #[serde(default)]
    pub preferences: BTreeMap<String, Kind>,
}

impl GenerationSpec {
    /// Whether somebody born in this year is meant.
    pub const fn holds(&self, birth_year: i32) -> bool {
        self.born_from <= birth_year && birth_year <= self.born_until
    }
}

impl Default for CustomerSchemaSpec {
    fn default() -> Self {
        Self {
            fields: BTreeMap::new(),
            sources: Vec::new(),
            segments: BTreeMap::new(),
            generations: Vec::new(),
            accessibility_needs: accessibility_needs(),
            brands: Vec::new(),
            confirmation_hours: confirmation_hours(),
            access_log_days: access_log_days(),
            webhook: None,
        }
    }
}

/// Names that fields cannot have: the platform keeps these itself.
pub const BUILT_IN_FIELDS: [&str; 2] = ["accessibility_needs", "birth_year"];
/// Fields that may travel with every event.
const MOST_ROUTING_FIELDS: usize = 8;

impl Validate for CustomerSchemaSpec {
    fn validate(&self) -> Result<(), String> {
        for (name, field) in &self.fields {
            let at = format!("spec.fields.{name}");
            check(
                is_word(name),
                &format!("{at}: a name is 1 to 63 of a-z, 0-9 and _, a letter first"),
            )?;
            check(
                !BUILT_IN_FIELDS.contains(&name.as_str()),
                &format!("{at}: the platform keeps this itself"),
            )?;
            field.validate(&at)?;
        }
        let routing = self.fields.values().filter(|f| f.routing).count();
        check(
            routing <= MOST_ROUTING_FIELDS,
            "spec.fields: at most 8 may be marked routing, they travel with every event",
        )?;
        for (name, segment) in &self.segments {
            check(
                super::super::valid_name(name),
                &format!("spec.segments.{name}: a name is 1 to 63 of a-z, 0-9 and -, no - at the ends"),
            )?;
            segment
                .when
                .check_fields(&self.fields)
                .map_err(|e| format!("spec.segments.{name}.when: {e}"))?;
        }
        for (position, generation) in self.generations.iter().enumerate() {
            let at = format!("spec.generations[{position}]");
            check(
                generation.born_from <= generation.born_until,
                &format!("{at}: bornFrom must not be after bornUntil"),
            )?;
            check(
                matches!(
                    generation.persona_group.as_str(),
                    "" | "progressive" | "conservative"
                ),
                &format!("{at}.personaGroup must be progressive, conservative or empty"),
            )?;
            let overlaps = self.generations[..position]
                .iter()
                .any(|g| g.born_from <= generation.born_until && generation.born_from <= g.born_until);
            check(
                !overlaps,
                &format!("{at}: its years are another generation's too"),
            )?;
        }
        let needs: BTreeSet<_> = self.accessibility_needs.iter().collect();
        check(
            needs.len() == self.accessibility_needs.len() && needs.iter().all(|n| is_word(n)),
            "spec.accessibilityNeeds: each once, of a-z, 0-9 and _",
        )?;
        check(
            self.brands.iter().all(|b| super::super::valid_name(b)),
            "spec.brands: names are 1 to 63 of a-z, 0-9 and -, no - at the ends",
        )?;
        check(
            self.confirmation_hours > 0 && self.access_log_days > 0,
            "spec.confirmationHours and spec.accessLogDays must be positive",
        )?;
        self.webhook
            .as_ref()
            .map_or(Ok(()), |hook| hook.validate("spec.webhook"))
    }
}

impl FieldSpec {
    fn validate(&self, at: &str) -> Result<(), String> {
        check(
            (self.is == FieldType::Enum) != self.values.is_empty(),
            &format!("{at}.values: an enum has some, nothing else has"),
        )?;
        check(
            self.values
                .iter()
                .all(|v| !v.is_empty() && v.chars().count() <= 100),
            &format!("{at}.values: each of 1 to 100 characters"),
        )?;
        match &self.pattern {
            None => Ok(()),
            Some(_) if self.is != FieldType::String => Err(format!("{at}.pattern is for strings")),
            Some(pattern) => whole(pattern)
                .map(|_| ())
                .map_err(|e| format!("{at}.pattern: {e}")),
        }
    }

    /// The pattern, which a text must match as a whole.
    pub fn matcher(&self) -> Option<Regex> {
        self.pattern.as_deref().and_then(|p| whole(p).ok())
    }
}

fn whole(pattern: &str) -> Result<Regex, String> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|e| e.to_string())
}

fn is_word(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn accessibility_needs() -> Vec<String> {
    [
        "screen_reader",
        "large_text",
        "simple_language",
        "sign_language",
        "no_voice",
        "relay_service",
        "more_time",
    ]
    .map(str::to_owned)
    .into()
}

const fn confirmation_hours() -> u32 {
    48
}

const fn access_log_days() -> u32 {
    730
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(value: serde_json::Value) -> Result<CustomerSchemaSpec, String> {
        let schema: CustomerSchemaSpec = serde_json::from_value(value).map_err(|e| e.to_string())?;
        schema.validate().map(|()| schema)
    }

    #[test]
    fn fields_have_types_and_patterns() {
        let read = schema(json!({"fields": {
            "tax_code": {"type": "string", "pattern": "[A-Z]{6}[0-9]{2}.*", "required": true},
            "tier": {"type": "enum", "values": ["a", "b"], "routing": true},
        }}))
        .expect("valid");
        let matcher = read.fields["tax_code"].matcher().expect("a pattern");
        assert!(matcher.is_match("RSSMRA80A01H501U") && !matcher.is_match("x RSSMRA80A01H501U"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (wrong, word) in [
            (json!({"fields": {"Tier": {"type": "string"}}}), "a name"),
            (json!({"fields": {"birth_year": {"type": "number"}}}), "itself"),
            (json!({"fields": {"x": {"type": "enum"}}}), "values"),
            (
                json!({"fields": {"x": {"type": "number", "pattern": "1"}}}),
                "strings",
            ),
            (
                json!({"fields": {"x": {"type": "string", "pattern": "("}}}),
                "pattern",
            ),
            (
                json!({"segments": {"rich": {"when": "traits.money > 3"}}}),
                "money",
            ),
            (
                json!({"generations": [
                {"bornFrom": 1946, "bornUntil": 1964}, {"bornFrom": 1960, "bornUntil": 1980}]}),
                "another",
            ),
            (
                json!({"webhook": {"url": "ftp://x", "secret": {"name": "a", "key": "b"}}}),
                "https",
            ),
        ] {
            let message = schema(wrong.clone()).expect_err("refused");
            assert!(message.contains(word), "{wrong}: {message}");
        }
    }
}
