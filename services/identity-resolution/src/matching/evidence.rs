//! What two have in common and what parts them: as data, and in words.

use super::{
    compare::{Comparison, Level},
    policy::Policy,
};

const NAMES_ALONE: &str = "nothing agrees but names";

/// Why two are not joined whatever their weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vetoes {
    /// Both have an id of which a person has one, and not the same.
    pub exclusive: bool,
    /// Both have written-out given names, and none of them can be the same.
    pub given_name: bool,
    /// Both have a date of birth, and none can be a slip of the other.
    pub birth_date: bool,
    /// One of them has an address of contact that somebody else proved to be theirs.
    pub verified: bool,
}

impl Vetoes {
    /// Any of them.
    #[must_use]
    pub const fn any(self) -> bool {
        self.exclusive || self.given_name || self.birth_date || self.verified
    }

    /// Each of them in words.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        [
            (self.exclusive, "two customer numbers"),
            (self.given_name, "two given names"),
            (self.birth_date, "two dates of birth"),
            (self.verified, "verified by somebody else"),
        ]
        .into_iter()
        .filter_map(|(vetoed, words)| vetoed.then_some(words))
    }
}

/// What two have in common and what parts them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// log2 of the posterior odds.
    pub bits: f32,
    /// The same, as if twins and namesakes were strangers: what somebody should look at who can ask.
    pub suspicion: f32,
    /// What it began with: one in so many profiles.
    pub prior: f32,
    /// How alike they are in each comparison.
    pub levels: [Level; Comparison::COUNT],
    /// What each comparison adds.
    pub parts: [f32; Comparison::COUNT],
    /// What was taken off again, because a household shares surname and address.
    pub household_excess: f32,
    /// Why they stay apart all the same.
    pub vetoes: Vetoes,
    /// Surname and address agree: the same home.
    pub home: Home,
    /// It would be worth more, or be free, if homes were not shared.
    pub held_back: bool,
    /// Nothing agrees but names: a person decides, whatever the weight.
    pub names_alone: bool,
}

/// What two records say of one home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Home {
    /// Not the same home, or not known.
    #[default]
    Elsewhere,
    /// The same home, and it cannot be told whether it is the same person.
    Unclear,
    /// The same person at home: given name and date of birth agree.
    Same,
    /// Somebody else at home: given name and date of birth contradict.
    Apart,
}

impl Score {
    /// How well they fit, whoever else is at home: by it two candidates of one home are told apart, because then the twin is not a
    /// possibility but one of the two.
    #[must_use]
    pub fn fit(&self) -> f32 {
        self.bits + self.household_excess
    }

    /// Alike enough to be looked at; a twin, or whoever differs by a slip, weighs little because there are twins, and a person
    /// can ask.
    #[must_use]
    pub fn is_worth_a_look(&self, bits: f32) -> bool {
        self.bits >= bits || self.vetoes.any() && self.suspicion >= bits
    }

    /// Same by the policy, and nothing forbids it.
    #[must_use]
    pub fn is_same(&self, policy: &Policy) -> bool {
        self.bits >= policy.thresholds().same && self.may_join()
    }

    /// The engine may join these two by itself, if the weight suffices.
    #[must_use]
    pub const fn may_join(&self) -> bool {
        !self.vetoes.any() && !self.names_alone
    }

    /// Why they are not joined whatever their weight, in words.
    pub fn obstacles(&self) -> impl Iterator<Item = &'static str> {
        self.vetoes.words().chain(self.names_alone.then_some(NAMES_ALONE))
    }

    /// What each comparison that says anything adds, in words.
    pub fn evidence(&self) -> impl Iterator<Item = Evidence> + '_ {
        Comparison::ALL.into_iter().filter_map(|comparison| {
            let level = *self.levels.get(comparison.index())?;
            let bits = *self.parts.get(comparison.index())?;
            (level != Level::Missing).then_some(Evidence {
                comparison,
                level,
                bits,
            })
        })
    }
}

/// One line of an explanation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// What was compared.
    pub comparison: Comparison,
    /// How alike it is.
    pub level: Level,
    /// What that adds.
    pub bits: f32,
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} ({:+.1})",
            self.comparison.words(),
            self.level.words(),
            self.bits
        )
    }
}

impl Score {
    /// The evidence in one line, strongest first: `telephone: equal (+16.2), surname: different (-4.9)`.
    #[must_use]
    pub fn words(&self) -> String {
        let mut lines: Vec<_> = self.evidence().filter(|e| e.level != Level::Missing).collect();
        lines.sort_by(|a, b| b.bits.abs().total_cmp(&a.bits.abs()));
        let mut words = lines
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        for why in self.vetoes.words() {
            words.push_str("; kept apart: ");
            words.push_str(why);
        }
        if self.names_alone {
            words.push_str("; ");
            words.push_str(NAMES_ALONE);
        }
        words
    }
}
