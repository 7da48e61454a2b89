//! A recorded or generated day: who worked when, what came in, and the rules of its world.
//!
//! Everything random was drawn when the trace was made; two runs of one policy over it are identical to the byte.

mod roster;
mod table;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use self::table::{Row, Table};

pub use self::roster::RosterChange;

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read or written.
    #[error("cannot read or write {file}")]
    Unreadable {
        /// Which one.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line says something that cannot be.
    #[error("{file}:{line}: {problem}")]
    Wrong {
        /// Which file.
        file: String,
        /// Counted from one, the header included.
        line: usize,
        /// In words.
        problem: String,
    },
    /// The wanted roster cannot be made of this one.
    #[error("{0}")]
    Roster(String),
}

/// The rules of the world, `world.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorldRules {
    /// When the doors close.
    pub day_s: f64,
    /// When the run ends.
    pub end_s: f64,
    /// Units of an agent.
    pub capacity_units: i64,
    /// Units that one item of a channel takes.
    pub units: BTreeMap<String, i64>,
    /// Items of one channel in one agent's hands at most.
    pub max_per_channel: BTreeMap<String, i64>,
    /// Channels whose work pauses for a call.
    pub interruptible: Vec<String>,
    /// Speed of each item while one, two, three … run.
    pub rate: Vec<f64>,
    /// Work at each level, relative to level 2.
    pub level_factor: BTreeMap<u8, f64>,
    /// Work of the preferred agent, relative to others.
    pub preferred_factor: f64,
    /// First answer due within, per channel.
    pub target_s: BTreeMap<String, f64>,
    /// Stretches the target, per entitlement.
    pub entitlement_factor: BTreeMap<String, f64>,
    /// Share that must be answered in target, per entitlement.
    pub goal_sl: BTreeMap<String, f64>,
    /// An offer rings this long, per channel.
    pub offer_timeout_s: BTreeMap<String, f64>,
    /// An agent who did not answer gets nothing for this long.
    pub not_responding_s: f64,
    /// Who leaves before this does not count as abandoned.
    pub short_abandon_s: f64,
    /// An agent below the level transfers when the item's draw is below this.
    pub transfer_p: f64,
    /// Share of the work done before the transfer.
    pub transfer_at: f64,
    /// Share of the work that is to be done again after it.
    pub transfer_rest: f64,
    /// Extra work when an agent is lost in the middle.
    pub reintro_s: f64,
}

impl WorldRules {
    /// First answer due within, for a channel and an entitlement that the trace has.
    pub fn target_s(&self, channel: &str, entitlement: &str) -> f64 {
        let target = self.target_s.get(channel).copied().unwrap_or(f64::INFINITY);
        target * self.entitlement_factor.get(entitlement).copied().unwrap_or(1.0)
    }
}

/// An agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRow {
    /// Its name in the trace.
    pub id: String,
    /// Who he works with.
    pub team: String,
    /// Where.
    pub site: String,
    /// Languages.
    pub langs: Vec<String>,
    /// Channels.
    pub channels: Vec<String>,
    /// Skills by intent, level 1 to 3.
    pub skills: BTreeMap<String, u8>,
    /// Start of the shift.
    pub start_s: f64,
    /// End of the shift.
    pub end_s: f64,
}

/// A change of an agent's presence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PresenceRow {
    /// When.
    pub at_s: f64,
    /// Which of [`Trace::agents`].
    pub agent: usize,
    /// To what.
    pub state: Presence,
}

/// What presence changes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Takes work.
    Available,
    /// Finishes what is in hand and gets nothing new.
    Away,
    /// Gone with the site: work in hand goes back.
    Lost,
    /// The site is back.
    Back,
}

/// What becomes of an offer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// Taken after so many seconds.
    Accepted(f64),
    /// Refused after so many seconds.
    Declined(f64),
    /// Nobody answers.
    RingsOut,
}

/// A customer who still waits then goes over to another channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Switch {
    /// Where to.
    pub channel: String,
    /// After so many seconds.
    pub after_s: f64,
    /// Patience there; `None` is endless.
    pub patience_s: Option<f64>,
}

