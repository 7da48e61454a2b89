//! Agents, by equal abilities, and who of them has room.
//!
//! Agents of one profile can do the same; those of them with equal room stand in one line, longest idle first.
//! Choosing an agent looks at the heads of these lines only.

use std::collections::{BTreeSet, HashMap};

use super::bits::BitSet;
use super::policy::Policy;
use super::queue::Need;
use super::spec::{AgentSpec, ItemSpec, Presence};
use super::words::{AgentKey, Channel, Language, Millis, Skill, Team};

/// What agents of a profile have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ProfileKey {
    pub(super) channels: u32,
    skills: Vec<(Skill, u8)>,
    pub(super) languages: Vec<Language>,
    teams: Vec<Team>,
    pub(super) bot: bool,
    pub(super) units: u32,
    caps: Vec<(Channel, u32)>,
}

/// Equal room: the channels that fit, one bit each, how much is in hand, and whether it is a person who is there for
/// calls and holds nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) fits: u32,
    pub(super) in_hand: u32,
    pub(super) free: bool,
}

/// Place in a line: idle since, key, agent.
pub(super) type Turn = (Millis, AgentKey, usize);

#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) key: ProfileKey,
    /// Level by skill number.
    levels: Vec<u8>,
    /// Bit per class they can serve.
    pub(super) classes: BitSet,
    pub(super) lines: Vec<(Room, BTreeSet<Turn>)>,
    /// Agents whose room fits, by channel.
    pub(super) fitting: Vec<u32>,
    pub(super) members: u32,
    pub(super) online: u32,
}

/// What an agent has of one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct InHand {
    pub(super) count: u32,
    /// Units of accepted work that a call may pause.
    pub(super) active_units: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) spec: AgentSpec,
    pub(super) profile: usize,
    pub(super) presence: Presence,
    /// Channels they take offers of now, one bit each.
    pub(super) open: u32,
    pub(super) idle_since: Millis,
    pub(super) used: u32,
    pub(super) pending: u32,
    pub(super) in_hand: u32,
    pub(super) by_channel: Vec<InHand>,
    /// Parked conversations that came back: the only way to be over capacity.
    pub(super) resumed: u32,
    pub(super) held: Vec<usize>,
    /// Classes that wait for this agent only.
    pub(super) own: Vec<usize>,
    /// When they missed offers, within the window.
    pub(super) missed: Vec<Millis>,
    pub(super) place: Option<(Room, Millis)>,
    pub(super) counted_free: bool,
    pub(super) dirty: bool,
    /// Free, and kept so by the reserve.
    pub(super) resting: bool,
    /// When something they are kept from presses.
    pub(super) look_at: Option<Millis>,
    /// Bumped with each change of presence: older timers do not count.
    pub(super) token: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Staff {
    pub(super) agents: Vec<Option<Agent>>,
    pub(super) index: HashMap<AgentKey, usize>,
    spare: Vec<usize>,
    pub(super) profiles: Vec<Option<Profile>>,
    profile_index: HashMap<ProfileKey, usize>,
    spare_profiles: Vec<usize>,
    /// By channel: bit per profile with someone whose room fits.
    pub(super) fitting: Vec<BitSet>,
    /// Entirely free agents who take calls, by language.
    pub(super) free_callers: Vec<u32>,
    /// All agents there who take calls, by language.
    pub(super) callers: Vec<u32>,
}

impl Profile {
    pub(super) fn level(&self, skill: Skill) -> u8 {
        self.levels.get(usize::from(skill.0)).copied().unwrap_or(0)
    }

    /// Whether these agents can do what is needed, if they have room.
    pub(super) fn meets(&self, need: &Need) -> bool {
        let wanted = &need.requirement;
        self.key.channels & (1 << need.channel.0) != 0
            && !(need.human_only && self.key.bot)
            && wanted
                .language
                .is_none_or(|language| self.key.languages.contains(&language))
            && wanted
                .teams
                .as_ref()
                .is_none_or(|teams| teams.iter().any(|team| self.key.teams.contains(team)))
            && wanted
                .skills
                .iter()
                .all(|(skill, level)| self.level(*skill) >= (*level).max(1))
    }
}

impl Agent {
    /// Channels that fit into what is left of them, whether or not they are there.
    pub(super) fn room(&self, key: &ProfileKey, policy: &Policy) -> u32 {
        if !key.bot
            && policy
                .offers
                .pending_per_person
                .is_some_and(|limit| self.pending >= limit)
        {
            return 0;
        }
        let mut fits = 0;
        for (n, rule) in policy.channels.iter().enumerate() {
            let channel = Channel(n as u8);
            if key.channels & (1 << n) == 0 || self.by_channel[n].count >= cap(key, policy, channel) {
                continue;
            }
            let wanted = if rule.whole { key.units } else { rule.units };
            let paused = self.paused_units(policy.paused_by(channel));
            if self.used - paused + wanted <= key.units {
                fits |= 1 << n;
            }
        }
        fits
    }

