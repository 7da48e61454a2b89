//! First fit: the best-ranked item goes to its preferred agent, else to whoever has been idle longest.
//!
//! Skills, channel, capacity and exclusion are hard; the language only chooses among those who may take the item:
//! it is a guess from few words, and a wrong guess must not leave a customer waiting for nobody.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::ids::{AgentId, OfferId};

use super::{Agent, Hold, Need, WorkItem};

/// An item and who gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The item, held for the agent.
    pub item: WorkItem,
    /// The hold.
    pub hold: Hold,
    /// Whether the agent is human.
    pub human: bool,
    /// Why this agent, in words.
    pub explanation: String,
}

/// Decides who gets what. Items that nobody can take now are given back as they were.
pub fn decide(
    mut items: Vec<WorkItem>,
    mut agents: Vec<Agent>,
    now: DateTime<Utc>,
    mut new_offer_id: impl FnMut() -> OfferId,
) -> (Vec<Match>, Vec<WorkItem>) {
    items.sort_by_cached_key(WorkItem::rank);
    let by_id: HashMap<AgentId, usize> = agents
        .iter()
        .enumerate()
        .map(|(n, a)| (a.id.clone(), n))
        .collect();
    // Who gets an offer goes to the end of the line: `turn` keeps that order within this decision.
    let mut turn = 0_u64;
    let mut line: BTreeSet<(DateTime<Utc>, u64, usize)> = agents
        .iter()
        .enumerate()
        .filter(|(_, a)| a.has_room())
        .map(|(n, a)| (a.idle_since, 0, n))
        .collect();
    let mut place: HashMap<usize, (DateTime<Utc>, u64, usize)> = line.iter().map(|p| (p.2, *p)).collect();

    let (mut matches, mut rest) = (Vec::new(), Vec::new());
    for item in items {
        let preferred = item.preferred.as_ref().and_then(|id| by_id.get(id)).copied();
        let preferred = preferred.filter(|n| agents[*n].can_take(&item));
        let Some(chosen) = preferred.or_else(|| longest_idle(&line, &agents, &item)) else {
            rest.push(item);
            continue;
        };
        let agent = &mut agents[chosen];
        let explanation = explain(agent, &item, preferred.is_some(), now);
        let hold = Hold {
            offer: new_offer_id(),
            agent: agent.id.clone(),
            units: Need::of(item.channel).units_of(agent.capacity_units),
            until: now + TimeDelta::seconds(i64::from(item.route.offer_timeout_seconds)),
        };
        match item.clone().offer(hold.clone()) {
            Ok(offered) => {
                if let Some(old) = place.remove(&chosen) {
                    line.remove(&old);
                }
                agent.hold(hold.units, now);
                if agent.has_room() {
                    turn += 1;
                    place.insert(chosen, (now, turn, chosen));
                    line.insert((now, turn, chosen));
                }
                matches.push(Match {
                    item: offered,
                    hold,
                    human: !agent.bot,
                    explanation,
                });
            }
            // Only waiting items are handed in; anything else stays as it is.
            Err(_) => rest.push(item),
        }
    }
    (matches, rest)
}

fn longest_idle(
    line: &BTreeSet<(DateTime<Utc>, u64, usize)>,
    agents: &[Agent],
    item: &WorkItem,
) -> Option<usize> {
    let mut able = line
        .iter()
        .map(|(_, _, n)| *n)
        .filter(|n| agents[*n].can_take(item));
    let first = able.next()?;
    if agents[first].speaks(&item.route.language) {
        return Some(first);
    }
    Some(
        able.find(|n| agents[*n].speaks(&item.route.language))
            .unwrap_or(first),
    )
}

fn explain(agent: &Agent, item: &WorkItem, preferred: bool, now: DateTime<Utc>) -> String {
    let waited = (now - item.waiting_since).num_seconds().max(0);
    let left = (item.due_at - now).num_seconds();
    let clock = if left >= 0 {
        format!("{left} s left")
    } else {
        format!("{} s overdue", -left)
    };
    let why = if preferred {
        "you were on this case last".to_owned()
    } else {
        let idle = (now - agent.idle_since).num_seconds().max(0);
        let skills = if item.route.skills.is_empty() {
            String::new()
        } else {
            format!(" with {}", item.route.skills.join(", "))
        };
        format!("longest idle{skills} ({idle} s)")
    };
    format!("{why}; the customer has waited {waited} s, {clock}")
}

