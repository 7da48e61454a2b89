//! What the engine is told: weights, thresholds, rules. Versioned, readable, written by `trama identity train`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    compare::{Comparison, Level},
    crowded::Crowded,
    normalise::{Blocked, DateOrder, MailRules, PhoneRules},
    store::Homes,
};

/// What a level says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Weight {
    /// How often the level is seen between records of the same person (`m`) and of two people (`u`).
    Chances {
        /// Among pairs of the same person.
        m: f64,
        /// Among pairs of two people.
        u: f64,
    },
    /// Of equal values, this share belongs to two people. Needs no `u`, which would shrink with every new customer.
    Shared {
        /// The share.
        shared: f64,
    },
}

/// Where decisions are cut, in bits of posterior odds: 0 is as likely as not, 7 is 99 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Thresholds {
    /// From here on two are the same.
    pub same: f32,
    /// From here on a person should look.
    pub review: f32,
    /// The best must lead by so much, else it is ambiguous.
    pub margin: f32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            same: 2.0,
            review: -2.0,
            margin: 3.0,
        }
    }
}

/// Limits that keep one wrong value from drawing many people together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// A blocking key with more profiles finds nobody.
    pub profiles_per_key: usize,
    /// So many profiles are enough to weigh against a record that arrives: those that share a handle, then those that share most
    /// that is rare.
    pub profiles_on_arrival: usize,
    /// So many are weighed when everybody is tested again, by how many keys they share: with all who are equally near, up to
    /// `profiles_per_key`, so that it does not matter who came first.
    pub profiles_per_record: usize,
    /// More merges into one profile are left to a person.
    pub merges_per_profile: u32,
    /// More records in one profile are left to a person.
    pub records_per_profile: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            profiles_per_key: 64,
            profiles_on_arrival: 6,
            profiles_per_record: 16,
            merges_per_profile: 50,
            records_per_profile: 10_000,
        }
    }
}

/// Homes count as shared until the population shows that they are not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HomeRule {
    /// So many people must have been found at their own home first.
    pub least_seen: u64,
    /// And at most this share of others at the same home.
    pub most_apart: f64,
    /// Where homes are not shared, one different value takes off at most so many bits (negative): it is more likely a wrong value
    /// than another person.
    pub least_bits: f32,
    /// Of two people of one home, this share was born on one day.
    pub twins: f32,
    /// Of two people of one home, this share has one given name: father and son.
    pub namesakes: f32,
    /// At one home, a date that differs by a slip says so many bits less than elsewhere: brothers and sisters are born in
    /// neighbouring years.
    pub near_births: f32,
}

impl Default for HomeRule {
    fn default() -> Self {
        Self {
            least_seen: 200,
            most_apart: 0.04,
            least_bits: -2.5,
            twins: 0.01,
            namesakes: 0.02,
            near_births: 1.0,
        }
    }
}

/// The policy, as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyFile {
    /// Of these weights; every decision names it.
    pub version: String,
    /// Where the weights come from, for people.
    #[serde(default)]
    pub origin: String,
    /// Where decisions are cut.
    #[serde(default)]
    pub thresholds: Thresholds,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
    /// Surname, address and shared lines together never say more than "the same household", and of a household this share of pairs is one person.
    #[serde(default = "household_share")]
    pub same_person_in_household: f64,
    /// When homes turn out to be shared.
    #[serde(default)]
    pub homes: HomeRule,
    /// Each further equal handle after the first is worth so many bits.
    #[serde(default = "further_handle")]
    pub further_handle: f32,
    /// Beside an equal handle, surname and address together add at most so many bits: who shares a telephone shares a home.
    #[serde(default = "household_beside_handle")]
    pub household_beside_handle: f32,
    /// Different addresses take off at most so many bits (negative): people move.
    #[serde(default = "moved")]
    pub moved: f32,
    /// How many profiles of the same person a record finds on average, before anything is compared. Lower is more careful with
    /// everything but handles: names are not as independent as frequencies say.
    #[serde(default = "expected_matches")]
    pub expected_matches: f64,
    /// So many profiles are assumed before there are any: the first day must not be credulous.
    #[serde(default = "least_population")]
    pub least_population: u64,
    /// Frequencies of names and streets are smoothed by so many imaginary profiles.
    #[serde(default = "smoothing")]
    pub smoothing: f64,
    /// Comparison → level → weight.
    pub weights: BTreeMap<Comparison, BTreeMap<Level, Weight>>,
    /// How mail addresses are read; the built-in rules when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<MailRules>,
    /// How telephone numbers are read.
    #[serde(default)]
    pub phone: PhoneRules,
    /// How dates are read.
    #[serde(default)]
    pub dates: DateOrder,
    /// Values that identify nobody, besides the built-in ones.
    #[serde(default)]
    pub blocked_values: Vec<String>,
}

const fn household_share() -> f64 {
    0.4
}
const fn further_handle() -> f32 {
    4.0
}
const fn expected_matches() -> f64 {
    1.0
}
const fn household_beside_handle() -> f32 {
    1.5
}
const fn moved() -> f32 {
    -3.0
}
const fn least_population() -> u64 {
    10_000
}
const fn smoothing() -> f64 {
    500.0
}

/// Why a policy is refused.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPolicy {
    /// It is not in the format.
    #[error("not a matching policy: {0}")]
    Format(#[from] serde_json::Error),
    /// A number is out of its range.
    #[error("{comparison:?}.{level:?}: chances must be above 0 and at most 1, shares between 0 and 1")]
    Chance {
        /// Where.
        comparison: Comparison,
        /// Where.
        level: Level,
    },
    /// The thresholds contradict each other.
    #[error("thresholds: review must not be above same, margin not below 0")]
    Thresholds,
    /// The share of a household is no share.
    #[error("samePersonInHousehold must be between 0 and 1")]
    Household,
    /// The shares of twins and namesakes are no shares.
    #[error("homes: twins and namesakes must be above 0 and together below 1, nearBirths not below 0")]
    Homes,
}

