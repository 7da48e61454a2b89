//! Waiting work, by equal requirements.
//!
//! Items of one class differ only in their clocks, so whoever may take one may take any, and only the head of a
//! class is ever ranked, at the moment of a decision. Priorities age without anything being re-sorted.

use std::collections::{BTreeSet, HashMap};

use super::bits::BitSet;
use super::policy::Ranking;
use super::spec::Requirement;
use super::words::{AgentKey, Cell, Channel, Millis};

/// No such time.
const NEVER: Millis = Millis::MAX;

/// One requirement on one channel, and the profiles that meet it.
#[derive(Debug, Clone)]
pub(super) struct Need {
    pub(super) channel: Channel,
    pub(super) requirement: Requirement,
    pub(super) human_only: bool,
    /// Bit per profile.
    pub(super) profiles: BitSet,
    users: u32,
}

/// What items of a class have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ClassKey {
    /// What is required now.
    pub(super) need: usize,
    /// What was asked for at first: choosing an agent looks at it.
    pub(super) wish: usize,
    pub(super) channel: Channel,
    pub(super) target_ms: Millis,
    pub(super) cell: Cell,
    /// Only that agent may have it.
    pub(super) only: Option<Only>,
    /// Nobody of these; sorted.
    pub(super) excluded: Vec<AgentKey>,
}

/// The one agent a class waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Only {
    pub(super) agent: AgentKey,
    /// Whatever their skills.
    pub(super) pinned: bool,
}

/// A place in a class: deadline, tie-breaker, item.
pub(super) type Place = (Millis, u64, usize);

#[derive(Debug, Clone)]
pub(super) struct Class {
    pub(super) key: ClassKey,
    /// Everything that waits, by the journey's deadline.
    pub(super) journey: BTreeSet<Place>,
    /// What waits with a later deadline of its own (waiting was carried along), by that deadline.
    pub(super) leg: BTreeSet<Place>,
    /// Tried and held back by the reserve.
    pub(super) held: bool,
    /// When its most urgent item will press, if somebody waits for that.
    pub(super) press_at: Option<Millis>,
}

/// What ranking needs of a class, in one line of the processor's cache: a decision looks at hundreds of them, and
/// waiting for memory is most of what that costs. Times of nothing are [`NEVER`].
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Head {
    first: Millis,
    live: Millis,
    leg_first: Millis,
    leg_live: Millis,
    target_ms: Millis,
    /// With so much time left, its items press.
    press_left_ms: Millis,
    pub(super) cell: Cell,
    pub(super) channel: Channel,
    /// Customers of its channel are there, and leave.
    is_live: bool,
}

/// What a policy says about a class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Customers of its channel are there, and leave.
    pub(super) is_live: bool,
    /// With so much time left, its items press.
    pub(super) press_left_ms: Millis,
}

/// The item that would go next from a class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) rank: f64,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    pub(super) needs: Vec<Option<Need>>,
    need_index: HashMap<(Channel, bool, Requirement), usize>,
    pub(super) classes: Vec<Option<Class>>,
    heads: Vec<Head>,
    class_index: HashMap<ClassKey, usize>,
    spare_needs: Vec<usize>,
    spare_classes: Vec<usize>,
    /// Bit per class with something in it.
    pub(super) waiting: BitSet,
    pub(super) waiting_classes: usize,
}

impl Head {
    /// Whether its most urgent item presses.
    pub(super) fn presses(&self, now: Millis) -> bool {
        self.first <= self.pressing_line(now)
    }

    /// Whether some of its items are ranked by a clock of their own too.
    pub(super) fn has_legs(&self) -> bool {
        self.leg_first != NEVER
    }

    /// Items with a deadline up to there press.
    pub(super) fn pressing_line(&self, now: Millis) -> Millis {
        now.saturating_add(self.press_left_ms)
    }

    /// The rank and the deadline of its most urgent item.
    fn by_first(&self, ranking: &Ranking, now: Millis) -> (f64, Millis) {
        let rank = ranking.rank(self.first, self.target_ms, self.is_live, now);
        (rank, self.first)
    }

    /// Takes an item with that deadline instead, if there is one and it ranks higher.
    fn prefer(&self, best: &mut (f64, Millis), due: Millis, ranking: &Ranking, now: Millis) {
        if due != NEVER {
            let rank = ranking.rank(due, self.target_ms, self.is_live, now);
            if rank > best.0 {
                *best = (rank, due);
            }
        }
    }

    /// When its most urgent item will press.
    pub(super) fn presses_at(&self) -> Millis {
        self.first.saturating_sub(self.press_left_ms)
    }
}

/// A share of a span, in whole milliseconds.
pub(super) fn span(target_ms: Millis, share: f64) -> Millis {
    (target_ms as f64 * share).round() as Millis
}

impl Queue {
    pub(super) fn need(&self, need: usize) -> &Need {
        self.needs[need]
            .as_ref()
            .expect("a need lives as long as a class uses it")
    }

