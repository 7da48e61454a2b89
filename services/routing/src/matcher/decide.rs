//! The decision: who of those who changed gets what, in the order of rank.
//!
//! Between two decisions nothing waits that somebody free could take, unless a named rule holds it back. So only
//! what changed is looked at: agents who got room, and classes that got items.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::bits::BitSet;
use super::choose::{Choosing, Work};
use super::engine::{Engine, State};
use super::explain::Why;
use super::feedback::CallLoad;
use super::queue::{Head, Place};
use super::spec::Stage;
use super::words::{AgentKey, Channel, ItemKey, Language, Millis};

/// An offer to make; inside the engine it is already made.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The item.
    pub item: ItemKey,
    /// The agent.
    pub agent: AgentKey,
    /// When the offer ends.
    pub until: Millis,
    /// Why these two.
    pub why: Why,
}

/// What to do now, and when to ask again if nothing happens.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decision {
    /// Offers, in the order of rank.
    pub offers: Vec<Proposal>,
    /// The next moment something is due.
    pub wake: Option<Millis>,
}

/// With more agents than that, asking each of them costs more than it spares.
const MANY: usize = 16;

/// Working memory of a decision, kept so that deciding allocates little.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    /// Classes collected in this decision: as a set, and in their order.
    seen: BitSet,
    collected: Vec<usize>,
    /// Classes brought by agents the reserve keeps from them, but for what presses.
    pressing: Vec<usize>,
    /// Classes an agent could serve, and their heads.
    within_reach: Vec<usize>,
    heads: Vec<Head>,
    /// The most urgent classes of those looked at so far, with their rank at the last look, the first first.
    pub(super) notable: Vec<(f64, usize)>,
    /// Where to look on.
    pub(super) notable_next: usize,
}

impl Marks {
    fn collect(&mut self, class: usize) {
        if !self.seen.contains(class) {
            self.seen.insert(class);
            self.collected.push(class);
        }
    }
}

/// The agents who changed, with the channels that fit what is left of them, one bit each.
struct Changed {
    /// Empty when there are many of them.
    fits: Vec<(usize, u32)>,
    many: bool,
}

/// A class that may go next.
#[derive(Debug, Clone, Copy)]
struct Contender {
    rank: f64,
    place: Place,
    class: usize,
    /// Only items that press may go: the reserve holds the others back.
    pressing_only: bool,
    /// Known by its head only: the item itself is looked up when it is its turn.
    by_head: bool,
    /// It is here because an agent changed, not because the class did.
    by_agent: bool,
}

impl PartialEq for Contender {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Contender {}

impl PartialOrd for Contender {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Contender {
    /// Larger goes first: rank, then the earlier deadline, then the order the caller gave, then the older class.
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.total_cmp(&other.rank).then_with(|| {
            (other.place.0, other.place.1, other.class).cmp(&(self.place.0, self.place.1, self.class))
        })
    }
}

impl Engine {
    /// Decides what to offer now.
    ///
    /// Proposals are applied inside: their agents hold them. Asked again at once, it has nothing to add.
    pub fn decide(&mut self, now: Millis) -> Decision {
        self.tidy();
        self.fire_timers(now);
        self.ease(now);
        let mut offers = Vec::new();
        self.match_round(&mut offers, now);
        while !self.dirty_agents.is_empty() {
            self.match_round(&mut offers, now);
        }
        if !offers.is_empty() {
            self.note_passed(&mut offers, now);
        }
        Decision {
            offers,
            wake: self.next_due(now),
        }
    }

    fn match_round(&mut self, offers: &mut Vec<Proposal>, now: Millis) {
        let (mut contenders, agents) = self.collect(now);
        let mut changed = self.changed(&agents);
        while let Some(mut next) = contenders.pop() {
            let pressing = next
                .pressing_only
                .then(|| self.queue.head(next.class).pressing_line(now));
            if next.by_head {
                let Some(known) = self.contender(next.class, pressing, now) else {
                    continue;
                };
                next = Contender {
                    by_agent: next.by_agent,
                    ..known
                };
                // Equal ranks are told apart by the items themselves.
                if contenders.peek().is_some_and(|other| *other > next) {
                    contenders.push(next);
                    continue;
                }
            }
            match self.choose(next.class, next.place, now) {
                Choosing::Found(agent) => {
                    offers.push(self.propose(next.place.2, agent, next.rank, now));
                    self.contend(&mut contenders, &next, pressing, now);
                    if self.has_less(&mut changed, agent) {
                        // What only an agent brought here is of no use once they are full.
                        contenders.retain(|c| !c.by_agent || self.any_may_take(&changed, c.class));
                    }
                    if !self.dirty_agents.is_empty() {
                        // The agent left the reserve by that: what it kept them from is weighed with the rest.
                        // What only agents brought here they bring again, as far as they still have room.
                        let changed = contenders.into_iter().filter(|c| !c.by_agent);
                        self.dirty_classes.extend(changed.map(|c| c.class));
                        for agent in agents {
                            self.mark_agent(agent);
                        }
                        return;
                    }
                }
                Choosing::Reserved => {
                    self.hold_back(next.class, now);
                    let line = self.queue.head(next.class).pressing_line(now);
                    if !next.pressing_only {
                        self.contend(&mut contenders, &next, Some(line), now);
                    }
                }
                Choosing::Nobody => {}
            }
        }
    }

