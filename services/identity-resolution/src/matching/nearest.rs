//! Who is weighed against a record: of all who share a key with it, those who share a handle, then those who share most that is
//! rare. A key that dozens have says little, and weighing costs far more than finding.

use super::policy::Limits;

/// One key that somebody shares with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shared<I> {
    /// Who.
    pub id: I,
    /// It is a handle's key: who shares one comes before all others.
    pub by_handle: bool,
    /// See [`Reach::rarity`].
    pub rarity: u32,
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A record arrives and somebody waits: few are weighed, by what is rare.
    Near,
    /// Everybody is tested again: many are weighed, by how many keys they share, and all who are equally near. Which keys are rare
    /// depends on who came first; how many two share does not.
    Far,
}

impl Reach {
    /// How much sharing a key says, by how many have it.
    #[must_use]
    pub fn rarity(self, holders: usize) -> u32 {
        /// So much says a key that nobody else has.
        const ALONE: u32 = 6_400;
        match self {
            Self::Near => ALONE / u32::try_from(holders.max(1)).unwrap_or(u32::MAX),
            Self::Far => 1,
        }
    }

    /// How many are enough, and how many with their equals are too many.
    #[must_use]
    pub const fn enough(self, limits: Limits) -> (usize, usize) {
        match self {
            Self::Near => (limits.profiles_on_arrival, limits.profiles_on_arrival + 2),
            Self::Far => (limits.profiles_per_record, limits.profiles_per_key),
        }
    }
}

/// The nearest, at most `enough` or a few more: who is equally near is taken or left together, so that it does not matter who
/// came first, and left when it would be more than `most` in all.
#[must_use]
pub fn nearest<I: Copy + Ord>(mut shared: Vec<Shared<I>>, enough: usize, most: usize) -> Vec<I> {
    shared.sort_unstable();
    let mut ranked: Vec<_> = shared
        .chunk_by(|a, b| a.id == b.id)
        .filter_map(|keys| {
            let id = keys.first()?.id;
            let by_handle = keys.iter().any(|key| key.by_handle);
            let rarity: u32 = keys.iter().map(|key| key.rarity).sum();
            Some((std::cmp::Reverse((by_handle, rarity)), id))
        })
        .collect();
    ranked.sort_unstable();
    let mut nearest = Vec::with_capacity(enough);
    for equals in ranked.chunk_by(|a, b| a.0 == b.0) {
        if nearest.len() >= enough || nearest.len() + equals.len() > most {
            break;
        }
        nearest.extend(equals.iter().map(|(_, id)| *id));
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(id: u32, by_handle: bool, holders: usize) -> Shared<u32> {
        Shared {
            id,
            by_handle,
            rarity: Reach::Near.rarity(holders),
        }
    }

    #[test]
    fn a_handle_comes_before_what_is_rare_and_what_is_rare_before_what_many_have() {
        let shared = vec![
            shares(1, false, 40),
            shares(1, false, 50),
            shares(2, false, 2),
            shares(3, true, 60),
        ];
        assert_eq!(nearest(shared.clone(), 9, 9), [3, 2, 1]);
        assert_eq!(nearest(shared, 2, 9), [3, 2]);
    }

    #[test]
    fn equals_are_taken_or_left_together() {
        let shared = vec![shares(1, false, 1), shares(2, false, 5), shares(3, false, 5)];
        assert_eq!(nearest(shared.clone(), 2, 9), [1, 2, 3]);
        assert_eq!(nearest(shared, 2, 2), [1]);
    }
}
