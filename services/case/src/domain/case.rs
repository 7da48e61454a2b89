//! One need of one customer.

use chrono::{DateTime, Utc};
use trama_proto::{
    case::v1::{self as wire, Effort, Mood, Understanding},
    common::v1::{ChannelKind, CustomerContext},
    ids::{CaseId, CustomerId, InteractionId, MergeId, TenantId},
    time::to_wire,
};

use super::state::{Live, State};
use crate::error::Rejected;

/// Agent id of the built-in assistant.
pub const ASSISTANT: &str = "assistant";

/// Why a case exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A customer's need.
    Need,
    /// A follow-up of a bad survey answer.
    Recovery,
}

impl Kind {
    /// As the wire says it.
    pub const fn to_wire(self) -> wire::CaseKind {
        match self {
            Kind::Need => wire::CaseKind::Need,
            Kind::Recovery => wire::CaseKind::Recovery,
        }
    }
}

/// One need of one customer, open until it is met.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Whose data.
    pub tenant: TenantId,
    /// Which.
    pub id: CaseId,
    /// Whose need.
    pub customer_id: CustomerId,
    /// Whose need it was before customers were merged.
    pub origin_customer_id: CustomerId,
    /// Why it exists.
    pub kind: Kind,
    /// Where it stands.
    pub state: State,
    /// The case it follows up.
    pub related: Option<CaseId>,
    /// For people.
    pub subject: String,
    /// What was understood.
    pub understanding: Understanding,
    /// Article that the search found when the intent named none.
    pub article_key: String,
    /// Who is in charge; empty when nobody is.
    pub assigned_agent: String,
    /// Since when.
    pub assigned_at: Option<DateTime<Utc>>,
    /// Who answered last; empty when nobody did.
    pub last_agent: String,
    /// Channel of the customer's last word.
    pub channel: String,
    /// Its kind.
    pub channel_kind: ChannelKind,
    /// The customer's first word.
    pub first_heard_at: DateTime<Utc>,
    /// The customer's last word.
    pub last_heard_at: DateTime<Utc>,
    /// Our first answer.
    pub first_answer_at: Option<DateTime<Utc>>,
    /// What the customer had to go through.
    pub effort: Effort,
    /// What is known of the customer; the proof is the one that holds for whoever spoke last.
    pub customer: CustomerContext,
    /// The customer's last word; `None` while nobody has spoken.
    pub last_word: Option<InteractionId>,
    /// Proofs of the customer may not hold for whoever spoke it.
    pub in_doubt: bool,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// Revision of the last request for work, or withdrawal.
    pub work_revision: i64,
    /// Optimistic version.
    pub version: i64,
}

/// A word of the customer, as far as a case needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// When.
    pub at: DateTime<Utc>,
    /// Name of the channel.
    pub channel: &'a str,
    /// Its kind.
    pub channel_kind: ChannelKind,
    /// What was understood of it.
    pub understanding: &'a Understanding,
    /// The customer only says thanks, or a machine writes: nobody needs to act.
    pub needs_nothing: bool,
    /// It only asks for a person, which is no need of its own.
    pub asks_for_person: bool,
}

/// What a new case starts from.
#[derive(Debug)]
pub struct NewCase {
    /// Whose data.
    pub tenant: TenantId,
    /// Which.
    pub id: CaseId,
    /// Whose need.
    pub customer_id: CustomerId,
    /// What is known of them.
    pub customer: CustomerContext,
    /// Why it exists.
    pub kind: Kind,
    /// For people.
    pub subject: String,
    /// The customer's first word.
    pub heard_at: DateTime<Utc>,
}

