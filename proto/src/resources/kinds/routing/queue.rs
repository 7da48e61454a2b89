//! Where work waits.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{QueueWords, Skills};
use crate::{
    common::v1::ChannelKind,
    resources::{
        condition::Condition,
        kinds::{Kind, Validate, check},
    },
};

/// Where work waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueueSpec {
    /// How fast work is answered.
    pub service_level: ServiceLevel,
    /// Skills an agent must have for anything in this queue.
    #[serde(default)]
    pub skills: Skills,
    /// Teams that serve it; every team when empty. A policy's steps may open others.
    #[serde(default)]
    pub teams: Vec<String>,
    /// How long an offer is held.
    #[serde(default = "offer_timeout")]
    pub offer_timeout_seconds: u32,
    /// Other times for some kinds of channel.
    #[serde(default)]
    pub offer_timeout_seconds_by_channel: BTreeMap<Kind, u32>,
    /// How long an agent has to write up before the next work comes.
    #[serde(default)]
    pub wrap_up_seconds: u32,
    /// Other times for some kinds of channel.
    #[serde(default)]
    pub wrap_up_seconds_by_channel: BTreeMap<Kind, u32>,
    /// After so many seconds of silence a written conversation rests and its agent has room for other work.
    #[serde(default)]
    pub idle_park_seconds: Option<u32>,
    /// How long work waits for the agent who knows it before anybody may have it.
    #[serde(default)]
    pub preferred_agent: PreferredAgent,
    /// Points added to the priority of everything in this queue.
    #[serde(default)]
    pub priority: i32,
    /// BusinessHours: only open time counts towards the target. Always open without.
    #[serde(default)]
    pub hours: Option<String>,
    /// From how many on the queue is `full` for its overflow.
    #[serde(default)]
    pub max_length: Option<u32>,
    /// What happens instead of waiting. The first whose condition holds.
    #[serde(default)]
    pub overflow: Vec<Overflow>,
    /// How callbacks are made.
    #[serde(default)]
    pub callback: Callback,
}

/// How fast work is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceLevel {
    /// Answered within so many seconds …
    pub target_seconds: i64,
    /// … in this share of cases.
    pub goal: f64,
    /// Other targets for some kinds of channel.
    #[serde(default)]
    pub by_channel: BTreeMap<Kind, i64>,
    /// Other goals for some kinds of channel.
    #[serde(default)]
    pub goal_by_channel: BTreeMap<Kind, f64>,
}

/// How long work waits for the agent who knows it, while they are busy or away for a moment: the shorter of both, and never
/// beyond its target. Then anybody may have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PreferredAgent {
    /// Seconds; nobody is waited for when 0.
    pub wait_seconds: u32,
    /// Share of the target, 0 to 1; nobody is waited for when 0.
    pub share_of_target: f64,
}

/// How callbacks are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Callback {
    /// Whether customers who wait for a call are offered one.
    pub offer: bool,
    /// How often we dial before we give up.
    pub attempts: u32,
    /// How long before it is due a call is dialled.
    pub dial_lead_seconds: u32,
}

/// What happens instead of waiting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Overflow {
    /// When.
    pub when: Condition<QueueWords>,
    /// Whether it is asked before work begins to wait, while it waits, or both.
    #[serde(default)]
    pub asked: Asked,
    /// What happens.
    pub action: OverflowAction,
    /// The other queue, for `queue`.
    #[serde(default)]
    pub queue: Option<String>,
    /// MessageTemplate of what the customer is told; needed for `close`.
    #[serde(default)]
    pub template: Option<String>,
}

/// When an overflow is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Asked {
    /// Before and while it waits.
    #[default]
    Always,
    /// Before it begins to wait.
    BeforeWaiting,
    /// While it waits.
    WhileWaiting,
}

/// What happens instead of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OverflowAction {
    /// It waits in another queue; the clock goes on.
    Queue,
    /// We call back; the place in the queue is kept.
    Callback,
    /// The customer leaves a message.
    Voicemail,
    /// It moves to the customer's preferred written channel.
    Defer,
    /// The assistant takes it.
    Assistant,
    /// The customer is told that nobody answers now.
    Close,
}

impl QueueSpec {
    /// Answered within so many seconds.
    pub fn target_seconds(&self, channel: ChannelKind) -> i64 {
        of(&self.service_level.by_channel, channel).unwrap_or(self.service_level.target_seconds)
    }

