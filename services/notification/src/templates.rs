//! Texts with places to fill. A place without a value is an error: half a sentence must not reach a customer.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior, Value};
use trama_proto::resources::{Localized, TenantResources, localized};

/// A text ready for the persona.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// The body.
    pub text: String,
    /// Subject, for mail.
    pub subject: String,
    /// Approved template at WhatsApp, for use outside the 24-hour window.
    pub whatsapp_template: Option<String>,
}

/// Fills a template in strict mode.
///
/// # Errors
/// Says what is missing or wrong.
pub fn fill<V: AsRef<str>>(template: &str, values: &BTreeMap<&str, V>) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let values = Value::from_pairs(values.iter().map(|(name, value)| (*name, value.as_ref())));
    // Its Display may quote the source, which is ours; values are not in it.
    environment
        .render_str(template, values)
        .map_err(|e| format!("{}: {}", e.kind(), e.detail().unwrap_or_default()))
}

/// Finds a template by name and fills it. `one-time-code` exists even when no resource defines it.
///
/// # Errors
/// When there is no such template, or a place has no value.
pub fn find_and_fill(
    resources: Option<&TenantResources>,
    name: &str,
    language: &str,
    values: &BTreeMap<&str, &str>,
) -> Result<Filled, String> {
    if let Some(template) = resources.and_then(|r| r.message_templates.get(name)) {
        let text = localized(&template.text, language).unwrap_or_default();
        let subject = localized(&template.subject, language).unwrap_or_default();
        return Ok(Filled {
            text: fill(text, values)?,
            subject: fill(subject, values)?,
            whatsapp_template: template.whatsapp_template.clone(),
        });
    }
    let (text, subject) = built_in(name).ok_or_else(|| format!("there is no template `{name}`"))?;
    Ok(Filled {
        text: fill(localized(&text, language).unwrap_or_default(), values)?,
        subject: localized(&subject, language).unwrap_or_default().to_owned(),
        whatsapp_template: None,
    })
}

fn built_in(name: &str) -> Option<(Localized, Localized)> {
    let both = |it: &str, en: &str| {
        Localized::from([("it".to_owned(), it.to_owned()), ("en".to_owned(), en.to_owned())])
    };
    (name == "one-time-code").then(|| {
        (
            both(
                "Il codice per confermare l'identità è {{ code }}{% if minutes is defined %} e vale {{ minutes }} minuti{% endif %}. Non va comunicato a nessun altro.",
                "The code to confirm your identity is {{ code }}{% if minutes is defined %}, good for {{ minutes }} minutes{% endif %}. Do not share it with anybody else.",
            ),
            both("Codice di verifica", "Verification code"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_value_is_an_error() {
        let none = BTreeMap::new();
        assert!(find_and_fill(None, "one-time-code", "it", &none).is_err());
        assert!(find_and_fill(None, "unheard-of", "it", &none).is_err());
        let values = BTreeMap::from([("code", "482913")]);
        let filled = find_and_fill(None, "one-time-code", "de-CH", &values).expect("filled");
        assert!(
            filled.text.contains("482913") && filled.text.starts_with("The code"),
            "{filled:?}"
        );
        assert!(
            find_and_fill(None, "one-time-code", "it-IT", &values)
                .expect("filled")
                .text
                .starts_with("Il codice")
        );
    }
}
