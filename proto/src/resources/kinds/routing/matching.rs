//! How waiting work and free agents are matched: the matcher's tunables, with the best values found as defaults.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::positive;
use crate::resources::kinds::{Kind, check};

/// How waiting work and free agents are matched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MatchingSpec {
    /// What work on a kind of channel takes from an agent. A channel that is not named is as by default.
    pub channels: BTreeMap<Kind, ChannelCapacity>,
    /// What goes first.
    pub ranking: RankingSpec,
    /// Whom to keep free for calls.
    pub reserve: ReserveSpec,
    /// Who gets it.
    pub choice: ChoiceSpec,
    /// Leaning towards what falls behind its goal.
    pub steering: SteeringSpec,
    /// Declined and missed offers.
    pub offers: OffersSpec,
}

/// What work on a kind of channel takes from an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelCapacity {
    /// Units of the agent's capacity; most agents have 6.
    pub units: u32,
    /// Most at once.
    pub max_at_once: u32,
    /// It takes the whole agent, whatever their capacity.
    #[serde(default)]
    pub whole_agent: bool,
    /// The customer is there and waits for each word.
    #[serde(default)]
    pub live: bool,
    /// Kinds of channel whose work it may interrupt; that work is paused and goes on afterwards.
    #[serde(default)]
    pub interrupts: Vec<Kind>,
}

/// What goes first: the least time left until the target is missed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RankingSpec {
    /// Rank is 1/(1 + seconds left/theta) while there is time left.
    pub theta_seconds: f64,
    /// Rank of work that has just missed its target: not first, not last.
    pub overdue_rank: f64,
    /// What is added to that rank with each further target that passes; negative lets hopeless work fall back.
    pub overdue_slope: f64,
    /// The same on live channels, where the customer who is not answered leaves.
    pub live_overdue_rank: f64,
    /// What is added to that rank with each further target that passes.
    pub live_overdue_slope: f64,
    /// After so many targets it goes before everything.
    pub starving_after_targets: f64,
    /// Among equal requirements, work that can still be in time goes before work that is late.
    pub rescue: bool,
    /// Agents take so long to answer an offer: only what is offered so much earlier is in time.
    pub answer_seconds: f64,
    /// The wait on an earlier channel may only help: the better of both clocks counts.
    pub carried_only_helps: bool,
}

/// Whom to keep free for calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReserveSpec {
    /// How many agents of each language take nothing but what needs the whole agent.
    pub size: ReserveSize,
    /// Work that has used this share of its target may take them all the same.
    pub release_at_share_of_target: f64,
    /// Never more than this share of the agents who are there and take calls: a small team keeps nobody free.
    pub max_share: f64,
    /// So many free agents are kept even from calls that have plenty of time left; 0: none.
    pub urgent_size: u32,
    /// Plenty of time: more than this.
    pub urgent_left_seconds: f64,
    /// Handle time assumed until enough calls have been measured.
    pub handle_time_seconds: f64,
}

/// The size of the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReserveSize {
    /// Always so many.
    Fixed(u32),
    /// factor × √(calls × handle time) of the last half hour, rounded up.
    #[serde(rename_all = "camelCase")]
    SquareRoot {
        /// The factor.
        factor: f64,
        /// Never fewer once calls come at all.
        min: u32,
        /// Never more.
        max: u32,
    },
}

/// Who gets it: the lowest price, then who has been idle longest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ChoiceSpec {
    /// Price of each level below what was asked for at first.
    pub level_below: f64,
    /// Price of each level above it: experts are kept for who needs them.
    pub level_above: f64,
    /// Price of work that would be paused.
    pub pauses_work: f64,
    /// Price of each item in hand; negative packs, positive spreads.
    pub item_in_hand: f64,
    /// How many items a free agent who takes calls counts as holding for anything but a call.
    pub free_caller_counts_as: f64,
    /// Price of using an agent who also takes calls for something else.
    pub takes_calls: f64,
    /// What ten minutes of idleness are worth.
    pub idle: f64,
}

/// Leaning towards what falls behind its goal: each kind of channel with each entitlement has its own figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SteeringSpec {
    /// Change of rank for each point (0 to 1) between goal and result; 0 turns steering off.
    pub gain: f64,
    /// Never more than so much up.
    pub max_boost: f64,
    /// Never more than so much down.
    pub max_loan: f64,
    /// Results count for about so long.
    pub memory_seconds: f64,
    /// Aims so much above the goal.
    pub margin: f64,
}

/// Declined and missed offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OffersSpec {
    /// Offers a person may have open at once; as many as capacity allows when 0. Bots are never limited.
    pub pending_per_person: u32,
    /// Who declined is asked again for the same work after so long, after twice as long the second time, and so on, up
    /// to an hour: work that one person alone can do must not wait for ever.
    pub ask_again_after_seconds: u32,
    /// Who let an offer lapse gets nothing for so long, then comes back by themselves; not by themselves when 0.
    pub missed_pause_seconds: u32,
    /// So many missed offers, one or two, …
    pub missed_until_away: u32,
    /// … within so many seconds make the agent away.
    pub missed_window_seconds: u32,
}

impl Default for RankingSpec {
    fn default() -> Self {
        Self {
            theta_seconds: 450.0,
            overdue_rank: 0.3,
            overdue_slope: -0.02,
            live_overdue_rank: 0.6,
            live_overdue_slope: -0.01,
            starving_after_targets: 15.0,
            rescue: true,
            answer_seconds: 0.0,
            carried_only_helps: true,
        }
    }
}

