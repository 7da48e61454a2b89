//! Work with a deadline as a flow: what is done keeps ahead of what is due and behind what has come in.

/// Amounts this small are rounding.
const NOTHING: f64 = 1e-9;

/// Deferred work of one stream over the open intervals, in agent-intervals.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flow {
    /// What can be worked on from an interval on.
    pub released: Vec<f64>,
    /// What has to be done by the end of an interval.
    pub due: Vec<f64>,
    /// What is due after the last interval.
    pub later: f64,
}

/// How a flow is served.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Served {
    /// Agents needed besides the idle time of others.
    pub extra: Vec<f64>,
    /// Idle time used.
    pub idle: Vec<f64>,
}

impl Flow {
    /// `work[i]` comes in during interval `i` and may take `patience` open intervals. What comes in while closed is released
    /// at the next opening, and its clock starts then. A contact counts as if it had come in at the start of its interval,
    /// so that none is late.
    pub(super) fn new(work: &[f64], backlog: f64, open: &[bool], patience: usize) -> Self {
        let count = open.iter().filter(|open| **open).count();
        let mut flow = Self {
            released: vec![0.0; count],
            due: vec![0.0; count],
            later: 0.0,
        };
        let mut next_open = 0;
        flow.add(0, backlog, patience);
        for (work, is_open) in work.iter().zip(open) {
            flow.add(next_open, *work, patience);
            next_open += usize::from(*is_open);
        }
        flow
    }

    fn add(&mut self, at: usize, work: f64, patience: usize) {
        match self.released.get_mut(at) {
            Some(released) => *released += work,
            None => {
                self.later += work;
                return;
            }
        }
        match self.due.get_mut(at.saturating_add(patience.saturating_sub(1))) {
            Some(due) => *due += work,
            None => self.later += work,
        }
    }

    /// The evenest extra agents with which nothing is late, given the idle time of others.
    pub(super) fn served(&self, idle: &[f64]) -> Served {
        let extra = self.evenest(idle);
        let mut served = Served {
            extra: Vec::with_capacity(extra.len()),
            idle: Vec::with_capacity(extra.len()),
        };
        let (mut backlog, mut done, mut due) = (0.0, 0.0, 0.0);
        for (at, planned) in extra.into_iter().enumerate() {
            backlog += self.released[at];
            due += self.due[at];
            let mut extra = f64::min(planned, backlog);
            let mut used = f64::min(idle[at], backlog - extra);
            let late = due - done - extra - used;
            if late > NOTHING {
                // Work that extra agents did early is missing to the idle ones; who is late is helped at once.
                extra += late;
                used = used.min(backlog - extra).max(0.0);
            }
            backlog -= extra + used;
            done += extra + used;
            served.extra.push(extra);
            served.idle.push(used);
        }
        served
    }

    /// Share of what is due by the end of each interval that is done by then, with idle time only. First come, first served.
    pub(super) fn in_time(&self, idle: &[f64]) -> (Vec<f64>, Served) {
        let (mut backlog, mut done, mut due) = (0.0, 0.0, 0.0);
        let mut shares = Vec::with_capacity(idle.len());
        let mut served = Served {
            extra: vec![0.0; self.released.len()],
            idle: Vec::with_capacity(self.released.len()),
        };
        for (at, idle) in idle.iter().enumerate().take(self.released.len()) {
            backlog += self.released[at];
            let used = f64::min(*idle, backlog);
            backlog -= used;
            done += used;
            let due_now = self.due[at];
            let done_of_now = (done - due).clamp(0.0, due_now);
            due += due_now;
            shares.push(if due_now > NOTHING {
                done_of_now / due_now
            } else {
                1.0
            });
            served.idle.push(used);
        }
        (shares, served)
    }

    fn evenest(&self, idle: &[f64]) -> Vec<f64> {
        let count = self.released.len();
        let (mut backlog, mut by_idle, mut released, mut due) = (0.0, 0.0, 0.0, 0.0);
        let mut lower = Vec::with_capacity(count);
        let mut upper = Vec::with_capacity(count);
        let mut needed: f64 = 0.0;
        for (at, idle) in idle.iter().enumerate().take(count) {
            released += self.released[at];
            due += self.due[at];
            backlog += self.released[at];
            let used = f64::min(*idle, backlog);
            backlog -= used;
            by_idle += used;
            needed = needed.max(due - by_idle);
            lower.push(needed);
            upper.push(released - by_idle);
        }
        // Extra work that idle agents would have done later is no help: not above any later level.
        let mut least = f64::INFINITY;
        for at in (0..count).rev() {
            least = least.min(upper[at]);
            upper[at] = least.max(lower[at]);
        }
        if let (Some(upper), Some(lower)) = (upper.last_mut(), lower.last()) {
            *upper = *lower;
        }
        taut_string(&lower, &upper)
    }
}