#[cfg(test)]
mod tests {
    use trama_proto::common::v1::ChannelKind;
    use uuid::Uuid;

    use super::super::model_tests::{agent, at, item};
    use super::*;

    fn ids() -> impl FnMut() -> OfferId {
        let mut next = 0;
        move || {
            next += 1;
            OfferId::new(Uuid::from_u128(next))
        }
    }

    fn taken(matches: &[Match]) -> Vec<(i32, &str)> {
        matches
            .iter()
            .map(|m| (m.item.number, m.hold.agent.as_str()))
            .collect()
    }

    #[test]
    fn priority_then_due_then_waiting_decides_the_order() {
        let mut urgent = item(3, ChannelKind::WebChat);
        urgent.route.priority = 9;
        let mut due = item(2, ChannelKind::WebChat);
        due.due_at = at(-5);
        let items = vec![item(1, ChannelKind::WebChat), due, urgent];
        let mut bot = agent("bot", 100);
        bot.bot = true;
        let (matches, _) = decide(items, vec![bot], at(0), ids());
        assert_eq!(taken(&matches), [(3, "bot"), (2, "bot"), (1, "bot")]);
    }

    #[test]
    fn the_longest_idle_agent_goes_first_and_then_to_the_end_of_the_line() {
        let mut a = agent("a", 6);
        a.idle_since = at(-10);
        let mut b = agent("b", 6);
        b.idle_since = at(-20);
        let items = (1..=3).map(|n| item(n, ChannelKind::WebChat)).collect();
        let (matches, rest) = decide(items, vec![a, b], at(0), ids());
        assert_eq!(matches.len(), 2);
        assert_eq!(matches[0].hold.agent.as_str(), "b");
        assert_eq!(matches[1].hold.agent.as_str(), "a");
        assert_eq!(rest.len(), 1, "a human holds one offer at a time");
    }

    #[test]
    fn the_preferred_agent_goes_before_the_longest_idle_one() {
        let mut a = agent("a", 6);
        a.idle_since = at(-10);
        let mut one = item(1, ChannelKind::WebChat);
        one.preferred = Some(agent("b", 6).id);
        let (matches, _) = decide(vec![one], vec![a, agent("b", 6)], at(0), ids());
        assert_eq!(taken(&matches), [(1, "b")]);
    }

    #[test]
    fn a_call_needs_the_whole_agent() {
        let mut busy = agent("a", 6);
        busy.used_units = 2;
        let (matches, rest) = decide(vec![item(1, ChannelKind::Voice)], vec![busy], at(0), ids());
        assert!(matches.is_empty());
        let (matches, _) = decide(rest, vec![agent("b", 6)], at(0), ids());
        assert_eq!(matches[0].hold.units, 6);
    }

    #[test]
    fn skills_channels_and_exclusion_are_hard_language_is_a_wish() {
        let mut one = item(1, ChannelKind::WebChat);
        one.route.skills = vec!["coffee-machines".into()];
        one.route.language = "it-IT".into();
        let unskilled = agent("a", 6);
        let skilled = |name: &str, language: &str| {
            let mut it = agent(name, 6);
            it.skills.insert("coffee-machines".into(), 5);
            it.languages = vec![language.into()];
            it
        };
        let mut mute = skilled("m", "it");
        mute.channel_kinds = vec![ChannelKind::Email];
        let (matches, _) = decide(
            vec![one.clone()],
            vec![unskilled, mute, skilled("e", "en"), skilled("i", "it")],
            at(0),
            ids(),
        );
        assert_eq!(taken(&matches), [(1, "i")]);
        one.excluded.push(skilled("i", "it").id);
        let (matches, _) = decide(
            vec![one],
            vec![skilled("e", "en"), skilled("i", "it")],
            at(0),
            ids(),
        );
        assert_eq!(taken(&matches), [(1, "e")]);
    }
}
