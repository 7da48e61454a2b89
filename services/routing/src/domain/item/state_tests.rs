//! The states of an item against a naive model: the same orders, in any order, end in the same place.

mod plain;

use proptest::prelude::*;
use trama_proto::ids::{CaseId, OfferId, TenantId};
use uuid::Uuid;

use self::plain::{Plain, Word};
use super::*;

/// What may be ordered; agents are numbers.
#[derive(Debug, Clone)]
enum Order {
    Offer(u8, i32),
    Accept { same_offer: bool, same_agent: bool },
    GiveBack { same_offer: bool, exclude: bool },
    ReturnToQueue,
    Complete { wrap_up: i64 },
    FinishWrapUp,
    Rest { paused: bool },
    Resume(i32),
    Transfer { by: u8, to: To },
    Ask { warm: bool, to: To },
    OfferSecond(u8, i32),
    AcceptSecond { same_agent: bool },
    DeclineSecond,
    EndConsultation { hand_over: bool },
    Withdraw(WithdrawReason),
    Request { voice: bool, earlier: i64, left: bool },
    Passes(i64),
}

#[derive(Debug, Clone, Copy)]
enum To {
    Queue,
    Agent(u8),
    Skill,
}

fn any_order() -> impl Strategy<Value = Order> {
    let to = || prop_oneof![Just(To::Queue), (0..4_u8).prop_map(To::Agent), Just(To::Skill)];
    let mostly = || prop::bool::weighted(0.85);
    let reasons = prop_oneof![
        Just(WithdrawReason::Resolved),
        Just(WithdrawReason::Merged),
        Just(WithdrawReason::Answered)
    ];
    prop_oneof![
        5 => (0..4_u8, 1..6_i32).prop_map(|(agent, units)| Order::Offer(agent, units)),
        5 => (mostly(), mostly())
            .prop_map(|(same_offer, same_agent)| Order::Accept { same_offer, same_agent }),
        2 => (mostly(), any::<bool>())
            .prop_map(|(same_offer, exclude)| Order::GiveBack { same_offer, exclude }),
        1 => Just(Order::ReturnToQueue),
        1 => (0..2_i64).prop_map(|wrap_up| Order::Complete { wrap_up: wrap_up * 30 }),
        1 => Just(Order::FinishWrapUp),
        2 => any::<bool>().prop_map(|paused| Order::Rest { paused }),
        2 => (1..6_i32).prop_map(Order::Resume),
        1 => (0..4_u8, to()).prop_map(|(by, to)| Order::Transfer { by, to }),
        3 => (any::<bool>(), to()).prop_map(|(warm, to)| Order::Ask { warm, to }),
        3 => (0..4_u8, 1..6_i32).prop_map(|(agent, units)| Order::OfferSecond(agent, units)),
        3 => mostly().prop_map(|same_agent| Order::AcceptSecond { same_agent }),
        1 => Just(Order::DeclineSecond),
        2 => any::<bool>().prop_map(|hand_over| Order::EndConsultation { hand_over }),
        1 => reasons.prop_map(Order::Withdraw),
        3 => (any::<bool>(), 0..3_i64, prop::bool::weighted(0.2))
            .prop_map(|(voice, earlier, left)| Order::Request { voice, earlier, left }),
        4 => (1..40_i64).prop_map(Order::Passes),
    ]
}

fn agent(number: u8) -> AgentId {
    format!("agent-{number}").parse().expect("an agent's name")
}

fn offer(number: u32) -> OfferId {
    OfferId::new(Uuid::from_u128(u128::from(number)))
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_308_000, 0).expect("a moment")
}

fn asked(revision: i64, voice: bool, waiting_since: DateTime<Utc>, left: bool) -> Request {
    Request {
        case_id: CaseId::new(Uuid::from_u128(7)),
        revision,
        channel: if voice {
            ChannelKind::Voice
        } else {
            ChannelKind::WebChat
        },
        waiting_since,
        preferred: None,
        customer_left: left,
        calls_back: false,
        snapshot: Vec::new(),
        route: Route::nowhere(),
    }
}

fn acme() -> TenantId {
    "acme".parse().expect("a tenant's name")
}

/// One order to the real item; `Err` when it is refused.
struct World {
    item: WorkItem,
    now: DateTime<Utc>,
    offers: u32,
}

