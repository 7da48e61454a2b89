//! The contact-centre persona: one tone for every text that leaves, and rules for what may not.
//!
//! Pure: a tone and a text in, a text and findings out.

mod check;
mod words;

use std::collections::BTreeMap;

pub use check::{Finding, check};
use trama_proto::{
    common::v1::ChannelKind,
    resources::{PersonaSpec, Register, TenantResources, Tone},
};

use crate::templates::fill;

/// Longest text of a short message, in characters.
pub const SMS_LIMIT: usize = 1_600;
/// Longest text on WhatsApp, in characters.
pub const WHATSAPP_LIMIT: usize = 4_096;

/// What is to be said, and to whom.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// Body, without greeting and closing.
    pub text: &'a str,
    /// BCP 47 language.
    pub language: &'a str,
    /// On which kind of channel.
    pub kind: ChannelKind,
    /// Whether to greet.
    pub greet: bool,
    /// Name of the customer, may be empty.
    pub customer_name: &'a str,
    /// Name of the author as the customer sees it; empty to use the persona's.
    pub author_name: &'a str,
}

/// A text in the persona's tone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// As the customer reads it.
    pub text: String,
    /// Name of the author as the customer sees it.
    pub author_name: String,
    /// What the persona would say differently.
    pub findings: Vec<Finding>,
}

impl Spoken {
    /// Why the text may not leave, if so.
    pub fn objection(&self) -> Option<String> {
        let blocking: Vec<&str> = self
            .findings
            .iter()
            .filter(|f| f.blocking)
            .map(|f| f.rule)
            .collect();
        (!blocking.is_empty()).then(|| format!("persona: {}", blocking.join(", ")))
    }
}

/// The persona in force: the default one, else the first by name.
pub fn in_force(resources: Option<&TenantResources>) -> Option<&PersonaSpec> {
    let personas = &resources?.personas;
    personas
        .values()
        .find(|p| p.default)
        .or_else(|| personas.values().next())
        .map(AsRef::as_ref)
}

/// Says a draft in the persona's tone, shaped for its channel.
pub fn speak(persona: Option<&PersonaSpec>, draft: &Draft<'_>) -> Spoken {
    let tone = tone_for(persona, draft.language);
    let own_name = persona.map_or("", |p| p.assistant_name.as_str());
    let author = if draft.author_name.is_empty() {
        own_name
    } else {
        draft.author_name
    };
    let body = words::replace_avoided(draft.text.trim(), &tone.prefer);
    let mut findings = check(&body, draft.language, &tone);
    let values = BTreeMap::from([("name", draft.customer_name), ("author", author)]);
    let mut line = |template: &str| match fill(template, &values) {
        Ok(text) => words::tidy(&text),
        Err(problem) => {
            // A greeting that cannot be rendered must not hold up an answer.
            findings.push(Finding {
                rule: "persona_template",
                found: problem,
                suggestion: String::new(),
                blocking: false,
            });
            String::new()
        }
    };
    let greeting = if draft.greet {
        line(&tone.greeting)
    } else {
        String::new()
    };
    let closing = if draft.kind == ChannelKind::Email {
        line(&tone.closing)
    } else {
        String::new()
    };
    let parts: Vec<&str> = [greeting.as_str(), &body, &closing]
        .into_iter()
        .filter(|p| !p.is_empty())
        .collect();
    let text = match draft.kind {
        ChannelKind::Email => parts.join("\n\n"),
        ChannelKind::Sms => shorten(&parts.join(" "), SMS_LIMIT),
        ChannelKind::Whatsapp => shorten(&parts.join("\n"), WHATSAPP_LIMIT),
        ChannelKind::WebChat
        | ChannelKind::Voice
        | ChannelKind::Api
        | ChannelKind::Internal
        | ChannelKind::Unspecified => parts.join("\n"),
    };
    Spoken {
        text,
        author_name: author.to_owned(),
        findings,
    }
}

/// The tone in a language: the persona's own, else a plain one, so that greeting and body speak the same language.
fn tone_for(persona: Option<&PersonaSpec>, language: &str) -> Tone {
    let short = language.split('-').next().unwrap_or(language);
    let own = persona.map(|p| &p.languages);
    own.and_then(|l| l.get(language).or_else(|| l.get(short)))
        .cloned()
        .unwrap_or_else(|| plain(short, own))
}

