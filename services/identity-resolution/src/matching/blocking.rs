//! Which profiles could be the same person: those that share a key. A key is compound and rare, hashed to 64 bits, one row per
//! distinct key of a profile; one that finds too many finds nobody. Family numbers are part of stored keys and never change.

use super::{
    facts::{Facts, Seen},
    hash::{BlockKey, StableHasher, ValueKey},
    normalise::{IdentifierClass, Name},
};

/// More values of one attribute than this are not combined: the most often seen are.
const MOST_VALUES: usize = 4;

/// The key by which the holders of a handle are found.
#[must_use]
pub const fn handle_key(value: ValueKey) -> BlockKey {
    BlockKey(value.0.cast_signed())
}

/// The blocking keys of what is known, sorted, each once.
#[must_use]
pub fn keys(facts: &Facts) -> Vec<BlockKey> {
    let mut keys = Vec::with_capacity(48);
    handles(facts, &mut keys);
    births(facts, &mut keys);
    addresses(facts, &mut keys);
    names(facts, &mut keys);
    for other in &facts.others {
        if other.value.value.len() >= 6 {
            keys.push(handle_key(other.value.key));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The keys of handles alone.
#[must_use]
pub fn handle_keys(facts: &Facts) -> Vec<BlockKey> {
    let emails = facts.emails.iter().map(|e| e.value.key);
    let phones = facts.phones.iter().map(|p| p.value.key);
    let identifiers = facts.identifiers.iter().map(|i| i.value.key);
    emails.chain(phones).chain(identifiers).map(handle_key).collect()
}

/// Keys of the values that several people may hold: where a newly shared handle is looked up.
pub(crate) fn handle_values(facts: &Facts) -> Vec<ValueKey> {
    let mut values: Vec<ValueKey> = facts.emails.iter().map(|e| e.value.key).collect();
    values.extend(facts.phones.iter().map(|p| p.value.key));
    values.extend(
        facts
            .identifiers
            .iter()
            .filter(|i| i.value.class != IdentifierClass::Exclusive)
            .map(|i| i.value.key),
    );
    values
}

fn handles(facts: &Facts, keys: &mut Vec<BlockKey>) {
    for email in &facts.emails {
        keys.push(handle_key(email.value.key));
        if !email.value.shared && email.value.local().len() >= 6 {
            keys.push(key(1).part(email.value.local()).block());
            for surname in first(&facts.surnames) {
                keys.push(
                    key(2)
                        .part(prefix(email.value.local(), 8))
                        .part(&surname.sound)
                        .block(),
                );
            }
        }
    }
    for phone in &facts.phones {
        keys.push(handle_key(phone.value.key));
        keys.push(key(3).part(phone.value.tail()).block());
        for surname in first(&facts.surnames) {
            keys.push(
                key(4)
                    .part(prefix(&phone.value.e164, 9))
                    .part(&surname.sound)
                    .block(),
            );
        }
        for given in first(&facts.given_names) {
            keys.push(
                key(5)
                    .part(prefix(&phone.value.e164, 9))
                    .part(&given.root)
                    .block(),
            );
        }
    }
    for identifier in &facts.identifiers {
        keys.push(handle_key(identifier.value.key));
        if identifier.value.class == IdentifierClass::National {
            let value = &identifier.value.value;
            keys.push(
                key(6)
                    .part(&identifier.value.namespace)
                    .part(prefix(value, value.len() / 2))
                    .block(),
            );
            keys.push(
                key(7)
                    .part(&identifier.value.namespace)
                    .part(suffix(value, value.len() / 2))
                    .block(),
            );
        }
    }
}

fn births(facts: &Facts, keys: &mut Vec<BlockKey>) {
    for birth in facts.births.iter().take(MOST_VALUES) {
        let birth = &birth.value;
        let digits = birth.digits();
        // Day and month sorted: who swaps them lands on the same key.
        let (low, high) = (birth.month.min(birth.day), birth.month.max(birth.day));
        let folded = [(birth.year >> 8) as u8, (birth.year & 0xff) as u8, low, high];
        let year = [(birth.year >> 8) as u8, (birth.year & 0xff) as u8];
        for surname in first(&facts.surnames) {
            // Surname and given name meet on the same family, so that swapped names do too.
            keys.push(key(10).bytes(&folded).part(&surname.sound).block());
            keys.push(
                key(11)
                    .bytes(&year)
                    .part(&surname.sound)
                    .part(prefix(&surname.text, 3))
                    .block(),
            );
        }
        for given in first(&facts.given_names).filter(|g| !g.is_initial()) {
            keys.push(key(10).bytes(&folded).part(&given.sound).block());
        }
        for address in first(&facts.addresses) {
            let parts = [
                &address.postal_code,
                &address.locality,
                &address.number,
                &address.street,
                &address.building,
            ];
            for (family, part) in (60..).zip(parts) {
                if !part.text.is_empty() {
                    keys.push(key(family).bytes(&digits).part(&part.text).block());
                }
            }
        }
        for (given, surname) in pairs(facts) {
            keys.push(
                key(15)
                    .bytes(&[birth.month, birth.day])
                    .pair(&given.sound, &surname.sound)
                    .block(),
            );
            keys.push(key(16).bytes(&year).pair(&given.sound, &surname.sound).block());
        }
    }
}

fn addresses(facts: &Facts, keys: &mut Vec<BlockKey>) {
    for a in first(&facts.addresses) {
        let sorted = sorted(&a.postal_code.text);
        let (street, number, postal, locality) =
            (&*a.street.text, &*a.number.text, &*sorted, &*a.locality.text);
        if !street.is_empty() && !number.is_empty() {
            if !postal.is_empty() {
                keys.push(key(20).part(street).part(number).part(postal).block());
            }
            if !locality.is_empty() {
                keys.push(key(21).part(street).part(number).part(locality).block());
            }
        }
        let building = &*a.building.text;
        for (family, x, y) in [
            (31, street, postal),
            (32, street, locality),
            (39, prefix(street, 5), postal),
            (22, building, number),
            (33, building, postal),
            (34, building, locality),
            (35, postal, number),
        ] {
            if !x.is_empty() && !y.is_empty() {
                keys.push(key(family).part(x).part(y).block());
            }
        }
        for surname in first(&facts.surnames) {
            if !locality.is_empty() {
                keys.push(key(36).part(prefix(&surname.text, 3)).part(locality).block());
            }
            if !street.is_empty() {
                keys.push(key(23).part(&surname.sound).part(street).block());
            }
            if !postal.is_empty() && !number.is_empty() {
                keys.push(key(24).part(&surname.sound).part(postal).part(number).block());
            }
            if !locality.is_empty() && !number.is_empty() {
                keys.push(key(25).part(&surname.sound).part(locality).part(number).block());
            }
        }
        for given in first(&facts.given_names).filter(|g| !g.is_initial()) {
            if !street.is_empty() {
                keys.push(key(26).part(&given.root).part(street).block());
            }
            if !postal.is_empty() {
                keys.push(key(38).part(&given.root).part(postal).block());
            }
            if !postal.is_empty() && !number.is_empty() {
                keys.push(key(27).part(&given.root).part(postal).part(number).block());
            }
        }
        for (given, surname) in pairs(facts) {
            if !postal.is_empty() {
                keys.push(
                    key(37)
                        .pair(prefix(&given.text, 3), prefix(&surname.text, 3))
                        .part(postal)
                        .block(),
                );
                keys.push(key(28).pair(&given.sound, &surname.sound).part(postal).block());
            }
            if !locality.is_empty() {
                keys.push(key(29).pair(&given.sound, &surname.sound).part(locality).block());
            }
        }
    }
}

/// Names alone: in full spelling, so that frequent ones die of their own frequency.
fn names(facts: &Facts, keys: &mut Vec<BlockKey>) {
    for (given, surname) in pairs(facts) {
        keys.push(key(30).pair(&given.root, &surname.text).block());
    }
}

/// The blocking keys a record is looked up by are those it would be stored under.
fn pairs(facts: &Facts) -> impl Iterator<Item = (&Name, &Name)> {
    first(&facts.given_names)
        .filter(|g| !g.is_initial())
        .flat_map(|g| first(&facts.surnames).map(move |s| (g, s)))
}

fn first<T>(values: &[Seen<T>]) -> impl Iterator<Item = &T> {
    values.iter().take(MOST_VALUES).map(|v| &*v.value)
}

fn key(family: u8) -> StableHasher {
    StableHasher::new(100 + family)
}

impl StableHasher {
    /// Two parts whose order does not matter.
    fn pair(self, a: &str, b: &str) -> Self {
        if a <= b {
            self.part(a).part(b)
        } else {
            self.part(b).part(a)
        }
    }
}

/// The signs of a code in order of the alphabet: who swaps two of them lands on the same key.
fn sorted(code: &str) -> String {
    let mut signs: Vec<char> = code.chars().collect();
    signs.sort_unstable();
    signs.into_iter().collect()
}

fn prefix(text: &str, length: usize) -> &str {
    text.get(..length).unwrap_or(text)
}

fn suffix(text: &str, length: usize) -> &str {
    text.len()
        .checked_sub(length)
        .and_then(|from| text.get(from..))
        .unwrap_or(text)
}
