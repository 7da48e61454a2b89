//! What falls due: one heap; what is outdated is skipped when its time comes.

use std::cmp::Reverse;

use super::engine::{Engine, State};
use super::spec::Presence;
use super::words::{AgentKey, ItemKey, Millis};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// An item's requirement changes.
    Widen { item: usize, token: u64 },
    /// An agent may be asked again.
    AskAgain { item: ItemKey, agent: AgentKey },
    /// The most urgent item of a held class may have become pressing.
    Press { class: usize },
    /// The same, seen from an agent who rests.
    Look { agent: usize },
    /// An agent who missed an offer is back.
    Return { agent: usize, token: u64 },
}

impl Engine {
    /// Looks at a resting agent again then; an earlier look is kept, a later one forgotten.
    pub(super) fn look_again(&mut self, agent: usize, at: Millis) {
        let it = self.staff.agent_mut(agent);
        if it.look_at.is_none_or(|known| at < known) {
            it.look_at = Some(at);
            self.set_timer(at, Timer::Look { agent });
        }
    }

    /// Looks at a held class again when its most urgent item presses.
    pub(super) fn press_again(&mut self, class: usize, at: Millis) {
        let it = self.queue.class_mut(class);
        if it.press_at.is_none_or(|known| at < known) {
            it.press_at = Some(at);
            self.set_timer(at, Timer::Press { class });
        }
    }

    pub(super) fn set_timer_return(&mut self, agent: usize, at: Millis) {
        let token = self.staff.agent(agent).token;
        self.set_timer(at, Timer::Return { agent, token });
    }

    pub(super) fn set_timer(&mut self, at: Millis, timer: Timer) {
        self.timer_count += 1;
        self.timers.push(Reverse((at, self.timer_count, timer)));
    }

    /// Does what is due.
    pub(super) fn fire_timers(&mut self, now: Millis) {
        while let Some(Reverse((at, _, timer))) = self.timers.peek().copied() {
            let counts = self.counts(timer, at);
            if at > now && counts {
                break;
            }
            self.timers.pop();
            if !counts {
                continue;
            }
            match timer {
                Timer::Widen { item, .. } => {
                    self.lift(item, now);
                    self.place(item, now);
                }
                Timer::AskAgain { item, agent } => self.ask_again(item, agent, now),
                Timer::Press { class } => {
                    self.queue.class_mut(class).press_at = None;
                    self.dirty_classes.push(class);
                }
                Timer::Look { agent } => {
                    self.staff.agent_mut(agent).look_at = None;
                    self.mark_agent(agent);
                }
                Timer::Return { agent, .. } => {
                    let key = self.staff.agent(agent).spec.key;
                    self.presence(key, Presence::Available, now);
                }
            }
        }
    }

    /// When something is due next, if nothing happens.
    pub(super) fn next_timer(&mut self) -> Option<Millis> {
        while let Some(Reverse((at, _, timer))) = self.timers.peek().copied() {
            if self.counts(timer, at) {
                return Some(at);
            }
            self.timers.pop();
        }
        None
    }

    /// Whether a timer still means something.
    fn counts(&self, timer: Timer, at: Millis) -> bool {
        let agent = |agent: usize| self.staff.agents[agent].as_ref();
        match timer {
            Timer::Widen { item, token } => self.items[item].as_ref().is_some_and(|i| i.token == token),
            Timer::AskAgain { item, .. } => self.item_index.contains_key(&item),
            Timer::Press { class } => self.queue.classes[class]
                .as_ref()
                .is_some_and(|c| c.press_at == Some(at)),
            Timer::Look { agent: who } => agent(who).is_some_and(|a| a.look_at == Some(at)),
            Timer::Return { agent: who, token } => agent(who).is_some_and(|a| a.token == token),
        }
    }

    fn ask_again(&mut self, key: ItemKey, agent: AgentKey, now: Millis) {
        let Some(item) = self.item_index.get(&key).copied() else {
            return;
        };
        let waits = matches!(self.item_at(item).state, State::Queued(_));
        if waits {
            self.lift(item, now);
        }
        if let Some(it) = self.items[item].as_mut() {
            it.spec.excluded.retain(|who| *who != agent);
        }
        if waits {
            self.place(item, now);
        }
    }
}