/// Something that comes in.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemRow {
    /// Its name in the trace.
    pub id: String,
    /// When.
    pub at_s: f64,
    /// Channel.
    pub channel: String,
    /// Intent, and the skill it takes.
    pub intent: String,
    /// Language.
    pub lang: String,
    /// Entitlement.
    pub entitlement: String,
    /// Level that does it well.
    pub min_level: u8,
    /// Who.
    pub customer: String,
    /// Which of [`Trace::agents`] knows him.
    pub preferred: Option<usize>,
    /// Waiting already done elsewhere.
    pub carried_wait_s: f64,
    /// Work at rate 1 and level 2.
    pub service_s: f64,
    /// Wrap-up.
    pub wrap_s: f64,
    /// Patience per leg; `None` is endless.
    pub patience_s: Option<f64>,
    /// Other channel.
    pub switch: Option<Switch>,
    /// What becomes of the n-th offer.
    pub outcomes: Vec<Outcome>,
    /// Draw that decides a transfer.
    pub transfer_draw: f64,
}

/// One day.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// `world.json`
    pub rules: WorldRules,
    /// `agents.csv`
    pub agents: Vec<AgentRow>,
    /// `presence.csv`
    pub presence: Vec<PresenceRow>,
    /// `arrivals.csv`
    pub items: Vec<ItemRow>,
}

/// The four files of a trace, in memory or on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceFiles {
    /// `world.json`
    pub world: String,
    /// `agents.csv`
    pub agents: String,
    /// `presence.csv`
    pub presence: String,
    /// `arrivals.csv`
    pub arrivals: String,
}

const WORLD: &str = "world.json";
const AGENTS: &str = "agents.csv";
const PRESENCE: &str = "presence.csv";
const ARRIVALS: &str = "arrivals.csv";

impl TraceFiles {
    /// Reads them from a folder.
    pub fn read(dir: &Path) -> Result<Self, TraceError> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path).map_err(|source| unreadable(&path, source))
        };
        Ok(Self {
            world: read(WORLD)?,
            agents: read(AGENTS)?,
            presence: read(PRESENCE)?,
            arrivals: read(ARRIVALS)?,
        })
    }

    /// Writes them into a folder, which is made if it is not there.
    pub fn write(&self, dir: &Path) -> Result<(), TraceError> {
        std::fs::create_dir_all(dir).map_err(|source| unreadable(dir, source))?;
        for (name, text) in [
            (WORLD, &self.world),
            (AGENTS, &self.agents),
            (PRESENCE, &self.presence),
            (ARRIVALS, &self.arrivals),
        ] {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(|source| unreadable(&path, source))?;
        }
        Ok(())
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> TraceError {
    TraceError::Unreadable {
        file: PathBuf::from(path).display().to_string(),
        source,
    }
}

impl Trace {
    /// Reads the trace in a folder.
    pub fn read(dir: &Path) -> Result<Self, TraceError> {
        Self::parse(&TraceFiles::read(dir)?)
    }

    /// Reads the trace in these files and checks what they say about each other.
    pub fn parse(files: &TraceFiles) -> Result<Self, TraceError> {
        let rules: WorldRules = serde_json::from_str(&files.world).map_err(|error| TraceError::Wrong {
            file: WORLD.to_owned(),
            line: error.line(),
            problem: error.to_string(),
        })?;
        if rules.rate.is_empty() || rules.capacity_units < 1 {
            return Err(TraceError::Wrong {
                file: WORLD.to_owned(),
                line: 1,
                problem: "rate needs at least one speed and capacity_units at least one unit".to_owned(),
            });
        }
        let mut agents = Vec::new();
        let mut by_id = HashMap::new();
        for row in Table::new(AGENTS, &files.agents)?.rows() {
            let agent = read_agent(&row?)?;
            by_id.insert(agent.id.clone(), agents.len());
            agents.push(agent);
        }
        if by_id.len() < agents.len() {
            return Err(twice(AGENTS, agents.iter().map(|agent| agent.id.as_str())));
        }
        let mut presence = Vec::new();
        for row in Table::new(PRESENCE, &files.presence)?.rows() {
            presence.push(read_presence(&row?, &by_id)?);
        }
        let mut items = Vec::new();
        for row in Table::new(ARRIVALS, &files.arrivals)?.rows() {
            items.push(read_item(&row?, &by_id, &rules)?);
        }
        let ids = || items.iter().map(|item: &ItemRow| item.id.as_str());
        if ids().collect::<std::collections::HashSet<_>>().len() < items.len() {
            return Err(twice(ARRIVALS, ids()));
        }
        Ok(Self {
            rules,
            agents,
            presence,
            items,
        })
    }
}

/// Finds the id that is there twice; the first data line is line 2.
fn twice<'a>(file: &str, ids: impl Iterator<Item = &'a str>) -> TraceError {
    let mut seen = HashMap::new();
    for (line, id) in (2..).zip(ids) {
        if let Some(first) = seen.insert(id, line) {
            return TraceError::Wrong {
                file: file.to_owned(),
                line,
                problem: format!("{id} is in line {first} already"),
            };
        }
    }
    TraceError::Wrong {
        file: file.to_owned(),
        line: 1,
        problem: "an id is there twice".to_owned(),
    }
}

