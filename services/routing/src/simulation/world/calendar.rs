//! What will happen, in order of time and, at one instant, in the order it was put down.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::{
    super::trace::{Outcome, Presence},
    AgentIndex, ItemIndex,
};

#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    Presence(AgentIndex, Presence),
    Arrive(ItemIndex),
    Abandon {
        item: ItemIndex,
        leg: u32,
    },
    Switch {
        item: ItemIndex,
        leg: u32,
    },
    OfferEnd {
        item: ItemIndex,
        agent: AgentIndex,
        leg: u32,
        offer: usize,
        outcome: Outcome,
    },
    RespondsAgain(AgentIndex),
    WorkDone {
        item: ItemIndex,
        agent: AgentIndex,
        version: u64,
    },
    WrapUpDone {
        item: ItemIndex,
        agent: AgentIndex,
    },
    Wake,
}

#[derive(Debug, Default)]
pub(super) struct Calendar {
    entries: BinaryHeap<Dated>,
    written: u64,
}

#[derive(Debug)]
struct Dated {
    at: f64,
    number: u64,
    entry: Entry,
}

impl Calendar {
    pub(super) fn add(&mut self, at: f64, entry: Entry) {
        self.written += 1;
        let number = self.written;
        self.entries.push(Dated { at, number, entry });
    }

    pub(super) fn next_at(&self) -> Option<f64> {
        self.entries.peek().map(|dated| dated.at)
    }

    /// The next entry, unless it is later than this.
    pub(super) fn take_until(&mut self, at: f64) -> Option<Entry> {
        if self.next_at()? <= at {
            self.entries.pop().map(|dated| dated.entry)
        } else {
            None
        }
    }
}

// The heap gives the greatest first: the greatest is the earliest.
impl Ord for Dated {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at.total_cmp(&self.at)).then(other.number.cmp(&self.number))
    }
}

impl PartialOrd for Dated {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Dated {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Dated {}