    pub(super) fn class(&self, class: usize) -> &Class {
        self.classes[class]
            .as_ref()
            .expect("a class lives while anything waits in it")
    }

    pub(super) fn class_mut(&mut self, class: usize) -> &mut Class {
        self.classes[class]
            .as_mut()
            .expect("a class lives while anything waits in it")
    }

    pub(super) fn head(&self, class: usize) -> &Head {
        &self.heads[class]
    }

    /// The need of that shape, and whether it is new (its profiles are not known yet).
    pub(super) fn intern_need(
        &mut self,
        channel: Channel,
        human_only: bool,
        requirement: &Requirement,
    ) -> (usize, bool) {
        let key = (channel, human_only, requirement.clone());
        if let Some(known) = self.need_index.get(&key) {
            return (*known, false);
        }
        let need = Need {
            channel,
            requirement: requirement.clone(),
            human_only,
            profiles: BitSet::default(),
            users: 0,
        };
        let place = put(&mut self.needs, &mut self.spare_needs, need);
        self.need_index.insert(key, place);
        (place, true)
    }

    /// The class of that key, and whether it is new (agents do not know it yet).
    pub(super) fn intern_class(&mut self, key: ClassKey, manner: Manner) -> (usize, bool) {
        if let Some(known) = self.class_index.get(&key) {
            // The policy may have changed since.
            let head = &mut self.heads[*known];
            (head.is_live, head.press_left_ms) = (manner.is_live, manner.press_left_ms);
            return (*known, false);
        }
        for need in [key.need, key.wish] {
            if let Some(Some(need)) = self.needs.get_mut(need) {
                need.users += 1;
            }
        }
        let head = Head {
            first: NEVER,
            live: NEVER,
            leg_first: NEVER,
            leg_live: NEVER,
            target_ms: key.target_ms,
            press_left_ms: manner.press_left_ms,
            cell: key.cell,
            channel: key.channel,
            is_live: manner.is_live,
        };
        let class = Class {
            key: key.clone(),
            journey: BTreeSet::new(),
            leg: BTreeSet::new(),
            held: false,
            press_at: None,
        };
        let place = put(&mut self.classes, &mut self.spare_classes, class);
        if place < self.heads.len() {
            self.heads[place] = head;
        } else {
            self.heads.push(head);
        }
        self.class_index.insert(key, place);
        (place, true)
    }

    /// Forgets an empty class, and the needs nobody uses any more.
    pub(super) fn retire(&mut self, class: usize) {
        let Some(gone) = self.classes[class].take() else {
            return;
        };
        self.class_index.remove(&gone.key);
        self.spare_classes.push(class);
        for place in [gone.key.need, gone.key.wish] {
            let Some(need) = self.needs[place].as_mut() else {
                continue;
            };
            need.users -= 1;
            if need.users == 0 {
                let key = (need.channel, need.human_only, need.requirement.clone());
                self.need_index.remove(&key);
                self.needs[place] = None;
                self.spare_needs.push(place);
            }
        }
    }

    /// Puts an item into its class. `leg_due` is its own wait's deadline when that may help.
    pub(super) fn insert(
        &mut self,
        class: usize,
        due: Millis,
        leg_due: Option<Millis>,
        order: u64,
        item: usize,
    ) {
        let room = self.class_mut(class);
        let was_empty = room.journey.is_empty();
        room.journey.insert((due, order, item));
        if let Some(leg_due) = leg_due {
            room.leg.insert((leg_due, order, item));
        }
        if was_empty {
            self.waiting.insert(class);
            self.waiting_classes += 1;
        }
        let head = &mut self.heads[class];
        head.first = head.first.min(due);
        // A deadline that has passed is as good as unknown.
        head.live = head.live.min(due);
        if let Some(leg_due) = leg_due {
            head.leg_first = head.leg_first.min(leg_due);
            head.leg_live = head.leg_live.min(leg_due);
        }
    }

    /// Takes an item out of its class; returns whether the class is empty now.
    pub(super) fn remove(
        &mut self,
        class: usize,
        due: Millis,
        leg_due: Option<Millis>,
        order: u64,
        item: usize,
    ) -> bool {
        let room = self.classes[class]
            .as_mut()
            .expect("a class lives while anything waits in it");
        room.journey.remove(&(due, order, item));
        if let Some(leg_due) = leg_due {
            room.leg.remove(&(leg_due, order, item));
        }
        let (first, leg_first) = (first_of(&room.journey), first_of(&room.leg));
        let empty = room.journey.is_empty();
        let head = &mut self.heads[class];
        (head.first, head.leg_first) = (first, leg_first);
        if head.live == due {
            head.live = next_of(&room.journey, due);
        }
        if let Some(leg_due) = leg_due
            && head.leg_live == leg_due
        {
            head.leg_live = next_of(&room.leg, leg_due);
        }
        if empty {
            self.waiting.remove(class);
            self.waiting_classes -= 1;
        }
        empty
    }

