//! How likely two are one person, in bits, and why.

mod handles;
mod household;

use super::{
    compare::{self, Comparison, Level},
    facts::{Facts, Seen},
    hash::ValueKey,
    normalise::{Address, Name, OtherComparison},
    policy::{Bits, Policy},
    store::{ProfileId, Store},
};

pub use super::evidence::{Evidence, Home, Score, Vetoes};

/// Weighs two against each other.
pub struct Scorer<'a, S> {
    policy: &'a Policy,
    store: &'a S,
    prior: f32,
    /// Profiles that frequencies are counted over, with the imaginary ones.
    population: f64,
    /// Imaginary profiles, who are called what the policy says people are called.
    imaginary: f64,
    homes_are_shared: bool,
}

/// A level and what it is worth; the best of several pairs of values.
#[derive(Clone, Copy)]
struct Best {
    level: Level,
    bits: f32,
}

impl Best {
    const NONE: Self = Self {
        level: Level::Missing,
        bits: 0.0,
    };

    fn take(&mut self, level: Level, bits: f32) {
        if level != Level::Missing && (self.level == Level::Missing || bits > self.bits) {
            *self = Self { level, bits };
        }
    }
}

/// One side: its facts, and which profile they are of, if it is stored already.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// What is known.
    pub facts: &'a Facts,
    /// Of whom.
    pub profile: Option<ProfileId>,
}

impl<'a, S: Store> Scorer<'a, S> {
    /// A scorer over what the store knows now.
    pub fn new(policy: &'a Policy, store: &'a S) -> Self {
        let known = store.population() as f64;
        let population = known.max(policy.file().least_population as f64);
        // Who is not here yet has a name too: while there are few, an unseen name is no rarer than names are in general.
        let imaginary = population - known + policy.file().smoothing;
        Self {
            policy,
            store,
            prior: (policy.file().expected_matches / population).log2() as f32,
            population: known + imaginary,
            imaginary,
            homes_are_shared: policy.homes_are_shared(store.homes()),
        }
    }

    /// Weighs.
    #[must_use]
    pub fn score(&self, a: Side<'_>, b: Side<'_>) -> Score {
        let mut score = Score {
            bits: 0.0,
            suspicion: 0.0,
            prior: self.prior,
            levels: [Level::Missing; Comparison::COUNT],
            parts: [0.0; Comparison::COUNT],
            household_excess: 0.0,
            vetoes: Vetoes::default(),
            home: Home::Elsewhere,
            held_back: false,
            names_alone: false,
        };
        self.names(a.facts, b.facts, &mut score);
        self.births(a.facts, b.facts, &mut score);
        self.addresses(a.facts, b.facts, &mut score);
        self.handles(a, b, &mut score);
        self.others(a.facts, b.facts, &mut score);
        score.home = home(&score);
        score.names_alone = names_alone(&score);
        if self.homes_are_shared {
            self.sum(&mut score);
            score.held_back =
                score.vetoes.given_name || score.vetoes.birth_date || score.household_excess > 0.0;
        } else {
            // Nobody else lives here: what changed is a slip or a new name, and weighs as one.
            score.vetoes.given_name = false;
            score.vetoes.birth_date = false;
            let least = self.policy.file().homes.least_bits;
            for part in &mut score.parts {
                *part = part.max(least);
            }
            self.sum(&mut score);
        }
        score
    }

    fn cell(&self, comparison: Comparison, level: Level) -> Bits {
        self.policy.cell(comparison, level)
    }

    fn worth(&self, comparison: Comparison, level: Level, value: ValueKey) -> f32 {
        match self.cell(comparison, level) {
            Bits::Fixed(bits) => bits,
            Bits::Owner(bits) => bits - self.prior,
            // Alike, but not by a value of which it was counted how many have it.
            Bits::ByFrequency { .. } if value == ValueKey::default() => self.policy.alone(comparison, level),
            Bits::ByFrequency { log_m, u } => {
                // The one that is compared holds the value itself: others are what counts.
                let others = f64::from(self.store.frequency(value).saturating_sub(1));
                let chance = (others + self.imaginary * u) / self.population;
                log_m - chance.log2() as f32
            }
        }
    }

