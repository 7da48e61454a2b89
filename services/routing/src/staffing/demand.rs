//! What a group of agents is to serve, and how people serve it.

use chrono::{DateTime, Utc};

use super::{
    calendar::Step,
    erlang::{self, InvalidQueue, Target, Traffic},
    volume::Series,
};

/// How long work waits for people, or people for work.
#[derive(Debug, Clone, PartialEq)]
pub enum Service {
    /// One at a time, now: calls.
    Live {
        /// Promise.
        target: Target,
        /// Mean time after which a waiting customer leaves.
        patience_seconds: Option<f64>,
    },
    /// Some at a time, now: chats and messages.
    Concurrent {
        /// Promise.
        target: Target,
        /// Mean time after which a waiting customer leaves.
        patience_seconds: Option<f64>,
        /// How parallel work slows down.
        concurrency: Concurrency,
    },
    /// By a deadline, when there is time: emails and reviews. The clock runs while the group is open.
    Deferred {
        /// Time to answer.
        within_seconds: f64,
        /// Contacts that are waiting at the start.
        backlog: f64,
    },
}

/// Conversations an agent leads in parallel and how fast each then goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Concurrency {
    slots: u32,
    speed: f64,
}

impl Concurrency {
    /// `speeds[k - 1]` is the speed of each of k conversations, 1 for undisturbed work. The number of parallel
    /// conversations is the one that gets most done.
    pub fn new(speeds: &[f64]) -> Result<Self, InvalidQueue> {
        let mut best = Self { slots: 1, speed: 1.0 };
        let mut most = 0.0;
        for (slots, speed) in (1_u32..=20).zip(speeds) {
            let speed = erlang::share("the speed of parallel work", *speed)?;
            if f64::from(slots) * speed > most {
                most = f64::from(slots) * speed;
                best = Self { slots, speed };
            }
        }
        Ok(best)
    }

    /// Conversations in parallel.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// What an agent gets done, compared to one conversation after the other.
    pub fn throughput(&self) -> f64 {
        f64::from(self.slots) * self.speed
    }

    /// The speed of each conversation.
    pub fn speed(&self) -> f64 {
        self.speed
    }
}

/// One series and how it is served.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// What is counted.
    pub series: Series,
    /// How it is served.
    pub service: Service,
    /// Mean time an undisturbed agent works on one contact.
    pub handle_seconds: f64,
    /// Contacts by interval of the group.
    pub contacts: Vec<f64>,
}

/// How many of the group's kinds of work an agent can do, from 0 (each one kind) to 1 (each every kind).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossTraining(f64);

impl CrossTraining {
    /// From the mean number of kinds of work an agent can do. Wallace & Whitt (2005, "A staffing algorithm for call centers
    /// with skill-based routing") found that two are nearly as good as all; "nearly" is taken for nine tenths.
    pub fn of_skills(mean_kinds: f64) -> Self {
        let kinds = if mean_kinds.is_nan() {
            1.0
        } else {
            mean_kinds.clamp(1.0, 3.0)
        };
        Self(if kinds <= 2.0 {
            0.9 * (kinds - 1.0)
        } else {
            0.9 + 0.1 * (kinds - 2.0)
        })
    }

    /// The share of the gain from pooling that is reached.
    pub fn share(self) -> f64 {
        self.0
    }
}

/// People who share work.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Length of an interval.
    pub step: Step,
    /// Starts of the intervals.
    pub starts: Vec<DateTime<Utc>>,
    /// Whether the group works in an interval; what comes in while it does not, waits (deferred) or is lost (live).
    pub open: Vec<bool>,
    /// Work.
    pub streams: Vec<Stream>,
    /// Skills.
    pub cross_training: CrossTraining,
    /// The share of idle time between live contacts that deferred work can use: scraps of seconds cannot.
    pub idle_use: f64,
    /// Paid time that is not spent on contacts: breaks, training, sickness.
    pub shrinkage: f64,
    /// Paid hours of one person in a week.
    pub hours_per_week: f64,
}

/// What makes a group impossible.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidGroup {
    /// A list is longer or shorter than the intervals.
    #[error("{what} has {length} entries for {intervals} intervals")]
    Length {
        /// Which list.
        what: String,
        /// Its length.
        length: usize,
        /// What it should be.
        intervals: usize,
    },
    /// A number is out of its range.
    #[error("{what}: {problem}")]
    Number {
        /// Of what.
        what: String,
        /// What is wrong.
        problem: InvalidQueue,
    },
}

impl Group {
    /// Whether all numbers make sense.
    pub fn validate(&self) -> Result<(), InvalidGroup> {
        let intervals = self.starts.len();
        let is_long_enough = |what: String, length: usize| {
            if length == intervals {
                Ok(())
            } else {
                Err(InvalidGroup::Length {
                    what,
                    length,
                    intervals,
                })
            }
        };
        let number = |what: &str, problem| InvalidGroup::Number {
            what: what.to_owned(),
            problem,
        };
        is_long_enough("`open`".to_owned(), self.open.len())?;
        erlang::share("the usable idle time", self.idle_use).map_err(|p| number("group", p))?;
        // Nobody is paid for time of which nothing is left.
        erlang::share("the shrinkage", self.shrinkage / 0.95).map_err(|p| number("group", p))?;
        erlang::share("the hours of a week", self.hours_per_week / 168.0).map_err(|p| number("group", p))?;
        for stream in &self.streams {
            let name = stream.series.to_string();
            is_long_enough(name.clone(), stream.contacts.len())?;
            for contacts in &stream.contacts {
                self.traffic(stream, *contacts).map_err(|p| number(&name, p))?;
            }
            if let Service::Deferred {
                within_seconds,
                backlog,
            } = stream.service
            {
                erlang::zero_or_more("the time to answer", within_seconds).map_err(|p| number(&name, p))?;
                self.traffic(stream, backlog).map_err(|p| number(&name, p))?;
            }
        }
        Ok(())
    }

    /// What comes in of a stream if it were served by people who do nothing else.
    pub(super) fn traffic(&self, stream: &Stream, contacts: f64) -> Result<Traffic, InvalidQueue> {
        let per_hour = contacts / self.step.hours();
        match &stream.service {
            Service::Live { patience_seconds, .. } => {
                Traffic::new(per_hour, stream.handle_seconds, *patience_seconds)
            }
            Service::Concurrent {
                patience_seconds,
                concurrency,
                ..
            } => Traffic::new(
                per_hour,
                stream.handle_seconds / concurrency.speed(),
                *patience_seconds,
            ),
            Service::Deferred { .. } => Traffic::new(per_hour, stream.handle_seconds, None),
        }
    }
}
