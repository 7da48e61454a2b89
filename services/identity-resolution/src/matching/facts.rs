//! What is known of a person, from one record or from all records of a profile: the same type for both, so that a record is
//! compared with a profile exactly as two profiles are.

use std::sync::Arc;

use super::{
    hash::ValueKey,
    normalise::{Address, Birth, Email, Identifier, Name, Other, Phone},
};

/// How much a value may be believed to belong to the person, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Trust {
    /// The person said so, or somebody typed it.
    #[default]
    Claimed,
    /// The provider delivered from it.
    Observed,
    /// Possession was proven.
    Verified,
}

/// A value, how often it was seen, and how far it is believed.
#[derive(Debug, PartialEq)]
pub struct Seen<T> {
    /// The value.
    pub value: Arc<T>,
    /// By how many records.
    pub times: u32,
    /// By how many records that said more than addresses of contact: only these show whose a handle is.
    pub named: u32,
    /// The most that any of them was worth.
    pub trust: Trust,
}

// By hand, because the value is shared and need not be cloned.
impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            times: self.times,
            named: self.named,
            trust: self.trust,
        }
    }
}

/// A value that can be told from others of its kind.
pub trait Keyed {
    /// Equal for equal values, and for those only.
    fn key(&self) -> ValueKey;
}

/// What is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Given names.
    pub given_names: Vec<Seen<Name>>,
    /// Surnames, or names of companies.
    pub surnames: Vec<Seen<Name>>,
    /// Dates of birth.
    pub births: Vec<Seen<Birth>>,
    /// Mail addresses.
    pub emails: Vec<Seen<Email>>,
    /// Telephone numbers.
    pub phones: Vec<Seen<Phone>>,
    /// Postal addresses.
    pub addresses: Vec<Seen<Address>>,
    /// Ids: in the company's books, of a login, of a device, on a social network, from the state.
    pub identifiers: Vec<Seen<Identifier>>,
    /// Attributes that only the tenant knows the meaning of.
    pub others: Vec<Seen<Other>>,
}

impl Facts {
    /// Adds what another knows. True when something was new.
    pub fn absorb(&mut self, other: &Facts) -> bool {
        let a = union(&mut self.given_names, &other.given_names);
        let b = union(&mut self.surnames, &other.surnames);
        let c = union(&mut self.births, &other.births);
        let d = union(&mut self.emails, &other.emails);
        let e = union(&mut self.phones, &other.phones);
        let f = union(&mut self.addresses, &other.addresses);
        let g = union(&mut self.identifiers, &other.identifiers);
        let h = union(&mut self.others, &other.others);
        a | b | c | d | e | f | g | h
    }

    /// Nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given_names.is_empty()
            && self.surnames.is_empty()
            && self.births.is_empty()
            && self.emails.is_empty()
            && self.phones.is_empty()
            && self.addresses.is_empty()
            && self.identifiers.is_empty()
            && self.others.is_empty()
    }

    /// Nothing but addresses of contact is known: no name, no date, no address of a house.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.given_names.is_empty()
            && self.surnames.is_empty()
            && self.births.is_empty()
            && self.addresses.is_empty()
            && self.others.is_empty()
    }

    /// What one record says: each value once, and who said more than a handle is named.
    #[must_use]
    pub fn of_one_record(mut self) -> Self {
        let twice = std::mem::take(&mut self);
        self.absorb(&twice);
        let named = u32::from(!self.is_anonymous());
        each_once(&mut self.given_names, named);
        each_once(&mut self.surnames, named);
        each_once(&mut self.births, named);
        each_once(&mut self.emails, named);
        each_once(&mut self.phones, named);
        each_once(&mut self.addresses, named);
        each_once(&mut self.identifiers, named);
        each_once(&mut self.others, named);
        self
    }

    /// The keys of all values that term frequencies are counted for, each once.
    #[must_use]
    pub fn counted_values(&self) -> Vec<ValueKey> {
        let mut keys = Vec::with_capacity(16);
        keys.extend(self.given_names.iter().map(|n| n.value.root_key));
        keys.extend(self.surnames.iter().map(|n| n.value.key));
        for address in &self.addresses {
            keys.extend(address.value.counted());
        }
        keys.extend(self.others.iter().map(|o| o.value.key));
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// Makes a list of one value, as a record has it.
#[must_use]
pub fn seen_once<T>(value: T, trust: Trust) -> Seen<T> {
    Seen {
        value: Arc::new(value),
        times: 1,
        named: 0,
        trust,
    }
}

fn each_once<T>(values: &mut [Seen<T>], named: u32) {
    for seen in values {
        seen.times = 1;
        seen.named = named;
    }
}

fn union<T: Keyed>(into: &mut Vec<Seen<T>>, from: &[Seen<T>]) -> bool {
    let mut grown = false;
    for seen in from {
        if let Some(known) = into.iter_mut().find(|k| k.value.key() == seen.value.key()) {
            known.times += seen.times;
            known.named += seen.named;
            known.trust = known.trust.max(seen.trust);
        } else {
            into.push(seen.clone());
            grown = true;
        }
    }
    grown
}
