//! The engine's memory: who waits, who works, and what changed since the last decision.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::feedback::{CallLoad, CellResult, Results, RunningMean};
use super::policy::Policy;
use super::queue::{ClassKey, Only, Queue};
use super::spec::{ItemSpec, Stage};
use super::staff::{Staff, units_of};
use super::timers::Timer;
use super::words::{AgentKey, Cell, ItemKey, Millis, Vocabulary};

/// The matching engine of one routing domain: one writer, no clock of its own, no input or output.
///
/// The caller tells it facts and asks [`Engine::decide`]. Same facts in the same order, same decisions.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) policy: Policy,
    /// Channels that need the whole agent, one bit each.
    pub(super) whole: u32,
    pub(super) vocabulary: Vocabulary,
    pub(super) queue: Queue,
    pub(super) staff: Staff,
    pub(super) items: Vec<Option<Item>>,
    pub(super) item_index: HashMap<ItemKey, usize>,
    pub(super) spare_items: Vec<usize>,
    pub(super) timers: BinaryHeap<Reverse<(Millis, u64, Timer)>>,
    pub(super) timer_count: u64,
    /// Source of tokens: never the same twice, for places are used again.
    token_count: u64,
    pub(super) dirty_agents: Vec<usize>,
    pub(super) dirty_classes: Vec<usize>,
    /// Classes the reserve holds back.
    pub(super) held_classes: Vec<usize>,
    /// Agents the reserve keeps free.
    pub(super) resting_agents: Vec<usize>,
    /// Someone was freed into the reserve, or it shrank: what it held back may go.
    pub(super) reserve_eased: bool,
    /// Waiting items whose preferred agent is, or may yet be, waited for.
    pub(super) acquainted: HashMap<AgentKey, Vec<usize>>,
    pub(super) calls: CallLoad,
    pub(super) results: Results,
    /// Time from offer to acceptance, by channel.
    pub(super) answers: Vec<RunningMean>,
    pub(super) marks: super::decide::Marks,
}

/// An item the engine knows.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) spec: ItemSpec,
    pub(super) state: State,
    /// Bumped with each placing: older timers do not count.
    pub(super) token: u64,
    /// How often each agent declined it.
    pub(super) declined: Vec<(AgentKey, u32)>,
    /// When somebody took it first.
    pub(super) accepted_at: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Between two places; never seen from outside.
    Nowhere,
    Queued(Queued),
    Held(Held),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) class: usize,
    pub(super) due: Millis,
    pub(super) leg_due: Option<Millis>,
    pub(super) step: usize,
    /// Waits for the agent who knows the customer.
    pub(super) preferring: bool,
    /// When its requirement changes next.
    pub(super) next_change: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) agent: usize,
    pub(super) stage: Stage,
    pub(super) resumed: bool,
}

impl Engine {
    /// An empty engine.
    pub fn new(policy: Policy) -> Self {
        let mut staff = Staff::default();
        staff.fitting.resize_with(policy.channels.len(), Default::default);
        let assumed = RunningMean::assume(policy.ranking.answer_ms);
        let answers = vec![assumed; policy.channels.len()];
        Engine {
            whole: policy.whole_mask(),
            policy,
            vocabulary: Vocabulary::default(),
            queue: Queue::default(),
            staff,
            items: Vec::new(),
            item_index: HashMap::new(),
            spare_items: Vec::new(),
            timers: BinaryHeap::new(),
            timer_count: 0,
            token_count: 0,
            dirty_agents: Vec::new(),
            dirty_classes: Vec::new(),
            held_classes: Vec::new(),
            resting_agents: Vec::new(),
            reserve_eased: false,
            acquainted: HashMap::new(),
            calls: CallLoad::default(),
            results: Results::default(),
            answers,
            marks: super::decide::Marks::default(),
        }
    }

    /// The rules in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The names behind the numbers.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The names, to add to.
    pub fn vocabulary_mut(&mut self) -> &mut Vocabulary {
        &mut self.vocabulary
    }