    /// In this share of cases.
    pub fn goal(&self, channel: ChannelKind) -> f64 {
        of(&self.service_level.goal_by_channel, channel).unwrap_or(self.service_level.goal)
    }

    /// How long an offer is held.
    pub fn offer_timeout_seconds(&self, channel: ChannelKind) -> u32 {
        of(&self.offer_timeout_seconds_by_channel, channel).unwrap_or(self.offer_timeout_seconds)
    }

    /// How long an agent has to write up.
    pub fn wrap_up_seconds(&self, channel: ChannelKind) -> u32 {
        of(&self.wrap_up_seconds_by_channel, channel).unwrap_or(self.wrap_up_seconds)
    }
}

fn of<T: Copy>(by_channel: &BTreeMap<Kind, T>, channel: ChannelKind) -> Option<T> {
    by_channel
        .iter()
        .find(|(kind, _)| ChannelKind::from(**kind) == channel)
        .map(|(_, value)| *value)
}

impl Default for PreferredAgent {
    fn default() -> Self {
        Self {
            wait_seconds: 15,
            share_of_target: 0.25,
        }
    }
}

impl Default for Callback {
    fn default() -> Self {
        Self {
            offer: false,
            attempts: 3,
            dial_lead_seconds: 30,
        }
    }
}

impl Validate for QueueSpec {
    fn validate(&self) -> Result<(), String> {
        let level = &self.service_level;
        let share = 0.0..=1.0;
        check(
            level.target_seconds > 0,
            "spec.serviceLevel.targetSeconds must be positive",
        )?;
        check(
            share.contains(&level.goal),
            "spec.serviceLevel.goal must be from 0 to 1",
        )?;
        check(
            level.by_channel.values().all(|s| *s > 0),
            "spec.serviceLevel.byChannel must be positive",
        )?;
        check(
            level.goal_by_channel.values().all(|g| share.contains(g)),
            "spec.serviceLevel.goalByChannel must be from 0 to 1",
        )?;
        check(
            self.offer_timeout_seconds > 0,
            "spec.offerTimeoutSeconds must be positive",
        )?;
        check(
            self.offer_timeout_seconds_by_channel.values().all(|s| *s > 0),
            "spec.offerTimeoutSecondsByChannel must be positive",
        )?;
        check(
            self.idle_park_seconds != Some(0),
            "spec.idleParkSeconds must be positive; leave it out so that nothing rests",
        )?;
        check(
            share.contains(&self.preferred_agent.share_of_target),
            "spec.preferredAgent.shareOfTarget must be from 0 to 1",
        )?;
        check(
            self.callback.attempts > 0,
            "spec.callback.attempts must be positive",
        )?;
        if let Some(problem) = self.skills.problem() {
            return Err(format!("spec.skills: {problem}"));
        }
        for (number, overflow) in self.overflow.iter().enumerate() {
            overflow
                .validate()
                .map_err(|e| format!("spec.overflow[{number}]{e}"))?;
        }
        let asks_full = self.overflow.iter().any(|o| o.when.uses("full"));
        check(
            self.max_length.is_none() || asks_full,
            "spec.maxLength says nothing alone: add an overflow with `when: full`",
        )?;
        check(
            self.max_length.is_some() || !asks_full,
            "spec.overflow asks whether the queue is `full`: say from how many on in spec.maxLength",
        )
    }
}

impl Overflow {
    fn validate(&self) -> Result<(), String> {
        match (self.action, &self.queue, &self.template) {
            (OverflowAction::Queue, None, _) => Err(".queue is missing: which other queue".to_owned()),
            (OverflowAction::Close, _, None) => {
                Err(".template is missing: what is the customer told".to_owned())
            }
            (OverflowAction::Queue, Some(_), _) => Ok(()),
            (
                OverflowAction::Callback
                | OverflowAction::Voicemail
                | OverflowAction::Defer
                | OverflowAction::Assistant
                | OverflowAction::Close,
                Some(_),
                _,
            ) => Err(".queue is only for `action: queue`".to_owned()),
            (
                OverflowAction::Callback
                | OverflowAction::Voicemail
                | OverflowAction::Defer
                | OverflowAction::Assistant
                | OverflowAction::Close,
                None,
                _,
            ) => Ok(()),
        }
    }
}

const fn offer_timeout() -> u32 {
    30
}
