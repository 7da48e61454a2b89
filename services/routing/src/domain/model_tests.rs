//! A small world of items and agents under random commands: what must always hold, holds.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use trama_proto::{
    common::v1::ChannelKind,
    ids::{AgentId, CaseId, OfferId, TenantId, WorkItemId},
};
use uuid::Uuid;

use super::*;

pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("in range")
}

pub(super) fn agent(name: &str, capacity_units: i32) -> Agent {
    Agent {
        id: name.parse().expect("an agent id"),
        display_name: name.into(),
        skills: BTreeMap::new(),
        languages: vec![],
        channel_kinds: vec![ChannelKind::WebChat, ChannelKind::Voice, ChannelKind::Email],
        capacity_units,
        bot: false,
        presence: Presence::Available,
        used_units: 0,
        pending_offers: 0,
        idle_since: at(0),
    }
}

fn tenant() -> TenantId {
    "acme".parse().expect("a tenant")
}

fn ask(case: u128, revision: i64, channel: ChannelKind, waiting_since: DateTime<Utc>) -> Request {
    Request {
        case_id: CaseId::new(Uuid::from_u128(case)),
        revision,
        channel,
        waiting_since,
        preferred: None,
        snapshot: vec![],
        route: route(&Facts::of(channel, None), None),
    }
}

/// An item whose number is also its case, for tests of the order.
pub(super) fn item(number: i32, channel: ChannelKind) -> WorkItem {
    let case = u128::try_from(number).expect("positive");
    let mut item = request(&tenant(), None, ask(case, 1, channel, at(i64::from(number))));
    item.number = number;
    item
}

#[test]
fn a_channel_switch_keeps_the_place() {
    let first = request(&tenant(), None, ask(1, 1, ChannelKind::Email, at(0)));
    let second = request(
        &tenant(),
        Some(first.clone()),
        ask(1, 2, ChannelKind::Voice, at(500)),
    );
    assert_eq!(
        (second.id, second.number, second.waiting_since),
        (first.id, 1, at(0))
    );
    assert_eq!((second.channel, second.revision), (ChannelKind::Voice, 2));
}

#[test]
fn work_after_the_end_is_a_new_item() {
    let first = request(&tenant(), None, ask(1, 1, ChannelKind::Email, at(0)));
    let (ended, what) = first.clone().withdraw(2, WithdrawReason::Answered, at(5));
    assert_eq!(what, Withdrawal::Cancelled);
    let second = request(&tenant(), Some(ended), ask(1, 3, ChannelKind::Email, at(9)));
    assert_ne!(second.id, first.id);
    assert_eq!((second.number, second.waiting_since), (2, at(9)));
}

#[test]
fn an_answer_does_not_take_work_out_of_an_agents_hands_but_a_resolution_does() {
    let hold = Hold {
        offer: OfferId::new(Uuid::from_u128(1)),
        agent: agent("a", 6).id,
        units: 2,
        until: at(30),
    };
    let held = request(&tenant(), None, ask(1, 1, ChannelKind::WebChat, at(0)))
        .offer(hold.clone())
        .expect("waiting");
    let mine = held.accept(hold.offer, &hold.agent, at(10)).expect("in time");
    let (mine, what) = mine.withdraw(2, WithdrawReason::Answered, at(20));
    assert_eq!(what, Withdrawal::Nothing);
    let (done, what) = mine.withdraw(3, WithdrawReason::Resolved, at(40));
    assert!(
        matches!(
            what,
            Withdrawal::Completed(Done {
                handle_seconds: 30,
                ..
            })
        ),
        "{what:?}"
    );
    assert!(!done.is_open());
}

#[test]
fn a_lapsed_or_foreign_offer_is_not_accepted() {
    let hold = Hold {
        offer: OfferId::new(Uuid::from_u128(1)),
        agent: agent("a", 6).id,
        units: 2,
        until: at(30),
    };
    let held = request(&tenant(), None, ask(1, 1, ChannelKind::WebChat, at(0)))
        .offer(hold.clone())
        .expect("waiting");
    assert_eq!(
        held.clone().accept(hold.offer, &hold.agent, at(30)),
        Err(Rejected::Lapsed(at(30)))
    );
    assert_eq!(
        held.clone().accept(hold.offer, &agent("b", 6).id, at(1)),
        Err(Rejected::NotYours)
    );
    assert_eq!(
        held.accept(OfferId::new(Uuid::from_u128(2)), &hold.agent, at(1)),
        Err(Rejected::NotOffered)
    );
}