    fn set(score: &mut Score, comparison: Comparison, best: Best) {
        if let (Some(level), Some(part)) = (
            score.levels.get_mut(comparison.index()),
            score.parts.get_mut(comparison.index()),
        ) {
            *level = best.level;
            *part = best.bits;
        }
    }

    fn names(&self, a: &Facts, b: &Facts, score: &mut Score) {
        let (given_a, given_b) = (
            real_names(&a.given_names, &a.surnames),
            real_names(&b.given_names, &b.surnames),
        );
        let (surname_a, surname_b) = (
            real_names(&a.surnames, &a.given_names),
            real_names(&b.surnames, &b.given_names),
        );
        let mut given = Best::NONE;
        let mut written_out = false;
        // An initial fits many: where both write their names out, it explains nothing away.
        let all_said = given_a.clone().any(|n| !n.is_initial()) && given_b.clone().any(|n| !n.is_initial());
        for x in given_a.filter(|n| !all_said || !n.is_initial()) {
            for y in given_b.clone().filter(|n| !all_said || !n.is_initial()) {
                let level = compare::given_names(x, y);
                let value = if level == Level::Exact || x.root_key == y.root_key {
                    x.root_key
                } else {
                    ValueKey::default()
                };
                given.take(level, self.worth(Comparison::GivenName, level, value));
                written_out |= compare::given_names_contradict(x, y);
            }
        }
        // One variant that fits is enough: somebody's slip must not part a person from themselves.
        let mut contradicted = written_out && given.level == Level::Different;
        let mut surname = Best::NONE;
        for x in surname_a {
            for y in surname_b.clone() {
                let level = compare::surnames(x, y);
                surname.take(level, self.worth(Comparison::Surname, level, x.key));
            }
        }
        if given.level == Level::Different
            || surname.level == Level::Different
            || given.level == Level::Missing
            || surname.level == Level::Missing
        {
            self.swapped(a, b, given.bits + surname.bits, score, &mut contradicted);
            if score.levels.get(Comparison::SwappedNames.index()) == Some(&Level::Missing) {
                self.misplaced(a, b, &mut given, &mut surname, &mut contradicted);
            }
        }
        if score.levels.get(Comparison::SwappedNames.index()) == Some(&Level::Missing) {
            Self::set(score, Comparison::GivenName, given);
            Self::set(score, Comparison::Surname, surname);
        }
        score.vetoes.given_name = contradicted;
    }

    /// Given name and surname that changed places count once, as one comparison.
    fn swapped(&self, a: &Facts, b: &Facts, straight: f32, score: &mut Score, contradicted: &mut bool) {
        for (x, y) in [(a, b), (b, a)] {
            let clear = x.given_names.iter().any(|g| {
                y.surnames.iter().any(|s| {
                    g.value.text.len() >= 3
                        && matches!(compare::cross(&g.value, &s.value), Level::Exact | Level::Close)
                })
            });
            // Only a swap of both explains away two different given names.
            if !clear {
                return;
            }
        }
        let mut best = Best::NONE;
        for (gx, sx) in a
            .given_names
            .iter()
            .flat_map(|g| a.surnames.iter().map(move |s| (g, s)))
        {
            for (gy, sy) in b
                .given_names
                .iter()
                .flat_map(|g| b.surnames.iter().map(move |s| (g, s)))
            {
                let level = compare::swapped(&gx.value, &sx.value, &gy.value, &sy.value);
                if level != Level::Different {
                    best.take(
                        level,
                        self.worth(Comparison::SwappedNames, level, ValueKey::default()),
                    );
                }
            }
        }
        if best.level != Level::Missing && best.bits > straight {
            Self::set(score, Comparison::SwappedNames, best);
            *contradicted = false;
        }
    }