impl World {
    fn hold(&mut self, by: u8, units: i32) -> Hold {
        self.offers += 1;
        Hold {
            offer: offer(self.offers),
            agent: agent(by),
            units,
            until: self.now + TimeDelta::seconds(20),
        }
    }

    fn current(&self, same_offer: bool, same_agent: bool) -> (OfferId, AgentId) {
        let (by, current) = match (self.item.in_hand(), self.item.second().and_then(Second::offer)) {
            (Some((by, current)), _) => (by.clone(), current),
            (None, _) => (agent(0), offer(0)),
        };
        let by = if same_agent {
            by
        } else {
            "nobody".parse().expect("a name")
        };
        (if same_offer { current } else { offer(u32::MAX) }, by)
    }

    fn second(&self) -> (OfferId, AgentId) {
        let second = self.item.second();
        let by = second
            .and_then(Second::agent)
            .cloned()
            .unwrap_or_else(|| agent(0));
        (second.and_then(Second::offer).map_or(offer(0), |(id, _)| id), by)
    }

    fn to(to: To) -> Destination {
        match to {
            To::Queue => Destination::Queue(Box::new(Route::nowhere())),
            To::Agent(number) => Destination::Agent(agent(number)),
            To::Skill => Destination::Skill("latte-art".to_owned(), 5),
        }
    }

    fn run(&mut self, order: &Order) -> Result<(), Rejected> {
        let (item, now) = (self.item.clone(), self.now);
        self.item = match *order {
            Order::Offer(by, units) => {
                let hold = self.hold(by, units);
                item.offer(hold)?
            }
            Order::Accept {
                same_offer,
                same_agent,
            } => {
                let (offer, by) = self.current(same_offer, same_agent);
                item.accept(offer, &by, now)?
            }
            Order::GiveBack { same_offer, exclude } => {
                let (offer, by) = self.current(same_offer, true);
                item.give_back(offer, &by, exclude.then_some(now))?.0
            }
            Order::ReturnToQueue => item.return_to_queue(now)?.0,
            Order::Complete { wrap_up } => item.complete(TimeDelta::seconds(wrap_up), now)?.0,
            Order::FinishWrapUp => item.finish_wrap_up(now)?.0,
            Order::Rest { paused } => item.rest(if paused { Rest::Paused } else { Rest::Parked })?,
            Order::Resume(units) => item.resume(units)?,
            Order::Transfer { by, to } => {
                let told = HandoverNote {
                    how: Handover::Blind,
                    from: agent(by),
                    note: String::new(),
                };
                item.transfer(Self::to(to), told, now)?.0
            }
            Order::Ask { warm, to } => {
                let how = if warm { Handover::Warm } else { Handover::Consult };
                let told = HandoverNote {
                    how,
                    from: agent(0),
                    note: String::new(),
                };
                item.ask(Self::to(to), told, now)?
            }
            Order::OfferSecond(by, units) => {
                let hold = self.hold(by, units);
                item.offer_second(hold)?
            }
            Order::AcceptSecond { same_agent } => {
                let (offer, by) = self.second();
                let by = if same_agent {
                    by
                } else {
                    "nobody".parse().expect("a name")
                };
                item.accept_second(offer, &by, now)?.0
            }
            Order::DeclineSecond => {
                let (offer, by) = self.second();
                item.decline_second(offer, &by)?.0
            }
            Order::EndConsultation { hand_over } => item.end_consultation(hand_over)?.0,
            Order::Withdraw(reason) => {
                item.clone()
                    .withdraw(item.revision, reason, TimeDelta::zero(), now)
                    .0
            }
            Order::Request { voice, earlier, left } => {
                let since = self.item.waiting_since - TimeDelta::seconds(earlier);
                let left = left && item.is_open();
                request(
                    &acme(),
                    Some(item.clone()),
                    asked(item.revision + 1, voice, since, left),
                    now,
                )
                .0
            }
            Order::Passes(seconds) => {
                self.now += TimeDelta::seconds(seconds);
                item
            }
        };
        Ok(())
    }
}

