//! Why: of an offer, and of an item that still waits. Data first, words from it.

use std::fmt::Write as _;

use super::engine::{Engine, Item, Queued, State};
use super::policy::used_share;
use super::queue::Need;
use super::spec::{AskedFirst, Presence};
use super::staff::{Profile, cap, units};
use super::words::{AgentKey, Channel, ItemKey, Language, Millis, Skill, Team};

/// Why this item and this agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    /// The rank at that moment.
    pub rank: f64,
    /// Time left until the promise breaks; negative when it has.
    pub left_ms: Millis,
    /// The share of the target used up.
    pub used_share: f64,
    /// When the customer began to wait.
    pub clock_start: Millis,
    /// Waiting they brought along.
    pub carried_ms: Millis,
    /// The step of the requirement, from 0.
    pub step: usize,
    /// How many steps there are.
    pub steps: usize,
    /// Agents there who can do it.
    pub eligible: u32,
    /// Those of them who had room.
    pub free: u32,
    /// What spoke for this agent.
    pub because: Because,
    /// Who was asked before the others.
    pub asked_first: AskedFirst,
    /// They are a bot.
    pub bot: bool,
    /// Their levels: skill, has, was asked for at first.
    pub levels: Vec<(Skill, u8, u8)>,
    /// Channels whose work in their hands is paused.
    pub pauses: Vec<Channel>,
    /// More urgent items they could not take.
    pub passed: Vec<Passed>,
    /// The policy's version.
    pub policy: String,
}

/// What spoke for an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Somebody said it must be them.
    Pinned,
    /// They know the customer.
    Preferred,
    /// The best fit, and the longest idle of these.
    LongestIdle {
        /// Idle for so long.
        idle_ms: Millis,
    },
}

/// A more urgent item an agent was passed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The item.
    pub item: ItemKey,
    /// Its time left.
    pub left_ms: Millis,
    /// What was in the way.
    pub reason: Obstacle,
}

/// What is between an agent and an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Obstacle {
    /// They do not serve the channel.
    Channel(Channel),
    /// They lack a skill, or its level.
    Skill(Skill, u8),
    /// They do not speak the language.
    Language(Language),
    /// They are in none of the teams.
    Team(Team),
    /// They are a bot and it must be a person.
    Human,
    /// They declined it, or must not have it.
    Excluded,
    /// It waits for somebody else.
    SomebodyElse,
    /// They are not there.
    Away,
    /// Their hands are full.
    Busy,
    /// They are kept free for calls.
    Reserve,
}

/// Why an item still waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Its rank.
    pub rank: f64,
    /// Its place among what competes for the same agents, from 1.
    pub position: usize,
    /// Time left until the promise breaks; negative when it has.
    pub left_ms: Millis,
    /// The step of its requirement, from 0.
    pub step: usize,
    /// Waits for the agent who knows the customer.
    pub preferring: bool,
    /// When its requirement changes next.
    pub next_change: Option<Millis>,
    /// Whether it may go to anybody then; else it asks for less.
    pub opens: bool,
    /// Agents by what is in their way, the most frequent first. Every agent is counted once.
    pub obstacles: Vec<(Obstacle, u32)>,
    /// In words.
    pub words: String,
}

/// Whether the next change is that it no longer waits for one agent only.
fn opens(it: &Item, at: &Queued) -> bool {
    let end = if at.preferring {
        it.spec.preferred_until
    } else {
        it.spec.pinned.and(it.spec.pinned_until)
    };
    at.next_change.is_some() && at.next_change == end
}

