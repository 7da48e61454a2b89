//! The rules of a tenant's matching: what the resource says, in the matcher's terms.

use chrono::TimeDelta;
use trama_proto::{
    common::v1::ChannelKind,
    resources::{Kind, MatchingSpec, TenantResources},
};

use super::matcher_policy;
use crate::matcher::{Channel, ChannelRule, Policy};

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
        let mut policy = matcher_policy(version, spec);
        let (api, internal) = (Kind::Api.name(), name(ChannelKind::Internal));
        for rule in &mut policy.channels {
            if rule.pauses.iter().any(|paused| paused == api) {
                rule.pauses.push(internal.to_owned());
            }
        }
        // What the platform writes itself is like an integrator's.
        let like = policy.channels.iter().find(|rule| rule.name == api);
        let like = like.expect("every kind has a channel").clone();
        policy.channels.push(ChannelRule {
            name: internal.to_owned(),
            ..like
        });
        Self {
            policy,
            missed_until_away: spec.offers.missed_until_away,
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

    /// Whoever misses a single offer is away.
    pub fn one_miss_is_enough(&self) -> bool {
        self.missed_until_away <= 1
    }

    /// Within this time a second miss makes the agent away.
    pub fn missed_window(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.policy.offers.missed_window_ms)
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
