//! The matcher's view of a tenant, kept equal to what the database says.
//!
//! Everything here goes by state, not by event: saying the same twice changes nothing, and a missed word is made good
//! by the next.

mod specs;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{AgentId, WorkItemId},
    resources::TenantResources,
};
use uuid::Uuid;

use self::specs::{presence_of, primary, same_abilities, units_in_hand};
use super::looks::{Looks, every};
use crate::{
    app::asks,
    domain::{Agent, Hold, Rest, Rules, Second, Stage as Ask, State, WorkItem, hours},
    matcher::{self, AgentKey, Engine, ItemKey, Stage},
};

/// A seat of an item: its owner's, or that of the second agent of a warm transfer or a consultation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Seat {
    pub item: WorkItemId,
    pub second: bool,
}

impl Seat {
    pub(super) fn key(self) -> ItemKey {
        let number = self.item.uuid().as_u128();
        ItemKey(if self.second { !number } else { number })
    }
}

/// Where the matcher has a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Waits {
        version: i64,
        /// Languages that any of its steps asks for, whether or not somebody speaks them.
        languages: Vec<String>,
    },
    Held {
        agent: AgentId,
        kind: ChannelKind,
        stage: Stage,
        /// What it takes of the agent, where it takes anything now.
        units: Option<u32>,
    },
}

/// What is in an agent's hands, as far as others care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InHand {
    pub kind: ChannelKind,
    pub rest: Rest,
    pub accepted: bool,
    /// A call may make it rest: for the owner, not for who helps a colleague.
    pub pausable: bool,
}

impl InHand {
    const fn of(seat: Seat, item: &WorkItem, rest: Rest, accepted: bool) -> Self {
        Self {
            kind: item.channel,
            rest,
            accepted,
            pausable: !seat.second,
        }
    }
}

/// A tenant in memory.
pub(super) struct Floor {
    pub rules: Rules,
    pub engine: Engine,
    keys: HashMap<AgentId, AgentKey>,
    ids: Vec<AgentId>,
    agents: HashMap<AgentId, Agent>,
    seats: HashMap<ItemKey, Seat>,
    places: HashMap<Seat, Place>,
    in_hand: HashMap<AgentId, BTreeMap<Seat, InHand>>,
    waiting: HashMap<WorkItemId, ChannelKind>,
    /// Exclusions that end, and promised callbacks: then the item is told again.
    lapses: BTreeSet<(DateTime<Utc>, WorkItemId)>,
    /// When the overflow of waiting items is asked.
    pub looks: Looks,
    /// When working hours begin or end: then the agent is told again.
    shifts: BTreeSet<(DateTime<Utc>, AgentId)>,
    /// Behind which item waiting work is still to be routed anew.
    pub rerouting: Option<Uuid>,
    goals: BTreeSet<String>,
    /// Languages of the matcher's vocabulary; who speaks any language speaks them all.
    languages: BTreeSet<String>,
    /// How many agents say that they speak a language.
    spoken: HashMap<String, usize>,
    /// Agents who have nothing left to do, or whose work may go on.
    pub touched: BTreeSet<AgentId>,
    /// Of when the last decision was.
    pub decided_at: Option<DateTime<Utc>>,
}

/// Whoever has been away for longer is not waited for by customers whom they know.
const WAITED_FOR: TimeDelta = TimeDelta::minutes(2);

fn millis(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis()
}

fn offered(hold: &Hold) -> Stage {
    Stage::Offered {
        until: millis(hold.until),
    }
}