impl Engine {
    pub(super) fn why(&self, item: usize, agent: usize, rank: f64, now: Millis) -> Why {
        let it = self.item_at(item);
        let spec = &it.spec;
        let (class, step) = match it.state {
            State::Queued(at) => (Some(at.class), at.step),
            State::Held(_) | State::Nowhere => (None, 0),
        };
        let who = self.staff.agent(agent);
        let profile = self.staff.profile(who.profile);
        let (mut eligible, mut free, mut pinned) = (1, 1, false);
        if let Some(class) = class {
            let key = &self.queue.class(class).key;
            pinned = key.only.is_some_and(|o| o.pinned);
            if key.only.is_none() {
                let channel = usize::from(key.channel.0);
                (eligible, free) = (0, 0);
                for profile in self.queue.need(key.need).profiles.iter() {
                    let profile = self.staff.profile(profile);
                    eligible += profile.online;
                    free += profile.fitting[channel];
                }
            }
        }
        let pausable = self.policy.paused_by(spec.channel);
        let pauses = (0..self.policy.channels.len())
            .filter(|n| pausable & (1 << n) != 0 && who.by_channel[*n].active_units > 0)
            .map(|n| Channel(n as u8))
            .collect();
        Why {
            rank,
            left_ms: spec.due_at - now,
            used_share: used_share(spec.due_at, spec.target_ms, now),
            clock_start: spec.clock_start,
            carried_ms: spec.carried_ms,
            step,
            steps: spec.steps.len(),
            eligible,
            free,
            because: if pinned {
                Because::Pinned
            } else if spec.preferred == Some(who.spec.key) {
                Because::Preferred
            } else {
                Because::LongestIdle {
                    idle_ms: (now - who.idle_since).max(0),
                }
            },
            asked_first: spec.asked_first,
            bot: profile.key.bot,
            levels: spec.steps[0]
                .requirement
                .skills
                .iter()
                .map(|(skill, wanted)| (*skill, profile.level(*skill), *wanted))
                .collect(),
            pauses,
            passed: Vec::new(),
            policy: self.policy.version.clone(),
        }
    }

    /// The reasons of an offer, in one or two sentences.
    pub fn why_in_words(&self, why: &Why) -> String {
        let mut words = if why.left_ms >= 0 {
            format!("Breaches in {}.", seconds(why.left_ms))
        } else {
            format!("Overdue by {}.", seconds(-why.left_ms))
        };
        let what: Vec<String> = why
            .levels
            .iter()
            .map(|(skill, has, wanted)| {
                format!(
                    "{} level {has} of {wanted} asked",
                    self.vocabulary.skill_name(*skill)
                )
            })
            .collect();
        match why.because {
            Because::Pinned => words.push_str(" It is for you."),
            Because::Preferred => words.push_str(" You know this customer."),
            Because::LongestIdle { idle_ms } => {
                let _ = write!(
                    words,
                    " You fit best and are idle longest ({}) of {} free, {} there.",
                    seconds(idle_ms),
                    why.free,
                    why.eligible
                );
            }
        }
        words.push_str(match (why.asked_first, why.bot) {
            (AskedFirst::Anybody, _) => "",
            (AskedFirst::Bots, true) => " Bots are asked first.",
            (AskedFirst::Bots, false) => " Bots are asked first, and none could take it.",
            (AskedFirst::People, true) => " People are asked first, and none could take it.",
            (AskedFirst::People, false) => " People are asked first.",
        });
        if !what.is_empty() {
            let _ = write!(words, " Your {}.", what.join(", "));
        }
        if why.carried_ms > 0 {
            let _ = write!(
                words,
                " The customer had waited {} before.",
                seconds(why.carried_ms)
            );
        }
        if !why.pauses.is_empty() {
            let names: Vec<&str> = why.pauses.iter().map(|c| self.channel_name(*c)).collect();
            let _ = write!(words, " Your {} is paused.", names.join(" and "));
        }
        for passed in &why.passed {
            let _ = write!(
                words,
                " A more urgent item went past you: {}.",
                self.obstacle_in_words(passed.reason)
            );
        }
        words
    }

