//! The rules of a tenant's matching: what the resource says, in the matcher's terms.

use chrono::TimeDelta;
use trama_proto::{
    common::v1::ChannelKind,
    resources::{Kind, MatchingSpec, ReserveSize, TenantResources},
};

use crate::matcher::{self, Channel, ChannelRule, Policy};

/// Kinds of channel in the order of the matcher's numbers.
const KINDS: [ChannelKind; 7] = [
    ChannelKind::Voice,
    ChannelKind::WebChat,
    ChannelKind::Whatsapp,
    ChannelKind::Sms,
    ChannelKind::Email,
    ChannelKind::Api,
    ChannelKind::Internal,
];

/// The rules of a tenant's matching.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// For the matcher.
    pub policy: Policy,
    missed_until_away: u32,
}

/// How a channel's kind is called in resources; what the platform writes itself is like an integrator's.
const fn resource_kind(kind: ChannelKind) -> Kind {
    match kind {
        ChannelKind::Voice => Kind::Voice,
        ChannelKind::WebChat => Kind::WebChat,
        ChannelKind::Whatsapp => Kind::Whatsapp,
        ChannelKind::Sms => Kind::Sms,
        ChannelKind::Email => Kind::Email,
        ChannelKind::Api | ChannelKind::Internal | ChannelKind::Unspecified => Kind::Api,
    }
}

const fn name(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Internal => "internal",
        other @ (ChannelKind::Voice
        | ChannelKind::WebChat
        | ChannelKind::Whatsapp
        | ChannelKind::Sms
        | ChannelKind::Email
        | ChannelKind::Api
        | ChannelKind::Unspecified) => resource_kind(other).name(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "validated: seconds of a configuration"
)]
fn millis(seconds: f64) -> i64 {
    (seconds * 1_000.0).clamp(0.0, 1e15) as i64
}

fn seconds(number: u32) -> Option<i64> {
    (number > 0).then(|| i64::from(number) * 1_000)
}

impl Rules {
    /// As the first policy by name says, which is the one in force; the defaults without one.
    pub fn of(resources: Option<&TenantResources>) -> Self {
        let found = resources.and_then(|r| r.routing_policies.iter().next());
        let default = MatchingSpec::default();
        let (version, matching) =
            found.map_or(("built-in", &default), |(name, p)| (name.as_str(), &p.matching));
        Self::from_spec(version, matching)
    }

    fn from_spec(version: &str, spec: &MatchingSpec) -> Self {
        let channels = KINDS.map(|kind| {
            let capacity = spec.capacity(resource_kind(kind));
            let pauses = KINDS
                .iter()
                .filter(|other| **other != kind && capacity.interrupts.contains(&resource_kind(**other)));
            ChannelRule {
                name: name(kind).to_owned(),
                units: capacity.units,
                max_at_once: capacity.max_at_once,
                whole: capacity.whole_agent,
                live: capacity.live,
                pauses: pauses.map(|other| name(*other).to_owned()).collect(),
                // The queue says how long; the matcher only passes it on.
                offer_timeout_ms: 30_000,
            }
        });
        let (ranking, reserve, choice, steering, offers) = (
            &spec.ranking,
            &spec.reserve,
            &spec.choice,
            &spec.steering,
            &spec.offers,
        );
        let policy = Policy {
            version: version.to_owned(),
            channels: channels.to_vec(),
            ranking: matcher::Ranking {
                theta_ms: millis(ranking.theta_seconds),
                overdue_rank: ranking.overdue_rank,
                overdue_slope: ranking.overdue_slope,
                starve_share: ranking.starving_after_targets,
                rescue: ranking.rescue,
                carried_only_helps: ranking.carried_only_helps,
                ..matcher::Ranking::default()
            },
            reserve: matcher::Reserve {
                size: match reserve.size {
                    ReserveSize::Fixed(size) => matcher::ReserveSize::Fixed(size),
                    ReserveSize::SquareRoot { factor, min, max } => {
                        matcher::ReserveSize::SquareRoot { factor, min, max }
                    }
                },
                release_share: reserve.release_at_share_of_target,
                handle_time_ms: millis(reserve.handle_time_seconds),
                ..matcher::Reserve::default()
            },
            choice: matcher::Choice {
                level_below: choice.level_below,
                level_above: choice.level_above,
                pauses_work: choice.pauses_work,
                item_in_hand: choice.item_in_hand,
                free_caller_counts_as: choice.free_caller_counts_as,
                takes_calls: choice.takes_calls,
                idle: choice.idle,
            },
            steering: matcher::Steering {
                gain: steering.gain,
                max_boost: steering.max_boost,
                max_loan: steering.max_loan,
                memory_ms: millis(steering.memory_seconds),
                margin: steering.margin,
            },
            offers: matcher::Offers {
                pending_per_person: (offers.pending_per_person > 0).then_some(offers.pending_per_person),
                ask_again_after_ms: seconds(offers.ask_again_after_seconds),
                ask_at_most: offers.ask_at_most,
                // The store says when they are back: the engine is told.
                missed_return_after_ms: seconds(offers.missed_pause_seconds),
                missed_until_away: offers.missed_until_away,
                missed_window_ms: i64::from(offers.missed_window_seconds) * 1_000,
            },
            ..Policy::default()
        };
        Self {
            policy,
            missed_until_away: offers.missed_until_away,
        }
    }