/// What no order may break, whatever the model says.
fn promises(item: &WorkItem) {
    assert!(item.units().all(|(_, units)| units >= 0));
    if let State::Assigned { hand, rest, .. } = &item.state
        && *rest != Rest::No
    {
        assert_eq!(hand.units, 0, "what rests holds nothing");
    }
    let mut names: Vec<_> = item.excluded.iter().map(|e| e.agent.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), item.excluded.len(), "each agent is excluded once");
    if !item.is_open() {
        assert_eq!(
            item.agents().count() + item.units().count(),
            0,
            "what is over is in nobody's hands"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn an_item_does_what_the_naive_model_does(
        voice in any::<bool>(),
        orders in prop::collection::vec(any_order(), 1..60),
    ) {
        let (item, what) = request(&acme(), None, asked(1, voice, start(), false), start());
        prop_assert_eq!(what, Asked::Waits);
        let mut world = World { item, now: start(), offers: 0 };
        let mut model = Plain::new(voice, start());
        for order in &orders {
            let before = world.item.clone();
            let done = world.run(order);
            let expected = model.run(order, world.now);
            prop_assert_eq!(done.is_ok(), expected, "{:?} on {:?}: {:?}", order, before.state, done);
            if done.is_err() {
                prop_assert_eq!(&world.item, &before);
            }
            let seen = Plain::of(&world.item);
            prop_assert_eq!(&seen, &model.visible(), "{:?} on {:?}", order, before.state);
            if world.item.number == before.number {
                prop_assert!(world.item.waiting_since <= before.waiting_since, "the clock is never lost");
                prop_assert!(world.item.transfers >= before.transfers);
            } else {
                prop_assert!(!before.is_open(), "a case has one open item");
            }
            promises(&world.item);
        }
    }

    #[test]
    fn a_stale_request_or_withdrawal_says_nothing(revision in 1..50_i64, last in 1..50_i64) {
        let (item, _) = request(&acme(), None, asked(last, false, start(), false), start());
        prop_assert_eq!(is_newer(Some(&item), revision, false), revision > last);
        prop_assert_eq!(is_newer(Some(&item), revision, true), revision >= last);
        prop_assert!(is_newer(None, revision, false));
    }
}

#[test]
fn an_exclusion_grows_with_each_time_and_always_ends() {
    let minute = TimeDelta::minutes(1);
    let mut last = TimeDelta::zero();
    for times in 1..200 {
        let exclusion = Exclusion {
            agent: agent(0),
            at: start(),
            times,
        };
        let lasts = exclusion.until(minute) - start();
        assert!(lasts >= last && lasts <= TimeDelta::hours(1), "{times}: {lasts}");
        last = lasts;
    }
    let twice = Exclusion {
        agent: agent(0),
        at: start(),
        times: 2,
    };
    assert_eq!(twice.until(minute) - start(), TimeDelta::minutes(2));
}

#[test]
fn who_is_excluded_twice_is_counted_and_a_transfer_to_them_lifts_it() {
    let (mut item, _) = request(&acme(), None, asked(1, false, start(), false), start());
    for number in 1..=2 {
        let hold = Hold {
            offer: offer(number),
            agent: agent(1),
            units: 2,
            until: start() + TimeDelta::minutes(1),
        };
        item = item.offer(hold).expect("it waits");
        item = item
            .give_back(offer(number), &agent(1), Some(start()))
            .expect("theirs")
            .0;
    }
    assert_eq!(
        item.excluded,
        [Exclusion {
            agent: agent(1),
            at: start(),
            times: 2
        }]
    );
    item.send_to(Destination::Agent(agent(1)));
    assert!(item.excluded.is_empty());
    assert_eq!(item.pinned, Some(agent(1)));
}

#[test]
fn an_offer_lapses_at_its_end_and_not_before() {
    let (item, _) = request(&acme(), None, asked(1, false, start(), false), start());
    let until = start() + TimeDelta::seconds(20);
    let item = item
        .offer(Hold {
            offer: offer(1),
            agent: agent(1),
            units: 2,
            until,
        })
        .expect("it waits");
    let late = item.clone().accept(offer(1), &agent(1), until);
    assert_eq!(late, Err(Rejected::Lapsed(until)));
    let taken = item.accept(offer(1), &agent(1), until - TimeDelta::milliseconds(1));
    assert_eq!(Plain::of(&taken.expect("in time")).word, Word::Assigned);
}
