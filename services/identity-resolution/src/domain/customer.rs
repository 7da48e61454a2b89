//! A customer: profile, handles, proofs.

mod own;

use chrono::{DateTime, Utc};
use trama_proto::{
    common::v1::{self as wire, ChannelKind},
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

#[cfg(test)]
pub use own::consent_key;
pub use own::{EVERY_NEED, Field, Origin, Own, Profile, is_need};

/// How many handles travel with an event; the strongest and latest go first.
const HANDLES_IN_CONTEXT: usize = 64;

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
