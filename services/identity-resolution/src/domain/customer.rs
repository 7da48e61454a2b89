//! A customer: profile, handles, proofs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use trama_proto::{
    common::v1::{self as wire, ChannelKind},
    identity_resolution::v1::{ConsentStatus, Purpose},
    ids::{CustomerId, InteractionId},
    time::to_wire,
};

use super::{
    handle::{HandleKey, Trust},
    rules::Rules,
};

/// The need that stands for every need.
pub const EVERY_NEED: &str = "*";
/// How many handles travel with an event; the strongest and latest go first.
const HANDLES_IN_CONTEXT: usize = 64;

/// What a customer said about themselves, or agents about them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Records consent.
    pub fn set_consent(&mut self, kind: ChannelKind, purpose: Purpose, status: ConsentStatus) {
        self.consents.insert(consent_key(kind, purpose), status as i32);
    }

    /// Whether this purpose may use this kind of channel.
    pub fn allows(&self, kind: ChannelKind, purpose: Purpose) -> bool {
        let said = self.consent(kind, purpose);
        match purpose {
            Purpose::Service | Purpose::Survey => said != ConsentStatus::Denied,
            Purpose::Security => true,
            Purpose::Marketing => said == ConsentStatus::Granted,
            Purpose::Unspecified => false,
        }
    }

    /// One profile of two: what is said stays, what is missing comes from the other, and a refusal by either holds.
    #[must_use]
    pub fn joined(&self, other: &Profile) -> Profile {
        let either = |a: &String, b: &String| if a.is_empty() { b.clone() } else { a.clone() };
        let mut joined = Profile {
            display_name: either(&self.display_name, &other.display_name),
            language: either(&self.language, &other.language),
            entitlement: either(&self.entitlement, &other.entitlement),
            persona_group: either(&self.persona_group, &other.persona_group),
            preferences: self.preferences.clone(),
            consents: self.consents.clone(),
        };
        for (need, kind) in &other.preferences {
            joined.preferences.entry(need.clone()).or_insert(*kind);
        }
        for (key, status) in &other.consents {
            let held = joined.consents.entry(key.clone()).or_insert(*status);
            if *status == ConsentStatus::Denied as i32 {
                *held = *status;
            }
        }
        joined
    }

    /// Takes back what a merge gave, except what was changed since.
    #[must_use]
    pub fn parted(&self, before: &Profile, after: &Profile) -> Profile {
        let text = |now: &String, before: &String, after: &String| {
            if now == after { before.clone() } else { now.clone() }
        };
        Profile {
            display_name: text(&self.display_name, &before.display_name, &after.display_name),
            language: text(&self.language, &before.language, &after.language),
            entitlement: text(&self.entitlement, &before.entitlement, &after.entitlement),
            persona_group: text(&self.persona_group, &before.persona_group, &after.persona_group),
            preferences: parted(&self.preferences, &before.preferences, &after.preferences),
            consents: parted(&self.consents, &before.consents, &after.consents),
        }
    }
}

fn consent_key(kind: ChannelKind, purpose: Purpose) -> String {
    format!("{}/{}", kind as i32, purpose as i32)
}

fn parted(
    now: &BTreeMap<String, i32>,
    before: &BTreeMap<String, i32>,
    after: &BTreeMap<String, i32>,
) -> BTreeMap<String, i32> {
    let mut result = now.clone();
    for (key, given) in after {
        if now.get(key) == Some(given) {
            match before.get(key) {
                Some(old) => result.insert(key.clone(), *old),
                None => result.remove(key),
            };
        }
    }
    result
}

/// A proof of identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// How strong.
    pub level: i32,
    /// How it was proven.
    pub method: String,
    /// Who checked.
    pub verified_by: String,
    /// When.
    pub verified_at: DateTime<Utc>,
    /// Until when it holds.
    pub expires_at: DateTime<Utc>,
    /// The handle that it rests on.
    pub evidence: i64,
}

impl Verification {
    /// For the wire.
    pub fn to_wire(&self) -> wire::Verification {
        wire::Verification {
            level: self.level,
            method: self.method.clone(),
            verified_by: self.verified_by.clone(),
            verified_at: Some(to_wire(self.verified_at)),
            expires_at: Some(to_wire(self.expires_at)),
        }
    }
}

/// A handle that a customer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub key: HandleKey,
    /// How much it may be believed.
    pub trust: Trust,
    /// When it was first seen.
    pub first_seen: DateTime<Utc>,
    /// When it was last seen, to the minute.
    pub last_seen: DateTime<Utc>,
    /// The handle that led here when it was linked; `None` when a person linked it.
    pub evidence: Option<i64>,
    /// The interaction in which it was linked.
    pub via: Option<InteractionId>,
    /// The customer that the stored row names; differs from the holder between a merge and its saving.
    pub row_owner: CustomerId,
}

