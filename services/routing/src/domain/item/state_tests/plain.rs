//! The naive model: a record of plain fields, and what each order does to it in so many words.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::common::v1::ChannelKind;

use super::{Order, To, agent};
use crate::domain::item::{Handover, Rest, Second, State, WithdrawReason, WorkItem};

/// The state's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Pending,
    Offered,
    Assigned,
    Wrapping,
    Completed,
    Cancelled,
    Abandoned,
}

/// The second seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat {
    /// `wanted`, `offered`, `joined`.
    word: &'static str,
    warm: bool,
    /// Only this agent is asked.
    only: Option<String>,
    by: Option<String>,
    units: i32,
    /// When the offer lapses; of no interest to whoever looks.
    until: Option<DateTime<Utc>>,
}

/// An item, plainly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plain {
    pub(super) word: Word,
    by: Option<String>,
    units: i32,
    rest: Option<Rest>,
    second: Option<Seat>,
    until: Option<DateTime<Utc>>,
    voice: bool,
    waiting_since: DateTime<Utc>,
    transfers: i32,
    only: Option<String>,
    excluded: BTreeMap<String, u32>,
    answered: bool,
    number: i32,
}

impl Plain {
    pub(super) fn new(voice: bool, waiting_since: DateTime<Utc>) -> Self {
        Self {
            word: Word::Pending,
            by: None,
            units: 0,
            rest: None,
            second: None,
            until: None,
            voice,
            waiting_since,
            transfers: 0,
            only: None,
            excluded: BTreeMap::new(),
            answered: false,
            number: 1,
        }
    }

    /// What can be seen of the real one.
    pub(super) fn of(item: &WorkItem) -> Self {
        let (word, rest) = match &item.state {
            State::Pending => (Word::Pending, None),
            State::Offered(_) => (Word::Offered, None),
            State::Assigned { rest, .. } => (Word::Assigned, Some(*rest)),
            State::Wrapping { .. } => (Word::Wrapping, None),
            State::Completed { .. } => (Word::Completed, None),
            State::Cancelled { .. } => (Word::Cancelled, None),
            State::Abandoned { .. } => (Word::Abandoned, None),
        };
        let second = item.second().map(|second| Seat {
            word: match second {
                Second::Wanted(_) => "wanted",
                Second::Offered(..) => "offered",
                Second::Joined(..) => "joined",
            },
            warm: second.wanted().told.how == Handover::Warm,
            only: second.wanted().pinned.as_ref().map(ToString::to_string),
            by: second.agent().map(ToString::to_string),
            units: second.units().map_or(0, |(_, units)| units),
            until: None,
        });
        let owner = item.in_hand().map(|(by, _)| by);
        Self {
            word,
            by: owner.map(ToString::to_string),
            units: owner
                .and_then(|_| item.units().next())
                .map_or(0, |(_, units)| units),
            rest,
            second,
            until: None,
            voice: item.channel == ChannelKind::Voice,
            waiting_since: item.waiting_since,
            transfers: item.transfers,
            only: item.pinned.as_ref().map(ToString::to_string),
            excluded: item
                .excluded
                .iter()
                .map(|e| (e.agent.to_string(), e.times))
                .collect(),
            answered: item.answered.is_some(),
            number: item.number,
        }
    }

    /// Without what cannot be seen.
    pub(super) fn visible(&self) -> Self {
        let mut seen = self.clone();
        seen.until = None;
        if let Some(second) = &mut seen.second {
            second.until = None;
        }
        seen
    }

    fn is_open(&self) -> bool {
        matches!(
            self.word,
            Word::Pending | Word::Offered | Word::Assigned | Word::Wrapping
        )
    }

    fn empty(&mut self, word: Word) {
        self.word = word;
        self.by = None;
        self.units = 0;
        self.rest = None;
        self.second = None;
        self.until = None;
    }

    fn exclude(&mut self, who: String) {
        *self.excluded.entry(who).or_default() += 1;
    }

