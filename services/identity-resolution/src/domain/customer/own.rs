//! What is said of a customer under one of their ids, and what of it holds.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::{ConsentStatus, Purpose},
};

use crate::domain::said::Said;

/// The need that stands for every need.
pub const EVERY_NEED: &str = "*";
/// What holds for a customer: chosen among what was said of them under any of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Name to use.
    pub display_name: String,
    /// BCP 47 language, empty when unknown.
    pub language: String,
    /// Entitlement set by hand; empty when handles decide.
    pub entitlement: String,
    /// Persona group.
    pub persona_group: String,
    /// Wanted channel by need.
    pub preferences: BTreeMap<String, i32>,
    /// Consent by `kind/purpose`.
    pub consents: BTreeMap<String, i32>,
}

impl Profile {
    /// What was said about a kind of channel and a purpose.
    pub fn consent(&self, kind: ChannelKind, purpose: Purpose) -> ConsentStatus {
        let status = self
            .consents
            .get(&consent_key(kind, purpose))
            .copied()
            .unwrap_or_default();
        ConsentStatus::try_from(status).unwrap_or(ConsentStatus::Unspecified)
    }

    /// The value of a field; empty when nothing is known.
    pub fn value(&self, field: Field) -> &str {
        match field {
            Field::DisplayName => &self.display_name,
            Field::Language => &self.language,
            Field::Entitlement => &self.entitlement,
            Field::PersonaGroup => &self.persona_group,
        }
    }

    /// What was said for a brand; what was said for all brands where nothing was said for this one. What a brand was given
    /// before all were refused is a refusal by the time it is kept here.
    pub fn consent_for(&self, kind: ChannelKind, purpose: Purpose, brand: &str) -> ConsentStatus {
        let own = (!brand.is_empty())
            .then(|| {
                self.consents
                    .get(&format!("{}/{brand}", consent_key(kind, purpose)))
            })
            .flatten();
        own.and_then(|said| ConsentStatus::try_from(*said).ok())
            .unwrap_or_else(|| self.consent(kind, purpose))
    }

    /// The brands that may not use this kind of channel for this purpose, and whose senders nobody else uses for it either.
    pub fn refused_brands(&self, kind: ChannelKind, purpose: Purpose) -> Vec<String> {
        if purpose == Purpose::Security {
            return Vec::new();
        }
        let brands = format!("{}/", consent_key(kind, purpose));
        let said = self.consents.range(brands.clone()..);
        said.map_while(|(key, status)| Some((key.strip_prefix(&brands)?, *status)))
            .filter(|(_, status)| *status == ConsentStatus::Denied as i32)
            .map(|(brand, _)| brand.to_owned())
            .collect()
    }

    /// Whether this purpose of this brand may use this kind of channel.
    pub fn allows(&self, kind: ChannelKind, purpose: Purpose, brand: &str) -> bool {
        let said = self.consent_for(kind, purpose, brand);
        match purpose {
            Purpose::Service | Purpose::Survey => said != ConsentStatus::Denied,
            Purpose::Security => true,
            Purpose::Marketing => said == ConsentStatus::Granted,
            Purpose::Unspecified => false,
        }
    }
}

/// Under which name consent is kept.
pub fn consent_key(kind: ChannelKind, purpose: Purpose) -> String {
    format!("{}/{}", kind as i32, purpose as i32)
}

/// The name of an intent, or [`EVERY_NEED`].
pub fn is_need(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    text == EVERY_NEED || (1..=63).contains(&text.len()) && text.bytes().all(plain)
}

/// A field of which one value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Name to use.
    DisplayName,
    /// Language.
    Language,
    /// Entitlement set by hand.
    Entitlement,
    /// Persona group.
    PersonaGroup,
}

impl Field {
    /// All of them.
    pub const ALL: [Field; 4] = [
        Field::DisplayName,
        Field::Language,
        Field::Entitlement,
        Field::PersonaGroup,
    ];

    /// The name in requests, rows and policies.
    pub const fn name(self) -> &'static str {
        match self {
            Field::DisplayName => "display_name",
            Field::Language => "language",
            Field::Entitlement => "entitlement",
            Field::PersonaGroup => "persona_group",
        }
    }
}

/// Who said something, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// A channel, `agent`, `import:crm`.
    #[serde(rename = "s")]
    pub source: String,
    /// When.
    #[serde(rename = "t")]
    pub at: DateTime<Utc>,
    /// With a proof of identity.
    #[serde(rename = "v", default, skip_serializing_if = "is_false")]
    pub verified: bool,
    /// Said on purpose of the whole customer: by the person, an agent or an integrator.
    #[serde(rename = "h", default, skip_serializing_if = "is_false")]
    pub by_hand: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What was said under one id of a customer. Never changed by a merge or a split.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// The four fields and the two maps.
    pub profile: Profile,
    /// Where each comes from: field name, `preferences/<need>`, `consents/<key>`.
    pub origins: BTreeMap<String, Origin>,
    /// What records say of the person.
    pub said: Said,
    /// Matching never makes an alias of it.
    pub protected: bool,
}

impl Own {
    /// Sets a field. False when it says so already.
    pub fn say(&mut self, field: Field, value: &str, origin: Origin) -> bool {
        let held = match field {
            Field::DisplayName => &mut self.profile.display_name,
            Field::Language => &mut self.profile.language,
            Field::Entitlement => &mut self.profile.entitlement,
            Field::PersonaGroup => &mut self.profile.persona_group,
        };
        let known = self.origins.get(field.name());
        if held == value && known.is_some_and(|k| k.by_hand || !origin.by_hand) {
            return false;
        }
        value.clone_into(held);
        self.origins.insert(field.name().to_owned(), origin);
        true
    }

    /// The value of a field; empty when nothing was said.
    pub fn value(&self, field: Field) -> &str {
        self.profile.value(field)
    }

    /// Where a field comes from.
    pub fn origin(&self, field: Field) -> Option<&Origin> {
        self.origins.get(field.name())
    }

    /// Sets or takes back the wanted channel for a need; taking back is a statement too.
    pub fn prefer(&mut self, need: &str, kind: ChannelKind, origin: Origin) {
        self.profile.preferences.insert(need.to_owned(), kind as i32);
        self.origins.insert(format!("preferences/{need}"), origin);
    }
}