impl Default for ReserveSpec {
    fn default() -> Self {
        Self {
            size: ReserveSize::SquareRoot {
                factor: 1.0,
                min: 0,
                max: 50,
            },
            release_at_share_of_target: 0.95,
            max_share: 0.25,
            urgent_size: 2,
            urgent_left_seconds: 40.0,
            handle_time_seconds: 270.0,
        }
    }
}

impl Default for ChoiceSpec {
    fn default() -> Self {
        Self {
            level_below: 2.0,
            level_above: 0.0,
            pauses_work: 0.5,
            item_in_hand: -0.25,
            free_caller_counts_as: 3.0,
            takes_calls: 0.5,
            idle: 1.0,
        }
    }
}

impl Default for SteeringSpec {
    fn default() -> Self {
        Self {
            gain: 1.0,
            max_boost: 0.3,
            max_loan: 0.2,
            memory_seconds: 14_400.0,
            margin: 0.0,
        }
    }
}

impl Default for OffersSpec {
    fn default() -> Self {
        Self {
            pending_per_person: 1,
            ask_again_after_seconds: 300,
            missed_pause_seconds: 60,
            missed_until_away: 2,
            missed_window_seconds: 600,
        }
    }
}

impl ChannelCapacity {
    /// What a kind of channel takes when the policy says nothing. Six units are one agent: three chats, or a chat and
    /// an email; a call takes everything and may interrupt an email.
    pub fn of(kind: Kind) -> Self {
        let written = |units, max_at_once, live| Self {
            units,
            max_at_once,
            whole_agent: false,
            live,
            interrupts: Vec::new(),
        };
        match kind {
            Kind::Voice => Self {
                whole_agent: true,
                interrupts: vec![Kind::Email, Kind::Api],
                ..written(6, 1, true)
            },
            Kind::WebChat => written(2, 3, true),
            Kind::Whatsapp | Kind::Sms => written(2, 3, false),
            Kind::Api => written(3, 2, false),
            Kind::Email => written(4, 1, false),
        }
    }
}

impl MatchingSpec {
    /// What work on a kind of channel takes from an agent.
    pub fn capacity(&self, kind: Kind) -> ChannelCapacity {
        self.channels
            .get(&kind)
            .cloned()
            .unwrap_or_else(|| ChannelCapacity::of(kind))
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        for (kind, capacity) in &self.channels {
            let at = format!("channels.{}", kind.name());
            check(capacity.units > 0, &format!("{at}.units must be positive"))?;
            check(
                capacity.max_at_once > 0,
                &format!("{at}.maxAtOnce must be positive"),
            )?;
            check(
                !capacity.interrupts.contains(kind),
                &format!("{at}.interrupts names itself"),
            )?;
        }
        let RankingSpec {
            theta_seconds,
            overdue_rank,
            overdue_slope,
            live_overdue_rank,
            live_overdue_slope,
            starving_after_targets,
            rescue: _,
            answer_seconds,
            carried_only_helps: _,
        } = &self.ranking;
        check(positive(*theta_seconds), "ranking.thetaSeconds must be positive")?;
        check(
            *answer_seconds >= 0.0 && answer_seconds.is_finite(),
            "ranking.answerSeconds must not be negative",
        )?;
        check(
            (0.0..=1.0).contains(overdue_rank),
            "ranking.overdueRank must be from 0 to 1",
        )?;
        check(overdue_slope.is_finite(), "ranking.overdueSlope must be a number")?;
        check(
            (0.0..=1.0).contains(live_overdue_rank),
            "ranking.liveOverdueRank must be from 0 to 1",
        )?;
        check(
            live_overdue_slope.is_finite(),
            "ranking.liveOverdueSlope must be a number",
        )?;
        check(
            *starving_after_targets > 1.0,
            "ranking.starvingAfterTargets must be more than 1",
        )?;
        if let ReserveSize::SquareRoot { factor, min, max } = self.reserve.size {
            check(
                factor >= 0.0 && factor.is_finite(),
                "reserve.size.squareRoot.factor must not be negative",
            )?;
            check(min <= max, "reserve.size.squareRoot.min is more than max")?;
        }
        check(
            self.reserve.release_at_share_of_target >= 0.0,
            "reserve.releaseAtShareOfTarget must not be negative",
        )?;
        check(
            (0.0..=1.0).contains(&self.reserve.max_share),
            "reserve.maxShare must be from 0 to 1",
        )?;
        check(
            positive(self.reserve.urgent_left_seconds),
            "reserve.urgentLeftSeconds must be positive",
        )?;
        check(
            positive(self.reserve.handle_time_seconds),
            "reserve.handleTimeSeconds must be positive",
        )?;
        let steering = &self.steering;
        check(
            [
                steering.gain,
                steering.max_boost,
                steering.max_loan,
                steering.margin,
            ]
            .iter()
            .all(|n| *n >= 0.0 && n.is_finite()),
            "steering: gain, maxBoost, maxLoan and margin must not be negative",
        )?;
        check(
            positive(steering.memory_seconds),
            "steering.memorySeconds must be positive",
        )?;
        check(
            self.offers.ask_again_after_seconds > 0,
            "offers.askAgainAfterSeconds must be positive",
        )?;
        check(
            (1..=2).contains(&self.offers.missed_until_away),
            "offers.missedUntilAway must be 1 or 2",
        )
    }
}
