//! The matcher's view of a tenant, kept equal to what the database says.
//!
//! Everything here goes by state, not by event: saying the same twice changes nothing, and a missed word is made good
//! by the next.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{AgentId, WorkItemId},
    resources::TenantResources,
};
use uuid::Uuid;

use super::looks::{Looks, every};
use crate::{
    app::asks,
    domain::{Agent, Presence, Requirement, Rest, Rules, Second, Stage as Ask, State, WorkItem, hours},
    matcher::{self, AgentKey, AgentSpec, Engine, ItemKey, ItemSpec, Stage},
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
        pausable: bool,
    },
}

/// What is in an agent's hands, as far as others care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InHand {
    pub kind: ChannelKind,
    pub rest: Rest,
    pub accepted: bool,
    /// A call may make it rest: not who helps a colleague, nor what holds the units of another channel.
    pub pausable: bool,
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

/// No stored item has this version.
const NEVER_STORED: i64 = -1;

fn millis(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis()
}

fn primary(tag: &str) -> String {
    tag.split('-').next().unwrap_or(tag).to_ascii_lowercase()
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

    /// Resources are others: the hours of agents may be.
    pub(super) fn put_agents_again(&mut self, resources: Option<&TenantResources>, now: DateTime<Utc>) {
        self.shifts.clear();
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
        if before.as_ref().is_some_and(|b| b.capacity_units != agent.capacity_units) {
            // As what they count depends on it.
            let hands: Vec<_> = self.hands(&agent.id).map(|(seat, _)| (now, seat.item)).collect();
            self.lapses.extend(hands);
        }
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
        let presence = presence_of(agent, at_work);
        if self.engine.presence_of(key) != Some(&presence) {
            // Their place in the line of idle agents is the database's, so that it survives a change of leader.
            self.engine.presence(key, presence, millis(agent.idle_since));
        }
    }

    fn spec_of(&mut self, agent: &Agent) -> AgentSpec {
        let key = self.key_of(&agent.id);
        let channels: Vec<_> = agent.channel_kinds.iter().map(|k| Rules::channel(*k)).collect();
        let caps = if agent.bot {
            // A bot does as much at once as its units allow.
            let all = u32::try_from(agent.capacity_units).unwrap_or_default();
            agent
                .channel_kinds
                .iter()
                .map(|k| (Rules::channel(*k), cap_of(agent, *k).unwrap_or(all)))
                .collect()
        } else {
            let capped = agent.channel_kinds.iter();
            capped
                .filter_map(|k| Some((Rules::channel(*k), cap_of(agent, *k)?)))
                .collect()
        };
        let spoken: Vec<String> = if agent.languages.is_empty() {
            self.languages.iter().cloned().collect()
        } else {
            agent.languages.iter().map(|l| primary(l)).collect()
        };
        let words = self.engine.vocabulary_mut();
        AgentSpec {
            key,
            skills: agent
                .skills
                .iter()
                .map(|(name, level)| (words.skill(name), u8::try_from(*level).unwrap_or(1)))
                .collect(),
            languages: spoken.iter().map(|l| words.language(l)).collect(),
            channels,
            teams: agent.teams.iter().map(|t| words.team(t)).collect(),
            units: u32::try_from(agent.capacity_units).unwrap_or_default(),
            bot: agent.bot,
            caps,
        }
    }

    /// A language is asked for only where somebody speaks it; so when the first speaker comes, or the last one goes, what
    /// waits and names it is put again.
    fn count_speakers(&mut self, before: Option<&Agent>, agent: &Agent, now: DateTime<Utc>) {
        let tongues = |agent: &Agent| -> BTreeSet<String> { agent.languages.iter().map(|l| primary(l)).collect() };
        let (before, after) = (before.map(tongues).unwrap_or_default(), tongues(agent));
        let mut turned: BTreeSet<&String> = BTreeSet::new();
        for language in after.difference(&before) {
            let speakers = self.spoken.entry(language.clone()).or_default();
            *speakers += 1;
            if *speakers == 1 {
                turned.insert(language);
            }
        }
        for language in before.difference(&after) {
            if let Some(speakers) = self.spoken.get_mut(language) {
                *speakers -= 1;
                if *speakers == 0 {
                    self.spoken.remove(language);
                    turned.insert(language);
                }
            }
        }
        if turned.is_empty() {
            return;
        }
        for (seat, place) in &mut self.places {
            if let Place::Waits { version, languages } = place
                && languages.iter().any(|language| turned.contains(language))
            {
                *version = NEVER_STORED;
                self.lapses.insert((now, seat.item));
            }
        }
    }

    /// A language of the customers is heard of: who speaks any speaks this one too.
    fn hear_language(&mut self, language: &str, now: DateTime<Utc>) {
        if !self.languages.insert(language.to_owned()) {
            return;
        }
        let polyglots: Vec<Agent> = self
            .agents
            .values()
            .filter(|a| a.languages.is_empty())
            .cloned()
            .collect();
        for agent in polyglots {
            let spec = self.spec_of(&agent);
            self.engine.upsert_agent(spec, millis(now));
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
        let held = |agent: &AgentId, stage, rest, accepted| {
            (
                Place::Held {
                    agent: agent.clone(),
                    kind: item.channel,
                    stage,
                    pausable: true,
                },
                InHand {
                    kind: item.channel,
                    rest,
                    accepted,
                    pausable: true,
                },
            )
        };
        match &item.state {
            State::Pending => self.wait(owner, item, resources, now),
            State::Offered(hold) => {
                let stage = Stage::Offered {
                    until: millis(hold.until),
                };
                self.hold(
                    owner,
                    item,
                    held(&hold.agent, stage, Rest::No, false),
                    resources,
                    now,
                );
            }
            State::Assigned { hand, rest, .. } => {
                // What a call makes rest is still active for the matcher: it knows that a call may.
                let stage = if *rest == Rest::Parked {
                    Stage::Parked
                } else {
                    Stage::Active
                };
                self.hold(owner, item, held(&hand.agent, stage, *rest, true), resources, now);
            }
            State::Wrapping { hand, .. } => {
                self.hold(
                    owner,
                    item,
                    held(&hand.agent, Stage::Wrapping, Rest::No, true),
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
                let stage = Stage::Offered {
                    until: millis(hold.until),
                };
                self.hold(
                    second,
                    item,
                    held(&hold.agent, stage, Rest::No, false),
                    resources,
                    now,
                );
            }
            Some(Second::Joined(_, hand)) => {
                self.hold(
                    second,
                    item,
                    held(&hand.agent, Stage::Active, Rest::No, true),
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

    /// Where the matcher has what is in hand. A conversation that moved to a channel for which there was no room holds
    /// what it held before, and counts as that.
    fn held(&self, seat: Seat, item: &WorkItem, place: Place, rest: Rest) -> Place {
        let units = if seat.second {
            item.second().and_then(Second::units)
        } else {
            item.units().next()
        };
        let Place::Held { agent, stage, .. } = place else {
            return place;
        };
        let kind = match units {
            Some((_, units)) if rest == Rest::No => {
                let capacity = self.agents.get(&agent).map_or(0, |a| a.capacity_units);
                if self.rules.units(item.channel, capacity) == units {
                    item.channel
                } else {
                    self.rules.kind_taking(units, capacity).unwrap_or(item.channel)
                }
            }
            Some(_) | None => item.channel,
        };
        Place::Held {
            agent,
            kind,
            stage,
            // A colleague waits for who helps them; and a conversation that counts as a letter is none.
            pausable: !seat.second && kind == item.channel,
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
        let known = matches!(self.places.get(&seat), Some(Place::Waits { version, .. }) if *version == item.version);
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
        (place, mut in_hand): (Place, InHand),
        resources: Option<&TenantResources>,
        now: DateTime<Utc>,
    ) {
        let place = self.held(seat, item, place, in_hand.rest);
        let Place::Held {
            agent,
            kind,
            stage,
            pausable,
        } = &place
        else {
            return;
        };
        in_hand.pausable = *pausable;
        self.touched.insert(agent.clone());
        let before = self.places.get(&seat).cloned();
        self.release(seat);
        self.in_hand
            .entry(agent.clone())
            .or_default()
            .insert(seat, in_hand);
        let Some(key) = self.keys.get(agent).copied() else {
            return;
        };
        let at = millis(now);
        match before {
            Some(before) if before == place => {}
            Some(Place::Held {
                agent: of,
                kind: was,
                stage: from,
                pausable: before,
            }) if of == *agent && was == *kind && before == *pausable => match (from, *stage) {
                (Stage::Offered { .. }, Stage::Active) => {
                    self.engine.accepted(seat.key(), key, at);
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
                    self.engine.hold(seat.key(), key, stage, at);
                }
            },
            _ => {
                let mut spec = self.item_spec(seat, item, resources, now);
                spec.channel = Rules::channel(*kind);
                spec.pausable = *pausable;
                self.seats.insert(spec.key, seat);
                self.engine.enqueue(spec, at);
                self.engine.hold(seat.key(), key, *stage, at);
            }
        }
        self.places.insert(seat, place);
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
                pausable: false,
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

    fn item_spec(
        &mut self,
        seat: Seat,
        item: &WorkItem,
        resources: Option<&TenantResources>,
        now: DateTime<Utc>,
    ) -> ItemSpec {
        let route = &item.route;
        let goal = resources
            .and_then(|r| r.queues.get(&route.queue))
            .map(|q| q.service_level.goal);
        let name = format!("{:?}/{}", item.channel, route.entitlement);
        let cell = self.engine.vocabulary_mut().cell(&name);
        if let Some(goal) = goal
            && self.goals.insert(name)
        {
            self.engine.set_goal(cell, goal);
        }
        let keys = |floor: &mut Self, ids: &mut dyn Iterator<Item = &AgentId>| -> Vec<AgentKey> {
            ids.map(|id| floor.key_of(id)).collect()
        };
        let channel = Rules::channel(item.channel);
        let order = u64::try_from(item.waiting_since.timestamp_micros()).unwrap_or_default();
        if let Some(second) = item.second().filter(|_| seat.second) {
            let wanted = second.wanted();
            let requirement = Requirement {
                skills: wanted.skills.clone(),
                ..Requirement::default()
            };
            // A colleague waits: as urgent as a call.
            let target_ms = 60_000;
            return ItemSpec {
                key: seat.key(),
                channel,
                steps: Arc::from([matcher::Step {
                    after_ms: 0,
                    requirement: self.requirement(&requirement, now),
                }]),
                clock_start: millis(wanted.since),
                queued_at: millis(wanted.since),
                target_ms,
                due_at: millis(wanted.since) + target_ms,
                carried_ms: 0,
                cell,
                preferred: None,
                pinned: wanted.pinned.as_ref().map(|agent| self.key_of(agent)),
                excluded: keys(self, &mut wanted.excluded.iter()),
                human_only: false,
                pausable: true,
                order,
            };
        }
        let mut steps = vec![matcher::Step {
            after_ms: 0,
            requirement: self.requirement(&route.requirement, now),
        }];
        for step in &route.steps {
            steps.push(matcher::Step {
                after_ms: step.after.num_milliseconds().max(0),
                requirement: self.requirement(&step.requirement, now),
            });
        }
        let ask_again = self.rules.ask_again();
        let excluded = item
            .excluded
            .iter()
            .filter(|e| e.until(ask_again) > now)
            .map(|e| &e.agent);
        ItemSpec {
            key: seat.key(),
            channel,
            steps: steps.into(),
            clock_start: millis(item.waiting_since),
            queued_at: millis(item.queued_at),
            target_ms: route.ranking_target.num_milliseconds().max(1),
            due_at: millis(route.ranking_due_at),
            carried_ms: 0,
            cell,
            preferred: item.preferred.as_ref().map(|agent| self.key_of(agent)),
            pinned: item.pinned.as_ref().map(|agent| self.key_of(agent)),
            excluded: keys(self, &mut excluded.collect::<Vec<_>>().into_iter()),
            human_only: route.human_only,
            pausable: true,
            order,
        }
    }

    /// A language is asked for only where somebody speaks it: else nobody would ever answer.
    fn requirement(&mut self, wanted: &Requirement, now: DateTime<Utc>) -> matcher::Requirement {
        let language = wanted.language.as_deref().map(primary);
        let language = language.filter(|language| self.spoken.contains_key(language));
        if let Some(language) = &language {
            self.hear_language(language, now);
        }
        let words = self.engine.vocabulary_mut();
        matcher::Requirement {
            skills: wanted
                .skills
                .iter()
                .map(|(name, level)| (words.skill(name), *level))
                .collect(),
            language: language.map(|l| words.language(&l)),
            teams: (!wanted.teams.is_empty()).then(|| wanted.teams.iter().map(|t| words.team(t)).collect()),
        }
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

fn cap_of(agent: &Agent, kind: ChannelKind) -> Option<u32> {
    agent.max_at_once.get(&kind).and_then(|n| u32::try_from(*n).ok())
}

fn same_abilities(a: &Agent, b: &Agent) -> bool {
    a.skills == b.skills
        && a.languages == b.languages
        && a.channel_kinds == b.channel_kinds
        && a.teams == b.teams
        && a.max_at_once == b.max_at_once
        && a.capacity_units == b.capacity_units
        && a.bot == b.bot
}

/// Who is not at work by their hours finishes what they have, and gets nothing new.
fn presence_of(agent: &Agent, at_work: bool) -> matcher::Presence {
    if agent.draining || (!at_work && agent.presence == Presence::Available) {
        return matcher::Presence::Draining;
    }
    match agent.presence {
        Presence::Offline => matcher::Presence::Offline,
        Presence::Away => matcher::Presence::Away,
        // The database says when they are back.
        Presence::NotResponding => matcher::Presence::NotResponding { until: None },
        Presence::Available if agent.available_kinds.is_empty() => matcher::Presence::Available,
        Presence::Available => {
            let kinds = agent.available_kinds.iter().map(|k| Rules::channel(*k));
            matcher::Presence::AvailableFor(kinds.collect())
        }
    }
}