fn plain(language: &str, own: Option<&BTreeMap<String, Tone>>) -> Tone {
    let (greeting, closing) = match language {
        "it" => ("Buongiorno {{ name }},", "Cordiali saluti\n{{ author }}"),
        "en" => ("Hello {{ name }},", "Kind regards\n{{ author }}"),
        // No words in a language that we do not have.
        _ => ("", "{{ author }}"),
    };
    // What may not be said may not be said in any language.
    let forbidden = own
        .into_iter()
        .flat_map(|l| l.values())
        .flat_map(|t| t.forbidden.iter().cloned())
        .collect();
    Tone {
        register: Register::Formal,
        greeting: greeting.into(),
        closing: closing.into(),
        prefer: BTreeMap::new(),
        forbidden,
        max_sentence_words: 30,
    }
}

fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit - 1).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn persona() -> PersonaSpec {
        serde_json::from_value(serde_json::json!({
            "default": true, "assistantName": "Luce",
            "languages": {"it": {
                "register": "informal", "greeting": "Ciao {{ name }}!", "closing": "A presto,\n{{ author }}",
                "prefer": {"problematica": "difficoltà"}, "forbidden": ["non è colpa nostra"]
            }}
        }))
        .expect("a persona")
    }

    fn draft(text: &str, kind: ChannelKind) -> Draft<'_> {
        Draft {
            text,
            language: "it",
            kind,
            greet: true,
            customer_name: "Anna",
            author_name: "",
        }
    }

    #[test]
    fn each_channel_has_its_shape() {
        let persona = persona();
        let say = |kind| speak(Some(&persona), &draft("La problematica è risolta.", kind)).text;
        assert_eq!(
            say(ChannelKind::Email),
            "Ciao Anna!\n\nLa difficoltà è risolta.\n\nA presto,\nLuce"
        );
        assert_eq!(say(ChannelKind::Whatsapp), "Ciao Anna!\nLa difficoltà è risolta.");
        assert_eq!(say(ChannelKind::Sms), "Ciao Anna! La difficoltà è risolta.");
    }

    #[test]
    fn a_name_that_is_not_known_leaves_no_gap() {
        let anonymous = Draft {
            customer_name: "",
            ..draft("Fatto.", ChannelKind::WebChat)
        };
        assert_eq!(speak(Some(&persona()), &anonymous).text, "Ciao!\nFatto.");
        let english = Draft {
            language: "en-GB",
            customer_name: "",
            ..draft("Done.", ChannelKind::WebChat)
        };
        assert_eq!(speak(Some(&persona()), &english).text, "Hello,\nDone.");
    }

    #[test]
    fn a_forbidden_phrase_blocks_in_any_case_and_language() {
        let persona = persona();
        let spoken = speak(Some(&persona), &draft("Non è COLPA nostra.", ChannelKind::Email));
        assert_eq!(spoken.objection().as_deref(), Some("persona: forbidden_phrase"));
        let french = Draft {
            language: "fr",
            ..draft("non è colpa nostra", ChannelKind::Email)
        };
        assert!(speak(Some(&persona), &french).objection().is_some());
        assert!(
            speak(None, &draft("Tutto bene.", ChannelKind::Email))
                .objection()
                .is_none()
        );
    }

    #[test]
    fn texts_stay_within_what_the_channel_takes() {
        let long = "parola ".repeat(2_000);
        assert!(speak(None, &draft(&long, ChannelKind::Sms)).text.chars().count() <= SMS_LIMIT);
        assert!(
            speak(None, &draft(&long, ChannelKind::Whatsapp))
                .text
                .chars()
                .count()
                <= WHATSAPP_LIMIT
        );
    }

    proptest! {
        #[test]
        fn any_text_can_be_spoken(text in "\\PC{0,300}", name in "\\PC{0,20}") {
            let persona = persona();
            let spoken = speak(Some(&persona), &Draft { customer_name: &name, ..draft(&text, ChannelKind::Email) });
            prop_assert!(spoken.author_name == "Luce");
        }
    }
}
