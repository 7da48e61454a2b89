//! How the engine ranks, reserves and chooses: plain data with the best values found so far.

use serde::{Deserialize, Serialize};

use super::{
    queue::span,
    words::{Channel, Millis},
};

/// The tunables of one routing domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Said in every explanation, so that an old decision is read by the rules of its day.
    pub version: String,
    /// The channels, in the order of [`Channel`]'s numbers.
    pub channels: Vec<ChannelRule>,
    /// What goes first.
    pub ranking: Ranking,
    /// Whom to keep free for calls.
    pub reserve: Reserve,
    /// How long to wait for the agent who knows the customer.
    pub preferred: Preferred,
    /// Who gets it.
    pub choice: Choice,
    /// Leaning towards what falls behind its goal.
    pub steering: Steering,
    /// Declined and missed offers.
    pub offers: Offers,
}

/// What an item of a channel takes from an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelRule {
    /// The channel.
    pub name: String,
    /// Units it takes of the agent's capacity.
    pub units: u32,
    /// Items of it an agent may hold at once.
    pub max_at_once: u32,
    /// Takes the whole agent, whatever their capacity.
    #[serde(default)]
    pub whole: bool,
    /// The customer is there and waits for each word.
    #[serde(default)]
    pub live: bool,
    /// Channels whose work it may pause.
    #[serde(default)]
    pub pauses: Vec<String>,
    /// How long an offer of it stands.
    pub offer_timeout_ms: Millis,
}

/// The order of waiting work: least time to breach first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Ranking {
    /// Rank is 1/(1 + left/theta) while time is left.
    pub theta_ms: Millis,
    /// The rank of work that has just breached: not first, not last.
    pub overdue_rank: f64,
    /// How the rank of overdue work moves with each further target that passes.
    pub overdue_slope: f64,
    /// The same for channels where the customer is there and leaves: late they may still be kept.
    pub live_overdue_rank: f64,
    /// How that rank moves with each further target that passes.
    pub live_overdue_slope: f64,
    /// After so many targets nothing may hold an item back any longer.
    pub starve_share: f64,
    /// Among equal requirements work that can still be in time may go before work that is late.
    pub rescue: bool,
    /// Agents take about so long to answer an offer, so the promise is kept only by what is offered that much earlier.
    /// It is assumed at first and measured from then on, by channel; 0 turns this off.
    pub answer_ms: Millis,
    /// Rank by the better of two clocks, the journey's and this wait's: waiting carried along may only help.
    pub carried_only_helps: bool,
}

/// How many agents to keep entirely free for channels that need the whole agent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReserveSize {
    /// Always so many for each language.
    Fixed(u32),
    /// By the load of the last half hour (calls × handle time): `ceil(factor · √load)` for each language.
    SquareRoot {
        /// The factor.
        factor: f64,
        /// Never fewer, once calls come at all.
        min: u32,
        /// Never more.
        max: u32,
    },
}

/// The reserve for calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Reserve {
    /// Its size.
    pub size: ReserveSize,
    /// Work that has used this share of its target may take a reserved agent.
    pub release_share: f64,
    /// Never more than this share of the callers who are there.
    pub max_share: f64,
    /// So many free agents are kept even from calls, while these have plenty of time left; 0: none.
    pub urgent_size: u32,
    /// Plenty of time: more than this.
    pub urgent_left_ms: Millis,
    /// Handle time assumed until enough calls have been measured.
    pub handle_time_ms: Millis,
}

/// Waiting for the agent who knows the customer: the shorter of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Preferred {
    /// Never longer.
    pub max_wait_ms: Millis,
    /// Never a larger share of the target. 0: they are chosen when they are free, and nobody waits for them.
    pub share_of_target: f64,
}

/// The price of choosing an agent; the cheapest is chosen, then the longest idle, then the smaller key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Choice {
    /// For each level below what the item asked for at first.
    pub level_below: f64,
    /// For each level above it: experts are kept for who needs them.
    pub level_above: f64,
    /// For work that would be paused.
    pub pauses_work: f64,
    /// For each item in hand (negative: pack, positive: spread).
    pub item_in_hand: f64,
    /// How many items a free agent who takes calls counts as holding when it is not a call.
    pub free_caller_counts_as: f64,
    /// For using an agent who also takes calls for something else.
    pub takes_calls: f64,
    /// What ten minutes of idleness are worth.
    pub idle: f64,
}