    /// Channels on which they are there, busy or away for a moment, one bit each.
    pub(super) fn within_reach(&self) -> u32 {
        match &self.presence {
            Presence::Available | Presence::Away | Presence::NotResponding { .. } => u32::MAX,
            Presence::AvailableFor(channels) => channels.iter().fold(0, |mask, c| mask | 1 << c.0),
            Presence::Draining | Presence::Offline => 0,
        }
    }

    /// Units that would be given back by pausing those channels.
    pub(super) fn paused_units(&self, channels: u32) -> u32 {
        if channels == 0 {
            return 0;
        }
        self.by_channel
            .iter()
            .enumerate()
            .filter(|(n, _)| channels & (1 << n) != 0)
            .map(|(_, it)| it.active_units)
            .sum()
    }
}

/// How many items of a channel such an agent may hold.
pub(super) fn cap(key: &ProfileKey, policy: &Policy, channel: Channel) -> u32 {
    key.caps
        .iter()
        .find(|(c, _)| *c == channel)
        .map_or(policy.rule(channel).max_at_once, |(_, cap)| *cap)
}

/// Units an item of a channel takes from such an agent.
pub(super) fn units(key: &ProfileKey, policy: &Policy, channel: Channel) -> u32 {
    let rule = policy.rule(channel);
    if rule.whole { key.units } else { rule.units }
}

/// Units a piece of work takes from such an agent.
pub(super) fn units_of(key: &ProfileKey, policy: &Policy, spec: &ItemSpec) -> u32 {
    spec.units.unwrap_or_else(|| units(key, policy, spec.channel))
}

impl Staff {
    pub(super) fn agent(&self, agent: usize) -> &Agent {
        self.agents[agent]
            .as_ref()
            .expect("agents are named by live places only")
    }

    pub(super) fn agent_mut(&mut self, agent: usize) -> &mut Agent {
        self.agents[agent]
            .as_mut()
            .expect("agents are named by live places only")
    }

    pub(super) fn profile(&self, profile: usize) -> &Profile {
        self.profiles[profile]
            .as_ref()
            .expect("a profile lives as long as it has members")
    }

    pub(super) fn profile_of(&self, agent: usize) -> &Profile {
        self.profile(self.agent(agent).profile)
    }

    /// The profile of that spec, and whether it is new (needs and classes do not know it yet).
    pub(super) fn intern_profile(&mut self, spec: &AgentSpec, channels: usize) -> (usize, bool) {
        let key = profile_key(spec);
        if let Some(known) = self.profile_index.get(&key) {
            return (*known, false);
        }
        let mut levels = Vec::new();
        for (skill, level) in &key.skills {
            let place = usize::from(skill.0);
            if levels.len() <= place {
                levels.resize(place + 1, 0);
            }
            levels[place] = *level;
        }
        let profile = Profile {
            key: key.clone(),
            levels,
            classes: BitSet::default(),
            lines: Vec::new(),
            fitting: vec![0; channels],
            members: 0,
            online: 0,
        };
        let place = if let Some(place) = self.spare_profiles.pop() {
            self.profiles[place] = Some(profile);
            place
        } else {
            self.profiles.push(Some(profile));
            self.profiles.len() - 1
        };
        self.profile_index.insert(key, place);
        (place, true)
    }

    /// Adds an agent to a profile; nobody is offered anything before they say they are there.
    pub(super) fn add(&mut self, spec: AgentSpec, profile: usize, channels: usize) -> usize {
        let key = spec.key;
        let agent = Agent {
            spec,
            profile,
            presence: Presence::Offline,
            open: 0,
            idle_since: 0,
            used: 0,
            pending: 0,
            in_hand: 0,
            by_channel: vec![InHand::default(); channels],
            resumed: 0,
            held: Vec::new(),
            own: Vec::new(),
            missed: Vec::new(),
            place: None,
            counted_free: false,
            dirty: false,
            resting: false,
            look_at: None,
            token: 0,
        };
        let place = if let Some(place) = self.spare.pop() {
            self.agents[place] = Some(agent);
            place
        } else {
            self.agents.push(Some(agent));
            self.agents.len() - 1
        };
        self.index.insert(key, place);
        self.profile_mut(profile).members += 1;
        place
    }

