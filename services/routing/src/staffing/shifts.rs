//! Shifts that cover a need at least cost: an integer programme, min (cost of shifts + cost of missing people). By type of
//! shift, not by person: who works when is for people and their contracts to decide.

use good_lp::{
    Expression, Solution as _, SolverModel as _, Variable, WithInitialSolution as _, WithMipGap as _,
    WithTimeLimit as _, constraint, microlp, solvers::SolutionStatus, variable, variables,
};

use super::calendar::Step;

/// A proposal this much above the least possible cost is good enough.
const GAP: f32 = 0.005;

/// A pause within a shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// Minutes after the start of the shift.
    pub after_minutes: u32,
    /// Its length.
    pub minutes: u32,
}

/// A kind of shift.
#[derive(Debug, Clone, PartialEq)]
pub struct ShiftType {
    /// Name, such as `full day`.
    pub name: String,
    /// Intervals in which it may start.
    pub starts: Vec<usize>,
    /// Its length in intervals, breaks included.
    pub length: usize,
    /// Pauses.
    pub breaks: Vec<Break>,
    /// What one such shift costs.
    pub cost: f64,
    /// How many there may be in all.
    pub most: Option<u32>,
}

/// A need and what may cover it.
#[derive(Debug, Clone, PartialEq)]
pub struct ShiftProblem {
    /// Length of an interval.
    pub step: Step,
    /// Agents at work needed in each interval.
    pub need: Vec<u32>,
    /// Kinds of shift.
    pub types: Vec<ShiftType>,
    /// What an hour of one missing agent costs; above the cost of an hour at work, or nobody is ever proposed.
    pub cost_of_missing_hour: f64,
}

/// Shifts of one kind and start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// Which type of the problem.
    pub shift_type: usize,
    /// Interval in which it starts.
    pub start: usize,
    /// How many.
    pub people: u32,
}

/// One interval under a proposal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coverage {
    /// Agents needed.
    pub need: u32,
    /// Agents at work on average, breaks taken off.
    pub at_work: f64,
    /// Agents missing.
    pub short: f64,
    /// Agents too many.
    pub over: f64,
}

/// How good a proposal is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// Nothing costs less.
    Optimal,
    /// At most half a percent above the least cost.
    NearlyOptimal,
    /// The best found in the time.
    OutOfTime,
    /// Built step by step, because the solver had no answer.
    Greedy,
}

/// Shifts and what they achieve.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Shifts, by start.
    pub shifts: Vec<Shift>,
    /// By interval.
    pub coverage: Vec<Coverage>,
    /// Cost of the shifts.
    pub cost: f64,
    /// Agent-hours missing.
    pub missing_hours: f64,
    /// Agent-hours too many.
    pub surplus_hours: f64,
    /// How good it is known to be.
    pub quality: Quality,
}

/// A problem that makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidShifts {
    /// More than one run can solve.
    #[error("{what}: {count} are more than {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A shift type makes no sense.
    #[error("shift type `{name}`: {problem}")]
    Type {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The cost of missing people makes no sense.
    #[error("the cost of a missing hour must be a number above zero")]
    CostOfMissing,
}

/// A type at a start, with the share of each interval that it covers.
struct Candidate {
    shift_type: usize,
    start: usize,
    /// From `start` on.
    covers: Vec<f64>,
    cost: f64,
    most: u32,
}

/// Proposes shifts; the solver may take so many seconds.
pub fn propose(problem: &ShiftProblem, solver_seconds: f64) -> Result<Proposal, InvalidShifts> {
    problem.validate()?;
    let candidates = problem.candidates();
    let greedy = problem.greedy(&candidates);
    let seconds = if solver_seconds.is_finite() {
        solver_seconds.clamp(0.0, 600.0)
    } else {
        10.0
    };
    let solved = problem.solve(&candidates, &greedy, seconds);
    let (people, quality) = match solved {
        Some((people, quality))
            if problem.total(&candidates, &people) <= problem.total(&candidates, &greedy) + 1e-6 =>
        {
            (people, quality)
        }
        Some(_) | None => (greedy, Quality::Greedy),
    };
    Ok(problem.proposal(&candidates, &people, quality))
}

