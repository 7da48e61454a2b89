//! How long to wait before the next try.

use chrono::TimeDelta;
use trama_proto::ids::MessageId;

/// Bounds of the pause.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first pause.
    pub first: TimeDelta,
    /// The longest one.
    pub longest: TimeDelta,
}

/// The pause after so many tries on one channel: it doubles, and messages that failed together do not come back
/// together, because up to a quarter is added by message id. At least what the provider asked for.
pub fn pause(backoff: Backoff, id: MessageId, tries: i32, asked: Option<TimeDelta>) -> TimeDelta {
    let doublings = u32::try_from(tries.clamp(1, 24) - 1).unwrap_or(0);
    let grown = backoff
        .first
        .num_milliseconds()
        .saturating_mul(1_i64 << doublings);
    let capped = grown.min(backoff.longest.num_milliseconds()).max(1);
    let bytes = id.uuid().into_bytes();
    let draw = i64::from(bytes[15] ^ u8::try_from(tries.clamp(0, 255)).unwrap_or(u8::MAX));
    let jitter = capped * draw / 1_024;
    let own = TimeDelta::milliseconds(capped.saturating_add(jitter));
    asked.map_or(own, |asked| own.max(asked))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_pause_stays_in_its_bounds_and_is_the_same_every_time(seed in any::<u128>(), tries in -3..200_i32) {
            let id = MessageId::new(uuid::Uuid::from_u128(seed));
            let bounds = Backoff { first: TimeDelta::seconds(1), longest: TimeDelta::minutes(5) };
            let a = pause(bounds, id, tries, None);
            prop_assert!(a >= TimeDelta::seconds(1) && a <= TimeDelta::seconds(375));
            prop_assert_eq!(a, pause(bounds, id, tries, None));
            prop_assert!(pause(bounds, id, tries, Some(TimeDelta::hours(1))) >= TimeDelta::hours(1));
        }
    }
}