    /// Why an item still waits, and what would change it. None when it does not wait.
    pub fn explain_waiting(&mut self, key: ItemKey, now: Millis) -> Option<Waiting> {
        let item = self.item_index.get(&key).copied()?;
        let class = self.class_of_item(item)?;
        let it = self.item_at(item).clone();
        let State::Queued(at) = it.state else {
            return None;
        };
        let weight = self.results.weight(it.spec.cell);
        let live = self.policy.rule(it.spec.channel).live;
        let own = |due: Millis| self.policy.ranking.rank(due, it.spec.target_ms, live, now);
        let rank = weight * at.leg_due.map_or(own(at.due), |leg| own(leg).max(own(at.due)));
        let need = self.queue.need(self.queue.class(class).key.need);
        let above: usize = self
            .queue
            .waiting
            .iter()
            .filter(|other| {
                let key = &self.queue.class(*other).key;
                *other == class || self.queue.need(key.need).profiles.meets(&need.profiles)
            })
            .map(|other| {
                let weight = self.results.weight(self.queue.head(other).cell);
                self.queue
                    .count_above(other, &self.policy.ranking, weight, rank, now)
            })
            .sum();
        let obstacles = self.obstacles(class);
        let words = self.waiting_in_words(&it, &at, above + 1, &obstacles, now);
        Some(Waiting {
            rank,
            position: above + 1,
            left_ms: at.due - now,
            step: at.step,
            preferring: at.preferring,
            next_change: at.next_change,
            opens: opens(&it, &at),
            obstacles,
            words,
        })
    }

