//! What the database would say: the same state machines, on paper.

mod orders;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{AgentId, OfferId, TenantId, WorkItemId},
    resources::{API_VERSION, AgentOrder, Document, Resources, TenantResources},
};
use uuid::Uuid;

use super::Op;
use crate::{
    domain::{
        Agent, Handover, HandoverNote, Presence, Requirement, Rest, Route, Rules, Second, State, Step,
        WithdrawReason, WorkItem,
    },
    store::Changed,
};

pub(super) const NAMES: [&str; 5] = ["anna", "bruno", "carla", "dario", "robot"];

pub(super) fn tenant() -> TenantId {
    "acme".parse().expect("a tenant's name")
}

pub(super) fn name(number: usize) -> AgentId {
    NAMES[number].parse().expect("an agent's name")
}

/// Nothing is reserved or steered: these remember what was before, so who begins anew may decide otherwise.
const RULES: [&str; 2] = [
    r#"{"reserve": {"size": {"fixed": 0}, "urgentSize": 0}, "steering": {"gain": 0.0}}"#,
    r#"{"reserve": {"size": {"fixed": 0}, "urgentSize": 0}, "steering": {"gain": 0.0},
        "channels": {"whatsapp": {"units": 3, "maxAtOnce": 2}, "email": {"units": 2, "maxAtOnce": 2}},
        "offers": {"askAgainAfterSeconds": 60}}"#,
];

fn resources(rules: usize) -> TenantResources {
    let document = |kind: &str, name: &str, spec: serde_json::Value| Document {
        origin: "test".into(),
        content: serde_json::json!({"apiVersion": API_VERSION, "kind": kind,
            "metadata": {"name": name, "namespace": "acme"}, "spec": spec}),
    };
    let matching: serde_json::Value = serde_json::from_str(RULES[rules]).expect("rules");
    let documents = [
        document(
            "Queue",
            "general",
            serde_json::json!({"serviceLevel": {"targetSeconds": 300, "goal": 0.8}}),
        ),
        document(
            "RoutingPolicy",
            "main",
            serde_json::json!({"rules": [], "defaultQueue": "general", "matching": matching}),
        ),
        document(
            "BusinessHours",
            "day",
            serde_json::json!({"timeZone": "Europe/Rome", "weekly": {"wednesday": ["09:00-10:05"]}}),
        ),
    ];
    let (built, problems) = Resources::build(&documents, &Resources::default());
    assert_eq!(problems, []);
    built.tenant(&tenant()).expect("resources of acme").clone()
}

/// The database on paper.
pub(super) struct Paper {
    pub(super) now: DateTime<Utc>,
    pub(super) resources: TenantResources,
    pub(super) rules: Rules,
    /// The last item of each case.
    pub(super) items: BTreeMap<WorkItemId, WorkItem>,
    pub(super) agents: BTreeMap<AgentId, Agent>,
    /// What the leader has not been told.
    pub(super) changed: Changed,
    last: BTreeMap<u128, WorkItemId>,
    numbers: u128,
    revision: i64,
}

impl Paper {
    pub(super) fn new() -> Self {
        // A Wednesday, ten o'clock in Rome.
        let now = DateTime::from_timestamp(1_781_683_200, 0).expect("a moment");
        let resources = resources(0);
        let mut paper = Self {
            now,
            rules: Rules::of(Some(&resources)),
            resources,
            items: BTreeMap::new(),
            agents: BTreeMap::new(),
            changed: Changed::default(),
            last: BTreeMap::new(),
            numbers: 0,
            revision: 0,
        };
        for number in 0..NAMES.len() {
            let agent = Agent {
                id: name(number),
                display_name: String::new(),
                skills: BTreeMap::from([("coffee".to_owned(), 3)]),
                languages: Vec::new(),
                channel_kinds: vec![
                    ChannelKind::Voice,
                    ChannelKind::WebChat,
                    ChannelKind::Whatsapp,
                    ChannelKind::Email,
                ],
                teams: vec!["turin".to_owned()],
                working_hours: String::new(),
                max_at_once: BTreeMap::new(),
                capacity_units: 6,
                bot: number == 4,
                presence: Presence::Offline,
                presence_reason: String::new(),
                presence_since: now,
                available_kinds: Vec::new(),
                draining: false,
                used_units: 0,
                idle_since: now,
                missed_at: None,
            };
            paper.put_agent(agent);
        }
        paper
    }

    pub(super) fn new_offer(&mut self) -> OfferId {
        self.numbers += 1;
        OfferId::new(Uuid::from_u128(self.numbers))
    }

    /// Written, and the leader is told.
    fn put(&mut self, item: WorkItem) {
        self.changed.items.insert(item.id);
        self.write(item);
        self.count_units();
    }

    fn put_agent(&mut self, agent: Agent) {
        self.changed.agents.insert(agent.id.clone());
        self.agents.insert(agent.id.clone(), agent);
    }

    /// Written.
    pub(super) fn write(&mut self, mut item: WorkItem) {
        item.version += 1;
        self.items.insert(item.id, item);
    }