    /// If the reserve may let go of more than before, all it held back is looked at.
    fn ease(&mut self, now: Millis) {
        let shrank = self
            .calls
            .resize(&self.policy.reserve, self.staff.free_callers.len(), now);
        if !(shrank || self.reserve_eased) {
            return;
        }
        self.reserve_eased = false;
        let nothing_held = self.held_classes.is_empty() && self.resting_agents.is_empty();
        let spare = |language: usize| {
            let language = Language(language as u16);
            self.spare_callers(language, Work::Call) || self.spare_callers(language, Work::Other)
        };
        if nothing_held || !(0..self.staff.free_callers.len()).any(spare) {
            return;
        }
        for class in std::mem::take(&mut self.held_classes) {
            if let Some(Some(it)) = self.queue.classes.get_mut(class) {
                it.held = false;
                if !it.journey.is_empty() {
                    self.dirty_classes.push(class);
                }
            }
        }
        for agent in std::mem::take(&mut self.resting_agents) {
            if let Some(Some(it)) = self.staff.agents.get_mut(agent)
                && std::mem::take(&mut it.resting)
            {
                self.mark_agent(agent);
            }
        }
    }

    fn next_due(&mut self, now: Millis) -> Option<Millis> {
        let mut wake = self.next_timer();
        if !self.held_classes.is_empty() || !self.resting_agents.is_empty() {
            let resize = CallLoad::next_resize(now);
            if wake.is_none_or(|at| resize < at) && self.policy.reserve.moves() {
                wake = Some(resize);
            }
        }
        wake
    }

    /// The classes that may have become possible since the last decision.
    fn collect(&mut self, now: Millis) -> (BinaryHeap<Contender>, Vec<usize>) {
        let mut marks = std::mem::take(&mut self.marks);
        for class in marks.collected.drain(..) {
            marks.seen.remove(class);
        }
        for class in std::mem::take(&mut self.dirty_classes) {
            if self.queue.waiting.contains(class) {
                marks.collect(class);
            }
        }
        let changed = marks.collected.len();
        let agents = std::mem::take(&mut self.dirty_agents);
        for agent in agents.iter().copied() {
            let Some(Some(it)) = self.staff.agents.get_mut(agent) else {
                continue;
            };
            it.dirty = false;
            let Some((room, _)) = it.place else {
                continue;
            };
            for class in it.own.iter().copied() {
                if room.fits & (1 << self.queue.head(class).channel.0) != 0
                    && self.queue.waiting.contains(class)
                {
                    marks.collect(class);
                }
            }
            let was_resting = it.resting;
            let profile = self.staff.profile_of(agent);
            let kept_from_calls = self.is_reserved(profile, &room, Work::Call);
            let kept_from_others = self.is_reserved(profile, &room, Work::Other);
            let kept =
                (self.whole * u32::from(kept_from_calls)) | (!self.whole * u32::from(kept_from_others));
            let mut look_at = Millis::MAX;
            marks.within_reach.clear();
            profile
                .classes
                .both_without(&self.queue.waiting, &marks.seen, &mut marks.within_reach);
            // All heads first, then what depends on them: so the processor waits for many of them at once.
            marks.heads.clear();
            marks
                .heads
                .extend(marks.within_reach.iter().map(|class| *self.queue.head(*class)));
            for (class, head) in marks.within_reach.iter().copied().zip(&marks.heads) {
                let bit = 1_u32 << head.channel.0;
                if room.fits & bit == 0 {
                    continue;
                }
                if kept & bit != 0 && !head.presses(now) {
                    look_at = look_at.min(head.presses_at());
                } else if kept & bit != 0 && !head.has_legs() {
                    marks.pressing.push(class);
                } else {
                    marks.seen.insert(class);
                    marks.collected.push(class);
                }
            }
            if look_at == Millis::MAX {
                continue;
            }
            if !was_resting {
                self.staff.agent_mut(agent).resting = true;
                self.resting_agents.push(agent);
            }
            self.look_again(agent, look_at.max(now + 1));
        }
        let all = marks.collected.len();
        let mut pressing = std::mem::take(&mut marks.pressing);
        for class in pressing.drain(..) {
            marks.collect(class);
        }
        marks.pressing = pressing;
        let mut contenders = Vec::with_capacity(marks.collected.len() + 1);
        for (n, class) in marks.collected.iter().copied().enumerate() {
            let ranking = &self.policy.ranking;
            let (rank, due) = if n < all {
                self.queue.peek(class, ranking, now)
            } else {
                self.queue.peek_pressing(class, ranking, now)
            };
            contenders.push(Contender {
                rank: rank * self.results.weight(self.queue.head(class).cell),
                place: (due, 0, 0),
                class,
                pressing_only: n >= all,
                by_head: true,
                by_agent: n >= changed,
            });
        }
        self.marks = marks;
        (BinaryHeap::from(contenders), agents)
    }

