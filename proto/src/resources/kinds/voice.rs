//! How we speak: templates and tone.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Localized, Validate, check};

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

const fn sentence_words() -> usize {
    30
}