    /// Whether the order is carried out; a refused one changes nothing.
    pub(super) fn run(&mut self, order: &Order, now: DateTime<Utc>) -> bool {
        let lapse = now + TimeDelta::seconds(20);
        match (order, self.word) {
            (Order::Passes(_), _) => {}
            (Order::Offer(by, units), Word::Pending) => {
                self.word = Word::Offered;
                self.by = Some(agent(*by).to_string());
                self.units = *units;
                self.until = Some(lapse);
            }
            (
                Order::Accept {
                    same_offer: true,
                    same_agent: true,
                },
                Word::Offered,
            ) if self.until.is_some_and(|until| now < until) => {
                self.word = Word::Assigned;
                self.rest = Some(Rest::No);
                self.only = None;
                self.answered = true;
            }
            (
                Order::GiveBack {
                    same_offer: true,
                    exclude,
                },
                Word::Offered,
            ) => {
                let by = self.by.clone().unwrap_or_default();
                if *exclude {
                    if self.only.as_ref() == Some(&by) {
                        self.only = None;
                    }
                    self.exclude(by);
                }
                self.empty(Word::Pending);
            }
            (Order::ReturnToQueue, Word::Offered | Word::Assigned) => self.empty(Word::Pending),
            (Order::Complete { wrap_up }, Word::Assigned) => {
                if *wrap_up > 0 && self.rest == Some(Rest::No) {
                    self.word = Word::Wrapping;
                    self.rest = None;
                    self.second = None;
                } else {
                    self.empty(Word::Completed);
                }
            }
            (Order::FinishWrapUp, Word::Wrapping) => self.empty(Word::Completed),
            (Order::Rest { paused }, Word::Assigned) => {
                self.units = 0;
                self.rest = Some(if *paused { Rest::Paused } else { Rest::Parked });
            }
            (Order::Resume(units), Word::Assigned) => {
                self.units = *units;
                self.rest = Some(Rest::No);
            }
            (Order::Transfer { by, to }, Word::Offered | Word::Assigned) => {
                self.empty(Word::Pending);
                self.transfers += 1;
                self.exclude(agent(*by).to_string());
                self.only = None;
                if let To::Agent(number) = to {
                    let name = agent(*number).to_string();
                    self.excluded.remove(&name);
                    self.only = Some(name);
                }
            }
            (Order::Ask { warm, to }, Word::Assigned) if self.second.is_none() => {
                self.second = Some(Seat {
                    word: "wanted",
                    warm: *warm,
                    only: match to {
                        To::Agent(number) => Some(agent(*number).to_string()),
                        To::Queue | To::Skill => None,
                    },
                    by: None,
                    units: 0,
                    until: None,
                });
            }
            (Order::Withdraw(reason), _) => self.withdraw(*reason),
            (Order::Request { voice, earlier, left }, _) => {
                let since = self.waiting_since - TimeDelta::seconds(*earlier);
                self.hear(*voice, since, *left && *voice);
            }
            (_, Word::Assigned) => return self.run_second(order, now),
            _ => return false,
        }
        true
    }

    fn run_second(&mut self, order: &Order, now: DateTime<Utc>) -> bool {
        let Some(seat) = &mut self.second else {
            return false;
        };
        match (order, seat.word) {
            (Order::OfferSecond(by, units), "wanted") => {
                seat.word = "offered";
                seat.by = Some(agent(*by).to_string());
                seat.units = *units;
                seat.until = Some(now + TimeDelta::seconds(20));
            }
            (Order::AcceptSecond { same_agent: true }, "offered")
                if seat.until.is_some_and(|until| now < until) =>
            {
                seat.word = "joined";
                if seat.warm {
                    self.take_over();
                }
            }
            (Order::DeclineSecond, "offered") if seat.only.is_some() => self.second = None,
            (Order::DeclineSecond, "offered") => {
                seat.word = "wanted";
                seat.by = None;
                seat.units = 0;
            }
            (Order::EndConsultation { hand_over: true }, "joined") => self.take_over(),
            (Order::EndConsultation { hand_over: false }, _) => self.second = None,
            _ => return false,
        }
        true
    }

    fn take_over(&mut self) {
        if let Some(seat) = self.second.take() {
            self.by = seat.by;
            self.units = seat.units;
            self.rest = Some(Rest::No);
            self.transfers += 1;
        }
    }

    fn withdraw(&mut self, reason: WithdrawReason) {
        match (self.word, reason) {
            (Word::Pending | Word::Offered, WithdrawReason::Answered) => self.empty(Word::Completed),
            (Word::Pending | Word::Offered, WithdrawReason::Resolved | WithdrawReason::Merged) => {
                self.empty(Word::Cancelled);
            }
            (Word::Assigned, WithdrawReason::Resolved | WithdrawReason::Merged) => {
                self.empty(Word::Completed);
            }
            (Word::Assigned, WithdrawReason::Answered)
            | (Word::Wrapping | Word::Completed | Word::Cancelled | Word::Abandoned, _) => {}
        }
    }

    fn hear(&mut self, voice: bool, since: DateTime<Utc>, left: bool) {
        if !self.is_open() {
            let number = self.number + 1;
            *self = Self::new(voice, since);
            self.number = number;
            return;
        }
        match self.word {
            Word::Pending | Word::Offered if left && self.voice => self.empty(Word::Abandoned),
            Word::Pending | Word::Offered => {
                self.waiting_since = self.waiting_since.min(since);
                self.voice = voice;
            }
            // Who rests and hangs up again is where they were.
            Word::Assigned if left && self.rest != Some(Rest::No) => {}
            Word::Assigned => self.voice = voice,
            Word::Wrapping => {
                self.word = Word::Assigned;
                self.rest = Some(Rest::No);
                self.voice = voice;
            }
            Word::Completed | Word::Cancelled | Word::Abandoned => {}
        }
    }
}