/// The increments of the shortest line from zero between two bounds, which must not fall and must meet at the end: no other
/// line between them has smaller peaks.
fn taut_string(lower: &[f64], upper: &[f64]) -> Vec<f64> {
    let count = lower.len();
    let mut increments = Vec::with_capacity(count);
    let mut level = 0.0;
    while increments.len() < count {
        let from = increments.len();
        let (mut steepest, mut steep_at) = (f64::INFINITY, from);
        let (mut flattest, mut flat_at) = (f64::NEG_INFINITY, from);
        let mut bend = None;
        for at in from..count {
            let width = (at - from + 1) as f64;
            let (low, high) = ((lower[at] - level) / width, (upper[at] - level) / width);
            if low > steepest {
                bend = Some((steep_at, steepest));
                break;
            }
            if high < flattest {
                bend = Some((flat_at, flattest));
                break;
            }
            if low >= flattest {
                (flattest, flat_at) = (low, at);
            }
            if high <= steepest {
                (steepest, steep_at) = (high, at);
            }
        }
        let (to, slope) = bend.unwrap_or((flat_at, flattest));
        let slope = slope.max(0.0);
        increments.extend(std::iter::repeat_n(slope, to - from + 1));
        level += slope * (to - from + 1) as f64;
    }
    increments
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(count: usize) -> Vec<bool> {
        vec![true; count]
    }

    #[test]
    fn a_morning_peak_is_spread_up_to_its_deadline() {
        let flow = Flow::new(&[8.0, 0.0, 0.0, 0.0, 0.0], 0.0, &open(5), 4);
        assert_eq!(flow.served(&[0.0; 5]).extra, [2.0, 2.0, 2.0, 2.0, 0.0]);
    }

    #[test]
    fn idle_agents_come_first() {
        let flow = Flow::new(&[8.0, 0.0, 0.0, 0.0, 0.0], 0.0, &open(5), 4);
        let served = flow.served(&[0.0, 1.0, 1.0, 2.0, 9.0]);
        assert_eq!(served.extra.iter().sum::<f64>(), 4.0);
        assert_eq!(served.idle, [0.0, 1.0, 1.0, 2.0, 0.0]);
    }

    #[test]
    fn what_comes_in_at_night_is_due_after_the_opening() {
        let open = [false, false, true, true, true];
        let flow = Flow::new(&[3.0, 3.0, 0.0, 0.0, 0.0], 0.0, &open, 2);
        assert_eq!(
            (flow.released.clone(), flow.due.clone()),
            (vec![6.0, 0.0, 0.0], vec![0.0, 6.0, 0.0])
        );
        assert_eq!(flow.served(&[0.0; 3]).extra, [3.0, 3.0, 0.0]);
    }

    #[test]
    fn what_is_due_after_the_end_waits() {
        let flow = Flow::new(&[0.0, 0.0, 5.0], 2.0, &open(3), 3);
        assert_eq!(
            (
                flow.later,
                flow.served(&[0.0; 3]).extra.iter().sum::<f64>().round()
            ),
            (5.0, 2.0)
        );
    }

    #[test]
    fn without_intervals_everything_waits() {
        let flow = Flow::new(&[], 2.0, &[], 3);
        assert_eq!(flow.later, 2.0);
        assert!(flow.served(&[]).extra.is_empty());
    }

    fn flows() -> impl Strategy<Value = (Vec<f64>, Vec<f64>, Vec<bool>, usize, f64)> {
        (1_usize..60).prop_flat_map(|count| {
            (
                prop::collection::vec(0.0..10.0_f64, count),
                prop::collection::vec(0.0..6.0_f64, count),
                prop::collection::vec(prop::bool::weighted(0.8), count),
                0_usize..20,
                0.0..20.0_f64,
            )
        })
    }

    proptest! {
        /// Nothing is late, nothing is done before it came in, and nothing is lost.
        #[test]
        fn every_deadline_is_kept((work, idle, open, patience, backlog) in flows()) {
            let flow = Flow::new(&work, backlog, &open, patience);
            let count = flow.released.len();
            let total: f64 = work.iter().sum::<f64>() + backlog;
            prop_assert!((flow.due.iter().sum::<f64>() + flow.later - total).abs() < 1e-6);
            let served = flow.served(&idle[..count]);
            let (mut done, mut released, mut due) = (0.0, 0.0, 0.0);
            for (at, idle) in idle.iter().enumerate().take(count) {
                prop_assert!(served.extra[at] >= 0.0 && served.idle[at] >= 0.0);
                prop_assert!(served.idle[at] <= idle + 1e-9);
                done += served.extra[at] + served.idle[at];
                released += flow.released[at];
                due += flow.due[at];
                prop_assert!(done >= due - 1e-6, "late at {at}");
                prop_assert!(done <= released + 1e-6, "done before it came in at {at}");
            }
        }

        /// More idle time never asks for more extra agents in all.
        #[test]
        fn idle_time_saves_agents((work, idle, open, patience, backlog) in flows()) {
            let flow = Flow::new(&work, backlog, &open, patience);
            let count = flow.released.len();
            let none: f64 = flow.served(&vec![0.0; count]).extra.iter().sum();
            let some: f64 = flow.served(&idle[..count]).extra.iter().sum();
            prop_assert!(some <= none + 1e-6);
        }

        /// With the extra agents as idle ones, everything is in time: both computations agree.
        #[test]
        fn the_extra_agents_are_enough((work, _, open, patience, backlog) in flows()) {
            let flow = Flow::new(&work, backlog, &open, patience);
            let extra = flow.served(&vec![0.0; flow.released.len()]).extra;
            let (shares, _) = flow.in_time(&extra.iter().map(|e| e + 1e-9).collect::<Vec<_>>());
            prop_assert!(shares.iter().all(|share| *share > 1.0 - 1e-5), "{shares:?}");
        }
    }
}
