//! When the overflow of waiting work is asked: each item by its own clock, so that nobody goes through all that waits.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::ids::WorkItemId;

/// Conditions are asked so many times within a target …
const TIMES_IN_TARGET: i64 = 20;
/// … but not more or less often than this, in seconds.
const BOUNDS: (i64, i64) = (2, 30);

/// How often the overflow of work with this target is asked.
pub fn every(target_seconds: i64) -> TimeDelta {
    let (least, most) = BOUNDS;
    TimeDelta::seconds((target_seconds / TIMES_IN_TARGET).clamp(least, most))
}

/// The next look at each item.
#[derive(Debug, Default)]
pub struct Looks {
    by_time: BTreeSet<(DateTime<Utc>, WorkItemId)>,
    by_item: HashMap<WorkItemId, (DateTime<Utc>, TimeDelta)>,
}

impl Looks {
    /// Looks at an item from now on; one that is looked at already keeps its clock.
    pub fn set(&mut self, item: WorkItemId, every: TimeDelta, now: DateTime<Utc>) {
        if let Some((_, known)) = self.by_item.get_mut(&item) {
            *known = every;
            return;
        }
        self.at(item, every, now + every);
    }

    fn at(&mut self, item: WorkItemId, every: TimeDelta, at: DateTime<Utc>) {
        self.by_item.insert(item, (at, every));
        self.by_time.insert((at, item));
    }

    /// No longer looks at an item.
    pub fn forget(&mut self, item: WorkItemId) {
        if let Some((at, _)) = self.by_item.remove(&item) {
            self.by_time.remove(&(at, item));
        }
    }

    /// When the next look is due.
    pub fn next(&self) -> Option<DateTime<Utc>> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes at most so many items whose look is due; the next look at them is planned.
    pub fn take(&mut self, now: DateTime<Utc>, most: usize) -> Vec<WorkItemId> {
        let due: Vec<WorkItemId> = self
            .by_time
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(most)
            .map(|(_, item)| *item)
            .collect();
        for item in &due {
            if let Some((at, every)) = self.by_item.remove(item) {
                self.by_time.remove(&(at, *item));
                self.at(*item, every, now + every);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_item_is_looked_at_by_its_own_clock() {
        let now = DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        let at = |seconds| now + TimeDelta::seconds(seconds);
        let item = |n| WorkItemId::new(Uuid::from_u128(n));
        let mut looks = Looks::default();
        looks.set(item(1), every(60), now);
        looks.set(item(2), every(6_000), now);
        looks.set(item(1), every(60), at(2));
        assert_eq!(looks.next(), Some(at(3)));
        assert_eq!(looks.take(at(2), 9), []);
        assert_eq!(looks.take(at(3), 9), [item(1)]);
        assert_eq!(looks.next(), Some(at(6)));
        assert_eq!(looks.take(at(30), 1), [item(1)]);
        assert_eq!(looks.take(at(30), 1), [item(2)]);
        looks.forget(item(1));
        looks.forget(item(2));
        assert_eq!(looks.next(), None);
    }
}