    pub(super) fn obstacles(&self, class: usize) -> Vec<(Obstacle, u32)> {
        let mut counts = std::collections::BTreeMap::new();
        for agent in 0..self.staff.agents.len() {
            if self.staff.agents[agent].is_some() {
                let reason = self.between(class, agent).unwrap_or(Obstacle::Reserve);
                *counts.entry(reason).or_insert(0) += 1;
            }
        }
        let mut list: Vec<(Obstacle, u32)> = counts.into_iter().collect();
        list.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason));
        list
    }

    /// What is between an agent and a class of items; none when nothing but the reserve may be.
    pub(super) fn between(&self, class: usize, agent: usize) -> Option<Obstacle> {
        let key = &self.queue.class(class).key;
        let it = self.staff.agent(agent);
        let profile = self.staff.profile(it.profile);
        if let Some(only) = key.only
            && only.agent != it.spec.key
        {
            return Some(Obstacle::SomebodyElse);
        }
        if !key.only.is_some_and(|o| o.pinned)
            && let Some(reason) = lacks(profile, self.queue.need(key.need))
        {
            return Some(reason);
        }
        if key.excluded.contains(&it.spec.key) {
            return Some(Obstacle::Excluded);
        }
        let bit = 1_u32 << key.channel.0;
        if it.open & bit == 0 {
            return Some(Obstacle::Away);
        }
        it.place
            .is_none_or(|(room, _)| room.fits & bit == 0)
            .then_some(Obstacle::Busy)
    }

    /// What was between an agent and a class at the moment of an offer (which is in their hands by now).
    pub(super) fn obstacle(&self, class: usize, agent: usize, offer: &Why) -> Option<Obstacle> {
        match self.between(class, agent)? {
            // Full now, perhaps only with this very offer.
            Obstacle::Busy => {
                let it = self.staff.agent(agent);
                let key = &self.staff.profile(it.profile).key;
                let channel = self.queue.class(class).key.channel;
                let others = it.in_hand.saturating_sub(1);
                let full = others > 0
                    && (units(key, &self.policy, channel) > key.units.saturating_sub(it.used)
                        || it.by_channel[usize::from(channel.0)].count >= cap(key, &self.policy, channel));
                (full && offer.pauses.is_empty()).then_some(Obstacle::Busy)
            }
            reason @ (Obstacle::Channel(_)
            | Obstacle::Skill(..)
            | Obstacle::Language(_)
            | Obstacle::Team(_)
            | Obstacle::Human
            | Obstacle::Excluded
            | Obstacle::SomebodyElse
            | Obstacle::Away
            | Obstacle::Reserve) => Some(reason),
        }
    }

    /// An obstacle in words.
    pub fn obstacle_in_words(&self, reason: Obstacle) -> String {
        match reason {
            Obstacle::Channel(channel) => format!("does not serve {}", self.channel_name(channel)),
            Obstacle::Skill(skill, level) => {
                format!("lacks {} level {level}", self.vocabulary.skill_name(skill))
            }
            Obstacle::Language(language) => {
                format!("does not speak {}", self.vocabulary.language_name(language))
            }
            Obstacle::Team(team) => format!("is not in team {}", self.vocabulary.team_name(team)),
            Obstacle::Human => "is a bot, and it must be a person".to_owned(),
            Obstacle::Excluded => "declined it or must not have it".to_owned(),
            Obstacle::SomebodyElse => "it waits for somebody else".to_owned(),
            Obstacle::Away => "not there".to_owned(),
            Obstacle::Busy => "hands full".to_owned(),
            Obstacle::Reserve => "kept free for calls".to_owned(),
        }
    }

    fn waiting_in_words(
        &self,
        it: &Item,
        at: &Queued,
        position: usize,
        obstacles: &[(Obstacle, u32)],
        now: Millis,
    ) -> String {
        let left = at.due - now;
        let mut words = if left >= 0 {
            format!("Number {position} in line, breaches in {}.", seconds(left))
        } else {
            format!("Number {position} in line, overdue by {}.", seconds(-left))
        };
        for (reason, count) in obstacles
            .iter()
            .filter(|(r, _)| *r != Obstacle::SomebodyElse)
            .take(4)
        {
            let who = if *count == 1 { "agent" } else { "agents" };
            let _ = write!(words, " {count} {who}: {}.", self.obstacle_in_words(*reason));
        }
        if let Some(change) = at.next_change {
            let what = if opens(it, at) {
                "may go to anybody"
            } else {
                "asks for less"
            };
            let _ = write!(words, " It {what} in {}.", seconds(change - now));
        }
        let count = |wanted: Obstacle| {
            obstacles
                .iter()
                .find(|(r, _)| *r == wanted)
                .map_or(0, |(_, n)| *n)
        };
        let able = count(Obstacle::Busy) + count(Obstacle::Reserve);
        if able > 0 {
            words.push_str(" The next who finishes can take it, if nothing more urgent is there.");
        } else if count(Obstacle::Away) > 0 {
            words.push_str(" Nobody who is there can take it; somebody must come back.");
        } else if at.next_change.is_none() && it.spec.pinned.is_none() {
            words.push_str(" Nobody at all can take it: it waits until somebody learns it or it is changed.");
        }
        words
    }

    /// Who somebody is waiting for, if they wait for one agent only.
    pub fn waits_for(&self, key: ItemKey) -> Option<AgentKey> {
        let class = self.class_of_item(*self.item_index.get(&key)?)?;
        self.queue.class(class).key.only.map(|only| only.agent)
    }

    /// Whether an agent takes offers now.
    pub fn is_available(&self, key: AgentKey) -> bool {
        matches!(
            self.presence_of(key),
            Some(Presence::Available | Presence::AvailableFor(_))
        )
    }
}

/// What a profile lacks for a need; none when it has all.
fn lacks(profile: &Profile, need: &Need) -> Option<Obstacle> {
    let wanted = &need.requirement;
    if profile.key.channels & (1 << need.channel.0) == 0 {
        return Some(Obstacle::Channel(need.channel));
    }
    if need.human_only && profile.key.bot {
        return Some(Obstacle::Human);
    }
    if let Some(language) = wanted.language
        && !profile.key.languages.contains(&language)
    {
        return Some(Obstacle::Language(language));
    }
    let missing = wanted
        .skills
        .iter()
        .find(|(skill, level)| profile.level(*skill) < (*level).max(1));
    if let Some((skill, level)) = missing {
        return Some(Obstacle::Skill(*skill, (*level).max(1)));
    }
    if profile.meets(need) {
        return None;
    }
    wanted
        .teams
        .as_ref()
        .and_then(|teams| teams.first())
        .map(|team| Obstacle::Team(*team))
}

fn seconds(span: Millis) -> String {
    let seconds = span / 1_000;
    if seconds < 120 {
        return format!("{seconds} s");
    }
    format!("{} min", seconds / 60)
}