    /// The share of a cell that should be in time.
    pub fn set_goal(&mut self, cell: Cell, goal: f64) {
        self.results.set_goal(cell, goal);
    }

    /// How a cell does, as far as the engine remembers.
    pub fn cell_result(&self, cell: Cell) -> Option<CellResult> {
        self.results.get(cell)
    }

    /// Items that wait.
    pub fn waiting_count(&self) -> usize {
        self.items
            .iter()
            .flatten()
            .filter(|i| matches!(i.state, State::Queued(_)))
            .count()
    }

    /// Items the engine knows, waiting and in hand.
    pub fn item_count(&self) -> usize {
        self.item_index.len()
    }

    pub(super) fn item(&self, key: ItemKey) -> Option<&Item> {
        let place = self.item_index.get(&key)?;
        self.items[*place].as_ref()
    }

    pub(super) fn item_mut(&mut self, key: ItemKey) -> Option<&mut Item> {
        let place = self.item_index.get(&key)?;
        self.items[*place].as_mut()
    }

    pub(super) fn item_at(&self, item: usize) -> &Item {
        self.items[item]
            .as_ref()
            .expect("items are named by live places only")
    }

    pub(super) fn forget_item(&mut self, item: usize) {
        if let Some(gone) = self.items[item].take() {
            self.item_index.remove(&gone.spec.key);
            self.spare_items.push(item);
        }
    }

    /// Takes an item from wherever it is.
    pub(super) fn lift(&mut self, item: usize, now: Millis) {
        let token = self.new_token();
        let it = self.items[item]
            .as_mut()
            .expect("items are named by live places only");
        let state = std::mem::replace(&mut it.state, State::Nowhere);
        it.token = token;
        let (order, channel, pausable) = (it.spec.order, it.spec.channel, it.spec.pausable);
        let preferred = it.spec.preferred.filter(|_| it.spec.preferred_until.is_some());
        match state {
            State::Nowhere => {}
            State::Queued(at) => {
                if let Some(agent) = preferred
                    && let Some(items) = self.acquainted.get_mut(&agent)
                {
                    items.retain(|known| *known != item);
                    if items.is_empty() {
                        self.acquainted.remove(&agent);
                    }
                }
                if self.queue.remove(at.class, at.due, at.leg_due, order, item) {
                    self.retire_if_passing(at.class);
                }
            }
            State::Held(held) => {
                let key = &self.staff.profile_of(held.agent).key;
                let size = units_of(key, &self.policy, &self.item_at(item).spec);
                let agent = self.staff.agent_mut(held.agent);
                agent.held.retain(|i| *i != item);
                let mine = &mut agent.by_channel[usize::from(channel.0)];
                match held.stage {
                    Stage::Offered { .. } => {
                        mine.count -= 1;
                        agent.pending -= 1;
                        agent.used -= size;
                        agent.in_hand -= 1;
                    }
                    Stage::Active | Stage::Wrapping => {
                        mine.count -= 1;
                        mine.active_units -= if pausable { size } else { 0 };
                        agent.used -= size;
                        agent.in_hand -= 1;
                        agent.idle_since = now;
                    }
                    Stage::Parked => {}
                }
                if held.resumed {
                    agent.resumed -= 1;
                }
                self.resettle(held.agent);
                self.mark_agent(held.agent);
            }
        }
    }

