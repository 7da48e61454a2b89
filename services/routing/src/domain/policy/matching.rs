//! The policy's `matching` section as the matcher's own tunables: seconds become milliseconds, kinds of channel names.

use trama_proto::resources::{
    ChannelCapacity, ChoiceSpec, Kind, MatchingSpec, OffersSpec, RankingSpec, ReserveSpec, SteeringSpec,
};

use crate::matcher::{ChannelRule, Choice, Offers, Policy, Ranking, Reserve, ReserveSize, Steering};

/// Every kind has a channel of its own: who serves WhatsApp need not serve SMS.
const KINDS: [Kind; 6] = [
    Kind::Voice,
    Kind::WebChat,
    Kind::Whatsapp,
    Kind::Sms,
    Kind::Email,
    Kind::Api,
];
/// Offers stand as long as their queue says; this is for work of a queue that is gone.
const OFFER_TIMEOUT_MS: i64 = 30_000;

/// The matcher's policy; its channels are named as YAML names the kinds. `version` is said in every explanation.
pub fn matcher_policy(version: &str, spec: &MatchingSpec) -> Policy {
    Policy {
        version: version.to_owned(),
        channels: KINDS
            .into_iter()
            .map(|kind| channel(kind, &spec.capacity(kind)))
            .collect(),
        ranking: ranking(&spec.ranking),
        reserve: reserve(&spec.reserve),
        choice: choice(&spec.choice),
        steering: steering(&spec.steering),
        offers: offers(&spec.offers),
        ..Policy::default()
    }
}

fn channel(kind: Kind, capacity: &ChannelCapacity) -> ChannelRule {
    ChannelRule {
        name: kind.name().to_owned(),
        units: capacity.units,
        max_at_once: capacity.max_at_once,
        whole: capacity.whole_agent,
        live: capacity.live,
        pauses: capacity.interrupts.iter().map(|k| k.name().to_owned()).collect(),
        offer_timeout_ms: OFFER_TIMEOUT_MS,
    }
}

fn ranking(spec: &RankingSpec) -> Ranking {
    Ranking {
        theta_ms: millis(spec.theta_seconds).max(1),
        overdue_rank: spec.overdue_rank,
        overdue_slope: spec.overdue_slope,
        live_overdue_rank: spec.live_overdue_rank,
        live_overdue_slope: spec.live_overdue_slope,
        starve_share: spec.starving_after_targets,
        rescue: spec.rescue,
        answer_ms: millis(spec.answer_seconds),
        carried_only_helps: spec.carried_only_helps,
    }
}

fn reserve(spec: &ReserveSpec) -> Reserve {
    use trama_proto::resources::ReserveSize as Size;
    Reserve {
        size: match spec.size {
            Size::Fixed(agents) => ReserveSize::Fixed(agents),
            Size::SquareRoot { factor, min, max } => ReserveSize::SquareRoot { factor, min, max },
        },
        release_share: spec.release_at_share_of_target,
        max_share: spec.max_share,
        urgent_size: spec.urgent_size,
        urgent_left_ms: millis(spec.urgent_left_seconds),
        handle_time_ms: millis(spec.handle_time_seconds),
    }
}

fn choice(spec: &ChoiceSpec) -> Choice {
    Choice {
        level_below: spec.level_below,
        level_above: spec.level_above,
        pauses_work: spec.pauses_work,
        item_in_hand: spec.item_in_hand,
        free_caller_counts_as: spec.free_caller_counts_as,
        takes_calls: spec.takes_calls,
        idle: spec.idle,
    }
}

fn steering(spec: &SteeringSpec) -> Steering {
    Steering {
        gain: spec.gain,
        max_boost: spec.max_boost,
        max_loan: spec.max_loan,
        memory_ms: millis(spec.memory_seconds),
        margin: spec.margin,
    }
}

fn offers(spec: &OffersSpec) -> Offers {
    let some = |number: u32| (number > 0).then_some(number);
    let millis = |seconds: u32| i64::from(seconds) * 1_000;
    Offers {
        pending_per_person: some(spec.pending_per_person),
        ask_again_after_ms: some(spec.ask_again_after_seconds).map(millis),
        // Exclusions end by themselves: work that one person alone can do must not wait for ever.
        ask_at_most: Offers::default().ask_at_most,
        missed_return_after_ms: some(spec.missed_pause_seconds).map(millis),
        missed_until_away: spec.missed_until_away,
        missed_window_ms: millis(spec.missed_window_seconds),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to a year")]
fn millis(seconds: f64) -> i64 {
    (seconds * 1_000.0).clamp(0.0, 31_536_000_000.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_resource_does_not_say_is_the_matchers_own_default() {
        let (ours, theirs) = (
            matcher_policy("default", &MatchingSpec::default()),
            Policy::default(),
        );
        assert_eq!(ours.ranking, theirs.ranking);
        assert_eq!(ours.choice, theirs.choice);
        assert_eq!(ours.steering, theirs.steering);
        assert_eq!(ours.offers, theirs.offers);
        assert_eq!(ours.reserve, theirs.reserve);
    }

    #[test]
    fn a_call_takes_the_whole_agent_and_pauses_email() {
        let policy = matcher_policy("main@3", &MatchingSpec::default());
        let call = policy.channels.iter().find(|c| c.name == "voice");
        let expected = Some((true, vec!["email".to_owned(), "api".to_owned()]));
        assert_eq!(call.map(|c| (c.whole, c.pauses.clone())), expected);
        assert_eq!(policy.channels.len(), KINDS.len());
    }
}
