//! Who acts: skills, capacity, presence.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::{common::v1::ChannelKind, ids::AgentId};

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

impl Presence {
    /// As it is kept and told.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Available => "available",
            Self::Away => "away",
            Self::NotResponding => "not_responding",
        }
    }

    /// What was kept.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Offline, Self::Available, Self::Away, Self::NotResponding]
            .into_iter()
            .find(|presence| presence.word() == word)
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
    /// Teams.
    pub teams: Vec<String>,
    /// BusinessHours resource; empty is always.
    pub working_hours: String,
    /// Most items of a kind at once, where the agent differs from the policy.
    pub max_at_once: BTreeMap<ChannelKind, i32>,
    /// Units carried at once.
    pub capacity_units: i32,
    /// A bot may hold many offers at once.
    pub bot: bool,
    /// Whether work may be offered.
    pub presence: Presence,
    /// Why.
    pub presence_reason: String,
    /// Since when.
    pub presence_since: DateTime<Utc>,
    /// Kinds of channel that work is taken of now; all when empty.
    pub available_kinds: Vec<ChannelKind>,
    /// Gets nothing new.
    pub draining: bool,
    /// Units in use, pending offers included.
    pub used_units: i32,
    /// Since when nothing was offered to or finished by the agent.
    pub idle_since: DateTime<Utc>,
    /// When the last offer was left to lapse.
    pub missed_at: Option<DateTime<Utc>>,
}

impl Agent {
    /// The agent says or is made something else. Whoever begins to take work stands at the end of the line.
    pub fn become_now(&mut self, presence: Presence, reason: &str, now: DateTime<Utc>) {
        if self.presence != presence {
            if presence == Presence::Available {
                self.idle_since = now;
            }
            // Clocks of replicas differ: what is true now did not begin before what it ended.
            self.presence_since = now.max(self.presence_since);
        }
        self.presence = presence;
        reason.clone_into(&mut self.presence_reason);
    }

    /// Presence after an offer lapsed: left alone for a while, or away when it happens again soon.
    pub fn after_a_miss(&self, window: TimeDelta, now: DateTime<Utc>) -> Presence {
        match self.missed_at {
            Some(before) if now - before <= window => Presence::Away,
            Some(_) | None => Presence::NotResponding,
        }
    }
}