impl ShiftProblem {
    fn validate(&self) -> Result<(), InvalidShifts> {
        let at_most = |what, count, most| {
            if count <= most {
                Ok(())
            } else {
                Err(InvalidShifts::TooMany { what, count, most })
            }
        };
        at_most("intervals", self.need.len(), 7 * 96)?;
        at_most(
            "agents needed",
            self.need.iter().max().copied().unwrap_or(0) as usize,
            100_000,
        )?;
        at_most(
            "possible shifts",
            self.types.iter().map(|t| t.starts.len()).sum(),
            2_000,
        )?;
        if !(self.cost_of_missing_hour.is_finite() && self.cost_of_missing_hour > 0.0) {
            return Err(InvalidShifts::CostOfMissing);
        }
        for shift_type in &self.types {
            let wrong = |problem| {
                Err(InvalidShifts::Type {
                    name: shift_type.name.clone(),
                    problem,
                })
            };
            if shift_type.length == 0 || shift_type.length > 2 * self.step.per_day() {
                return wrong("it must last from one interval to two days");
            }
            if !(shift_type.cost.is_finite() && shift_type.cost > 0.0) {
                return wrong("its cost must be a number above zero");
            }
            if shift_type.starts.iter().any(|start| *start >= self.need.len()) {
                return wrong("it starts after the last interval");
            }
            let minutes = u64::from(self.step.minutes()) * shift_type.length as u64;
            if shift_type
                .breaks
                .iter()
                .any(|b| u64::from(b.after_minutes) + u64::from(b.minutes) > minutes)
            {
                return wrong("a break is after its end");
            }
        }
        Ok(())
    }

