//! How often each level was seen.

use crate::matching::{
    compare::{Comparison, Level},
    policy::{PolicyFile, Weight},
    score::Score,
};

type Table = [[f64; Level::COUNT]; Comparison::COUNT];

/// How often each level was seen among pairs of one person, of two people, and at random.
pub(super) struct Counts {
    same: Table,
    /// Labelled pairs of one person.
    owned: Table,
    /// Labelled pairs of two people.
    apart: Table,
    random: Table,
    same_pairs: f64,
    random_pairs: u64,
}

impl Default for Counts {
    fn default() -> Self {
        let empty = || [[0.0; Level::COUNT]; Comparison::COUNT];
        Self {
            same: empty(),
            owned: empty(),
            apart: empty(),
            random: empty(),
            same_pairs: 0.0,
            random_pairs: 0,
        }
    }
}

impl Counts {
    /// A record and a profile it found, one person with the given chance.
    pub(super) fn pair(&mut self, score: &Score, same: f64) {
        add(&mut self.same, score, same);
        self.same_pairs += same;
    }

    /// A record and a profile it found, of which it is known whether they are one person.
    pub(super) fn labelled(&mut self, score: &Score, same: bool) {
        self.pair(score, if same { 1.0 } else { 0.0 });
        add(if same { &mut self.owned } else { &mut self.apart }, score, 1.0);
    }

    /// A record and any profile.
    pub(super) fn random(&mut self, score: &Score) {
        add(&mut self.random, score, 1.0);
        self.random_pairs += 1;
    }

    pub(super) fn same_pairs(&self) -> u64 {
        self.same_pairs.round() as u64
    }

    pub(super) fn random_pairs(&self) -> u64 {
        self.random_pairs
    }

    /// Moves the weights of a policy towards what was seen; `faith` pairs weigh as much as what it said before.
    pub(super) fn apply(&self, file: &mut PolicyFile, faith: f64) {
        for (comparison, levels) in &mut file.weights {
            let seen = total(&self.same, *comparison);
            let by_chance = total(&self.random, *comparison);
            for (level, weight) in levels {
                let same = at(&self.same, *comparison, *level);
                let (owned, apart) = (
                    at(&self.owned, *comparison, *level),
                    at(&self.apart, *comparison, *level),
                );
                *weight = match *weight {
                    Weight::Chances { m, u } => Weight::Chances {
                        m: tidy((same + faith * m) / (seen + faith)),
                        // Chance agreements are rare: they need far more pairs to be believed than agreements within a person.
                        u: tidy(
                            (at(&self.random, *comparison, *level) + 100.0 * faith * u)
                                / (by_chance + 100.0 * faith),
                        ),
                    },
                    // Only labels tell how often a handle is shared: guesses that lean on the handle would confirm themselves.
                    Weight::Shared { shared } => Weight::Shared {
                        shared: tidy((apart + faith * shared) / (owned + apart + faith)),
                    },
                };
            }
        }
    }
}

/// Three digits are all that is known.
fn tidy(chance: f64) -> f64 {
    format!("{chance:.2e}").parse().unwrap_or(chance)
}

fn add(table: &mut Table, score: &Score, weight: f64) {
    for (row, level) in table.iter_mut().zip(score.levels) {
        if level != Level::Missing
            && let Some(cell) = row.get_mut(level.index())
        {
            *cell += weight;
        }
    }
}

fn at(table: &Table, comparison: Comparison, level: Level) -> f64 {
    table
        .get(comparison.index())
        .and_then(|row| row.get(level.index()))
        .copied()
        .unwrap_or(0.0)
}

/// Pairs where both sides said something. Swapped names are noticed only where they are: the rest stands under given names.
fn total(table: &Table, comparison: Comparison) -> f64 {
    let sum = |c: Comparison| table.get(c.index()).map_or(0.0, |row| row.iter().sum::<f64>());
    if comparison == Comparison::SwappedNames {
        sum(Comparison::GivenName) + sum(comparison)
    } else {
        sum(comparison)
    }
}