#[derive(Debug, Clone)]
enum Command {
    Ask { case: u128, channel: ChannelKind },
    Withdraw { case: u128, reason: WithdrawReason },
    Accept { case: u128 },
    Decline { case: u128, exclude: bool },
    Complete { case: u128 },
    Pass { seconds: i64 },
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let channel = prop_oneof![
        Just(ChannelKind::WebChat),
        Just(ChannelKind::Voice),
        Just(ChannelKind::Email)
    ];
    let reason = prop_oneof![
        Just(WithdrawReason::Resolved),
        Just(WithdrawReason::Merged),
        Just(WithdrawReason::Answered)
    ];
    let case = 1..12_u128;
    proptest::collection::vec(
        prop_oneof![
            4 => (case.clone(), channel).prop_map(|(case, channel)| Command::Ask { case, channel }),
            1 => (case.clone(), reason).prop_map(|(case, reason)| Command::Withdraw { case, reason }),
            3 => case.clone().prop_map(|case| Command::Accept { case }),
            1 => (case.clone(), any::<bool>()).prop_map(|(case, exclude)| Command::Decline { case, exclude }),
            2 => case.prop_map(|case| Command::Complete { case }),
            1 => (1..40_i64).prop_map(|seconds| Command::Pass { seconds }),
        ],
        1..120,
    )
}

#[derive(Default)]
struct World {
    now: i64,
    next: u128,
    revision: i64,
    last: BTreeMap<u128, WorkItem>,
    agents: BTreeMap<AgentId, Agent>,
    live: HashMap<WorkItemId, OfferId>,
}

impl World {
    fn free(&mut self, agent: &AgentId, units: i32, was_pending: bool) {
        let agent = self.agents.get_mut(agent).expect("known agent");
        agent.used_units -= units;
        agent.pending_offers -= i32::from(was_pending && !agent.bot);
    }

    fn run(&mut self, command: Command) {
        self.revision += 1;
        let now = at(self.now);
        match command {
            Command::Ask { case, channel } => {
                let item = request(
                    &tenant(),
                    self.last.remove(&case),
                    ask(case, self.revision, channel, now),
                );
                self.last.insert(case, item);
            }
            Command::Withdraw { case, reason } => {
                let Some(item) = self.last.remove(&case) else {
                    return;
                };
                let (item, what) = item.withdraw(self.revision, reason, now);
                match what {
                    Withdrawal::Nothing | Withdrawal::Cancelled => {}
                    Withdrawal::Rescinded(hold) => {
                        self.live.remove(&item.id);
                        self.free(&hold.agent, hold.units, true);
                    }
                    Withdrawal::Completed(done) => {
                        self.live.remove(&item.id);
                        self.free(&done.agent, done.units, false);
                    }
                }
                self.last.insert(case, item);
            }
            Command::Accept { case } => {
                let Some(item) = self.last.get(&case).cloned() else {
                    return;
                };
                let Some((agent, offer)) = item.in_hand().map(|(a, o)| (a.clone(), o)) else {
                    return;
                };
                if let Ok(item) = item.accept(offer, &agent, now) {
                    self.free(&agent, 0, true);
                    self.last.insert(case, item);
                }
            }
            Command::Decline { case, exclude } => {
                let Some(item) = self.last.get(&case).cloned() else {
                    return;
                };
                let Some((agent, offer)) = item.in_hand().map(|(a, o)| (a.clone(), o)) else {
                    return;
                };
                if let Ok((item, hold)) = item.give_back(offer, &agent, exclude) {
                    self.live.remove(&item.id);
                    self.free(&hold.agent, hold.units, true);
                    self.last.insert(case, item);
                }
            }
            Command::Complete { case } => {
                let Some(item) = self.last.get(&case).cloned() else {
                    return;
                };
                if let Ok((item, done)) = item.complete(now) {
                    self.live.remove(&item.id);
                    self.free(&done.agent, done.units, false);
                    self.last.insert(case, item);
                }
            }
            Command::Pass { seconds } => self.now += seconds,
        }
        self.match_all();
    }

