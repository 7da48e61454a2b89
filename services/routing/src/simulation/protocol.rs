//! The words between a simulated day and the engine under test: JSON lines, virtual time in seconds.
//!
//! The engine hears every event and answers only to [`Event::Decide`], with one line. It never hears what a real one
//! could not know: how long work will take, when patience ends, what an agent will answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line from the day to the engine. `t` is in seconds since the doors opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ev", rename_all = "snake_case")]
pub enum Event {
    /// The first line: the rules that are public, and who works.
    Init {
        /// When.
        t: f64,
        /// The public rules.
        world: PublicWorld,
        /// Everybody who works that day.
        agents: Vec<AgentInfo>,
    },
    /// A customer comes.
    Arrive {
        /// When.
        t: f64,
        /// What they bring.
        item: ItemInfo,
    },
    /// A waiting customer moves to another channel; the item keeps its id.
    Switch {
        /// When.
        t: f64,
        /// Which item.
        item: String,
        /// The new channel.
        channel: String,
    },
    /// The customer gave up.
    Abandon {
        /// When.
        t: f64,
        /// Which item.
        item: String,
        /// Whose offer is rescinded by that, if it was offered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
    },
    /// An agent's presence.
    Agent {
        /// When.
        t: f64,
        /// Who.
        agent: String,
        /// What they are now.
        state: AgentState,
    },
    /// The offer was accepted; work begins.
    Accepted {
        /// When.
        t: f64,
        /// Which item.
        item: String,
        /// By whom.
        agent: String,
    },
    /// The offer was declined; the item waits again.
    Declined {
        /// When.
        t: f64,
        /// Which item.
        item: String,
        /// By whom.
        agent: String,
    },
    /// The offer rang out; the item waits again and the agent is not responding.
    Timeout {
        /// When.
        t: f64,
        /// Which item.
        item: String,
        /// At whom.
        agent: String,
    },
    /// The work is done; wrap-up begins and still holds the units.
    Done {
        /// When.
        t: f64,
        /// Which item.
        item: String,
        /// By whom.
        agent: String,
    },
    /// The units are back.
    Free {
        /// When.
        t: f64,
        /// Which item held them.
        item: String,
        /// Whose they are.
        agent: String,
    },
    /// An item comes back into the queue from an agent.
    Requeue {
        /// When.
        t: f64,
        /// Which item.
        item: String,
        /// From whom.
        agent: String,
        /// Why.
        reason: RequeueReason,
        /// The level that is required from now on (0: none beyond the usual).
        must_level: u8,
    },
    /// The last offer of this pair broke a rule of the world; nothing happened.
    Invalid {
        /// When.
        t: f64,
        /// Which item.
        item: String,
        /// To whom.
        agent: String,
    },
    /// The engine's turn: it answers with one [`Answer`].
    Decide {
        /// When.
        t: f64,
    },
    /// The day is over.
    End {
        /// When.
        t: f64,
    },
}

/// The public part of the world's rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublicWorld {
    /// Units an agent has.
    pub capacity_units: u32,
    /// Units an item takes, by channel.
    pub units: BTreeMap<String, u32>,
    /// Items of a channel an agent may hold at once.
    pub max_per_channel: BTreeMap<String, u32>,
    /// Channels whose work a call pauses.
    pub interruptible: Vec<String>,
    /// Seconds promised, by channel.
    pub target_s: BTreeMap<String, f64>,
    /// What a promise is multiplied with, by entitlement.
    pub entitlement_factor: BTreeMap<String, f64>,
    /// The share of items that should be answered in time, by entitlement.
    pub goal_sl: BTreeMap<String, f64>,
    /// Seconds an offer rings, by channel.
    pub offer_timeout_s: BTreeMap<String, f64>,
}

/// An agent of the day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentInfo {
    /// Who.
    pub id: String,
    /// Their team.
    pub team: String,
    /// Languages they speak.
    pub langs: Vec<String>,
    /// Channels they serve.
    pub channels: Vec<String>,
    /// Levels by intent.
    pub skills: BTreeMap<String, u8>,
}

/// An item as the engine may know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemInfo {
    /// Which.
    pub id: String,
    /// The channel the customer uses.
    pub channel: String,
    /// What they want.
    pub intent: String,
    /// Their language.
    pub lang: String,
    /// What they are entitled to.
    pub entitlement: String,
    /// The level that fits; below it the item may be transferred.
    pub min_level: u8,
    /// The customer.
    pub customer: String,
    /// The agent who knows them; empty when there is none.
    pub preferred: String,
    /// Seconds they already waited elsewhere.
    pub carried_wait_s: f64,
}

/// Presence as the day tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Takes offers.
    Available,
    /// Finishes what is in hand and takes nothing new.
    Away,
    /// Let an offer ring out; comes back by itself.
    NotResponding,
}

/// Why an item is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequeueReason {
    /// The agent was not skilled enough.
    Transfer,
    /// The agent is gone.
    AgentLost,
}

/// One proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Which item.
    pub item: String,
    /// To whom.
    pub agent: String,
}

/// What the engine answers to [`Event::Decide`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The proposals, in the order of their rank.
    pub offers: Vec<Offer>,
    /// Ask again then, even if nothing happens.
    pub wake: Option<f64>,
}
