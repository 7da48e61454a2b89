//! Who came at the same moment as somebody with whom they share a key, so that neither saw the other (ADR 25).

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use trama_proto::ids::CustomerId;

/// A customer who was settled when they came.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Who.
    pub customer: CustomerId,
    /// When.
    pub queued_at: DateTime<Utc>,
    /// The lower halves of the keys by which they are found since: two that are equal by chance cost a look.
    pub keys: Vec<[u8; 4]>,
    /// The transaction that brought them.
    pub batch: i64,
    /// Transactions from this one on were not seen by it.
    pub complete_to: i64,
}

/// The lower half of a key.
pub fn half(key: i64) -> [u8; 4] {
    (key as u32).to_le_bytes()
}

impl Arrival {
    fn misses(&self, other: &Self) -> bool {
        self.batch != other.batch && self.batch >= other.complete_to && other.batch >= self.complete_to
    }
}

/// For each, whether they met somebody whom they could not see. A key that more than `most` have finds nobody.
pub fn met(arrivals: &[Arrival], most: usize) -> Vec<bool> {
    let mut holders: HashMap<[u8; 4], Vec<usize>> = HashMap::new();
    for (place, arrival) in arrivals.iter().enumerate() {
        for key in &arrival.keys {
            holders.entry(*key).or_default().push(place);
        }
    }
    let mut met = vec![false; arrivals.len()];
    for together in holders.into_values().filter(|h| (2..=most).contains(&h.len())) {
        for (at, one) in together.iter().enumerate() {
            for other in &together[at + 1..] {
                if arrivals[*one].misses(&arrivals[*other]) {
                    met[*one] = true;
                    met[*other] = true;
                }
            }
        }
    }
    met
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(keys: &[i64], batch: i64, complete_to: i64) -> Arrival {
        Arrival {
            customer: CustomerId::derived(&[&batch.to_be_bytes()]),
            queued_at: DateTime::UNIX_EPOCH,
            keys: keys.iter().map(|key| half(*key)).collect(),
            batch,
            complete_to,
        }
    }

    #[test]
    fn those_who_share_a_key_and_did_not_see_each_other_have_met() {
        // 8 began before 7 was through; 9 saw both.
        let arrivals = [
            arrival(&[1, 2], 7, 7),
            arrival(&[2, 3], 8, 7),
            arrival(&[2], 9, 9),
        ];
        assert_eq!(met(&arrivals, 10), [true, true, false]);
    }

    #[test]
    fn nobody_meets_by_a_key_of_their_own_by_one_of_too_many_or_in_their_own_batch() {
        let apart = [arrival(&[1], 7, 7), arrival(&[2], 8, 7)];
        assert_eq!(met(&apart, 10), [false, false]);
        let crowd = [arrival(&[1], 7, 7), arrival(&[1], 8, 7), arrival(&[1], 9, 7)];
        assert_eq!(met(&crowd, 2), [false; 3]);
        let batch = [arrival(&[1], 7, 7), arrival(&[1], 7, 7)];
        assert_eq!(met(&batch, 10), [false, false]);
    }
}
