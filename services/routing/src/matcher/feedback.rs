//! What the engine learns while it works: the load of calls, which sizes the reserve, and how each cell does against
//! its goal, which steers the ranking. Both in bounded memory and by the caller's clock only.

use std::collections::{BTreeMap, VecDeque};

use super::policy::{Reserve, ReserveSize, Steering};
use super::words::{Cell, Language, Millis};

const MINUTE: Millis = 60_000;
const WINDOW_MINUTES: Millis = 30;

/// A mean over about the last few hundred: what it measures drifts over the day.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunningMean {
    mean: f64,
    count: u32,
}

impl RunningMean {
    /// Starts with an assumption that counts like ten measurements.
    pub(super) fn assume(value: Millis) -> Self {
        RunningMean {
            mean: value as f64,
            count: 10,
        }
    }

    pub(super) fn measured(&mut self, value: Millis) {
        self.count = (self.count + 1).min(300);
        self.mean += (value.max(0) as f64 - self.mean) / f64::from(self.count);
    }

    pub(super) fn get(&self) -> f64 {
        self.mean
    }
}

/// Calls by language over the last half hour, and how long one takes.
#[derive(Debug, Clone, Default)]
pub(super) struct CallLoad {
    /// (minute, calls), by language.
    arrivals: Vec<VecDeque<(Millis, u32)>>,
    began_minute: Option<Millis>,
    handle_time: Option<RunningMean>,
    sizes: Vec<u32>,
    sized_minute: Option<Millis>,
}

impl CallLoad {
    pub(super) fn arrived(&mut self, language: Language, now: Millis) {
        let minute = now.div_euclid(MINUTE);
        self.began_minute.get_or_insert(minute);
        let place = usize::from(language.0);
        if self.arrivals.len() <= place {
            self.arrivals.resize(place + 1, VecDeque::new());
        }
        let line = &mut self.arrivals[place];
        match line.back_mut() {
            Some((last, calls)) if *last == minute => *calls += 1,
            Some(_) | None => line.push_back((minute, 1)),
        }
    }

    pub(super) fn handled(&mut self, took: Millis, assumed: Millis) {
        self.handle_time
            .get_or_insert(RunningMean::assume(assumed))
            .measured(took);
    }

    /// Sizes the reserves anew, once a minute. Returns whether one of them shrank.
    pub(super) fn resize(&mut self, rule: &Reserve, languages: usize, now: Millis) -> bool {
        let minute = now.div_euclid(MINUTE);
        if self.sized_minute == Some(minute) && self.sizes.len() >= languages {
            return false;
        }
        self.sized_minute = Some(minute);
        let sizes: Vec<u32> = (0..languages).map(|l| self.size(rule, l, minute)).collect();
        let shrank = sizes.iter().zip(&self.sizes).any(|(new, old)| new < old);
        self.sizes = sizes;
        shrank
    }

    fn size(&mut self, rule: &Reserve, language: usize, minute: Millis) -> u32 {
        let (factor, min, max) = match rule.size {
            ReserveSize::Fixed(size) => return size,
            ReserveSize::SquareRoot { factor, min, max } => (factor, min, max),
        };
        let Some(line) = self.arrivals.get_mut(language) else {
            return 0;
        };
        while line.front().is_some_and(|(at, _)| *at <= minute - WINDOW_MINUTES) {
            line.pop_front();
        }
        let calls: u32 = line.iter().map(|(_, calls)| calls).sum();
        if calls == 0 {
            return 0;
        }
        let seen = minute - self.began_minute.unwrap_or(minute) + 1;
        let window = (seen.min(WINDOW_MINUTES) * MINUTE) as f64;
        let each = self
            .handle_time
            .map_or(rule.handle_time_ms as f64, |mean| mean.get());
        let load = f64::from(calls) * each / window;
        ((factor * load.sqrt()).ceil() as u32).clamp(min, max)
    }

