//! Agents and work in the matcher's words.

use std::{collections::BTreeSet, sync::Arc};

use chrono::{DateTime, Utc};
use trama_proto::{
    common::v1::ChannelKind,
    ids::AgentId,
    resources::{AgentOrder, TenantResources},
};

use super::{Floor, Place, Seat, WAITED_FOR, millis};
use crate::{
    domain::{Agent, Presence, Requirement, Rest, Rules, Second, WorkItem},
    matcher::{self, AgentKey, AgentSpec, AskedFirst, ItemSpec},
};

/// No stored item has this version.
const NEVER_STORED: i64 = -1;

impl Floor {
    pub(super) fn spec_of(&mut self, agent: &Agent) -> AgentSpec {
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
    pub(super) fn count_speakers(&mut self, before: Option<&Agent>, agent: &Agent, now: DateTime<Utc>) {
        let tongues =
            |agent: &Agent| -> BTreeSet<String> { agent.languages.iter().map(|l| primary(l)).collect() };
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

    pub(super) fn item_spec(
        &mut self,
        seat: Seat,
        item: &WorkItem,
        resources: Option<&TenantResources>,
        now: DateTime<Utc>,
    ) -> ItemSpec {
        let route = &item.route;
        let goal = resources
            .and_then(|r| r.queues.get(&route.queue))
            .map(|q| q.goal(item.channel));
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
                preferred_until: None,
                pinned: wanted.pinned.as_ref().map(|agent| self.key_of(agent)),
                // Who asked ends it when it takes too long.
                pinned_until: None,
                asked_first: AskedFirst::Anybody,
                excluded: keys(self, &mut wanted.excluded.iter()),
                human_only: false,
                pausable: false,
                units: None,
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
        // Whoever it was for goes before others when it is for anybody.
        let knows = item.pinned.as_ref().or(item.preferred.as_ref());
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
            preferred: knows.map(|agent| self.key_of(agent)),
            preferred_until: item.preferred_until().map(millis),
            pinned: item.pinned.as_ref().map(|agent| self.key_of(agent)),
            pinned_until: Some(millis(item.pinned_until())),
            asked_first: match route.agents {
                AgentOrder::Any => AskedFirst::Anybody,
                AgentOrder::BotsFirst => AskedFirst::Bots,
                AgentOrder::PeopleFirst => AskedFirst::People,
            },
            excluded: keys(self, &mut excluded.collect::<Vec<_>>().into_iter()),
            human_only: route.human_only,
            pausable: true,
            units: None,
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
}

pub(super) fn primary(tag: &str) -> String {
    tag.split('-').next().unwrap_or(tag).to_ascii_lowercase()
}

fn cap_of(agent: &Agent, kind: ChannelKind) -> Option<u32> {
    agent.max_at_once.get(&kind).and_then(|n| u32::try_from(*n).ok())
}

pub(super) fn same_abilities(a: &Agent, b: &Agent) -> bool {
    a.skills == b.skills
        && a.languages == b.languages
        && a.channel_kinds == b.channel_kinds
        && a.teams == b.teams
        && a.max_at_once == b.max_at_once
        && a.capacity_units == b.capacity_units
        && a.bot == b.bot
}

/// Who is not at work by their hours finishes what they have, and gets nothing new.
pub(super) fn presence_of(agent: &Agent, at_work: bool, now: DateTime<Utc>) -> matcher::Presence {
    if agent.draining || !at_work {
        return matcher::Presence::Draining;
    }
    match agent.presence {
        Presence::Offline => matcher::Presence::Offline,
        Presence::Away if now < agent.presence_since + WAITED_FOR => matcher::Presence::Away,
        Presence::Away => matcher::Presence::Offline,
        // The database says when they are back.
        Presence::NotResponding => matcher::Presence::NotResponding { until: None },
        Presence::Available if agent.available_kinds.is_empty() => matcher::Presence::Available,
        Presence::Available => {
            let kinds = agent.available_kinds.iter().map(|k| Rules::channel(*k));
            matcher::Presence::AvailableFor(kinds.collect())
        }
    }
}

/// What a seat takes of its agent by what is stored: the rules may be others now, or the channel one for which there was no
/// room. What rests for a call takes what its channel takes: nobody else shall have that meanwhile.
pub(super) fn units_in_hand(seat: Seat, item: &WorkItem, rest: Rest) -> Option<u32> {
    let units = if seat.second {
        item.second().and_then(Second::units)
    } else {
        item.units().next()
    };
    match rest {
        Rest::No => units.and_then(|(_, units)| u32::try_from(units).ok()),
        Rest::Parked | Rest::Paused => None,
    }
}
