//! How a customer waits when not as they came: called back, with a message left, on another channel.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use trama_proto::common::v1::ChannelKind;

use super::{Rejected, Returned, State, WorkItem};
use crate::domain::Instead;

/// How the customer waits now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// On the channel of their last word.
    #[default]
    AsTheyCame,
    /// They hung up: we call them.
    Callback {
        /// When; at their turn when not said.
        at: Option<DateTime<Utc>>,
        /// How often we did.
        attempts: u32,
    },
    /// They left a message.
    Message,
    /// On a written channel instead of the one they came by.
    Deferred {
        /// Number of the kind of channel they came by.
        from: i32,
    },
}

/// How the customer waits, and what overflowed before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manner {
    /// How they wait now.
    pub way: Way,
    /// Queues that it left by overflow, in order: none of them gets it back by overflow.
    pub left: Vec<String>,
    /// What the customer was told instead of waiting: once.
    pub told: Option<Instead>,
}

impl Way {
    /// Called at their turn.
    pub const fn called_back() -> Self {
        Way::Callback {
            at: None,
            attempts: 0,
        }
    }
}

impl Manner {
    /// The kind of channel after a request: who was sent to a written channel stays there while nothing else comes.
    /// Whoever comes by another channel waits there as everybody does.
    pub(super) fn channel_after(&mut self, now: ChannelKind, asked: ChannelKind) -> ChannelKind {
        match self.way {
            Way::Deferred { from } if from == asked as i32 => now,
            Way::Callback { .. } | Way::Message if asked == ChannelKind::Voice => asked,
            Way::AsTheyCame | Way::Callback { .. } | Way::Message | Way::Deferred { .. } => {
                if asked != now {
                    self.way = Way::AsTheyCame;
                }
                asked
            }
        }
    }
}

impl WorkItem {
    /// From when on it may be offered: a call that was promised for later is dialled so long before.
    pub fn ready_at(&self, dial_lead: TimeDelta) -> Option<DateTime<Utc>> {
        match self.manner.way {
            Way::Callback { at: Some(at), .. } => Some(at - dial_lead),
            Way::Callback { at: None, .. } | Way::AsTheyCame | Way::Message | Way::Deferred { .. } => None,
        }
    }

    /// A promised moment is the promise.
    pub fn keep_promise(&mut self) {
        if let Way::Callback { at: Some(at), .. } = self.manner.way {
            self.route.due_at = self.route.due_at.max(at);
            self.route.ranking_due_at = self.route.ranking_due_at.max(at);
        }
    }

    /// The caller may hang up: they are called, and keep their place. In hand it is a call that nobody answered: it is
    /// tried again, as often as `attempts` says.
    pub fn call_back(
        self,
        at: Option<DateTime<Utc>>,
        attempts: u32,
        now: DateTime<Utc>,
    ) -> Result<(Self, Option<Returned>), Rejected> {
        let tried = match (&self.state, self.manner.way) {
            _ if self.channel != ChannelKind::Voice => return Err(Rejected::NoCall),
            (State::Assigned { .. }, Way::Callback { attempts: tried, .. }) if tried >= attempts => {
                return Err(Rejected::CalledEnough(tried));
            }
            (State::Assigned { .. }, Way::Callback { attempts: tried, .. }) => tried,
            (State::Pending | State::Offered(_), Way::Callback { attempts: tried, .. }) => tried,
            (State::Pending | State::Offered(_), Way::AsTheyCame | Way::Message | Way::Deferred { .. }) => 0,
            (State::Assigned { .. }, Way::AsTheyCame | Way::Message | Way::Deferred { .. }) => {
                return Err(Rejected::NotWaiting);
            }
            (
                State::Wrapping { .. }
                | State::Completed { .. }
                | State::Cancelled { .. }
                | State::Abandoned { .. },
                _,
            ) => return Err(Rejected::Over),
        };
        let (mut item, returned) = match self.state {
            State::Pending => (self, None),
            State::Offered(_)
            | State::Assigned { .. }
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => {
                let (item, returned) = self.return_to_queue(now)?;
                (item, Some(returned))
            }
        };
        item.manner.way = Way::Callback { at, attempts: tried };
        item.keep_promise();
        Ok((item, returned))
    }

    /// An overflow sends it to another queue; the customer's clock goes on.
    pub fn flow_to(&mut self, route: crate::domain::Route, now: DateTime<Utc>) {
        let before = std::mem::replace(&mut self.route, route);
        self.manner.left.push(before.queue);
        self.queued_at = now;
        self.pinned = None;
        self.keep_promise();
    }

    /// What happens instead of waiting, where it fits: nobody is called who wrote, and nothing is said twice. False
    /// when it changes nothing.
    pub fn do_instead(&mut self, instead: Instead, written: Option<ChannelKind>) -> bool {
        let live = matches!(self.channel, ChannelKind::Voice | ChannelKind::WebChat);
        if self.manner.told == Some(instead) || self.manner.way != Way::AsTheyCame {
            return false;
        }
        match instead {
            Instead::Callback if self.channel == ChannelKind::Voice => self.manner.way = Way::called_back(),
            Instead::Voicemail if self.channel == ChannelKind::Voice => self.manner.way = Way::Message,
            Instead::Defer if live => {
                let Some(written) = written else { return false };
                self.manner.way = Way::Deferred {
                    from: self.channel as i32,
                };
                self.channel = written;
            }
            // The place is kept: for the case that the assistant cannot help, or that the customer waits all the same.
            Instead::Assistant | Instead::Close => {}
            Instead::Callback | Instead::Voicemail | Instead::Defer => return false,
        }
        self.manner.told = Some(instead);
        true
    }
}