    /// The matcher's number of a kind of channel.
    pub fn channel(kind: ChannelKind) -> Channel {
        let place = KINDS.iter().position(|k| *k == kind).unwrap_or(KINDS.len() - 1);
        Channel(u8::try_from(place).unwrap_or_default())
    }

    /// The kind of the matcher's channel.
    pub fn kind(channel: Channel) -> ChannelKind {
        KINDS.get(usize::from(channel.0)).copied().unwrap_or_default()
    }

    fn rule(&self, kind: ChannelKind) -> &ChannelRule {
        &self.policy.channels[usize::from(Self::channel(kind).0)]
    }

    /// Units that work on a kind of channel takes of an agent with this capacity.
    pub fn units(&self, kind: ChannelKind, capacity_units: i32) -> i32 {
        let rule = self.rule(kind);
        if rule.whole {
            capacity_units
        } else {
            i32::try_from(rule.units).unwrap_or(i32::MAX)
        }
    }

    /// Whether the customer is there and waits for each word.
    pub fn is_live(&self, kind: ChannelKind) -> bool {
        self.rule(kind).live
    }

    /// Whether work of one kind makes work of another rest.
    pub fn pauses(&self, kind: ChannelKind, other: ChannelKind) -> bool {
        self.rule(kind).pauses.iter().any(|paused| paused == name(other))
    }

    /// After how long somebody who gave work back is asked again for it; grows with each time.
    pub fn ask_again(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.policy.offers.ask_again_after_ms.unwrap_or(300_000))
    }

    /// For how long who let an offer lapse is left alone; none: until they say so.
    pub fn missed_pause(&self) -> Option<TimeDelta> {
        self.policy
            .offers
            .missed_return_after_ms
            .map(TimeDelta::milliseconds)
    }

    /// Within this time a second miss makes the agent away; none when one miss is enough or many are fine.
    pub fn missed_window(&self) -> TimeDelta {
        if self.missed_until_away <= 2 {
            TimeDelta::milliseconds(self.policy.offers.missed_window_ms)
        } else {
            TimeDelta::zero()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_channel_has_its_own_number_and_the_default_rules() {
        let rules = Rules::of(None);
        for kind in KINDS {
            assert_eq!(Rules::kind(Rules::channel(kind)), kind);
        }
        assert_eq!(
            rules.units(ChannelKind::Voice, 9),
            9,
            "a call takes the whole agent"
        );
        assert_eq!(rules.units(ChannelKind::WebChat, 9), 2);
        assert!(rules.is_live(ChannelKind::WebChat) && !rules.is_live(ChannelKind::Email));
        assert!(rules.pauses(ChannelKind::Voice, ChannelKind::Email));
        assert!(!rules.pauses(ChannelKind::Voice, ChannelKind::WebChat));
    }
}
