//! What a customer's words mean: intent, mood, urgency, language, references, survey answers. Pure and fast: the
//! same words give the same understanding on every machine.

mod answers;
mod classifier;
mod features;
mod language;
mod lexicon;
mod models;
mod references;
mod small_talk;

pub use answers::survey_score;
pub use classifier::{Classifier, Guess, Sure};
pub use lexicon::is_courtesy;
pub use models::{Model, Models};

use trama_proto::{case::v1::Understanding, common::v1::Interaction, resources::TenantResources};

/// The texts of an interaction, as one.
pub fn text_of(interaction: &Interaction) -> String {
    match (interaction.subject.trim(), interaction.text.trim()) {
        ("", text) => text.to_owned(),
        (subject, "") => subject.to_owned(),
        (subject, text) => format!("{subject}\n{text}"),
    }
}

/// Understands an interaction. `known_language` is what the customer was known to speak.
pub fn understand(
    model: &Model,
    resources: Option<&TenantResources>,
    interaction: &Interaction,
    known_language: &str,
) -> Understanding {
    let text = text_of(interaction);
    let guess = model.guess(&text);
    let spec = resources.and_then(|r| r.intents.get(&guess.intent));
    let channel_language = resources
        .and_then(|r| r.channels.get(&interaction.channel))
        .map_or("", |channel| channel.language.as_str());
    let prior = [interaction.language.as_str(), known_language, channel_language]
        .into_iter()
        .find(|l| !l.is_empty())
        .unwrap_or_default();
    let words = features::words(&text);
    let own_words = features::words(&interaction.text);
    Understanding {
        mood: lexicon::mood(&words).into(),
        urgency: lexicon::urgency(&text, &words, spec.map_or(0.0, |s| s.urgency)),
        language: if interaction.language.is_empty() {
            language::detect(&text, &own_words, prior, model.languages())
        } else {
            interaction.language.clone()
        },
        references: references::find(&text),
        intent: guess.intent,
        intent_confidence: guess.probability,
        intent_evidence: guess.evidence,
    }
}