    /// Shifts that cover anything needed.
    fn candidates(&self) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (number, shift_type) in self.types.iter().enumerate() {
            let covers = covers(shift_type, self.step);
            let mut starts = shift_type.starts.clone();
            starts.sort_unstable();
            starts.dedup();
            for start in starts {
                let needed = &self.need[start..self.need.len().min(start + covers.len())];
                let most = needed
                    .iter()
                    .copied()
                    .max()
                    .unwrap_or(0)
                    .min(shift_type.most.unwrap_or(u32::MAX));
                if most > 0 {
                    candidates.push(Candidate {
                        shift_type: number,
                        start,
                        covers: covers[..needed.len()].to_vec(),
                        cost: shift_type.cost,
                        // Breaks of the others may have to be covered too.
                        most: most.saturating_mul(2).min(shift_type.most.unwrap_or(u32::MAX)),
                    });
                }
            }
        }
        candidates
    }

    fn cost_of_missing_interval(&self) -> f64 {
        self.cost_of_missing_hour * self.step.hours()
    }

    /// Adds the shift that saves most for its cost until none saves anything.
    fn greedy(&self, candidates: &[Candidate]) -> Vec<u32> {
        let mut short: Vec<f64> = self.need.iter().map(|need| f64::from(*need)).collect();
        let mut people = vec![0_u32; candidates.len()];
        let mut left: Vec<u32> = self.types.iter().map(|t| t.most.unwrap_or(u32::MAX)).collect();
        loop {
            let best = candidates
                .iter()
                .enumerate()
                .filter(|(number, c)| left[c.shift_type] > 0 && people[*number] < c.most)
                .map(|(number, c)| (number, self.saving(c, &short) / c.cost))
                .max_by(|a, b| a.1.total_cmp(&b.1));
            let Some((number, _)) = best.filter(|(_, saved_per_cost)| *saved_per_cost > 1.0 + 1e-9) else {
                return people;
            };
            let chosen = &candidates[number];
            people[number] += 1;
            left[chosen.shift_type] = left[chosen.shift_type].saturating_sub(1);
            for (short, covers) in short[chosen.start..].iter_mut().zip(&chosen.covers) {
                *short = (*short - covers).max(0.0);
            }
        }
    }

    fn saving(&self, candidate: &Candidate, short: &[f64]) -> f64 {
        let covered: f64 = short[candidate.start..]
            .iter()
            .zip(&candidate.covers)
            .map(|(short, covers)| short.min(*covers))
            .sum();
        covered * self.cost_of_missing_interval()
    }

    fn solve(&self, candidates: &[Candidate], greedy: &[u32], seconds: f64) -> Option<(Vec<u32>, Quality)> {
        let mut all = variables!();
        let mut cost = Expression::with_capacity(candidates.len() + self.need.len());
        let people: Vec<Variable> = candidates
            .iter()
            .map(|candidate| {
                let count = all.add(variable().integer().min(0).max(candidate.most.min(200_000)));
                cost.add_mul(candidate.cost, count);
                count
            })
            .collect();
        let missing: Vec<Variable> = self
            .need
            .iter()
            .map(|need| {
                let missing = all.add(variable().min(0).max(*need));
                cost.add_mul(self.cost_of_missing_interval(), missing);
                missing
            })
            .collect();
        let mut at_work: Vec<Expression> = missing.iter().map(|missing| Expression::from(*missing)).collect();
        for (candidate, count) in candidates.iter().zip(&people) {
            for (at_work, covers) in at_work[candidate.start..].iter_mut().zip(&candidate.covers) {
                at_work.add_mul(*covers, *count);
            }
        }
        let short = self.short(candidates, greedy);
        let start = people
            .iter()
            .zip(greedy)
            .map(|(count, greedy)| (*count, f64::from(*greedy)))
            .chain(missing.iter().copied().zip(short));
        let mut model = all
            .minimise(cost)
            .using(microlp)
            .with_initial_solution(start.collect::<Vec<_>>());
        model = model.with_time_limit(seconds).with_mip_gap(GAP).ok()?;
        for (at_work, need) in at_work.into_iter().zip(&self.need).filter(|(_, need)| **need > 0) {
            model.add_constraint(constraint!(at_work >= f64::from(*need)));
        }
        for (number, most) in self
            .types
            .iter()
            .enumerate()
            .filter_map(|(n, t)| Some((n, t.most?)))
        {
            let of_type = candidates
                .iter()
                .zip(&people)
                .filter(|(c, _)| c.shift_type == number);
            let sum: Expression = of_type.map(|(_, count)| *count).sum();
            model.add_constraint(constraint!(sum <= f64::from(most)));
        }
        let solution = model.solve().ok()?;
        let quality = match solution.status() {
            SolutionStatus::Optimal => Quality::Optimal,
            SolutionStatus::GapLimit => Quality::NearlyOptimal,
            SolutionStatus::TimeLimit => Quality::OutOfTime,
        };
        // Whole numbers within the bounds given above, but for the solver's rounding.
        let people = people
            .iter()
            .map(|count| solution.value(*count).round().clamp(0.0, 200_000.0) as u32);
        Some((people.collect(), quality))
    }

    fn at_work(&self, candidates: &[Candidate], people: &[u32]) -> Vec<f64> {
        let mut at_work = vec![0.0; self.need.len()];
        for (candidate, people) in candidates.iter().zip(people) {
            for (at_work, covers) in at_work[candidate.start..].iter_mut().zip(&candidate.covers) {
                *at_work += covers * f64::from(*people);
            }
        }
        at_work
    }

    fn short(&self, candidates: &[Candidate], people: &[u32]) -> Vec<f64> {
        let at_work = self.at_work(candidates, people);
        self.need
            .iter()
            .zip(at_work)
            .map(|(need, at_work)| (f64::from(*need) - at_work).max(0.0))
            .collect()
    }

    fn total(&self, candidates: &[Candidate], people: &[u32]) -> f64 {
        let short: f64 = self.short(candidates, people).iter().sum();
        cost(candidates, people) + short * self.cost_of_missing_interval()
    }

    fn proposal(&self, candidates: &[Candidate], people: &[u32], quality: Quality) -> Proposal {
        let coverage: Vec<Coverage> = self
            .need
            .iter()
            .zip(self.at_work(candidates, people))
            .map(|(need, at_work)| {
                let over = at_work - f64::from(*need);
                Coverage {
                    need: *need,
                    at_work,
                    short: (-over).max(0.0),
                    over: over.max(0.0),
                }
            })
            .collect();
        let mut shifts: Vec<Shift> = candidates
            .iter()
            .zip(people)
            .filter(|(_, people)| **people > 0)
            .map(|(candidate, people)| Shift {
                shift_type: candidate.shift_type,
                start: candidate.start,
                people: *people,
            })
            .collect();
        shifts.sort_by_key(|shift| (shift.start, shift.shift_type));
        let hours = |of: &dyn Fn(&Coverage) -> f64| coverage.iter().map(of).sum::<f64>() * self.step.hours();
        Proposal {
            missing_hours: hours(&|c| c.short),
            surplus_hours: hours(&|c| c.over),
            cost: cost(candidates, people),
            shifts,
            coverage,
            quality,
        }
    }
}

fn cost(candidates: &[Candidate], people: &[u32]) -> f64 {
    candidates
        .iter()
        .zip(people)
        .map(|(candidate, people)| candidate.cost * f64::from(*people))
        .sum()
}

/// The share of each interval of a shift that is not break.
fn covers(shift_type: &ShiftType, step: Step) -> Vec<f64> {
    let length = f64::from(step.minutes());
    (0..shift_type.length)
        .map(|at| {
            let (from, to) = (at as f64 * length, (at + 1) as f64 * length);
            let paused: f64 = shift_type
                .breaks
                .iter()
                .map(|pause| {
                    let start = f64::from(pause.after_minutes);
                    let end = start + f64::from(pause.minutes);
                    (end.min(to) - start.max(from)).max(0.0)
                })
                .sum();
            (1.0 - paused / length).max(0.0)
        })
        .collect()
}

#[cfg(test)]
#[path = "shifts_tests.rs"]
mod tests;
