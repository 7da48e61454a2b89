//! What the caller tells the engine about work and agents.

use std::sync::Arc;

use super::words::{AgentKey, Cell, Channel, ItemKey, Language, Millis, Skill, Team};

/// What an agent must have. Everything here is hard; wishes are earlier steps.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Requirement {
    /// Skills with the lowest level that will do.
    pub skills: Vec<(Skill, u8)>,
    /// A language the agent must speak.
    pub language: Option<Language>,
    /// Any of these teams; none: everybody.
    pub teams: Option<Vec<Team>>,
}

/// From when on which requirement holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// After so long in the queue.
    pub after_ms: Millis,
    /// What is required from then on.
    pub requirement: Requirement,
}

/// Who of those who have room is asked before the others, however well these fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AskedFirst {
    /// Whoever fits best.
    #[default]
    Anybody,
    /// Bots.
    Bots,
    /// People.
    People,
}

impl AskedFirst {
    /// Whether an agent of that kind stands behind those of the other.
    pub fn later(self, bot: bool) -> bool {
        match self {
            AskedFirst::Anybody => false,
            AskedFirst::Bots => !bot,
            AskedFirst::People => bot,
        }
    }
}

/// A waiting item.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemSpec {
    /// Which.
    pub key: ItemKey,
    /// Its channel now.
    pub channel: Channel,
    /// Requirements, the narrowest first; never empty. Items of one kind share them.
    pub steps: Arc<[Step]>,
    /// When the customer began to wait, on any channel.
    pub clock_start: Millis,
    /// When it entered this queue; steps count from here.
    pub queued_at: Millis,
    /// The promise.
    pub target_ms: Millis,
    /// When the promise breaks (in open hours).
    pub due_at: Millis,
    /// Waiting done elsewhere before, contained in `clock_start`; the service level is judged without it.
    pub carried_ms: Millis,
    /// Where its result counts.
    pub cell: Cell,
    /// The agent who knows the customer.
    pub preferred: Option<AgentKey>,
    /// It waits for them until then, if they are there and could take it; none: they get it when they are free at once.
    pub preferred_until: Option<Millis>,
    /// The only agent who may have it, whatever their skills.
    pub pinned: Option<AgentKey>,
    /// From then on anybody may; none: never.
    pub pinned_until: Option<Millis>,
    /// Who is asked before anybody else.
    pub asked_first: AskedFirst,
    /// Who must not have it.
    pub excluded: Vec<AgentKey>,
    /// Not for bots.
    pub human_only: bool,
    /// In hand, a call may pause it, where the policy lets calls pause its channel.
    pub pausable: bool,
    /// Units it takes of who has it in hand, where these are not what its channel takes by the rules of now.
    pub units: Option<u32>,
    /// Breaks ties between equal deadlines; smaller goes first.
    pub order: u64,
}

/// An agent and what they can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSpec {
    /// Who.
    pub key: AgentKey,
    /// Skills with levels, 1 to 10.
    pub skills: Vec<(Skill, u8)>,
    /// Languages they speak.
    pub languages: Vec<Language>,
    /// Channels they serve.
    pub channels: Vec<Channel>,
    /// Teams they belong to.
    pub teams: Vec<Team>,
    /// Their capacity.
    pub units: u32,
    /// A bot.
    pub bot: bool,
    /// Own limits of items at once, where they differ from the channel's rule.
    pub caps: Vec<(Channel, u32)>,
}

/// What an agent is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Takes offers of everything they serve.
    Available,
    /// Takes offers of these channels only.
    AvailableFor(Vec<Channel>),
    /// Finishes what is in hand and takes nothing new for a moment: who knows a customer may be waited for.
    Away,
    /// Let an offer ring out.
    NotResponding {
        /// Back by themselves then; none: when the caller says so.
        until: Option<Millis>,
    },
    /// The shift ends: nothing new any more.
    Draining,
    /// Not there.
    Offline,
}

/// How far an item in an agent's hands is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Offered, not yet answered.
    Offered {
        /// When the offer ends.
        until: Millis,
    },
    /// Being worked on.
    Active,
    /// Answered; the agent finishes.
    Wrapping,
    /// An idle conversation: in hand, but it takes no capacity.
    Parked,
}
