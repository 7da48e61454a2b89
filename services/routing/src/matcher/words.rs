//! Keys and words: inside the engine everything is a small number; people read names.

use std::collections::HashMap;

/// Milliseconds since the epoch, or a span of them.
pub type Millis = i64;

macro_rules! small {
    ($(#[$doc:meta] $name:ident($inner:ty);)*) => {$(
        #[$doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);
    )*};
}

// Seven keys of one shape: the macro only spares their derives.
small! {
    /// A work item; chosen by the caller (the bytes of its uuid).
    ItemKey(u128);
    /// An agent; chosen by the caller. Ties between agents go to the smaller key.
    AgentKey(u32);
    /// A skill, by its place in the vocabulary.
    Skill(u16);
    /// A language, by its place in the vocabulary.
    Language(u16);
    /// A team (or any other ring of agents), by its place in the vocabulary.
    Team(u16);
    /// What service level is promised and judged for (channel and entitlement), by its place in the vocabulary.
    Cell(u16);
    /// A channel, by its place in the policy's list of channels.
    Channel(u8);
}

/// Names by number and numbers by name.
#[derive(Debug, Clone, Default)]
struct Names {
    list: Vec<String>,
    index: HashMap<String, u16>,
}

impl Names {
    fn intern(&mut self, name: &str) -> u16 {
        if let Some(known) = self.index.get(name) {
            return *known;
        }
        let next = u16::try_from(self.list.len()).unwrap_or(u16::MAX);
        self.list.push(name.to_owned());
        self.index.insert(name.to_owned(), next);
        next
    }

    fn name(&self, number: u16) -> &str {
        self.list.get(usize::from(number)).map_or("?", String::as_str)
    }
}

/// The names behind the numbers.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    skills: Names,
    languages: Names,
    teams: Names,
    cells: Names,
}

impl Vocabulary {
    /// The number of a skill; new names get the next one.
    pub fn skill(&mut self, name: &str) -> Skill {
        Skill(self.skills.intern(name))
    }

    /// The number of a language; new names get the next one.
    pub fn language(&mut self, name: &str) -> Language {
        Language(self.languages.intern(name))
    }

    /// The number of a team; new names get the next one.
    pub fn team(&mut self, name: &str) -> Team {
        Team(self.teams.intern(name))
    }

    /// The number of a cell; new names get the next one.
    pub fn cell(&mut self, name: &str) -> Cell {
        Cell(self.cells.intern(name))
    }

    /// The name of a skill.
    pub fn skill_name(&self, skill: Skill) -> &str {
        self.skills.name(skill.0)
    }

    /// The name of a language.
    pub fn language_name(&self, language: Language) -> &str {
        self.languages.name(language.0)
    }

    /// The name of a team.
    pub fn team_name(&self, team: Team) -> &str {
        self.teams.name(team.0)
    }
}
