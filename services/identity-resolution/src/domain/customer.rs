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
    profile::View,
    rules::Rules,
    said::Said,
    survivorship,
};
use crate::matching::{Facts, Policy};

/// The need that stands for every need.
pub const EVERY_NEED: &str = "*";
/// How many handles travel with an event; the strongest and latest go first.
const HANDLES_IN_CONTEXT: usize = 64;

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

/// One id of a customer: their own, or that of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The id.
    pub id: CustomerId,
    /// When it was first seen.
    pub created_at: DateTime<Utc>,
    /// When it became an alias.
    pub merged_at: Option<DateTime<Utc>>,
    /// What was said under it.
    pub own: Own,
    /// The version of that, as read; 0 for an id that is new.
    pub version: i32,
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
    /// The interaction in which it was asked for: of whoever spoke there it holds, whatever they came by.
    pub asked_in: Option<InteractionId>,
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
    /// The id of the customer under which it is kept: their own or that of an alias.
    pub row_owner: CustomerId,
    /// Who said so: a channel, `agent`, `import:crm`.
    pub source: String,
    /// It was learnt that several people use it.
    pub shared: bool,
}

/// A person or company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// Id.
    pub id: CustomerId,
    /// When they were first seen, under any id.
    pub created_at: DateTime<Utc>,
    /// What holds.
    pub profile: Profile,
    /// Their ids: their own and their aliases', the first seen first.
    pub members: Vec<Member>,
    /// Known handles, the first seen first.
    pub handles: Vec<Held>,
    /// Proofs that hold.
    pub verifications: Vec<Verification>,
    /// Ids that more than likeness made one: survivor and merged. As far as proofs make it worth knowing; what is not here is
    /// no reason to believe anybody.
    pub ties: Vec<(CustomerId, CustomerId)>,
    /// What of the profile travels with every event.
    pub view: View,
}

impl Customer {
    /// Somebody new.
    pub fn new(id: CustomerId, now: DateTime<Utc>) -> Self {
        Self {
            id,
            created_at: now,
            profile: Profile::default(),
            members: vec![Member {
                id,
                created_at: now,
                merged_at: None,
                own: Own::default(),
                version: 0,
            }],
            handles: Vec::new(),
            verifications: Vec::new(),
            ties: Vec::new(),
            view: View::default(),
        }
    }

    /// From what is stored under each id.
    pub fn of_members(
        id: CustomerId,
        mut members: Vec<Member>,
        mut handles: Vec<Held>,
        rules: &Rules,
    ) -> Self {
        members.sort_by_key(|m| (m.created_at, m.id));
        handles.sort_by(|a, b| (a.first_seen, &a.key).cmp(&(b.first_seen, &b.key)));
        let mut customer = Self {
            id,
            created_at: members.first().map(|m| m.created_at).unwrap_or_default(),
            profile: Profile::default(),
            members,
            handles,
            verifications: Vec::new(),
            ties: Vec::new(),
            view: View::default(),
        };
        customer.choose(rules);
        customer
    }

    /// Chooses anew what holds.
    pub fn choose(&mut self, rules: &Rules) {
        self.profile = survivorship::choose(&self.members, &rules.policy().survivorship);
    }

    /// Takes over all that another is: their ids, and what is kept under them.
    pub fn take_in(&mut self, other: Customer, now: DateTime<Utc>, rules: &Rules) {
        self.members.extend(other.members.into_iter().map(|mut m| {
            if m.id == other.id {
                m.merged_at = Some(now);
            }
            m
        }));
        self.members.sort_by_key(|m| (m.created_at, m.id));
        self.handles.extend(other.handles);
        self.handles
            .sort_by(|a, b| (a.first_seen, &a.key).cmp(&(b.first_seen, &b.key)));
        self.created_at = self.created_at.min(other.created_at);
        self.ties.extend(other.ties);
        self.choose(rules);
    }

    /// All that is said under the ids, to compare.
    pub fn facts(&self, policy: &Policy) -> Facts {
        let mut facts = Facts::default();
        for member in &self.members {
            facts.absorb(&member.own.said.facts(policy));
        }
        facts
    }

    /// Whether a record says nothing of name and birth but what was said of them, and of the name all of it: a name that stands in
    /// two places speaks for nobody, so that a part of what they are called is not the same as the whole.
    pub fn is_called_as(&self, record: &Said) -> bool {
        let said_of_them = |value| self.members.iter().any(|m| m.own.said.says(value));
        let mut told = record.values().iter().filter(|v| v.attribute.tells_apart());
        let nameless = !record.values().iter().any(|v| v.attribute.is_name());
        let mut theirs = self.members.iter().flat_map(|m| m.own.said.values());
        told.all(said_of_them) && (nameless || theirs.all(|v| !v.attribute.is_name() || record.says(v)))
    }

    /// Their own id and their aliases'.
    pub fn ids(&self) -> Vec<CustomerId> {
        self.members.iter().map(|m| m.id).collect()
    }

    /// What was said of the person under all ids.
    pub fn said(&self) -> Said {
        let mut all = Said::default();
        for member in &self.members {
            all.absorb(&member.own.said);
        }
        all
    }

    /// What was said under one of the ids.
    pub fn own(&self, member: CustomerId) -> Option<&Own> {
        self.member(member).map(|m| &m.own)
    }

    /// One of the ids, with what was said under it.
    pub fn member(&self, id: CustomerId) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }

    /// The same, to change.
    pub fn own_mut(&mut self, member: CustomerId) -> Option<&mut Own> {
        self.members
            .iter_mut()
            .find(|m| m.id == member)
            .map(|m| &mut m.own)
    }

    /// Whether matching may not make an alias of the customer.
    pub fn is_protected(&self) -> bool {
        self.members.iter().any(|m| m.own.protected)
    }

    /// Whether possession of any handle was proven.
    pub fn has_verified_handle(&self) -> bool {
        self.handles.iter().any(|h| h.trust == Trust::Verified)
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
        let mut context = wire::CustomerContext {
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
            ..Default::default()
        };
        self.view.fill(&mut context);
        context
    }

    fn preferences(&self) -> Vec<wire::ChannelPreference> {
        let mut preferences: Vec<_> = self
            .profile
            .preferences
            .iter()
            .filter(|(_, kind)| **kind != ChannelKind::Unspecified as i32)
            .collect();
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
    /// Seen for the first time, under an id.
    pub fn first(key: HandleKey, trust: Trust, row_owner: CustomerId, now: DateTime<Utc>) -> Self {
        Self {
            key,
            trust,
            first_seen: now,
            last_seen: now,
            evidence: None,
            via: None,
            row_owner,
            source: String::new(),
            shared: false,
        }
    }

    /// How sure it is that it is this customer's.
    pub const fn confidence(&self) -> f64 {
        match (self.trust, self.shared) {
            (Trust::Verified, false) => 0.99,
            (Trust::Observed, false) => 0.9,
            (Trust::Claimed, false) => 0.5,
            (Trust::Verified, true) => 0.6,
            (Trust::Observed | Trust::Claimed, true) => 0.2,
        }
    }

    /// For the wire.
    pub fn to_wire(&self) -> wire::Handle {
        wire::Handle {
            kind: self.key.kind.as_str().to_owned(),
            value: self.key.value.clone(),
            trust: self.trust.to_wire() as i32,
        }
    }
}
