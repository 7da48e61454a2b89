//! How well a day went: per channel, per entitlement, per cell of both, and in one line.
//!
//! The figures and their rounding are those of the reference simulator.

mod log;
mod show;
mod tally;

use serde::Serialize;

use self::tally::{Tally, percentile};
use super::world::{ItemState, ItemStatus, Transfer, World};

pub(super) use self::tally::rounded;
pub use self::{log::log, show::show};

/// Agents with less time than this do not count in the figures about agents.
const LEAST_LOGGED_S: f64 = 1800.0;
/// Cells with fewer items are too small to be called the worst.
const LEAST_CELL: u64 = 30;

/// What one group of items met with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Items.
    pub n: u64,
    /// Answered ones.
    pub answered: u64,
    /// Mean wait of the answered ones since the first contact, seconds.
    pub asa: f64,
    /// The same in the leg that was answered.
    pub asa_leg: f64,
    /// Median wait.
    pub p50: f64,
    /// Wait of nine in ten at most.
    pub p90: f64,
    /// Share answered in target, per cent.
    pub sl: f64,
    /// Share abandoned, per cent.
    pub aband: f64,
    /// Still waiting past the target at the end.
    pub late_open: u64,
    /// Still waiting in target at the end.
    pub open: u64,
    /// Mean wait as a share of the target.
    pub norm: f64,
    /// The same of nine in ten at most.
    pub norm90: f64,
    /// Answered in target.
    pub in_target: u64,
    /// What the service level counts.
    pub counted: u64,
}

/// The day in one line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Items.
    pub n: u64,
    /// Share answered in target, per cent.
    pub sl: f64,
    /// Share abandoned, per cent.
    pub aband: f64,
    /// Mean distance below the goal over cells, percentage points; the headline.
    pub shortfall_pp: f64,
    /// The cell farthest below its goal.
    pub worst_cell: String,
    /// Best less worst channel, percentage points.
    pub sl_spread_pp: f64,
    /// Largest over smallest mean normalised wait of channels.
    pub norm_ratio: f64,
    /// Largest over smallest answer time of voice, chat and messaging.
    pub asa_ratio_rt: f64,
    /// Jain's index of the channels' service levels.
    pub jain_sl: f64,
    /// Occupancy of agents, per cent.
    pub occ_mean: f64,
    /// Of one in ten at most.
    pub occ_p10: f64,
    /// Of nine in ten at most.
    pub occ_p90: f64,
    /// Of the least busy.
    pub occ_min: f64,
    /// Of the busiest.
    pub occ_max: f64,
    /// Units in use, per cent.
    pub util_mean: f64,
    /// Jain's index of occupancy.
    pub jain_occ: f64,
    /// Offers per item.
    pub offers_per_item: f64,
    /// Offers declined.
    pub declines: u64,
    /// Offers that rang out.
    pub timeouts: u64,
    /// Offers whose customer left.
    pub rescinded: u64,
    /// Offers that broke a rule.
    pub invalid: u64,
    /// Share answered below the wanted level, per cent.
    pub underskilled: f64,
    /// Transfers for want of skill.
    pub transfers: u64,
    /// Share answered by the agent who knows them, per cent of those who have one.
    pub preferred_hit: f64,
    /// Items that changed channel.
    pub switched: u64,
    /// Share of those abandoned, per cent.
    pub switched_aband: f64,
    /// Mean wait of those since the first contact.
    pub switched_asa_since_first_contact: f64,
    /// Customers who left after a first answer.
    pub aband_after_answer: u64,
    /// Items thrown back by lost agents.
    pub requeued_lost: u64,
    /// Not finished at the end.
    pub unfinished: u64,
}

/// What running it took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Performance {
    /// Things that happened.
    pub events: u64,
    /// Times the router was asked.
    pub decisions: u64,
    /// Time in the router.
    pub policy_cpu_s: f64,
    /// Mean time per decision with its events.
    pub mean_us: f64,
    /// Longest.
    pub max_ms: f64,
}

