//! Addresses of contact and ids: what an equal one is worth depends on who else uses it.

use super::{Best, Scorer, Side};
use crate::matching::{
    blocking::handle_key,
    compare::{self, Comparison, Level},
    evidence::{Score, Vetoes},
    facts::{Facts, Seen, Trust},
    hash::ValueKey,
    normalise::{Email, Identifier, IdentifierClass, Phone},
    store::Store,
};

impl<S: Store> Scorer<'_, S> {
    pub(super) fn handles(&self, a: Side<'_>, b: Side<'_>, score: &mut Score) {
        let mut email = Best::NONE;
        for x in &a.facts.emails {
            for y in &b.facts.emails {
                let level = believable(compare::emails(&x.value, &y.value), x.trust, y.trust);
                email.take(
                    level,
                    self.handle(Comparison::Email, level, a, b, x.value.key, |f| {
                        named_times(&f.emails, x.value.key, |e: &Email| e.key)
                    }),
                );
            }
        }
        Self::set(score, Comparison::Email, email);
        let mut phone = Best::NONE;
        for x in &a.facts.phones {
            for y in &b.facts.phones {
                let level = believable(compare::phones(&x.value, &y.value), x.trust, y.trust);
                phone.take(
                    level,
                    self.handle(Comparison::Phone, level, a, b, x.value.key, |f| {
                        named_times(&f.phones, x.value.key, |p: &Phone| p.key)
                    }),
                );
            }
        }
        Self::set(score, Comparison::Phone, phone);
        for class in [
            IdentifierClass::Exclusive,
            IdentifierClass::National,
            IdentifierClass::Account,
            IdentifierClass::Device,
        ] {
            self.identifiers(class, a, b, score);
        }
    }

    fn identifiers(&self, class: IdentifierClass, a: Side<'_>, b: Side<'_>, score: &mut Score) {
        let comparison = match class {
            IdentifierClass::Exclusive => Comparison::Exclusive,
            IdentifierClass::National => Comparison::National,
            IdentifierClass::Account => Comparison::Account,
            IdentifierClass::Device => Comparison::Device,
        };
        let mut best = Best::NONE;
        for x in a.facts.identifiers.iter().filter(|i| i.value.class == class) {
            for y in b.facts.identifiers.iter().filter(|i| i.value.class == class) {
                if let Some(level) = compare::identifiers(&x.value, &y.value) {
                    let level = believable(level, x.trust, y.trust);
                    let bits = self.handle(comparison, level, a, b, x.value.key, |f| {
                        named_times(&f.identifiers, x.value.key, |i: &Identifier| i.key)
                    });
                    best.take(level, bits);
                }
            }
        }
        if class == IdentifierClass::Exclusive {
            score.vetoes.exclusive = best.level == Level::Different;
            if best.level == Level::Exact {
                // The company's own books say that it is one person: that outweighs what people mistyped.
                score.vetoes = Vetoes::default();
            }
        }
        Self::set(score, comparison, best);
    }

    /// An equal handle is worth less when others, known by name, use it too: by how often they do.
    fn handle(
        &self,
        comparison: Comparison,
        level: Level,
        a: Side<'_>,
        b: Side<'_>,
        value: ValueKey,
        named: impl Fn(&Facts) -> u32,
    ) -> f32 {
        let bits = self.worth(comparison, level, value);
        if !matches!(level, Level::Exact | Level::SharedExact) || comparison == Comparison::Exclusive {
            return bits;
        }
        let Some(holders) = self
            .store
            .holders(handle_key(value), self.policy.limits().profiles_per_key)
        else {
            return 0.0;
        };
        let mut elsewhere = 0;
        for id in holders {
            if Some(*id) == a.profile || Some(*id) == b.profile {
                continue;
            }
            if let Some(profile) = self.store.profile(*id) {
                elsewhere += named(&profile.facts);
            }
        }
        if elsewhere == 0 {
            return bits;
        }
        let here: u32 = [a, b]
            .iter()
            .filter(|s| s.profile.is_some())
            .map(|s| named(s.facts))
            .sum();
        let share = (f64::from(here).max(0.25) / f64::from(elsewhere)).log2() as f32;
        bits.min(share - self.prior)
    }
}

/// What a provider delivered or somebody proved was typed by nobody: one slip apart, it is somebody else's.
fn believable(level: Level, one: Trust, other: Trust) -> Level {
    if level == Level::Close && one.min(other) > Trust::Claimed {
        Level::Different
    } else {
        level
    }
}

fn named_times<T>(values: &[Seen<T>], key: ValueKey, of: impl Fn(&T) -> ValueKey) -> u32 {
    values.iter().find(|v| of(&v.value) == key).map_or(0, |v| v.named)
}