    /// Units of agents follow from the items.
    pub(super) fn count_units(&mut self) {
        let mut used: BTreeMap<AgentId, i32> = BTreeMap::new();
        for item in self.items.values() {
            for (agent, units) in item.units() {
                *used.entry(agent.clone()).or_default() += units;
            }
        }
        for agent in self.agents.values_mut() {
            let units = used.get(&agent.id).copied().unwrap_or_default();
            assert!(units <= agent.capacity_units, "{} holds {units}", agent.id);
            if units < agent.used_units {
                agent.idle_since = self.now;
            }
            agent.used_units = units;
        }
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &WorkItem> {
        self.items.values().filter(|i| i.is_open())
    }

    fn offered_to(&self, agent: &AgentId) -> Option<WorkItem> {
        let theirs = |item: &&WorkItem| match &item.state {
            State::Offered(hold) => hold.agent == *agent,
            State::Assigned {
                second: Some(Second::Offered(_, hold)),
                ..
            } => hold.agent == *agent,
            _ => false,
        };
        self.open().find(theirs).cloned()
    }

    fn in_hand_of(&self, agent: &AgentId) -> Option<WorkItem> {
        let theirs = |item: &&WorkItem| matches!(&item.state, State::Assigned { hand, .. } | State::Wrapping { hand, .. } if hand.agent == *agent);
        self.open().find(theirs).cloned()
    }

    fn room(&self, agent: &AgentId, units: i32) -> bool {
        let agent = &self.agents[agent];
        agent.used_units + units <= agent.capacity_units
    }

    fn route(&self, need: usize) -> Route {
        let target = TimeDelta::seconds(300);
        let requirement = Requirement {
            skills: if need % 2 == 1 {
                BTreeMap::from([("coffee".to_owned(), 2)])
            } else {
                BTreeMap::new()
            },
            language: ["", "it", "en", "de"]
                .get(need / 2)
                .filter(|l| !l.is_empty())
                .map(ToString::to_string),
            teams: if need == 5 {
                vec!["turin".to_owned()]
            } else {
                Vec::new()
            },
        };
        Route {
            queue: "general".to_owned(),
            target,
            ranking_target: target,
            due_at: self.now + target,
            ranking_due_at: self.now + target,
            steps: vec![Step {
                after: TimeDelta::seconds(90),
                requirement: Requirement {
                    language: None,
                    ..requirement.clone()
                },
            }],
            requirement,
            wrap_up_seconds: if need == 1 { 15 } else { 0 },
            agents: [AgentOrder::Any, AgentOrder::BotsFirst, AgentOrder::PeopleFirst][need % 3],
            preferred_wait: TimeDelta::seconds([0, 25][need % 2]),
            ..Route::nowhere()
        }
    }

    /// A conversation that moved takes the units of its channel, as far as there is room.
    fn fit(&mut self, item: WorkItem) -> WorkItem {
        let held = match &item.state {
            State::Offered(hold) => (hold.agent.clone(), hold.units),
            State::Assigned {
                hand, rest: Rest::No, ..
            } => (hand.agent.clone(), hand.units),
            _ => return item,
        };
        let wanted = self
            .rules
            .units(item.channel, self.agents[&held.0].capacity_units);
        if wanted < held.1 || self.room(&held.0, wanted - held.1) {
            item.using(wanted)
        } else {
            item
        }
    }

    /// What waits for them alone waits for anybody.
    fn unpin(&mut self, agent: &AgentId) {
        let theirs = |item: &&WorkItem| item.state == State::Pending && item.pinned.as_ref() == Some(agent);
        for mut item in self.open().filter(theirs).cloned().collect::<Vec<_>>() {
            item.preferred = item.pinned.take();
            self.put(item);
        }
    }

    fn leave(&mut self, gone: &AgentId) {
        self.unpin(gone);
        for item in self
            .items
            .values()
            .filter(|i| i.is_open())
            .cloned()
            .collect::<Vec<_>>()
        {
            let now = self.now;
            let item = match item.state.clone() {
                State::Offered(hold) if hold.agent == *gone => {
                    let mut item = item.give_back(hold.offer, gone, None).expect("theirs").0;
                    item.pinned = None;
                    item
                }
                State::Wrapping { hand, .. } if hand.agent == *gone => {
                    item.finish_wrap_up(now).expect("wraps").0
                }
                State::Assigned {
                    second: Some(Second::Offered(_, hold)),
                    ..
                } if hold.agent == *gone => item.decline_second(hold.offer, gone).expect("theirs").0,
                State::Assigned {
                    second: Some(Second::Joined(_, hand)),
                    ..
                } if hand.agent == *gone => item.end_consultation(false).expect("theirs").0,
                _ => continue,
            };
            self.put(item);
        }
    }

    /// Time passes: what lapses by then, lapses.
    fn pass(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
        let now = self.now;
        for item in self
            .items
            .values()
            .filter(|i| i.is_open())
            .cloned()
            .collect::<Vec<_>>()
        {
            match item.state.clone() {
                State::Offered(hold) if hold.until <= now => {
                    let (item, _) = item
                        .give_back(hold.offer, &hold.agent, Some(now))
                        .expect("theirs");
                    self.put(item);
                    self.become_now(&hold.agent, Presence::NotResponding);
                }
                State::Assigned {
                    second: Some(Second::Offered(_, hold)),
                    ..
                } if hold.until <= now => {
                    self.put(item.decline_second(hold.offer, &hold.agent).expect("theirs").0);
                }
                State::Wrapping { until, .. } if until <= now => {
                    self.put(item.finish_wrap_up(now).expect("wraps").0);
                }
                _ => {}
            }
        }
    }

    fn become_now(&mut self, agent: &AgentId, presence: Presence) {
        let mut agent = self.agents[agent].clone();
        agent.become_now(presence, "", self.now);
        self.put_agent(agent);
    }

    fn note(by: &AgentId, how: Handover) -> HandoverNote {
        HandoverNote {
            how,
            from: by.clone(),
            note: String::new(),
        }
    }
}

pub(super) fn reasons() -> [WithdrawReason; 3] {
    [
        WithdrawReason::Resolved,
        WithdrawReason::Merged,
        WithdrawReason::Answered,
    ]
}

/// Agents of a set, whoever they are.
pub(super) fn agents_of(items: &[WorkItem]) -> BTreeSet<AgentId> {
    items.iter().flat_map(WorkItem::agents).cloned().collect()
}