    /// Takes an agent out who holds nothing and stands in no line.
    pub(super) fn forget(&mut self, agent: usize) {
        if let Some(gone) = self.agents[agent].take() {
            self.index.remove(&gone.spec.key);
            self.spare.push(agent);
        }
    }

    /// One member fewer; returns whether the profile is empty now and was retired.
    pub(super) fn leave_profile(&mut self, profile: usize) -> bool {
        let left = self.profile_mut(profile);
        left.members -= 1;
        if left.members > 0 {
            return false;
        }
        if let Some(gone) = self.profiles[profile].take() {
            self.profile_index.remove(&gone.key);
            self.spare_profiles.push(profile);
        }
        true
    }

    /// Keeps count of who is there for calls.
    pub(super) fn count_caller(&mut self, languages: &[Language], before: bool, after: bool) {
        for language in languages {
            let place = usize::from(language.0);
            if self.callers.len() <= place {
                self.callers.resize(place + 1, 0);
            }
            self.callers[place] = self.callers[place] + u32::from(after) - u32::from(before);
        }
    }

    pub(super) fn profile_mut(&mut self, profile: usize) -> &mut Profile {
        self.profiles[profile]
            .as_mut()
            .expect("a profile lives as long as it has members")
    }

    /// Puts an agent into the line that fits what they have left. Returns whether the reserve grew by that.
    pub(super) fn settle(&mut self, agent: usize, policy: &Policy, whole: u32) -> bool {
        let Some(it) = self.agents[agent].as_mut() else {
            return false;
        };
        let number = it.profile;
        let profile = self.profiles[number]
            .as_mut()
            .expect("a profile lives as long as it has members");
        let fits = if it.open == 0 {
            0
        } else {
            it.open & it.room(&profile.key, policy)
        };
        let free =
            fits != 0 && it.used == 0 && !profile.key.bot && it.open & profile.key.channels & whole != 0;
        let room = Room {
            fits,
            in_hand: it.in_hand,
            free,
        };
        let wanted = (fits != 0).then_some((room, it.idle_since));
        if wanted != it.place {
            if let Some((old, since)) = it.place {
                profile.leave_line(&old, (since, it.spec.key, agent));
            }
            if let Some((new, since)) = wanted {
                profile.join_line(new, (since, it.spec.key, agent));
            }
            let before = it.place.map_or(0, |(room, _)| room.fits);
            for channel in 0..policy.channels.len() {
                let bit = 1 << channel;
                match (before & bit != 0, fits & bit != 0) {
                    (false, true) => {
                        profile.fitting[channel] += 1;
                        self.fitting[channel].insert(number);
                    }
                    (true, false) => {
                        profile.fitting[channel] -= 1;
                        if profile.fitting[channel] == 0 {
                            self.fitting[channel].remove(number);
                        }
                    }
                    (true, true) | (false, false) => {}
                }
            }
            it.place = wanted;
        }
        if free == it.counted_free {
            return false;
        }
        it.counted_free = free;
        for language in &profile.key.languages {
            let place = usize::from(language.0);
            if self.free_callers.len() <= place {
                self.free_callers.resize(place + 1, 0);
            }
            if free {
                self.free_callers[place] += 1;
            } else {
                self.free_callers[place] -= 1;
            }
        }
        free
    }
}

impl Profile {
    fn join_line(&mut self, room: Room, turn: Turn) {
        match self.lines.iter_mut().find(|(r, _)| *r == room) {
            Some((_, line)) => {
                line.insert(turn);
            }
            None => self.lines.push((room, BTreeSet::from([turn]))),
        }
    }

    fn leave_line(&mut self, room: &Room, turn: Turn) {
        let Some(place) = self.lines.iter().position(|(r, _)| r == room) else {
            return;
        };
        self.lines[place].1.remove(&turn);
        // A few empty lines are kept: the same room comes back all the time.
        if self.lines[place].1.is_empty() && self.lines.len() > 8 {
            self.lines.swap_remove(place);
        }
    }
}

fn profile_key(spec: &AgentSpec) -> ProfileKey {
    fn sorted<T: Ord + Clone>(list: &[T]) -> Vec<T> {
        let mut list = list.to_vec();
        list.sort_unstable();
        list.dedup();
        list
    }
    ProfileKey {
        channels: spec.channels.iter().fold(0, |mask, c| mask | 1 << c.0),
        skills: sorted(&spec.skills),
        languages: sorted(&spec.languages),
        teams: sorted(&spec.teams),
        bot: spec.bot,
        units: spec.units,
        caps: sorted(&spec.caps),
    }
}