impl Case {
    /// Opens a case; the word that opened it is yet to be [`Case::hear`]d.
    pub fn open(new: NewCase, now: DateTime<Utc>) -> Self {
        Self {
            tenant: new.tenant,
            id: new.id,
            customer_id: new.customer_id,
            origin_customer_id: new.customer_id,
            kind: new.kind,
            state: State::Live(Live::Open {
                waiting_since: new.heard_at,
            }),
            related: None,
            subject: new.subject,
            understanding: Understanding {
                mood: Mood::Neutral.into(),
                ..Understanding::default()
            },
            article_key: String::new(),
            assigned_agent: String::new(),
            assigned_at: None,
            last_agent: String::new(),
            channel: String::new(),
            channel_kind: ChannelKind::Unspecified,
            first_heard_at: new.heard_at,
            last_heard_at: new.heard_at,
            first_answer_at: None,
            effort: Effort::default(),
            customer: new.customer,
            last_word: None,
            in_doubt: false,
            opened_at: now,
            work_revision: 0,
            version: 0,
        }
    }

    /// The intent, empty when unknown.
    pub fn intent(&self) -> &str {
        &self.understanding.intent
    }

    /// Takes in a word of the customer.
    ///
    /// # Errors
    /// When the case is at its end and somebody would need to act.
    pub fn hear(&mut self, word: &Heard<'_>) -> Result<(), Rejected> {
        if !word.needs_nothing {
            self.state = self.state.clone().heard(word.at)?;
        }
        self.effort.contacts += 1;
        if self.channel_kind != ChannelKind::Unspecified && self.channel_kind != word.channel_kind {
            self.effort.channel_switches += 1;
        }
        if word.at >= self.last_heard_at || self.channel_kind == ChannelKind::Unspecified {
            self.channel = word.channel.to_owned();
            self.channel_kind = word.channel_kind;
        }
        self.last_heard_at = self.last_heard_at.max(word.at);
        self.first_heard_at = self.first_heard_at.min(word.at);
        self.understand(word);
        Ok(())
    }

    fn understand(&mut self, word: &Heard<'_>) {
        let said = word.understanding;
        let known = &mut self.understanding;
        if known.intent.is_empty() && !word.asks_for_person && !said.intent.is_empty() {
            known.intent.clone_from(&said.intent);
            known.intent_confidence = said.intent_confidence;
            known.intent_evidence.clone_from(&said.intent_evidence);
        }
        if said.mood() != Mood::Unspecified && !word.needs_nothing {
            known.mood = said.mood;
        }
        known.urgency = known.urgency.max(said.urgency);
        if !said.language.is_empty() {
            known.language.clone_from(&said.language);
        }
        for reference in &said.references {
            if !known.references.contains(reference) {
                known.references.push(reference.clone());
            }
        }
    }

    /// An agent or the assistant answered.
    ///
    /// # Errors
    /// When the case is at its end.
    pub fn answer(&mut self, by: &str, now: DateTime<Utc>) -> Result<(), Rejected> {
        let (state, waited) = self.state.clone().answered(now)?;
        self.state = state;
        self.effort.waited_seconds += waited;
        self.first_answer_at.get_or_insert(now);
        self.assign(by, now);
        by.clone_into(&mut self.last_agent);
        Ok(())
    }

    /// An agent takes charge. From one to another it is a transfer; what is older than what we know is ignored.
    pub fn assign(&mut self, agent: &str, at: DateTime<Utc>) {
        if self.assigned_agent == agent || self.assigned_at.is_some_and(|known| at < known) {
            return;
        }
        if !self.assigned_agent.is_empty() {
            self.effort.transfers += 1;
        }
        agent.clone_into(&mut self.assigned_agent);
        self.assigned_at = Some(at);
    }

    /// Whether the assistant is in charge.
    pub fn is_with_assistant(&self) -> bool {
        self.assigned_agent == ASSISTANT
    }

    /// The assistant hands over to people.
    pub fn hand_over(&mut self, at: DateTime<Utc>) {
        self.assigned_agent.clear();
        self.assigned_at = Some(at);
        self.effort.transfers += 1;
    }

    /// The work waits for another agent: nobody is in charge. What is older than what we know is ignored.
    pub fn give_back(&mut self, at: DateTime<Utc>) {
        if !self.assigned_agent.is_empty() && self.assigned_at.is_none_or(|known| known <= at) {
            self.hand_over(at);
        }
    }