impl Floor {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            engine: Engine::new(rules.policy.clone()),
            rules,
            keys: HashMap::new(),
            ids: Vec::new(),
            agents: HashMap::new(),
            seats: HashMap::new(),
            places: HashMap::new(),
            in_hand: HashMap::new(),
            waiting: HashMap::new(),
            looks: Looks::default(),
            shifts: BTreeSet::new(),
            rerouting: None,
            lapses: BTreeSet::new(),
            goals: BTreeSet::new(),
            languages: BTreeSet::new(),
            spoken: HashMap::new(),
            touched: BTreeSet::new(),
            decided_at: None,
        }
    }

    pub(super) fn seat(&self, key: ItemKey) -> Option<Seat> {
        self.seats.get(&key).copied()
    }

    pub(super) fn agent_of(&self, key: AgentKey) -> Option<&AgentId> {
        self.ids.get(usize::try_from(key.0).ok()?)
    }

    pub(super) fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.agents.get(id)
    }

    pub(super) fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    pub(super) fn hands(&self, id: &AgentId) -> impl Iterator<Item = (Seat, InHand)> + use<'_> {
        self.in_hand
            .get(id)
            .into_iter()
            .flatten()
            .map(|(seat, hand)| (*seat, *hand))
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = WorkItemId> + use<'_> {
        self.waiting.keys().copied()
    }

    /// Items whose exclusions ended by now: they are to be put again.
    pub(super) fn lapsed(&mut self, now: DateTime<Utc>) -> Vec<WorkItemId> {
        let mut due = Vec::new();
        while let Some((at, item)) = self.lapses.first().copied() {
            if at > now {
                break;
            }
            self.lapses.pop_first();
            due.push(item);
        }
        due
    }

    /// Agents whose working hours began or ended by now: they are to be put again.
    pub(super) fn shifted(&mut self, now: DateTime<Utc>) -> Vec<AgentId> {
        let mut due = Vec::new();
        while self.shifts.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(self.shifts.pop_first().map(|(_, agent)| agent));
        }
        due
    }

    /// When something changes by itself.
    pub(super) fn next_lapse(&self) -> Option<DateTime<Utc>> {
        let lapse = self.lapses.first().map(|(at, _)| *at);
        let shift = self.shifts.first().map(|(at, _)| *at);
        lapse.into_iter().chain(shift).chain(self.looks.next()).min()
    }

    /// Resources are others: the hours of agents may be, and the goals of queues.
    pub(super) fn put_agents_again(&mut self, resources: Option<&TenantResources>, now: DateTime<Utc>) {
        self.shifts.clear();
        self.goals.clear();
        let agents: Vec<Agent> = self.agents.values().cloned().collect();
        for agent in &agents {
            self.put_agent(agent, resources, now);
        }
    }

    fn key_of(&mut self, id: &AgentId) -> AgentKey {
        if let Some(key) = self.keys.get(id) {
            return *key;
        }
        let key = AgentKey(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
        self.ids.push(id.clone());
        self.keys.insert(id.clone(), key);
        key
    }

    /// An agent is like this.
    pub(super) fn put_agent(
        &mut self,
        agent: &Agent,
        resources: Option<&TenantResources>,
        now: DateTime<Utc>,
    ) {
        self.touched.insert(agent.id.clone());
        let before = self.agents.insert(agent.id.clone(), agent.clone());
        self.count_speakers(before.as_ref(), agent, now);
        let spec = self.spec_of(agent);
        let key = spec.key;
        let known = before.as_ref().is_some_and(|b| same_abilities(b, agent));
        if !known {
            self.engine.upsert_agent(spec, millis(now));
        }
        let hours = resources.and_then(|r| r.business_hours.get(&agent.working_hours));
        if let Some(at) = hours.and_then(|h| hours::next_change(h, now)) {
            self.shifts.insert((at, agent.id.clone()));
        }
        let at_work = hours.is_none_or(|h| hours::is_open(h, now));
        let presence = presence_of(agent, at_work, now);
        if presence == matcher::Presence::Away {
            self.shifts
                .insert((agent.presence_since + WAITED_FOR, agent.id.clone()));
        }
        if self.engine.presence_of(key) != Some(&presence) {
            // Their place in the line of idle agents is the database's, so that it survives a change of leader.
            self.engine.presence(key, presence, millis(agent.idle_since));
        }
    }

    /// An item is like this, whatever it was. Its agents must have been put before.
    pub(super) fn put_item(
        &mut self,
        item: &WorkItem,
        resources: Option<&TenantResources>,
        now: DateTime<Utc>,
    ) {
        let owner = Seat {
            item: item.id,
            second: false,
        };
        let second = Seat {
            item: item.id,
            second: true,
        };
        let spec = resources.and_then(|r| r.queues.get(&item.route.queue));
        if item.state == State::Pending {
            self.count(item.id, Some(item.channel));
            match spec.filter(|_| asks(resources, &item.route.queue, Ask::WhileWaiting)) {
                Some(queue) => self
                    .looks
                    .set(item.id, every(queue.target_seconds(item.channel)), now),
                None => self.looks.forget(item.id),
            }
        } else {
            self.count(item.id, None);
            self.looks.forget(item.id);
        }
        match &item.state {
            State::Pending => self.wait(owner, item, resources, now),
            State::Offered(hold) => {
                let hand = InHand::of(owner, item, Rest::No, false);
                self.hold(owner, item, (&hold.agent, offered(hold), hand), resources, now);
            }
            State::Assigned { hand, rest, .. } => {
                // What a call makes rest is still active for the matcher: it knows that a call may.
                let stage = if *rest == Rest::Parked {
                    Stage::Parked
                } else {
                    Stage::Active
                };
                let in_hand = InHand::of(owner, item, *rest, true);
                self.hold(owner, item, (&hand.agent, stage, in_hand), resources, now);
            }
            State::Wrapping { hand, .. } => {
                let in_hand = InHand::of(owner, item, Rest::No, true);
                self.hold(
                    owner,
                    item,
                    (&hand.agent, Stage::Wrapping, in_hand),
                    resources,
                    now,
                );
            }
            State::Abandoned { .. } => {
                self.engine.abandoned(owner.key(), millis(now));
                self.forget(owner, now);
            }
            State::Completed { .. } | State::Cancelled { .. } => self.forget(owner, now),
        }
        match item.second() {
            None => self.forget(second, now),
            Some(Second::Wanted(_)) => self.wait(second, item, resources, now),
            Some(Second::Offered(_, hold)) => {
                let hand = InHand::of(second, item, Rest::No, false);
                self.hold(second, item, (&hold.agent, offered(hold), hand), resources, now);
            }
            Some(Second::Joined(_, hand)) => {
                let in_hand = InHand::of(second, item, Rest::No, true);
                self.hold(
                    second,
                    item,
                    (&hand.agent, Stage::Active, in_hand),
                    resources,
                    now,
                );
            }
        }
    }

    /// Keeps the gauges of what waits: `None` when it does not.
    fn count(&mut self, item: WorkItemId, waits: Option<ChannelKind>) {
        let before = match waits {
            Some(kind) => self.waiting.insert(item, kind),
            None => self.waiting.remove(&item),
        };
        if before != waits {
            for (kind, by) in [(before, -1.0), (waits, 1.0)] {
                if let Some(kind) = kind {
                    metrics::gauge!("trama_routing_waiting", "channel" => kind.as_str_name()).increment(by);
                }
            }
        }
    }

    fn wait(&mut self, seat: Seat, item: &WorkItem, resources: Option<&TenantResources>, now: DateTime<Utc>) {
        let until: Vec<_> = item
            .excluded
            .iter()
            .map(|e| e.until(self.rules.ask_again()))
            .filter(|until| *until > now)
            .collect();
        let excluded_changes = until.len() != item.excluded.len();
        let known =
            matches!(self.places.get(&seat), Some(Place::Waits { version, .. }) if *version == item.version);
        if known && !excluded_changes {
            return;
        }
        if !seat.second {
            let spec = resources.and_then(|r| r.queues.get(&item.route.queue));
            let lead = spec.map_or(0, |q| i64::from(q.callback.dial_lead_seconds));
            if let Some(ready_at) = item.ready_at(TimeDelta::seconds(lead)).filter(|at| *at > now) {
                // Promised for later: nobody is asked before.
                self.forget(seat, now);
                self.lapses.insert((ready_at, seat.item));
                return;
            }
        }
        self.release(seat);
        if !seat.second
            && let Some(first) = until.iter().min()
        {
            self.lapses.insert((*first, seat.item));
        }
        let spec = self.item_spec(seat, item, resources, now);
        self.seats.insert(spec.key, seat);
        self.engine.enqueue(spec, millis(now));
        let steps = item.route.steps.iter().map(|step| &step.requirement);
        let mut languages: Vec<String> = std::iter::once(&item.route.requirement)
            .chain(steps)
            .filter_map(|wanted| wanted.language.as_deref().map(primary))
            .collect();
        languages.dedup();
        let place = Place::Waits {
            version: item.version,
            languages,
        };
        self.places.insert(seat, place);
    }

    fn hold(
        &mut self,
        seat: Seat,
        item: &WorkItem,
        (agent, stage, in_hand): (&AgentId, Stage, InHand),
        resources: Option<&TenantResources>,
        now: DateTime<Utc>,
    ) {
        self.touched.insert(agent.clone());
        let before = self.places.get(&seat).cloned();
        self.release(seat);
        let hands = self.in_hand.entry(agent.clone()).or_default();
        hands.insert(seat, in_hand);
        let Some(key) = self.keys.get(agent).copied() else {
            return;
        };
        let (at, kind) = (millis(now), item.channel);
        let units = units_in_hand(seat, item, in_hand.rest);
        match before {
            Some(Place::Held {
                agent: of,
                kind: was,
                stage: from,
                units: took,
            }) if of == *agent && was == kind => {
                if took != units {
                    self.engine.takes(seat.key(), units);
                }
                self.restage(seat, key, (from, stage), at);
            }
            Some(_) | None => {
                let mut spec = self.item_spec(seat, item, resources, now);
                spec.units = units;
                self.seats.insert(spec.key, seat);
                self.engine.enqueue(spec, at);
                self.engine.hold(seat.key(), key, stage, at);
            }
        }
        let place = Place::Held {
            agent: agent.clone(),
            kind,
            stage,
            units,
        };
        self.places.insert(seat, place);
    }

    /// A seat goes on in the same hands.
    fn restage(&mut self, seat: Seat, agent: AgentKey, (from, to): (Stage, Stage), at: i64) {
        match (from, to) {
            (from, to) if from == to => {}
            (Stage::Offered { .. }, Stage::Active) => {
                self.engine.accepted(seat.key(), agent, at);
            }
            (_, Stage::Wrapping) => {
                self.engine.wrapping(seat.key(), at);
            }
            (_, Stage::Parked) => {
                self.engine.parked(seat.key(), at);
            }
            (Stage::Parked, Stage::Active) => {
                self.engine.resumed(seat.key(), at);
            }
            (_, stage) => {
                self.engine.hold(seat.key(), agent, stage, at);
            }
        }
    }

    /// The seat is in nobody's hands, for the moment.
    fn release(&mut self, seat: Seat) {
        if let Some(Place::Held { agent, .. }) = self.places.get(&seat) {
            self.touched.insert(agent.clone());
            if let Some(hands) = self.in_hand.get_mut(agent) {
                hands.remove(&seat);
            }
        }
    }

    fn forget(&mut self, seat: Seat, now: DateTime<Utc>) {
        self.release(seat);
        let at = millis(now);
        match self.places.remove(&seat) {
            Some(Place::Held { agent, .. }) => {
                if let Some(key) = self.keys.get(&agent).copied()
                    && !self.engine.freed(seat.key(), key, at)
                {
                    self.engine.remove(seat.key(), at);
                }
            }
            Some(Place::Waits { .. }) => self.engine.remove(seat.key(), at),
            None => {}
        }
        self.seats.remove(&seat.key());
    }

    /// The matcher has given a seat to an agent.
    pub(super) fn proposed(&mut self, seat: Seat, agent: &AgentId, until: i64) {
        self.places.insert(
            seat,
            Place::Held {
                agent: agent.clone(),
                kind: ChannelKind::Unspecified,
                stage: Stage::Offered { until },
                units: None,
            },
        );
    }

    /// The database refused: what is true is put again.
    pub(super) fn refused(&mut self, seat: Seat, now: DateTime<Utc>) {
        self.engine.refuse(seat.key(), millis(now));
        self.release(seat);
        self.places.remove(&seat);
        self.seats.remove(&seat.key());
    }

    /// Items that the matcher does not name by uuid.
    pub(super) fn item_of(&self, key: ItemKey) -> Uuid {
        self.seats
            .get(&key)
            .map_or(Uuid::from_u128(key.0), |seat| seat.item.uuid())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Whoever leads next counts them.
        let waiting: Vec<WorkItemId> = self.waiting().collect();
        for item in waiting {
            self.count(item, None);
        }
    }
}