    /// One has a single name, and it stands in the wrong place: it is compared with where it belongs, and the other says nothing.
    fn misplaced(&self, a: &Facts, b: &Facts, given: &mut Best, surname: &mut Best, contradicted: &mut bool) {
        let differ = |best: &Best| matches!(best.level, Level::Missing | Level::Different);
        let alike = |givens: &[Seen<Name>], surnames: &[Seen<Name>]| {
            givens.iter().any(|g| {
                g.value.text.len() >= 3
                    && surnames
                        .iter()
                        .any(|s| matches!(compare::cross(&g.value, &s.value), Level::Exact | Level::Close))
            })
        };
        let close = |comparison| Best {
            level: Level::Close,
            bits: self.worth(comparison, Level::Close, ValueKey::default()),
        };
        for (x, y) in [(a, b), (b, a)] {
            if x.surnames.is_empty() && differ(given) && alike(&x.given_names, &y.surnames) {
                (*given, *surname, *contradicted) = (Best::NONE, close(Comparison::Surname), false);
                return;
            }
            if x.given_names.is_empty() && differ(surname) && alike(&y.given_names, &x.surnames) {
                (*given, *surname) = (close(Comparison::GivenName), Best::NONE);
                return;
            }
        }
    }

    fn births(&self, a: &Facts, b: &Facts, score: &mut Score) {
        let mut best = Best::NONE;
        for x in &a.births {
            for y in &b.births {
                let level = compare::births(*x.value, *y.value);
                best.take(
                    level,
                    self.worth(Comparison::BirthDate, level, ValueKey::default()),
                );
            }
        }
        score.vetoes.birth_date = best.level == Level::Different;
        Self::set(score, Comparison::BirthDate, best);
    }

    fn addresses(&self, a: &Facts, b: &Facts, score: &mut Score) {
        const PARTS: [Comparison; 6] = [
            Comparison::Street,
            Comparison::HouseNumber,
            Comparison::Building,
            Comparison::Locality,
            Comparison::PostalCode,
            Comparison::Region,
        ];
        let mut best: Option<(f32, [Best; 6])> = None;
        for x in &a.addresses {
            for y in &b.addresses {
                let compared = self.address(&x.value, &y.value);
                let sum: f32 = compared.iter().map(|b| b.bits).sum();
                if best.as_ref().is_none_or(|(most, _)| sum > *most) {
                    best = Some((sum, compared));
                }
            }
        }
        if let Some((_, compared)) = best {
            for (comparison, part) in PARTS.into_iter().zip(compared) {
                Self::set(score, comparison, part);
            }
        }
    }

    fn address(&self, a: &Address, b: &Address) -> [Best; 6] {
        let one = |comparison, level, key| {
            let mut best = Best::NONE;
            if level != Level::Missing {
                best.take(level, self.worth(comparison, level, key));
            }
            best
        };
        [
            one(
                Comparison::Street,
                compare::texts(&a.street.text, &b.street.text),
                a.street.key,
            ),
            one(
                Comparison::HouseNumber,
                compare::house_numbers(&a.number.text, &b.number.text),
                a.number.key,
            ),
            one(
                Comparison::Building,
                compare::texts(&a.building.text, &b.building.text),
                a.building.key,
            ),
            one(
                Comparison::Locality,
                compare::texts(&a.locality.text, &b.locality.text),
                a.locality.key,
            ),
            one(
                Comparison::PostalCode,
                compare::codes(&a.postal_code.text, &b.postal_code.text),
                a.postal_code.key,
            ),
            one(
                Comparison::Region,
                compare::codes(&a.region.text, &b.region.text),
                a.region.key,
            ),
        ]
    }

