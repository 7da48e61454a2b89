//! Age, strict priorities and deadlines.

use super::{
    bench::{Rules, Step},
    floor::{Floor, Item},
};

/// One queue by age.
pub(super) struct Fifo;

impl Rules for Fifo {
    fn steps(&self, _floor: &Floor, item: &Item) -> Vec<Step> {
        vec![at_once(item.must_level.max(1))]
    }

    fn order(&self, item: &Item) -> f64 {
        item.queued_at
    }

    fn priority(&self, _floor: &Floor, item: &Item, _now: f64) -> [f64; 2] {
        [-item.queued_at, 0.0]
    }
}

fn at_once(level: u8) -> Step {
    Step {
        after_s: 0.0,
        level,
        only: None,
    }
}

/// Strict priority of channel and entitlement, then age in this queue: a change of channel makes a new task.
pub(super) struct StrictPriority<const INTERRUPTS: bool> {
    channels: [f64; 6],
    entitlements: [f64; 3],
    widens: bool,
}

const CHANNELS: [&str; 6] = ["voice", "chat", "messaging", "social", "email", "review"];
const ENTITLEMENTS: [&str; 3] = ["gold", "silver", "bronze"];
/// Anybody will do after so many seconds in the queue.
const WIDENS_AFTER_S: [f64; 6] = [20.0, 30.0, 120.0, 600.0, 1800.0, 3600.0];
/// The agent who knows the customer has this long.
const KNOWN_AGENT_S: f64 = 15.0;
const TASK_ROUTER: [f64; 6] = [50.0, 40.0, 30.0, 20.0, 10.0, 0.0];
const BY_ENTITLEMENT: [f64; 3] = [9.0, 5.0, 0.0];

impl StrictPriority<false> {
    pub(super) const ASTERISK: Self = Self {
        channels: [6.0, 5.0, 4.0, 3.0, 2.0, 1.0],
        entitlements: [0.0; 3],
        widens: false,
    };
    pub(super) const TASK_ROUTER: Self = Self {
        channels: TASK_ROUTER,
        entitlements: BY_ENTITLEMENT,
        widens: true,
    };
}

impl StrictPriority<true> {
    pub(super) const TASK_ROUTER_INTERRUPT: Self = Self {
        channels: TASK_ROUTER,
        entitlements: BY_ENTITLEMENT,
        widens: true,
    };
}

impl<const INTERRUPTS: bool> Rules for StrictPriority<INTERRUPTS> {
    const INTERRUPTS: bool = INTERRUPTS;

    fn steps(&self, floor: &Floor, item: &Item) -> Vec<Step> {
        if self.widens {
            widening(floor, item)
        } else {
            vec![at_once(item.must_level.max(1))]
        }
    }

    fn order(&self, item: &Item) -> f64 {
        item.queued_at
    }

    fn priority(&self, floor: &Floor, item: &Item, _now: f64) -> [f64; 2] {
        let channel = place(&CHANNELS, floor.channels.name(item.channel));
        let entitlement = place(&ENTITLEMENTS, floor.entitlements.name(item.entitlement));
        let points =
            channel.map_or(0.0, |at| self.channels[at]) + entitlement.map_or(0.0, |at| self.entitlements[at]);
        [points, -item.queued_at]
    }
}

fn place(names: &[&str], name: &str) -> Option<usize> {
    names.iter().position(|known| *known == name)
}

/// The agent who knows the customer, then the wanted level, then anybody.
fn widening(floor: &Floor, item: &Item) -> Vec<Step> {
    let channel = place(&CHANNELS, floor.channels.name(item.channel));
    let widens_after_s = channel.map_or(0.0, |at| WIDENS_AFTER_S[at]);
    known_first(floor, item, KNOWN_AGENT_S, widens_after_s)
}

/// The agent who knows the customer if he is there, then the wanted level, then anybody who may.
pub(super) fn known_first(floor: &Floor, item: &Item, known_s: f64, widens_after_s: f64) -> Vec<Step> {
    let least = item.must_level.max(1);
    let wanted = item.min_level.max(item.must_level);
    let mut steps = Vec::with_capacity(3);
    let mut after_s = 0.0;
    let known = item
        .preferred
        .filter(|agent| item.leg == 1 && floor.agents[*agent].available);
    if known.is_some() {
        steps.push(Step {
            after_s,
            level: least,
            only: known,
        });
        after_s = known_s;
    }
    steps.push(Step {
        after_s,
        level: wanted,
        only: None,
    });
    if wanted > least {
        steps.push(Step {
            after_s: after_s + widens_after_s,
            level: least,
            only: None,
        });
    }
    steps
}

/// Earliest deadline over all channels, waiting done elsewhere included.
pub(super) struct EarliestDeadline;

impl Rules for EarliestDeadline {
    fn steps(&self, floor: &Floor, item: &Item) -> Vec<Step> {
        widening(floor, item)
    }

    fn order(&self, item: &Item) -> f64 {
        item.came_at - item.carried
    }

    fn priority(&self, floor: &Floor, item: &Item, _now: f64) -> [f64; 2] {
        [-(item.came_at - item.carried + floor.target_s(item)), 0.0]
    }
}