    /// Puts an item into an agent's hands.
    pub(super) fn give_to(&mut self, item: usize, agent: usize, stage: Stage) {
        let spec = &self.item_at(item).spec;
        let (channel, pausable) = (spec.channel, spec.pausable);
        let size = units_of(&self.staff.profile_of(agent).key, &self.policy, spec);
        let it = self.staff.agent_mut(agent);
        it.held.push(item);
        let mine = &mut it.by_channel[usize::from(channel.0)];
        match stage {
            Stage::Offered { .. } => {
                mine.count += 1;
                it.pending += 1;
                it.used += size;
                it.in_hand += 1;
            }
            Stage::Active | Stage::Wrapping => {
                mine.count += 1;
                mine.active_units += if pausable { size } else { 0 };
                it.used += size;
                it.in_hand += 1;
            }
            Stage::Parked => {}
        }
        if let Some(it) = self.items[item].as_mut() {
            it.state = State::Held(Held {
                agent,
                stage,
                resumed: false,
            });
        }
        self.resettle(agent);
    }

    /// Puts an item into the class its requirement of this moment belongs to.
    pub(super) fn place(&mut self, item: usize, now: Millis) {
        let spec = self.item_at(item).spec.clone();
        let waited = now - spec.queued_at;
        let step = spec.steps.iter().rposition(|s| s.after_ms <= waited).unwrap_or(0);
        let mut next_change = spec.steps.get(step + 1).map(|s| spec.queued_at + s.after_ms);
        let mut excluded = spec.excluded.clone();
        excluded.sort_unstable();
        excluded.dedup();

        let wish = self.need(&spec, 0);
        let mut need = if step == 0 { wish } else { self.need(&spec, step) };
        let sooner = |end: Millis, than: Option<Millis>| Some(than.map_or(end, |at| at.min(end)));
        let mut only = None;
        if let Some(agent) = spec.pinned
            && spec.pinned_until.is_none_or(|end| now < end)
        {
            only = Some(Only { agent, pinned: true });
            next_change = spec
                .pinned_until
                .map_or(next_change, |end| sooner(end, next_change));
        } else if let Some(agent) = spec.preferred
            && let Some(end) = spec.preferred_until.filter(|end| now < *end)
        {
            self.acquainted.entry(agent).or_default().push(item);
            if !excluded.contains(&agent)
                && let Some(place) = self.staff.index.get(&agent).copied()
                && self.staff.agent(place).within_reach() & (1 << spec.channel.0) != 0
            {
                // Whoever knows the customer needs only what is required in the end.
                let last = self.need(&spec, spec.steps.len() - 1);
                if self.staff.profile_of(place).meets(self.queue.need(last)) {
                    need = last;
                    only = Some(Only { agent, pinned: false });
                    next_change = sooner(end, next_change);
                }
            }
        }
        let key = ClassKey {
            need,
            wish,
            channel: spec.channel,
            target_ms: spec.target_ms,
            cell: spec.cell,
            only,
            excluded,
        };
        let class = self.class_of(key);
        let carried = spec.queued_at - spec.clock_start;
        // What is offered later than this is answered too late.
        let due = spec.due_at - self.answer_time(spec.channel);
        let leg_due = (self.policy.ranking.carried_only_helps && carried > 0).then_some(due + carried);
        self.queue.insert(class, due, leg_due, spec.order, item);
        let token = self.new_token();
        let it = self.items[item]
            .as_mut()
            .expect("items are named by live places only");
        it.token = token;
        it.state = State::Queued(Queued {
            class,
            due,
            leg_due,
            step,
            preferring: only.is_some_and(|o| !o.pinned),
            next_change,
        });
        if let Some(at) = next_change {
            self.set_timer(at, Timer::Widen { item, token });
        }
        self.dirty_classes.push(class);
    }

    fn answer_time(&self, channel: super::words::Channel) -> Millis {
        if self.policy.ranking.answer_ms == 0 {
            return 0;
        }
        self.answers[usize::from(channel.0)].get().round() as Millis
    }

    fn need(&mut self, spec: &ItemSpec, step: usize) -> usize {
        let requirement = &spec.steps[step].requirement;
        let (need, new) = self.queue.intern_need(spec.channel, spec.human_only, requirement);
        if new {
            self.introduce_need(need);
        }
        need
    }

    pub(super) fn new_token(&mut self) -> u64 {
        self.token_count += 1;
        self.token_count
    }
}