/// A person or company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// Id.
    pub id: CustomerId,
    /// When they were first seen.
    pub created_at: DateTime<Utc>,
    /// What was said.
    pub profile: Profile,
    /// Known handles, the first seen first.
    pub handles: Vec<Held>,
    /// Proofs that hold.
    pub verifications: Vec<Verification>,
}

impl Customer {
    /// Somebody new.
    pub fn new(id: CustomerId, now: DateTime<Utc>) -> Self {
        Self {
            id,
            created_at: now,
            profile: Profile::default(),
            handles: Vec::new(),
            verifications: Vec::new(),
        }
    }

    /// The handle, if the customer holds it.
    pub fn holds(&self, key: &HandleKey) -> Option<&Held> {
        self.handles.iter().find(|h| h.key == *key)
    }

    /// The strongest proof that holds; of equals the one that holds longest.
    pub fn verification(&self, now: DateTime<Utc>) -> Option<&Verification> {
        self.verifications
            .iter()
            .filter(|v| v.expires_at > now)
            .max_by_key(|v| (v.level, v.expires_at))
    }

    /// Keeps a proof; a longer one of the same kind replaces a shorter one.
    pub fn prove(&mut self, proof: Verification) {
        match self
            .verifications
            .iter_mut()
            .find(|v| v.method == proof.method && v.evidence == proof.evidence)
        {
            Some(held) => *held = proof,
            None => self.verifications.push(proof),
        }
    }

    /// What everybody downstream needs to know.
    pub fn context(&self, rules: &Rules, now: DateTime<Utc>, is_new: bool) -> wire::CustomerContext {
        let entitlement = if self.profile.entitlement.is_empty() {
            rules.entitlement(self.handles.iter().map(|h| &h.key))
        } else {
            &self.profile.entitlement
        };
        let mut handles: Vec<&Held> = self.handles.iter().collect();
        if handles.len() > HANDLES_IN_CONTEXT {
            handles.sort_by_key(|h| std::cmp::Reverse((h.trust, h.last_seen)));
            handles.truncate(HANDLES_IN_CONTEXT);
        }
        wire::CustomerContext {
            customer_id: self.id.to_string(),
            display_name: self.profile.display_name.clone(),
            language: self.profile.language.clone(),
            verification: Some(
                self.verification(now)
                    .map(Verification::to_wire)
                    .unwrap_or_default(),
            ),
            preferences: self.preferences(),
            entitlement: entitlement.to_owned(),
            persona_group: self.profile.persona_group.clone(),
            handles: handles.into_iter().map(Held::to_wire).collect(),
            is_new,
        }
    }

    fn preferences(&self) -> Vec<wire::ChannelPreference> {
        let mut preferences: Vec<_> = self.profile.preferences.iter().collect();
        preferences.sort_by_key(|(need, _)| (*need == EVERY_NEED, *need));
        preferences
            .into_iter()
            .map(|(need, kind)| wire::ChannelPreference {
                need: need.clone(),
                channel_kind: *kind,
            })
            .collect()
    }
}

impl Held {
    /// For the wire.
    pub fn to_wire(&self) -> wire::Handle {
        wire::Handle {
            kind: self.key.kind.as_str().to_owned(),
            value: self.key.value.clone(),
            trust: self.trust.to_wire() as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn profiles() -> impl Strategy<Value = Profile> {
        let map = || prop::collection::btree_map("[a-c*]", 1..3_i32, 0..4);
        ("[ab]?", "(it|en)?", "(gold)?", map(), map()).prop_map(
            |(display_name, language, entitlement, preferences, consents)| Profile {
                display_name,
                language,
                entitlement,
                persona_group: String::new(),
                preferences,
                consents,
            },
        )
    }

    proptest! {
        #[test]
        fn parting_gives_back_what_was_before(one in profiles(), other in profiles()) {
            let joined = one.joined(&other);
            prop_assert_eq!(joined.parted(&one, &joined), one);
        }

        #[test]
        fn what_changed_since_the_merge_stays(one in profiles(), other in profiles(), language in "(fr|de)") {
            let joined = one.joined(&other);
            let now = Profile { language: language.clone(), ..joined.clone() };
            prop_assert_eq!(now.parted(&one, &joined).language, language);
        }
    }

    #[test]
    fn a_refusal_by_either_holds_after_a_merge() {
        let mut agreed = Profile::default();
        agreed.set_consent(ChannelKind::Email, Purpose::Survey, ConsentStatus::Granted);
        let mut refused = Profile::default();
        refused.set_consent(ChannelKind::Email, Purpose::Survey, ConsentStatus::Denied);
        for joined in [agreed.joined(&refused), refused.joined(&agreed)] {
            assert!(!joined.allows(ChannelKind::Email, Purpose::Survey));
        }
    }
}