    /// The rank and the deadline of the item that would go next from a class, by its head alone.
    pub(super) fn peek(&mut self, class: usize, ranking: &Ranking, now: Millis) -> (f64, Millis) {
        let mut head = self.heads[class];
        if head.first > now {
            // Nothing is late on the journey's clock, and a leg's deadline is never earlier than the journey's.
            return (ranking.rank_in_time(head.first - now), head.first);
        }
        if ranking.rescue && (head.live <= now || head.leg_live <= now) {
            let room = self.classes[class].as_ref().expect("ranked classes have items");
            if head.live <= now {
                head.live = live_of(&room.journey, now);
            }
            if head.leg_live <= now {
                head.leg_live = live_of(&room.leg, now);
            }
            self.heads[class] = head;
        }
        let mut best = head.by_first(ranking, now);
        if ranking.rescue {
            head.prefer(&mut best, head.live, ranking, now);
        }
        head.prefer(&mut best, head.leg_first, ranking, now);
        if ranking.rescue {
            head.prefer(&mut best, head.leg_live, ranking, now);
        }
        best
    }

    /// The same of those items only that press, by the journey's clock. There must be one.
    pub(super) fn peek_pressing(&mut self, class: usize, ranking: &Ranking, now: Millis) -> (f64, Millis) {
        let mut head = self.heads[class];
        let mut best = head.by_first(ranking, now);
        if !ranking.rescue || head.first > now {
            return best;
        }
        if head.live <= now {
            let room = self.classes[class].as_ref().expect("ranked classes have items");
            head.live = live_of(&room.journey, now);
            self.heads[class] = head;
        }
        if head.live <= head.pressing_line(now) {
            head.prefer(&mut best, head.live, ranking, now);
        }
        best
    }

    /// The item that goes next from a class, of those with a deadline up to `pressing` if that is asked for.
    pub(super) fn candidate(
        &self,
        class: usize,
        ranking: &Ranking,
        now: Millis,
        pressing: Option<Millis>,
    ) -> Option<Candidate> {
        let room = self.classes[class].as_ref()?;
        let (target, is_live) = (room.key.target_ms, self.heads[class].is_live);
        let last = pressing.unwrap_or(NEVER);
        let live = |line: &BTreeSet<Place>| line.range((now + 1, 0, 0)..).next().copied();
        let mut found: Option<Candidate> = None;
        let mut offer = |place: Option<Place>| {
            let Some(place) = place.filter(|p| p.0 <= last) else {
                return;
            };
            let rank = ranking.rank(place.0, target, is_live, now);
            if found.is_none_or(|f| rank > f.rank) {
                found = Some(Candidate { rank, place });
            }
        };
        offer(room.journey.first().copied());
        if ranking.rescue {
            offer(live(&room.journey));
        }
        // Whoever presses does so on the journey's clock.
        if pressing.is_none() && !room.leg.is_empty() {
            offer(room.leg.first().copied());
            if ranking.rescue {
                offer(live(&room.leg));
            }
        }
        found
    }

    /// How many items of a class rank above that, roughly by their own clocks.
    pub(super) fn count_above(
        &self,
        class: usize,
        ranking: &Ranking,
        weight: f64,
        rank: f64,
        now: Millis,
    ) -> usize {
        let (room, is_live) = (self.class(class), self.heads[class].is_live);
        room.journey
            .iter()
            .filter(|p| weight * ranking.rank(p.0, room.key.target_ms, is_live, now) > rank)
            .count()
    }

    /// Empty classes that are only kept to be used again.
    pub(super) fn idle_classes(&self) -> Vec<usize> {
        let empty = |class: &Option<Class>| class.as_ref().is_some_and(|c| c.journey.is_empty());
        (0..self.classes.len())
            .filter(|n| empty(&self.classes[*n]))
            .collect()
    }

    /// Classes there are, empty ones too.
    pub(super) fn class_count(&self) -> usize {
        self.class_index.len()
    }

    /// Whether a head says what its class says.
    pub(super) fn head_is_right(&self, class: usize) -> bool {
        let Some(room) = &self.classes[class] else {
            return !self.waiting.contains(class);
        };
        self.heads[class].first == first_of(&room.journey)
            && self.heads[class].leg_first == first_of(&room.leg)
            && self.waiting.contains(class) != room.journey.is_empty()
            && room.leg.len() <= room.journey.len()
    }
}

fn first_of(line: &BTreeSet<Place>) -> Millis {
    line.first().map_or(NEVER, |p| p.0)
}

/// The deadline of whoever comes next, now that one with that deadline is gone.
fn next_of(line: &BTreeSet<Place>, due: Millis) -> Millis {
    line.range((due, 0, 0)..).next().map_or(NEVER, |p| p.0)
}

fn live_of(line: &BTreeSet<Place>, now: Millis) -> Millis {
    line.range((now + 1, 0, 0)..).next().map_or(NEVER, |p| p.0)
}

fn put<T>(list: &mut Vec<Option<T>>, spare: &mut Vec<usize>, value: T) -> usize {
    if let Some(place) = spare.pop() {
        list[place] = Some(value);
        return place;
    }
    list.push(Some(value));
    list.len() - 1
}