/// Feedback from the engine's own results: cells behind their goal gain rank, cells ahead lend it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Steering {
    /// Change of rank for each point (0..1) between goal and result; 0 turns steering off.
    pub gain: f64,
    /// Never more than this much up.
    pub max_boost: f64,
    /// Never more than this much down.
    pub max_loan: f64,
    /// Results count for about so long.
    pub memory_ms: Millis,
    /// Aim this much above the goal.
    pub margin: f64,
}

/// Declined and missed offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Offers {
    /// Offers a person may have open at once; none: as many as capacity allows. Bots are never limited.
    pub pending_per_person: Option<u32>,
    /// An agent who declined is asked again for the same item after so long; none: never.
    pub ask_again_after_ms: Option<Millis>,
    /// … but at most so many times in all.
    pub ask_at_most: u32,
    /// An agent who let an offer ring out is back after so long; none: when the caller says so.
    pub missed_return_after_ms: Option<Millis>,
    /// So many missed offers within the window make the agent away instead.
    pub missed_until_away: u32,
    /// The window.
    pub missed_window_ms: Millis,
}

impl Default for Policy {
    fn default() -> Self {
        let rule = |name: &str, units, max_at_once, offer_timeout_ms| ChannelRule {
            name: name.to_owned(),
            units,
            max_at_once,
            whole: false,
            live: false,
            pauses: Vec::new(),
            offer_timeout_ms,
        };
        Policy {
            version: "default".to_owned(),
            channels: vec![
                ChannelRule {
                    whole: true,
                    live: true,
                    pauses: vec!["email".to_owned(), "review".to_owned()],
                    ..rule("voice", 6, 1, 15_000)
                },
                ChannelRule {
                    live: true,
                    ..rule("chat", 2, 3, 20_000)
                },
                rule("messaging", 2, 3, 30_000),
                rule("social", 2, 2, 60_000),
                rule("email", 4, 1, 60_000),
                rule("review", 3, 1, 60_000),
            ],
            ranking: Ranking::default(),
            reserve: Reserve::default(),
            preferred: Preferred::default(),
            choice: Choice::default(),
            steering: Steering::default(),
            offers: Offers::default(),
        }
    }
}

impl Default for Ranking {
    fn default() -> Self {
        Ranking {
            theta_ms: 450_000,
            overdue_rank: 0.3,
            overdue_slope: -0.02,
            live_overdue_rank: 0.6,
            live_overdue_slope: -0.01,
            starve_share: 15.0,
            rescue: true,
            answer_ms: 0,
            carried_only_helps: true,
        }
    }
}

impl Default for Reserve {
    fn default() -> Self {
        Reserve {
            size: ReserveSize::SquareRoot {
                factor: 1.0,
                min: 0,
                max: 50,
            },
            release_share: 0.95,
            max_share: 0.25,
            urgent_size: 2,
            urgent_left_ms: 40_000,
            handle_time_ms: 270_000,
        }
    }
}

impl Default for Preferred {
    fn default() -> Self {
        Preferred {
            max_wait_ms: 15_000,
            share_of_target: 0.0,
        }
    }
}