    /// How many free callers of that language the reserve keeps.
    pub(super) fn reserve(&self, language: Language) -> u32 {
        self.sizes.get(usize::from(language.0)).copied().unwrap_or(0)
    }

    /// The next moment the sizes may change.
    pub(super) fn next_resize(now: Millis) -> Millis {
        (now.div_euclid(MINUTE) + 1) * MINUTE
    }
}

/// How a cell does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CellResult {
    /// The share that should be in time.
    pub goal: f64,
    /// Answered in time, older ones counting less.
    pub in_time: f64,
    /// All that count, older ones counting less.
    pub all: f64,
    /// What ranks of this cell are multiplied with now.
    pub weight: f64,
    at: Millis,
}

/// Results by cell.
#[derive(Debug, Clone, Default)]
pub(super) struct Results {
    cells: BTreeMap<Cell, CellResult>,
    weights: Vec<f64>,
}

impl Results {
    pub(super) fn set_goal(&mut self, cell: Cell, goal: f64) {
        self.cells
            .entry(cell)
            .and_modify(|it| it.goal = goal)
            .or_insert(CellResult {
                goal,
                in_time: 0.0,
                all: 0.0,
                weight: 1.0,
                at: 0,
            });
    }

    pub(super) fn count(&mut self, cell: Cell, in_time: bool, rule: &Steering, now: Millis) {
        let Some(it) = self.cells.get_mut(&cell) else {
            return;
        };
        let fade = (-((now - it.at).max(0) as f64) / rule.memory_ms.max(1) as f64).exp();
        it.at = now;
        it.in_time = it.in_time * fade + if in_time { 1.0 } else { 0.0 };
        it.all = it.all * fade + 1.0;
        if rule.gain > 0.0 {
            // Five imagined results at the goal: the first real ones must not swing the rank.
            let share = (it.in_time + 5.0 * it.goal) / (it.all + 5.0);
            let change = rule.gain * (it.goal + rule.margin - share);
            it.weight = 1.0 + change.clamp(-rule.max_loan, rule.max_boost);
            let place = usize::from(cell.0);
            if self.weights.len() <= place {
                self.weights.resize(place + 1, 1.0);
            }
            self.weights[place] = it.weight;
        }
    }

    pub(super) fn weight(&self, cell: Cell) -> f64 {
        self.weights.get(usize::from(cell.0)).copied().unwrap_or(1.0)
    }

    pub(super) fn get(&self, cell: Cell) -> Option<CellResult> {
        self.cells.get(&cell).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_follows_the_square_root_of_the_load() {
        let rule = Reserve {
            size: ReserveSize::SquareRoot {
                factor: 1.3,
                min: 1,
                max: 50,
            },
            ..Reserve::default()
        };
        let mut load = CallLoad::default();
        let italian = Language(0);
        for second in 0..1_800 {
            if second % 9 == 0 {
                load.arrived(italian, second * 1_000);
                load.handled(270_000, 270_000);
            }
        }
        // 200 calls of 270 s in 30 minutes are 30 erlangs.
        load.resize(&rule, 1, 1_799_000);
        assert_eq!(load.reserve(italian), 8);
        assert!(
            load.resize(&rule, 1, 3_000_000),
            "the last calls are 20 minutes ago"
        );
        load.resize(&rule, 1, 9_000_000);
        assert_eq!(load.reserve(italian), 0, "no calls, no reserve");
    }

    #[test]
    fn a_cell_behind_its_goal_gains_rank_within_bounds() {
        let rule = Steering {
            gain: 2.0,
            ..Steering::default()
        };
        let mut results = Results::default();
        results.set_goal(Cell(1), 0.9);
        assert_eq!(results.weight(Cell(1)), 1.0);
        for n in 0..50 {
            results.count(Cell(1), false, &rule, n);
        }
        assert_eq!(results.weight(Cell(1)), 1.0 + rule.max_boost);
        for n in 0..5_000 {
            results.count(Cell(1), true, &rule, 50 + n * 10_000);
        }
        assert!(results.weight(Cell(1)) < 1.0);
    }
}
