//! What a router may know, in the words of the protocol.

use super::{
    super::protocol::{AgentInfo, Event, ItemInfo, PublicWorld},
    AgentIndex, Happened, ItemIndex, World,
};

impl World<'_> {
    /// The first thing a router hears.
    pub(super) fn opening(&self) -> Event {
        let rules = &self.trace.rules;
        let positive = |table: &std::collections::BTreeMap<String, i64>| {
            let number = |value: &i64| u32::try_from(*value).unwrap_or(0);
            table
                .iter()
                .map(|(channel, value)| (channel.clone(), number(value)))
                .collect()
        };
        Event::Init {
            t: 0.0,
            world: PublicWorld {
                capacity_units: u32::try_from(rules.capacity_units).unwrap_or(0),
                units: positive(&rules.units),
                max_per_channel: positive(&rules.max_per_channel),
                interruptible: rules.interruptible.clone(),
                target_s: rules.target_s.clone(),
                entitlement_factor: rules.entitlement_factor.clone(),
                goal_sl: rules.goal_sl.clone(),
                offer_timeout_s: rules.offer_timeout_s.clone(),
            },
            agents: (self.trace.agents.iter())
                .map(|agent| AgentInfo {
                    id: agent.id.clone(),
                    team: agent.team.clone(),
                    langs: sorted(&agent.langs),
                    channels: sorted(&agent.channels),
                    skills: agent.skills.clone(),
                })
                .collect(),
        }
    }

    pub(super) fn told(&self, t: f64, happened: Happened) -> Event {
        let item_id = |item: ItemIndex| self.trace.items[item].id.clone();
        let agent_id = |agent: AgentIndex| self.trace.agents[agent].id.clone();
        match happened {
            Happened::Arrive(item) => Event::Arrive {
                t,
                item: self.item_info(item),
            },
            Happened::Switch(item) => Event::Switch {
                t,
                item: item_id(item),
                channel: self.rules.channels[self.items[item].channel].clone(),
            },
            Happened::Abandon(item, agent) => Event::Abandon {
                t,
                item: item_id(item),
                agent: agent.map(agent_id),
            },
            Happened::Agent(agent, state) => Event::Agent {
                t,
                agent: agent_id(agent),
                state,
            },
            Happened::Accepted(item, agent) => Event::Accepted {
                t,
                item: item_id(item),
                agent: agent_id(agent),
            },
            Happened::Declined(item, agent) => Event::Declined {
                t,
                item: item_id(item),
                agent: agent_id(agent),
            },
            Happened::RangOut(item, agent) => Event::Timeout {
                t,
                item: item_id(item),
                agent: agent_id(agent),
            },
            Happened::Done(item, agent) => Event::Done {
                t,
                item: item_id(item),
                agent: agent_id(agent),
            },
            Happened::Free(item, agent) => Event::Free {
                t,
                item: item_id(item),
                agent: agent_id(agent),
            },
            Happened::Requeue(item, agent, reason) => Event::Requeue {
                t,
                item: item_id(item),
                agent: agent_id(agent),
                reason,
                must_level: self.items[item].must_level,
            },
            Happened::Invalid(item, agent) => Event::Invalid {
                t,
                item: item_id(item),
                agent: agent_id(agent),
            },
        }
    }

    fn item_info(&self, item: ItemIndex) -> ItemInfo {
        let row = &self.trace.items[item];
        ItemInfo {
            id: row.id.clone(),
            channel: self.rules.channels[self.items[item].channel].clone(),
            intent: row.intent.clone(),
            lang: row.lang.clone(),
            entitlement: row.entitlement.clone(),
            min_level: row.min_level,
            customer: row.customer.clone(),
            preferred: row
                .preferred
                .map(|agent| self.trace.agents[agent].id.clone())
                .unwrap_or_default(),
            carried_wait_s: row.carried_wait_s,
        }
    }
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names
}