impl Default for Choice {
    fn default() -> Self {
        Choice {
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

impl Default for Steering {
    fn default() -> Self {
        Steering {
            gain: 1.0,
            max_boost: 0.3,
            max_loan: 0.2,
            memory_ms: 14_400_000,
            margin: 0.0,
        }
    }
}

impl Default for Offers {
    fn default() -> Self {
        Offers {
            pending_per_person: Some(1),
            ask_again_after_ms: Some(300_000),
            ask_at_most: 3,
            missed_return_after_ms: Some(60_000),
            missed_until_away: 2,
            missed_window_ms: 600_000,
        }
    }
}

impl Preferred {
    /// Until when work that enters the queue now waits for whom it knows, where the queue has no rule of its own.
    pub fn until(&self, queued_at: Millis, target_ms: Millis) -> Option<Millis> {
        let patience = self.max_wait_ms.min(span(target_ms, self.share_of_target));
        (patience > 0).then_some(queued_at + patience)
    }
}

impl Policy {
    /// The channel of that name.
    pub fn channel(&self, name: &str) -> Option<Channel> {
        let place = self.channels.iter().position(|rule| rule.name == name)?;
        u8::try_from(place).ok().map(Channel)
    }

    /// The rule of a channel. Callers use channels of this policy only.
    pub(super) fn rule(&self, channel: Channel) -> &ChannelRule {
        &self.channels[usize::from(channel.0)]
    }

    /// Channels that need the whole agent, one bit each.
    pub(super) fn whole_mask(&self) -> u32 {
        self.mask(|rule| rule.whole)
    }

    /// Channels whose work that one pauses, one bit each.
    pub(super) fn paused_by(&self, channel: Channel) -> u32 {
        let pauses = &self.rule(channel).pauses;
        self.mask(|rule| pauses.contains(&rule.name))
    }

    fn mask(&self, wanted: impl Fn(&ChannelRule) -> bool) -> u32 {
        self.channels
            .iter()
            .enumerate()
            .fold(0, |mask, (n, rule)| mask | u32::from(wanted(rule)) << n)
    }
}

impl Reserve {
    /// Whether its size changes with the load.
    pub(super) fn moves(&self) -> bool {
        matches!(self.size, ReserveSize::SquareRoot { .. })
    }
}

impl Ranking {
    /// The rank of work with so much time left: larger goes first.
    pub(super) fn rank_in_time(&self, left_ms: Millis) -> f64 {
        1.0 / (1.0 + left_ms as f64 / self.theta_ms as f64)
    }

    /// The rank of work with that deadline: larger goes first. On `live` channels customers leave, so late work is
    /// ranked by rules of its own there.
    pub fn rank(&self, due_at: Millis, target_ms: Millis, live: bool, now: Millis) -> f64 {
        let left = (due_at - now) as f64;
        if left > 0.0 {
            return self.rank_in_time(due_at - now);
        }
        let used = used_share(due_at, target_ms, now);
        if used >= self.starve_share {
            return 10.0 + used;
        }
        let (rank, slope) = if live {
            (self.live_overdue_rank, self.live_overdue_slope)
        } else {
            (self.overdue_rank, self.overdue_slope)
        };
        rank + slope * (used - 1.0)
    }
}

/// How much of the target is used up: 1 at the deadline.
pub(super) fn used_share(due_at: Millis, target_ms: Millis, now: Millis) -> f64 {
    1.0 - (due_at - now) as f64 / target_ms.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overdue_work_is_neither_first_nor_last_until_it_starves() {
        let ranking = Ranking::default();
        let soon = ranking.rank(1_000, 30_000, false, 0);
        let overdue = ranking.rank(-1_000, 30_000, false, 0);
        let later = ranking.rank(ranking.theta_ms * 4, 30_000, false, 0);
        let starving = ranking.rank(-30_000 * 15, 30_000, false, 0);
        assert!(soon > overdue && overdue > later && starving > soon);
    }

    #[test]
    fn late_work_of_who_would_leave_goes_before_other_late_work() {
        let ranking = Ranking::default();
        for late in [1_000, 60_000, 300_000] {
            let (live, other) = (
                ranking.rank(-late, 30_000, true, 0),
                ranking.rank(-late, 30_000, false, 0),
            );
            assert!(live > other, "{late} ms late: {live} and {other}");
        }
        let in_time = |live| ranking.rank(10_000, 30_000, live, 0);
        assert_eq!(in_time(true), in_time(false), "in time all are equal");
    }

    #[test]
    fn a_policy_is_read_from_few_words() {
        let read: Policy = serde_json::from_str(r#"{"ranking":{"thetaMs":5000}}"#).unwrap();
        assert_eq!(read.ranking.theta_ms, 5_000);
        assert_eq!(read.channels, Policy::default().channels);
        assert_eq!(read.channel("email"), Some(Channel(4)));
        assert_eq!(read.paused_by(Channel(0)), 0b11_0000);
    }
}