    /// With many agents it is not worth asking each of them.
    fn changed(&self, agents: &[usize]) -> Changed {
        let many = agents.len() > MANY;
        let asked = if many { &[] } else { agents };
        Changed {
            fits: asked.iter().map(|agent| (*agent, self.fits(*agent))).collect(),
            many,
        }
    }

    fn fits(&self, agent: usize) -> u32 {
        let room = self.staff.agents[agent].as_ref().and_then(|it| it.place);
        room.map_or(0, |(room, _)| room.fits)
    }

    /// Takes note of an offer to an agent; returns whether they are of those who changed and fewer channels fit now.
    fn has_less(&self, changed: &mut Changed, agent: usize) -> bool {
        let now = self.fits(agent);
        changed
            .fits
            .iter_mut()
            .find(|(known, _)| *known == agent)
            .is_some_and(|(_, fits)| std::mem::replace(fits, now) != now)
    }

    /// Whether one of these agents still has room for a class they can serve.
    fn any_may_take(&self, changed: &Changed, class: usize) -> bool {
        let bit = 1_u32 << self.queue.head(class).channel.0;
        changed.many
            || changed.fits.iter().any(|(agent, fits)| {
                fits & bit != 0
                    && self.staff.agents[*agent].as_ref().is_some_and(|it| {
                        self.staff.profile(it.profile).classes.contains(class) || it.own.contains(&class)
                    })
            })
    }

    fn contender(&mut self, class: usize, pressing: Option<Millis>, now: Millis) -> Option<Contender> {
        let found = self.queue.candidate(class, &self.policy.ranking, now, pressing)?;
        let weight = self.results.weight(self.queue.head(class).cell);
        Some(Contender {
            rank: found.rank * weight,
            place: found.place,
            class,
            pressing_only: pressing.is_some(),
            by_head: false,
            by_agent: false,
        })
    }

    fn contend(
        &mut self,
        contenders: &mut BinaryHeap<Contender>,
        after: &Contender,
        pressing: Option<Millis>,
        now: Millis,
    ) {
        if !self.queue.waiting.contains(after.class) {
            return;
        }
        if let Some(next) = self.contender(after.class, pressing, now) {
            contenders.push(Contender {
                by_agent: after.by_agent,
                ..next
            });
        } else if pressing.is_some() {
            // Who is kept from the rest of them looks again when the next one presses.
            self.hold_back(after.class, now);
        }
    }

    fn propose(&mut self, item: usize, agent: usize, rank: f64, now: Millis) -> Proposal {
        let why = self.why(item, agent, rank, now);
        let key = self.item_at(item).spec.key;
        let channel = self.item_at(item).spec.channel;
        let until = now + self.policy.rule(channel).offer_timeout_ms;
        let was_kept = self
            .staff
            .agent(agent)
            .place
            .is_some_and(|(room, _)| self.is_reserved(self.staff.profile_of(agent), &room, Work::Other));
        self.lift(item, now);
        self.give_to(item, agent, Stage::Offered { until });
        if was_kept {
            self.mark_agent(agent);
        }
        Proposal {
            item: key,
            agent: self.staff.agent(agent).spec.key,
            until,
            why,
        }
    }

    /// The class of a waiting item.
    pub(super) fn class_of_item(&self, item: usize) -> Option<usize> {
        match self.item_at(item).state {
            State::Queued(at) => Some(at.class),
            State::Held(_) | State::Nowhere => None,
        }
    }

    /// The channel's name.
    pub(super) fn channel_name(&self, channel: Channel) -> &str {
        &self.policy.rule(channel).name
    }
}
