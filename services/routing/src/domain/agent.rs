//! Who acts: skills, capacity, presence.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use trama_proto::{common::v1::ChannelKind, ids::AgentId};

use super::WorkItem;

/// Whether work may be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Not connected.
    Offline,
    /// Work may be offered.
    Available,
    /// Connected, but no work please.
    Away,
    /// Let an offer lapse.
    NotResponding,
}

/// What a work item needs of an agent's capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// All of it: nobody talks to two callers.
    Whole,
    /// Some units.
    Units(i32),
}

impl Need {
    /// What work on a kind of channel needs. Six units are one agent: three chats, or a chat and an email.
    pub const fn of(kind: ChannelKind) -> Self {
        match kind {
            ChannelKind::Voice => Need::Whole,
            ChannelKind::WebChat | ChannelKind::Whatsapp | ChannelKind::Sms => Need::Units(2),
            ChannelKind::Api | ChannelKind::Internal | ChannelKind::Unspecified => Need::Units(3),
            ChannelKind::Email => Need::Units(4),
        }
    }

    /// The units it takes of an agent with this capacity. Small agents can still do one thing at a time.
    pub fn units_of(self, capacity_units: i32) -> i32 {
        match self {
            Need::Whole => capacity_units,
            Need::Units(units) => units.min(capacity_units),
        }
    }

    /// As the table keeps it: 0 is the whole agent.
    pub const fn column(self) -> i32 {
        match self {
            Need::Whole => 0,
            Need::Units(units) => units,
        }
    }
}

/// Somebody who acts on cases: human or bot.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Who.
    pub id: AgentId,
    /// Name as customers see it.
    pub display_name: String,
    /// Skills with levels 1 to 10.
    pub skills: BTreeMap<String, i32>,
    /// BCP 47 languages; none means all.
    pub languages: Vec<String>,
    /// Channels served.
    pub channel_kinds: Vec<ChannelKind>,
    /// Units carried at once.
    pub capacity_units: i32,
    /// A bot may hold many offers at once.
    pub bot: bool,
    /// Whether work may be offered.
    pub presence: Presence,
    /// Units in use, pending offers included.
    pub used_units: i32,
    /// Offers waiting for an answer; kept for humans only, who get one at a time.
    pub pending_offers: i32,
    /// Since when nothing was offered to or finished by the agent.
    pub idle_since: DateTime<Utc>,
}

impl Agent {
    /// Whether anything at all could be offered now.
    pub fn has_room(&self) -> bool {
        self.presence == Presence::Available
            && self.used_units < self.capacity_units
            && (self.bot || self.pending_offers == 0)
    }

    /// Whether this item may be offered now.
    pub fn can_take(&self, item: &WorkItem) -> bool {
        self.has_room()
            && self.channel_kinds.contains(&item.channel)
            && Need::of(item.channel).units_of(self.capacity_units) <= self.capacity_units - self.used_units
            && item
                .route
                .skills
                .iter()
                .all(|skill| self.skills.contains_key(skill))
            && !item.excluded.contains(&self.id)
    }

    /// Whether the agent speaks a language. Nothing said on either side fits everything.
    pub fn speaks(&self, language: &str) -> bool {
        let primary = |tag: &str| tag.split('-').next().unwrap_or(tag).to_ascii_lowercase();
        language.is_empty()
            || self.languages.is_empty()
            || self.languages.iter().any(|l| primary(l) == primary(language))
    }

    /// Holds units for an offer.
    pub fn hold(&mut self, units: i32, now: DateTime<Utc>) {
        self.used_units += units;
        self.pending_offers += i32::from(!self.bot);
        self.idle_since = now;
    }
}
