//! What the world remembers of agents and items.

use super::{
    super::trace::{AgentRow, ItemRow},
    AgentIndex, Channel, ItemIndex, Rules,
};

/// What an agent does with an item in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Work {
    /// Serves it.
    Service,
    /// Wraps it up.
    WrapUp,
}

/// An agent at one instant.
#[derive(Debug, Clone)]
pub(in super::super) struct AgentState {
    /// Channels that he serves, by number.
    pub(in super::super) speaks_on: Vec<bool>,
    /// On duty and not on a break.
    pub(super) on_duty: bool,
    /// Lost with his site.
    pub(super) lost: bool,
    pub(super) not_responding_until: f64,
    /// In hand, in the order he took them.
    pub(super) active: Vec<(ItemIndex, Work)>,
    pub(super) offers: Vec<ItemIndex>,
    pub(super) units: i64,
    /// Items per channel, offers included.
    pub(super) count: Vec<i64>,
    /// Until when his work is accounted for.
    pub(super) accounted_until: f64,
    /// Outdates the end of work that was put down before something changed.
    pub(super) version: u64,
    pub(super) offered: u64,
    pub(in super::super) busy_s: f64,
    pub(in super::super) unit_s: f64,
    pub(in super::super) logged_s: f64,
}

impl AgentState {
    pub(super) fn new(row: &AgentRow, rules: &Rules) -> Self {
        Self {
            speaks_on: rules
                .channels
                .iter()
                .map(|channel| row.channels.contains(channel))
                .collect(),
            on_duty: false,
            lost: false,
            not_responding_until: -1.0,
            active: Vec::new(),
            offers: Vec::new(),
            units: 0,
            count: vec![0; rules.channels.len()],
            accounted_until: 0.0,
            version: 0,
            offered: 0,
            busy_s: 0.0,
            unit_s: 0.0,
            logged_s: 0.0,
        }
    }

    pub(super) fn available(&self, now: f64) -> bool {
        self.on_duty && !self.lost && self.not_responding_until <= now
    }

    pub(super) fn take(&mut self, channel: Channel, rules: &Rules) {
        self.units += rules.units[channel];
        self.count[channel] += 1;
    }

    pub(super) fn give_back(&mut self, channel: Channel, rules: &Rules) {
        self.units -= rules.units[channel];
        self.count[channel] -= 1;
    }
}

/// Where an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum ItemStatus {
    New,
    Queued,
    Offered,
    Service,
    WrapUp,
    Done,
    Abandoned,
}

impl ItemStatus {
    /// As the log says it.
    pub(in super::super) fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Queued => "queued",
            Self::Offered => "offered",
            Self::Service => "service",
            Self::WrapUp => "wrap",
            Self::Done => "done",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Whether an agent below the level hands the item on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Transfer {
    No,
    WillBe,
    Was,
}

/// The first answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Answered {
    pub(in super::super) at: f64,
    /// Waiting in this leg.
    pub(in super::super) leg_wait: f64,
    pub(in super::super) channel: Channel,
    pub(in super::super) agent: AgentIndex,
    pub(in super::super) level: u8,
}

/// An item at one instant.
#[derive(Debug, Clone)]
pub(in super::super) struct ItemState {
    pub(in super::super) status: ItemStatus,
    pub(in super::super) channel: Channel,
    /// Times it entered the queue.
    pub(in super::super) leg: u32,
    pub(super) leg_at: f64,
    pub(super) patience: Option<f64>,
    /// Offers so far.
    pub(super) offers: usize,
    pub(super) agent: Option<AgentIndex>,
    pub(in super::super) answered: Option<Answered>,
    /// Work left at rate 1.
    pub(super) remaining: f64,
    /// Level that a transfer asked for.
    pub(super) must_level: u8,
    pub(in super::super) ended_at: Option<f64>,
    pub(in super::super) transfer: Transfer,
    pub(in super::super) lost_agents: u32,
}

impl ItemState {
    pub(super) fn new(row: &ItemRow, rules: &Rules) -> Self {
        Self {
            status: ItemStatus::New,
            channel: rules.channel(&row.channel),
            leg: 0,
            leg_at: row.at_s,
            patience: row.patience_s,
            offers: 0,
            agent: None,
            answered: None,
            remaining: row.service_s,
            must_level: 0,
            ended_at: None,
            transfer: Transfer::No,
            lost_agents: 0,
        }
    }
}