/// Everything about one day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kpi {
    /// By the channel of the answer.
    #[serde(serialize_with = "as_map")]
    pub channel: Vec<(String, Group)>,
    /// By entitlement.
    #[serde(serialize_with = "as_map")]
    pub ent: Vec<(String, Group)>,
    /// By `channel/entitlement`.
    #[serde(serialize_with = "as_map")]
    pub cell: Vec<(String, Group)>,
    /// All items.
    pub all: Group,
    /// In one line.
    pub summary: Summary,
    /// What it took; differs from run to run.
    pub perf: Performance,
}

fn as_map<S: serde::Serializer>(groups: &[(String, Group)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(groups.iter().map(|(name, group)| (name, group)))
}

/// Sums a day up.
pub fn kpi(world: &World<'_>) -> Kpi {
    let mut channel = Tally::default();
    let mut ent = Tally::default();
    let mut cell = Tally::default();
    let mut all = Tally::default();
    for (item, state) in world.items.iter().enumerate() {
        let entitlement = &world.trace.items[item].entitlement;
        let name = &world.rules.channels[answered_on(state)];
        let seen = tally::look(world, item);
        channel.count(name, &seen);
        ent.count(entitlement, &seen);
        cell.count(&format!("{name}/{entitlement}"), &seen);
        all.count("all", &seen);
    }
    let (channel, ent, cell) = (channel.groups(), ent.groups(), cell.groups());
    let all = all.groups().pop().map_or_else(Group::empty, |(_, group)| group);
    let summary = summary(world, &channel, &cell, &all);
    Kpi {
        channel,
        ent,
        cell,
        all,
        summary,
        perf: performance(world),
    }
}

/// The channel of the first answer, or the one where the item waits.
fn answered_on(state: &ItemState) -> usize {
    state.answered.map_or(state.channel, |answered| answered.channel)
}

fn performance(world: &World<'_>) -> Performance {
    let seconds = world.router_time.as_secs_f64();
    let decisions = world.counted.decisions;
    Performance {
        events: world.counted.events,
        decisions,
        policy_cpu_s: rounded(seconds, 3),
        mean_us: rounded(1e6 * seconds / decisions.max(1) as f64, 1),
        max_ms: rounded(1e3 * world.slowest.as_secs_f64(), 2),
    }
}

fn summary(
    world: &World<'_>,
    channels: &[(String, Group)],
    cells: &[(String, Group)],
    all: &Group,
) -> Summary {
    let (shortfall_pp, worst_cell) = shortfall(world, cells);
    let levels: Vec<f64> = channels.iter().map(|(_, group)| group.sl).collect();
    let norms = channels.iter().map(|(_, group)| group.norm.max(1e-3));
    let real_time = ["voice", "chat", "messaging"].into_iter().filter_map(|name| {
        let (_, group) = channels.iter().find(|(channel, _)| channel == name)?;
        Some(group.asa_leg.max(0.1))
    });
    let mut occupancy: Vec<f64> = (world.agents.iter())
        .filter(|agent| agent.logged_s > LEAST_LOGGED_S)
        .map(|agent| agent.busy_s / agent.logged_s)
        .collect();
    occupancy.sort_by(f64::total_cmp);
    let used: Vec<f64> = (world.agents.iter())
        .filter(|agent| agent.logged_s > LEAST_LOGGED_S)
        .map(|agent| agent.unit_s / agent.logged_s / world.rules.capacity as f64)
        .collect();
    let items = || world.trace.items.iter().zip(&world.items);
    let answered: Vec<_> = items()
        .filter_map(|(row, state)| Some((row, state, state.answered?)))
        .collect();
    let known: Vec<_> = answered
        .iter()
        .filter(|(row, ..)| row.preferred.is_some())
        .collect();
    let switched: Vec<_> = items()
        .filter(|(row, state)| {
            let to = row.switch.as_ref().map(|switch| &switch.channel);
            state.leg > 1 && to == Some(&world.rules.channels[state.channel])
        })
        .collect();
    let switched_waits: Vec<f64> = switched
        .iter()
        .filter_map(|(row, state)| Some(state.answered?.at - row.at_s))
        .collect();
    let count =
        |test: &dyn Fn(&ItemState) -> bool| world.items.iter().filter(|state| test(state)).count() as u64;
    Summary {
        n: world.items.len() as u64,
        sl: all.sl,
        aband: all.aband,
        shortfall_pp,
        worst_cell,
        sl_spread_pp: rounded(spread(&levels).map_or(0.0, |(least, most)| most - least), 1),
        norm_ratio: ratio(norms),
        asa_ratio_rt: ratio(real_time),
        jain_sl: rounded(jain(&levels), 3),
        occ_mean: rounded(100.0 * mean(&occupancy), 1),
        occ_p10: rounded(100.0 * percentile(&occupancy, 0.1), 1),
        occ_p90: rounded(100.0 * percentile(&occupancy, 0.9), 1),
        occ_min: rounded(100.0 * occupancy.first().copied().unwrap_or(0.0), 1),
        occ_max: rounded(100.0 * occupancy.last().copied().unwrap_or(0.0), 1),
        util_mean: rounded(100.0 * mean(&used), 1),
        jain_occ: rounded(jain(&occupancy), 3),
        offers_per_item: rounded(world.counted.offers as f64 / world.items.len().max(1) as f64, 3),
        declines: world.counted.declines,
        timeouts: world.counted.timeouts,
        rescinded: world.counted.rescinded,
        invalid: world.counted.invalid,
        underskilled: per_cent(
            answered
                .iter()
                .filter(|(row, _, answer)| answer.level < row.min_level)
                .count(),
            answered.len(),
        ),
        transfers: count(&|state| state.transfer == Transfer::Was),
        preferred_hit: per_cent(
            known
                .iter()
                .filter(|(row, _, answer)| row.preferred == Some(answer.agent))
                .count(),
            known.len(),
        ),
        switched: switched.len() as u64,
        switched_aband: per_cent(
            switched
                .iter()
                .filter(|(_, state)| state.status == ItemStatus::Abandoned)
                .count(),
            switched.len(),
        ),
        switched_asa_since_first_contact: rounded(mean(&switched_waits), 1),
        aband_after_answer: count(&|state| state.status == ItemStatus::Abandoned && state.answered.is_some()),
        requeued_lost: world.items.iter().map(|state| u64::from(state.lost_agents)).sum(),
        unfinished: count(&|state| {
            matches!(
                state.status,
                ItemStatus::Service | ItemStatus::Queued | ItemStatus::Offered
            )
        }),
    }
}

/// How far cells are below their goals, on the mean, and the worst one.
fn shortfall(world: &World<'_>, cells: &[(String, Group)]) -> (f64, String) {
    let (mut sum, mut counted) = (0.0, 0);
    let mut worst = ("", -1.0);
    for (name, group) in cells {
        let entitlement = name.split_once('/').map_or("", |(_, entitlement)| entitlement);
        let goal = world.trace.rules.goal_sl.get(entitlement).copied().unwrap_or(0.0);
        let gap = (100.0 * goal - group.sl).max(0.0);
        sum += gap * group.counted as f64;
        counted += group.counted;
        if group.counted >= LEAST_CELL && gap > worst.1 {
            worst = (name, gap);
        }
    }
    let (cell, gap) = worst;
    (
        rounded(sum / counted.max(1) as f64, 2),
        format!("{cell} -{gap:.1}"),
    )
}

fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().reduce(f64::min)?;
    let most = values.iter().copied().reduce(f64::max)?;
    Some((least, most))
}

fn ratio(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    spread(&values).map_or(0.0, |(least, most)| rounded(most / least, 1))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn per_cent(part: usize, of: usize) -> f64 {
    rounded((100 * part) as f64 / of.max(1) as f64, 1)
}

/// Jain's fairness index: one when all are equal.
fn jain(values: &[f64]) -> f64 {
    let squares: f64 = values.iter().map(|value| value * value).sum();
    if squares > 0.0 {
        let sum: f64 = values.iter().sum();
        sum * sum / (values.len() as f64 * squares)
    } else {
        1.0
    }
}