    fn match_all(&mut self) {
        let now = at(self.now);
        let waiting: Vec<_> = self
            .last
            .values()
            .filter(|i| i.state == State::Pending)
            .cloned()
            .collect();
        let next = &mut self.next;
        let (matches, _) = decide(waiting, self.agents.values().cloned().collect(), now, || {
            *next += 1;
            OfferId::new(Uuid::from_u128(*next))
        });
        for one in matches {
            let before = self.live.insert(one.item.id, one.hold.offer);
            assert_eq!(before, None, "an item was offered twice");
            self.agents
                .get_mut(&one.hold.agent)
                .expect("known agent")
                .hold(one.hold.units, now);
            self.last.insert(one.item.case_id.uuid().as_u128(), one.item);
        }
    }

    fn check(&self) {
        for agent in self.agents.values() {
            assert!(
                (0..=agent.capacity_units).contains(&agent.used_units),
                "{agent:?}"
            );
            assert!((0..=1).contains(&agent.pending_offers), "{agent:?}");
            let held: i32 = self
                .last
                .values()
                .map(|item| match &item.state {
                    State::Offered(hold) if hold.agent == agent.id => hold.units,
                    State::Assigned { agent: by, units, .. } if *by == agent.id => *units,
                    State::Offered(_)
                    | State::Assigned { .. }
                    | State::Pending
                    | State::Completed { .. }
                    | State::Cancelled { .. } => 0,
                })
                .sum();
            assert_eq!(held, agent.used_units, "units are those of the work in hand");
        }
        for item in self.last.values() {
            assert_eq!(
                self.live.get(&item.id).copied(),
                item.in_hand().map(|(_, offer)| offer)
            );
            if item.state == State::Pending {
                assert!(
                    !self.agents.values().any(|a| a.can_take(item)),
                    "work waits although an agent could take it"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn one_live_offer_per_item_and_never_more_units_than_capacity(commands in commands()) {
        let mut world = World::default();
        for mut one in [agent("a", 6), agent("b", 3), agent("bot", 9)] {
            one.bot = one.id.as_str() == "bot";
            world.agents.insert(one.id.clone(), one);
        }
        for command in commands {
            world.run(command);
            world.check();
        }
    }

    #[test]
    fn whatever_the_order_of_messages_the_newest_revision_stands(order in Just((1..=6_i64).collect::<Vec<_>>()).prop_shuffle(), withdrawn in 1..=6_i64) {
        let mut last: Option<WorkItem> = None;
        let mut tombstone = 0;
        for revision in order {
            let seen = last.as_ref().map_or(tombstone, |i| i.revision.max(tombstone));
            if revision <= seen {
                continue;
            }
            if revision == withdrawn {
                match last.take() {
                    Some(item) => last = Some(item.withdraw(revision, WithdrawReason::Resolved, at(0)).0),
                    None => tombstone = revision,
                }
            } else {
                last = Some(request(&tenant(), last.take(), ask(1, revision, ChannelKind::Email, at(revision))));
            }
        }
        let open = last.is_some_and(|i| i.is_open());
        prop_assert_eq!(open, withdrawn != 6);
    }
}

#[test]
fn time_to_answer_is_measured_against_the_target() {
    let hold = Hold {
        offer: OfferId::new(Uuid::from_u128(1)),
        agent: agent("a", 6).id,
        units: 2,
        until: at(9_999),
    };
    let held = request(&tenant(), None, ask(1, 1, ChannelKind::WebChat, at(0)))
        .offer(hold.clone())
        .expect("waiting");
    let late = held.due_at + TimeDelta::seconds(1);
    let item = held
        .accept(hold.offer, &hold.agent, late)
        .expect("in time for the offer");
    assert_eq!(
        item.answered,
        Some(Answered {
            at: late,
            channel: ChannelKind::WebChat,
            in_target: false
        })
    );
}