    fn others(&self, a: &Facts, b: &Facts, score: &mut Score) {
        let (mut text, mut category) = (Best::NONE, Best::NONE);
        // Several foreign attributes add up; several values of one compete.
        let mut attributes: Vec<&str> = a.others.iter().map(|o| &*o.value.attribute).collect();
        attributes.sort_unstable();
        attributes.dedup();
        for attribute in attributes {
            let mut best = Best::NONE;
            let mut kind = OtherComparison::Text;
            for x in a.others.iter().filter(|o| &*o.value.attribute == attribute) {
                kind = x.value.comparison;
                for y in b.others.iter().filter(|o| &*o.value.attribute == attribute) {
                    let (comparison, level) = match kind {
                        OtherComparison::Text => {
                            (Comparison::Text, compare::texts(&x.value.value, &y.value.value))
                        }
                        OtherComparison::Category if x.value.key == y.value.key => {
                            (Comparison::Category, Level::Exact)
                        }
                        OtherComparison::Category => (Comparison::Category, Level::Different),
                    };
                    best.take(level, self.worth(comparison, level, x.value.key));
                }
            }
            let sum = match kind {
                OtherComparison::Text => &mut text,
                OtherComparison::Category => &mut category,
            };
            if best.level != Level::Missing {
                *sum = Best {
                    level: best.level,
                    bits: sum.bits + best.bits,
                };
            }
        }
        Self::set(score, Comparison::Text, text);
        Self::set(score, Comparison::Category, category);
    }
}

fn home(score: &Score) -> Home {
    let level = |c: Comparison| score.levels.get(c.index()).copied().unwrap_or(Level::Missing);
    let agree = |c: Comparison| matches!(level(c), Level::Exact | Level::Close);
    let at_home = agree(Comparison::Surname)
        && agree(Comparison::Street)
        && level(Comparison::HouseNumber) == Level::Exact
        && (agree(Comparison::PostalCode) || agree(Comparison::Locality));
    let birth = level(Comparison::BirthDate);
    match level(Comparison::GivenName) {
        _ if !at_home => Home::Elsewhere,
        Level::Exact | Level::Nickname | Level::Close
            if matches!(birth, Level::Exact | Level::Swapped | Level::OneSlip) =>
        {
            Home::Same
        }
        Level::Different if score.vetoes.given_name && matches!(birth, Level::Different | Level::Missing) => {
            Home::Apart
        }
        _ => Home::Unclear,
    }
}

/// Nothing agrees but names: many people are called the same, and how many of them there are outside the store nobody counted.
fn names_alone(score: &Score) -> bool {
    !Comparison::ALL
        .into_iter()
        .zip(score.levels)
        .any(|(comparison, level)| match comparison {
            Comparison::GivenName
            | Comparison::Surname
            | Comparison::SwappedNames
            | Comparison::HouseNumber
            | Comparison::Region
            | Comparison::Category => false,
            Comparison::BirthDate => !matches!(level, Level::Missing | Level::Different),
            Comparison::Email
            | Comparison::Phone
            | Comparison::Exclusive
            | Comparison::National
            | Comparison::Account
            | Comparison::Device
            | Comparison::Street
            | Comparison::Building
            | Comparison::Locality
            | Comparison::PostalCode
            | Comparison::Text => matches!(level, Level::Exact | Level::SharedExact | Level::Close),
        })
}

/// Names of one kind without those that got there by a swap: what the same person is more often, or was first, called in the
/// other place. Who is `Kim Nguyen` once and `Nguyen Kim` once is still called something.
fn real_names<'f>(
    these: &'f [Seen<Name>],
    those: &'f [Seen<Name>],
) -> impl Iterator<Item = &'f Name> + Clone {
    these
        .iter()
        .enumerate()
        .filter(move |(place, n)| {
            these.len() == 1
                || !those.iter().enumerate().any(|(other_place, o)| {
                    (o.value.text == n.value.text
                        || o.value.sound == n.value.sound && n.value.sound.len() >= 3)
                        && (o.times, std::cmp::Reverse(other_place)) >= (n.times, std::cmp::Reverse(*place))
                })
        })
        .map(|(_, n)| &*n.value)
}