    /// The need is met.
    ///
    /// # Errors
    /// When the case is at its end already.
    pub fn resolve(&mut self, by: &str, now: DateTime<Utc>) -> Result<(), Rejected> {
        let (state, waited) = self.state.clone().resolved(by, now)?;
        self.state = state;
        self.effort.waited_seconds += waited;
        Ok(())
    }

    /// Takes in a case of the same need; `other` ends.
    ///
    /// # Errors
    /// When one of the two is at its end.
    pub fn join(&mut self, other: &mut Case, merge: MergeId) -> Result<(), Rejected> {
        let State::Live(its) = other.state else {
            return Err(match &other.state {
                State::Merged { into, .. } => Rejected::Merged(*into),
                State::Live(_) | State::Resolved { .. } => Rejected::Resolved,
            });
        };
        let joined = self.state.clone().joined(its)?;
        other.state = other.state.clone().merged(self.id, merge)?;
        self.state = joined;
        self.effort.repeats += 1;
        self.effort.contacts += other.effort.contacts;
        if self.channel_kind != other.channel_kind {
            self.effort.channel_switches += 1;
        }
        // A call has its own hands already: who takes the joined case does not take a call.
        if other.last_heard_at > self.last_heard_at && other.channel_kind != ChannelKind::Voice {
            self.channel.clone_from(&other.channel);
            self.channel_kind = other.channel_kind;
        }
        self.take_speaker_of(other);
        self.last_heard_at = self.last_heard_at.max(other.last_heard_at);
        self.first_heard_at = self.first_heard_at.min(other.first_heard_at);
        let said = other.understanding.clone();
        self.understand(&Heard {
            at: other.last_heard_at,
            channel: &other.channel,
            channel_kind: other.channel_kind,
            understanding: &said,
            needs_nothing: true,
            asks_for_person: false,
        });
        if self.last_agent.is_empty() {
            self.last_agent.clone_from(&other.last_agent);
        }
        Ok(())
    }

    /// Lets go of what a joined case had brought.
    pub fn part(&mut self, other: &Case) {
        self.effort.repeats = (self.effort.repeats - 1).max(0);
        self.effort.contacts = (self.effort.contacts - other.effort.contacts).max(0);
    }

    /// Seconds from the customer's first word to our first answer, or to `now`.
    pub fn first_answer_seconds(&self, now: DateTime<Utc>) -> i64 {
        (self.first_answer_at.unwrap_or(now) - self.first_heard_at)
            .num_seconds()
            .max(0)
    }

    /// As the wire says it.
    pub fn to_wire(&self) -> wire::Case {
        let (resolved_at, related) = match &self.state {
            State::Live(_) => (None, self.related),
            State::Resolved { at, .. } => (Some(to_wire(*at)), self.related),
            State::Merged { into, .. } => (None, Some(*into)),
        };
        wire::Case {
            case_id: self.id.to_string(),
            kind: self.kind.to_wire().into(),
            customer_id: self.customer_id.to_string(),
            status: self.state.status().into(),
            understanding: Some(self.understanding.clone()),
            subject: self.subject.clone(),
            assigned_agent_id: self.assigned_agent.clone(),
            waiting_since: self.state.waiting_since().map(to_wire),
            channel_kind: self.channel_kind.into(),
            effort: Some(self.effort),
            create_time: Some(to_wire(self.opened_at)),
            resolve_time: resolved_at,
            related_case_id: related.map(|id| id.to_string()).unwrap_or_default(),
            etag: self.version.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("in range")
    }

    fn case() -> Case {
        let new = NewCase {
            tenant: "acme".parse().expect("a tenant"),
            id: CaseId::derived(&[b"case"]),
            customer_id: CustomerId::derived(&[b"anna"]),
            customer: CustomerContext::default(),
            kind: Kind::Need,
            subject: String::new(),
            heard_at: at(0),
        };
        Case::open(new, at(0))
    }

    #[test]
    fn what_an_agent_accepted_before_another_is_no_second_transfer() {
        let mut case = case();
        case.assign("bruno", at(10));
        case.assign("carla", at(20));
        case.assign("bruno", at(10));
        assert_eq!(
            (case.assigned_agent.as_str(), case.effort.transfers),
            ("carla", 1)
        );
    }
}
