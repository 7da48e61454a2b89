//! Counting items into groups.

use super::{
    super::world::{ItemIndex, ItemStatus, World},
    Group, answered_on,
};

/// How the wait of one item came out.
pub(super) struct Seen {
    wait: f64,
    target: f64,
    how: How,
}

enum How {
    Answered { leg_wait: f64 },
    Abandoned { counts: bool },
    Open,
}

/// Looks at an item at the end of the day.
pub(super) fn look(world: &World<'_>, item: ItemIndex) -> Seen {
    let (row, state) = (&world.trace.items[item], &world.items[item]);
    let target = world
        .trace
        .rules
        .target_s(&world.rules.channels[answered_on(state)], &row.entitlement);
    let end = world.trace.rules.end_s;
    let (until, how) = match (state.answered, state.status) {
        (Some(answer), _) => (
            answer.at,
            How::Answered {
                leg_wait: answer.leg_wait,
            },
        ),
        (None, ItemStatus::Abandoned) => {
            let at = state.ended_at.unwrap_or(end);
            (
                at,
                How::Abandoned {
                    counts: at - row.at_s >= world.trace.rules.short_abandon_s,
                },
            )
        }
        (None, _) => (end, How::Open),
    };
    Seen {
        wait: until - row.at_s,
        target,
        how,
    }
}

/// Groups in the order in which they were first seen.
#[derive(Default)]
pub(super) struct Tally {
    cells: Vec<(String, Cell)>,
}

#[derive(Default)]
struct Cell {
    n: u64,
    answered: u64,
    leg_waits: f64,
    waits: Vec<f64>,
    norms: Vec<f64>,
    in_target: u64,
    counted: u64,
    abandoned: u64,
    open: u64,
    late: u64,
}

impl Tally {
    pub(super) fn count(&mut self, name: &str, seen: &Seen) {
        let at = self
            .cells
            .iter()
            .position(|(known, _)| known == name)
            .unwrap_or_else(|| {
                self.cells.push((name.to_owned(), Cell::default()));
                self.cells.len() - 1
            });
        self.cells[at].1.count(seen);
    }

    pub(super) fn groups(self) -> Vec<(String, Group)> {
        self.cells
            .into_iter()
            .map(|(name, cell)| (name, cell.group()))
            .collect()
    }
}

impl Cell {
    fn count(&mut self, seen: &Seen) {
        self.n += 1;
        let norm = seen.wait / seen.target;
        let late = seen.wait > seen.target;
        match seen.how {
            How::Answered { leg_wait } => {
                self.answered += 1;
                self.waits.push(seen.wait);
                self.leg_waits += leg_wait;
                self.norms.push(norm);
                self.counted += 1;
                self.in_target += u64::from(!late);
            }
            How::Abandoned { counts } => {
                self.counted += u64::from(counts);
                self.abandoned += u64::from(counts);
                self.norms.push(norm);
            }
            How::Open if late => {
                self.counted += 1;
                self.late += 1;
                self.norms.push(norm);
            }
            How::Open => self.open += 1,
        }
    }

    fn group(mut self) -> Group {
        // Means are taken in the order of arrival, percentiles of the sorted values.
        let mean_wait = self.waits.iter().sum::<f64>() / self.waits.len().max(1) as f64;
        let mean_norm = self.norms.iter().sum::<f64>() / self.norms.len().max(1) as f64;
        self.waits.sort_by(f64::total_cmp);
        self.norms.sort_by(f64::total_cmp);
        Group {
            n: self.n,
            answered: self.answered,
            asa: rounded(mean_wait, 1),
            asa_leg: rounded(self.leg_waits / self.answered.max(1) as f64, 1),
            p50: rounded(percentile(&self.waits, 0.5), 1),
            p90: rounded(percentile(&self.waits, 0.9), 1),
            sl: rounded((100 * self.in_target) as f64 / self.counted.max(1) as f64, 1),
            aband: rounded((100 * self.abandoned) as f64 / self.n.max(1) as f64, 1),
            late_open: self.late,
            open: self.open,
            norm: rounded(mean_norm, 3),
            norm90: rounded(percentile(&self.norms, 0.9), 2),
            in_target: self.in_target,
            counted: self.counted,
        }
    }
}

impl Group {
    /// Of a day on which nobody came.
    pub(super) fn empty() -> Self {
        Cell::default().group()
    }
}

/// Linear interpolation between ranks of sorted values.
pub(super) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let rank = last as f64 * share;
    let below = rank as usize;
    let low = sorted[below];
    low + (sorted[(below + 1).min(last)] - low) * (rank - below as f64)
}

/// Rounds the decimal text, as the reference does, rather than a product with a power of ten.
pub(in super::super) fn rounded(value: f64, digits: usize) -> f64 {
    format!("{value:.digits$}").parse().unwrap_or(value)
}
