//! Which profiles could be the same person: those that share a key. A key is compound and rare, hashed to 64 bits, one row per
//! distinct key of a profile; one that finds too many finds nobody. Family numbers are part of stored keys and never change.
//!
//! A key earns its row: each family here finds somebody whom the others miss, on one of the sets that we try (ADR 26). The numbers
//! that are missing were families that did not.
//!
//! Keys that have a part in common begin alike ([`Place`]): of the rows of a profile many are neighbours in the index, and
//! half of the pages are read and written.

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
    collect(facts, true)
}

/// The same keys hashed without a place: an order of records that rests on them does not change with the index.
pub(crate) fn unplaced_keys(facts: &Facts) -> Vec<BlockKey> {
    collect(facts, false)
}

fn collect(facts: &Facts, placed: bool) -> Vec<BlockKey> {
    let mut keys = Collected {
        keys: Vec::with_capacity(48),
        placed,
    };
    handles(facts, &mut keys);
    births(facts, &mut keys);
    addresses(facts, &mut keys);
    names(facts, &mut keys);
    for other in &facts.others {
        if other.value.value.len() >= 6 {
            keys.put(handle_key(other.value.key));
        }
    }
    let mut keys = keys.keys;
    keys.sort_unstable();
    keys.dedup();
    keys
}

struct Collected {
    keys: Vec<BlockKey>,
    placed: bool,
}

impl Collected {
    fn put(&mut self, key: BlockKey) {
        self.keys.push(key);
    }

    fn push(&mut self, key: StableHasher) {
        self.put(key.block());
    }

    fn push_at(&mut self, place: Place, key: StableHasher) {
        let key = key.block();
        self.put(if self.placed { place.holds(key) } else { key });
    }
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

fn handles(facts: &Facts, keys: &mut Collected) {
    for email in &facts.emails {
        keys.put(handle_key(email.value.key));
        if !email.value.shared && email.value.local().len() >= 6 {
            keys.push(key(1).part(email.value.local()));
            for surname in first(&facts.surnames) {
                let local = prefix(email.value.local(), 8);
                keys.push(key(2).part(local).part(&surname.sound));
            }
        }
    }
    for phone in &facts.phones {
        keys.put(handle_key(phone.value.key));
        keys.push(key(3).part(phone.value.tail()));
        let numbers = prefix(&phone.value.e164, 9);
        let place = Place::of(numbers);
        for surname in first(&facts.surnames) {
            keys.push_at(place, key(4).part(numbers).part(&surname.sound));
        }
        for given in first(&facts.given_names) {
            keys.push_at(place, key(5).part(numbers).part(&given.root));
        }
    }
    for identifier in &facts.identifiers {
        keys.put(handle_key(identifier.value.key));
        if identifier.value.class == IdentifierClass::National {
            let value = &identifier.value.value;
            keys.push(
                key(6)
                    .part(&identifier.value.namespace)
                    .part(prefix(value, value.len() / 2)),
            );
            keys.push(
                key(7)
                    .part(&identifier.value.namespace)
                    .part(suffix(value, value.len() / 2)),
            );
        }
    }
}

fn births(facts: &Facts, keys: &mut Collected) {
    for birth in facts.births.iter().take(MOST_VALUES) {
        let birth = &birth.value;
        let digits = birth.digits();
        // Day and month sorted: who swaps them lands on the same key.
        let (low, high) = (birth.month.min(birth.day), birth.month.max(birth.day));
        let folded = [(birth.year >> 8) as u8, (birth.year & 0xff) as u8, low, high];
        let year = [(birth.year >> 8) as u8, (birth.year & 0xff) as u8];
        let place = Place::of_bytes(&folded);
        for surname in first(&facts.surnames) {
            // Surname and given name meet on the same family, so that swapped names do too.
            keys.push_at(place, key(10).bytes(&folded).part(&surname.sound));
            keys.push(
                key(11)
                    .bytes(&year)
                    .part(&surname.sound)
                    .part(prefix(&surname.text, 3)),
            );
        }
        for given in first(&facts.given_names).filter(|g| !g.is_initial()) {
            keys.push_at(place, key(10).bytes(&folded).part(&given.sound));
        }
        for address in first(&facts.addresses) {
            for (family, part) in [(61, &address.locality), (62, &address.number)] {
                if !part.text.is_empty() {
                    keys.push_at(place, key(family).bytes(&digits).part(&part.text));
                }
            }
        }
        for (given, surname) in pairs(facts) {
            keys.push(key(16).bytes(&year).pair(&given.sound, &surname.sound));
        }
    }
}

fn addresses(facts: &Facts, keys: &mut Collected) {
    for a in first(&facts.addresses) {
        let sorted = sorted(&a.postal_code.text);
        let (street, number, postal, locality) =
            (&*a.street.text, &*a.number.text, &*sorted, &*a.locality.text);
        let (in_street, in_postal, in_locality) = (Place::of(street), Place::of(postal), Place::of(locality));
        let building = &*a.building.text;
        for (family, x, y, place) in [
            (32, street, locality, in_street),
            (39, prefix(street, 5), postal, in_postal),
            (22, building, number, Place::of(building)),
            (35, postal, number, in_postal),
        ] {
            if !x.is_empty() && !y.is_empty() {
                keys.push_at(place, key(family).part(x).part(y));
            }
        }
        for surname in first(&facts.surnames) {
            if !locality.is_empty() {
                keys.push_at(in_locality, key(36).part(prefix(&surname.text, 3)).part(locality));
            }
            if !street.is_empty() {
                keys.push_at(in_street, key(23).part(&surname.sound).part(street));
            }
        }
        for (given, surname) in pairs(facts) {
            if !postal.is_empty() {
                keys.push_at(
                    in_postal,
                    key(37)
                        .pair(prefix(&given.text, 3), prefix(&surname.text, 3))
                        .part(postal),
                );
            }
        }
    }
}

/// Names alone: in full spelling, so that frequent ones die of their own frequency.
fn names(facts: &Facts, keys: &mut Collected) {
    for (given, surname) in pairs(facts) {
        keys.push(key(30).pair(&given.root, &surname.text));
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

/// Where in the index a key is: keys with the same place are neighbours.
#[derive(Clone, Copy)]
struct Place(u64);

impl Place {
    /// So many leading bits are the place's: enough for billions of keys, and the rest tells keys of one place apart.
    const BITS: u32 = 24;

    fn of(part: &str) -> Self {
        Self(StableHasher::new(0).part(part).finish())
    }

    fn of_bytes(part: &[u8]) -> Self {
        Self(StableHasher::new(0).bytes(part).finish())
    }

    /// A key, at this place.
    const fn holds(self, key: BlockKey) -> BlockKey {
        let leading = self.0 & !(u64::MAX >> Self::BITS);
        let rest = key.0.cast_unsigned() >> Self::BITS;
        BlockKey((leading | rest).cast_signed())
    }
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