/// What a level is worth, ready to add.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bits {
    /// Always the same.
    Fixed(f32),
    /// By how frequent the value is.
    ByFrequency {
        /// log2 of `m`.
        log_m: f32,
        /// When nothing has been counted.
        u: f64,
    },
    /// As much as the prior takes away, and then so many.
    Owner(f32),
}

/// The policy, ready to use.
#[derive(Debug, Clone)]
pub struct Policy {
    file: PolicyFile,
    pub(crate) bits: [[Bits; Level::COUNT]; Comparison::COUNT],
    pub(crate) household: f32,
    /// How mail addresses are read.
    pub mail: MailRules,
    /// What identifies nobody.
    pub blocked: Blocked,
    /// Keys that find nobody, as far as is known.
    pub crowded: Crowded,
}

impl Policy {
    /// The policy that ships: it needs no training.
    #[must_use]
    pub fn shipped() -> Self {
        Self::parse(include_str!("shipped.json")).expect("the shipped policy is tested")
    }

    /// Reads a policy from JSON.
    ///
    /// # Errors
    /// When it is not in the format or contradicts itself.
    pub fn parse(json: &str) -> Result<Self, InvalidPolicy> {
        Self::new(serde_json::from_str(json)?)
    }

    /// Makes a policy ready.
    ///
    /// # Errors
    /// When it contradicts itself.
    pub fn new(file: PolicyFile) -> Result<Self, InvalidPolicy> {
        let t = file.thresholds;
        if t.review > t.same || t.margin < 0.0 {
            return Err(InvalidPolicy::Thresholds);
        }
        if !(file.same_person_in_household > 0.0 && file.same_person_in_household < 1.0) {
            return Err(InvalidPolicy::Household);
        }
        let homes = file.homes;
        if !(homes.twins > 0.0
            && homes.namesakes > 0.0
            && homes.twins + homes.namesakes < 1.0
            && homes.near_births >= 0.0)
        {
            return Err(InvalidPolicy::Homes);
        }
        let mut bits = [[Bits::Fixed(0.0); Level::COUNT]; Comparison::COUNT];
        for (&comparison, levels) in &file.weights {
            for (&level, &weight) in levels {
                let cell = bits
                    .get_mut(comparison.index())
                    .and_then(|row| row.get_mut(level.index()))
                    .expect("tables have a place for every comparison and level");
                *cell =
                    weigh(comparison, level, weight).ok_or(InvalidPolicy::Chance { comparison, level })?;
            }
        }
        let odds = file.same_person_in_household / (1.0 - file.same_person_in_household);
        Ok(Self {
            household: odds.log2() as f32,
            mail: file.mail.clone().unwrap_or_default(),
            blocked: Blocked::new(&file.blocked_values),
            crowded: Crowded::default(),
            bits,
            file,
        })
    }

    /// As it was written.
    #[must_use]
    pub const fn file(&self) -> &PolicyFile {
        &self.file
    }

    /// What a level says by itself, whatever the value.
    pub(crate) fn alone(&self, comparison: Comparison, level: Level) -> f32 {
        match self.cell(comparison, level) {
            Bits::Fixed(bits) | Bits::Owner(bits) => bits,
            Bits::ByFrequency { log_m, u } => log_m - u.log2() as f32,
        }
    }

    /// What a level is worth.
    pub(super) fn cell(&self, comparison: Comparison, level: Level) -> Bits {
        let levels = self.bits.get(comparison.index());
        let cell = levels.and_then(|levels| levels.get(level.index()));
        cell.copied().unwrap_or(Bits::Fixed(0.0))
    }

    /// Two people may well live at one address under one surname.
    #[must_use]
    pub fn homes_are_shared(&self, homes: Homes) -> bool {
        let rule = self.file.homes;
        homes.same < rule.least_seen || homes.apart as f64 > rule.most_apart * homes.same as f64
    }

    /// Where decisions are cut.
    #[must_use]
    pub const fn thresholds(&self) -> Thresholds {
        self.file.thresholds
    }

    /// Limits.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.file.limits
    }
}

fn weigh(comparison: Comparison, level: Level, weight: Weight) -> Option<Bits> {
    match weight {
        Weight::Chances { m, u } if m > 0.0 && u > 0.0 && m <= 1.0 && u <= 1.0 => {
            Some(if by_frequency(comparison, level) {
                Bits::ByFrequency {
                    log_m: m.log2() as f32,
                    u,
                }
            } else {
                Bits::Fixed((m / u).log2() as f32)
            })
        }
        Weight::Shared { shared } if shared > 0.0 && shared < 1.0 => {
            Some(Bits::Owner(((1.0 - shared) / shared).log2() as f32))
        }
        Weight::Chances { .. } | Weight::Shared { .. } => None,
    }
}

/// Equal rare values say more than equal frequent ones.
fn by_frequency(comparison: Comparison, level: Level) -> bool {
    match comparison {
        Comparison::GivenName => matches!(level, Level::Exact | Level::Nickname),
        Comparison::Surname
        | Comparison::Street
        | Comparison::Building
        | Comparison::Locality
        | Comparison::PostalCode
        | Comparison::Region
        | Comparison::Text
        | Comparison::Category => level == Level::Exact,
        Comparison::SwappedNames
        | Comparison::BirthDate
        | Comparison::Email
        | Comparison::Phone
        | Comparison::Exclusive
        | Comparison::National
        | Comparison::Account
        | Comparison::Device
        | Comparison::HouseNumber => false,
    }
}