fn list(text: &str) -> Vec<String> {
    text.split('|').map(str::to_owned).collect()
}

fn read_agent(row: &Row<'_>) -> Result<AgentRow, TraceError> {
    let mut skills = BTreeMap::new();
    for skill in row.text("skills")?.split('|') {
        let level = skill
            .split_once(':')
            .and_then(|(intent, level)| Some((intent, level.parse().ok()?)));
        let (intent, level) =
            level.ok_or_else(|| row.wrong(format!("skill {skill:?} is not written intent:level")))?;
        skills.insert(intent.to_owned(), level);
    }
    Ok(AgentRow {
        id: row.text("agent_id")?.to_owned(),
        team: row.text("team")?.to_owned(),
        site: row.text("site")?.to_owned(),
        langs: list(row.text("langs")?),
        channels: list(row.text("channels")?),
        skills,
        start_s: row.number("start")?,
        end_s: row.number("end")?,
    })
}

fn read_presence(row: &Row<'_>, agents: &HashMap<String, usize>) -> Result<PresenceRow, TraceError> {
    let id = row.text("agent_id")?;
    let state = match row.text("state")? {
        "available" => Presence::Available,
        "away" => Presence::Away,
        "lost" => Presence::Lost,
        "back" => Presence::Back,
        other => {
            return Err(row.wrong(format!("state {other:?} is none of available, away, lost, back")));
        }
    };
    Ok(PresenceRow {
        at_s: row.number("t_s")?,
        agent: *agents
            .get(id)
            .ok_or_else(|| row.wrong(format!("agent {id:?} is not in {AGENTS}")))?,
        state,
    })
}

fn read_item(
    row: &Row<'_>,
    agents: &HashMap<String, usize>,
    rules: &WorldRules,
) -> Result<ItemRow, TraceError> {
    let channel = |name: &str| {
        let channel = row.text(name)?;
        let known = rules.units.contains_key(channel)
            && rules.max_per_channel.contains_key(channel)
            && rules.target_s.contains_key(channel)
            && rules.offer_timeout_s.contains_key(channel);
        if known {
            Ok(channel.to_owned())
        } else {
            Err(row.wrong(format!("channel {channel:?} is not in {WORLD}")))
        }
    };
    let entitlement = row.text("entitlement")?;
    if !rules.entitlement_factor.contains_key(entitlement) || !rules.goal_sl.contains_key(entitlement) {
        return Err(row.wrong(format!("entitlement {entitlement:?} is not in {WORLD}")));
    }
    let preferred = match row.text("preferred_agent")? {
        "" => None,
        id => Some(
            *agents
                .get(id)
                .ok_or_else(|| row.wrong(format!("agent {id:?} is not in {AGENTS}")))?,
        ),
    };
    let switch = match row.text("switch_to")? {
        "" => None,
        _ => Some(Switch {
            channel: channel("switch_to")?,
            after_s: row.number("switch_after_s")?,
            patience_s: row.number_if_any("patience2_s")?,
        }),
    };
    let mut outcomes = Vec::new();
    for text in row.text("outcomes")?.split(';') {
        outcomes.push(read_outcome(text).ok_or_else(|| {
            row.wrong(format!(
                "outcome {text:?} is not written A<seconds>, D<seconds> or T"
            ))
        })?);
    }
    Ok(ItemRow {
        id: row.text("item_id")?.to_owned(),
        at_s: row.number("t_s")?,
        channel: channel("channel")?,
        intent: row.text("intent")?.to_owned(),
        lang: row.text("lang")?.to_owned(),
        entitlement: entitlement.to_owned(),
        min_level: row.level("min_level")?,
        customer: row.text("customer_id")?.to_owned(),
        preferred,
        carried_wait_s: row.number("carried_wait_s")?,
        service_s: row.number("service_s")?,
        wrap_s: row.number("wrap_s")?,
        patience_s: row.number_if_any("patience_s")?,
        switch,
        outcomes,
        transfer_draw: row.number("u_transfer")?,
    })
}

fn read_outcome(text: &str) -> Option<Outcome> {
    if text == "T" {
        return Some(Outcome::RingsOut);
    }
    let (kind, seconds) = text.split_at_checked(1)?;
    let seconds: f64 = seconds.parse().ok()?;
    match kind {
        "A" => Some(Outcome::Accepted(seconds)),
        "D" => Some(Outcome::Declined(seconds)),
        _ => None,
    }
}
