//! Where a case stands.

use chrono::{DateTime, Utc};
use trama_proto::{
    case::v1::CaseStatus,
    ids::{CaseId, MergeId},
};

use crate::error::Rejected;

/// A case that is not at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// Somebody must act.
    Open {
        /// The customer's first word that nobody answered.
        waiting_since: DateTime<Utc>,
    },
    /// We answered and wait for the customer.
    Waiting {
        /// Since our answer.
        since: DateTime<Utc>,
    },
}

/// Where a case stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not at its end.
    Live(Live),
    /// The need is met.
    Resolved {
        /// When.
        at: DateTime<Utc>,
        /// By whom.
        by: String,
    },
    /// It turned out to be the same need as another case.
    Merged {
        /// That other case.
        into: CaseId,
        /// Which merge of customers showed it.
        merge: MergeId,
        /// What it was, for the day when the merge is undone.
        was: Live,
    },
}

impl State {
    /// As the wire says it.
    pub const fn status(&self) -> CaseStatus {
        match self {
            State::Live(Live::Open { .. }) => CaseStatus::Open,
            State::Live(Live::Waiting { .. }) => CaseStatus::Waiting,
            State::Resolved { .. } => CaseStatus::Resolved,
            State::Merged { .. } => CaseStatus::Merged,
        }
    }

    /// Since when the customer waits for us, if they do.
    pub const fn waiting_since(&self) -> Option<DateTime<Utc>> {
        match self {
            State::Live(Live::Open { waiting_since }) => Some(*waiting_since),
            State::Live(Live::Waiting { .. }) | State::Resolved { .. } | State::Merged { .. } => None,
        }
    }

    /// When the need was met, if it was.
    pub const fn resolved_at(&self) -> Option<DateTime<Utc>> {
        match self {
            State::Resolved { at, .. } => Some(*at),
            State::Live(_) | State::Merged { .. } => None,
        }
    }

    /// Whether it is not at its end.
    pub const fn is_live(&self) -> bool {
        matches!(self, State::Live(_))
    }

    /// Whether somebody must act.
    pub const fn is_open(&self) -> bool {
        matches!(self, State::Live(Live::Open { .. }))
    }

    /// The customer spoke and wants an answer.
    ///
    /// # Errors
    /// When the case is at its end.
    pub fn heard(self, at: DateTime<Utc>) -> Result<Self, Rejected> {
        match self {
            // An earlier word that arrives late was waiting longer.
            State::Live(Live::Open { waiting_since }) => Ok(State::Live(Live::Open {
                waiting_since: waiting_since.min(at),
            })),
            State::Live(Live::Waiting { .. }) => Ok(State::Live(Live::Open { waiting_since: at })),
            State::Resolved { .. } => Err(Rejected::Resolved),
            State::Merged { into, .. } => Err(Rejected::Merged(into)),
        }
    }

    /// We answered. Also says how many seconds the customer had waited.
    ///
    /// # Errors
    /// When the case is at its end.
    pub fn answered(self, now: DateTime<Utc>) -> Result<(Self, i64), Rejected> {
        match self {
            State::Live(Live::Open { waiting_since }) => Ok((
                State::Live(Live::Waiting { since: now }),
                (now - waiting_since).num_seconds().max(0),
            )),
            State::Live(Live::Waiting { .. }) => Ok((State::Live(Live::Waiting { since: now }), 0)),
            State::Resolved { .. } => Err(Rejected::Resolved),
            State::Merged { into, .. } => Err(Rejected::Merged(into)),
        }
    }

    /// The need is met.
    ///
    /// # Errors
    /// When the case is at its end already.
    pub fn resolved(self, by: &str, now: DateTime<Utc>) -> Result<(Self, i64), Rejected> {
        let (_, waited) = self.answered(now)?;
        Ok((
            State::Resolved {
                at: now,
                by: by.to_owned(),
            },
            waited,
        ))
    }

    /// It is the same need as another case.
    ///
    /// # Errors
    /// When the case is at its end already.
    pub fn merged(self, into: CaseId, merge: MergeId) -> Result<Self, Rejected> {
        match self {
            State::Live(was) => Ok(State::Merged { into, merge, was }),
            State::Resolved { .. } => Err(Rejected::Resolved),
            State::Merged { into, .. } => Err(Rejected::Merged(into)),
        }
    }

    /// It was another need after all.
    ///
    /// # Errors
    /// When it is not merged.
    pub fn unmerged(self) -> Result<Self, Rejected> {
        match self {
            State::Merged { was, .. } => Ok(State::Live(was)),
            State::Live(_) | State::Resolved { .. } => Err(Rejected::NotMerged),
        }
    }

    /// Takes in the wait of a case that was joined with this one: who waited longest keeps their place.
    ///
    /// # Errors
    /// When the case is at its end.
    pub fn joined(self, other: Live) -> Result<Self, Rejected> {
        match other {
            Live::Open { waiting_since } => self.heard(waiting_since),
            Live::Waiting { .. } => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("in range")
    }

    #[derive(Debug, Clone)]
    enum Command {
        Heard(i64),
        Answered(i64),
        Resolved(i64),
        Merged,
        Unmerged,
    }

    fn commands() -> impl Strategy<Value = Vec<Command>> {
        let time = 0_i64..10_000;
        prop::collection::vec(
            prop_oneof![
                time.clone().prop_map(Command::Heard),
                time.clone().prop_map(Command::Answered),
                time.prop_map(Command::Resolved),
                Just(Command::Merged),
                Just(Command::Unmerged),
            ],
            0..30,
        )
    }

    proptest! {
        #[test]
        fn whoever_waits_keeps_the_earliest_moment_until_answered(times in prop::collection::vec(0_i64..10_000, 1..20)) {
            let mut state = State::Live(Live::Open { waiting_since: at(times[0]) });
            for time in &times {
                state = state.heard(at(*time)).expect("live");
            }
            prop_assert_eq!(state.waiting_since(), times.iter().min().map(|t| at(*t)));
        }

        #[test]
        fn a_resolved_case_stays_resolved(commands in commands()) {
            let into = CaseId::derived(&[b"into"]);
            let merge = MergeId::derived(&[b"merge"]);
            let mut state = State::Live(Live::Open { waiting_since: at(0) });
            for command in commands {
                let before = state.clone();
                let next = match command {
                    Command::Heard(t) => state.heard(at(t)),
                    Command::Answered(t) => state.answered(at(t)).map(|(s, waited)| { assert!(waited >= 0); s }),
                    Command::Resolved(t) => state.resolved("anna", at(t)).map(|(s, _)| s),
                    Command::Merged => state.merged(into, merge),
                    Command::Unmerged => state.unmerged(),
                };
                if let State::Resolved { .. } = before {
                    prop_assert!(next.is_err());
                }
                state = next.unwrap_or(before);
            }
        }
    }

    #[test]
    fn an_undone_merge_gives_back_the_old_state() {
        let state = State::Live(Live::Waiting { since: at(5) });
        let merged = state
            .clone()
            .merged(CaseId::derived(&[b"a"]), MergeId::derived(&[b"m"]))
            .expect("live");
        assert_eq!(merged.unmerged(), Ok(state));
    }
}
