//! What records say of a person, kept as they said it: normalised anew whenever it is compared, so that better rules
//! reach what was said long ago, and every decision can be explained in the words of its source.

use crate::matching::{
    Facts, Policy, Seen as SeenValue, Trust as Belief,
    normalise::{
        Address, AddressText, Birth, Email, Identifier, IdentifierClass, Name, NameKind, Phone,
        split_full_name,
    },
};

use super::handle::{Handle, HandleKind, Trust};

/// What a value is about. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Attribute {
    /// Name in one piece.
    FullName = 1,
    /// Given names.
    GivenName = 2,
    /// Surname, or name of a company.
    Surname = 3,
    /// Date of birth.
    Birth = 4,
    /// Postal address, see [`postal`].
    Address = 5,
    /// Mail address.
    Email = 6,
    /// Telephone number.
    Phone = 7,
    /// Id of which a person has one: `namespace`, separator, value.
    Exclusive = 8,
    /// Id from the state.
    National = 9,
    /// Account of a person.
    Account = 10,
    /// Browser, telephone or app.
    Device = 11,
}

impl Attribute {
    const ALL: [Attribute; 11] = [
        Attribute::FullName,
        Attribute::GivenName,
        Attribute::Surname,
        Attribute::Birth,
        Attribute::Address,
        Attribute::Email,
        Attribute::Phone,
        Attribute::Exclusive,
        Attribute::National,
        Attribute::Account,
        Attribute::Device,
    ];

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|a| *a as u8 == number)
    }

    /// What somebody is called.
    #[must_use]
    pub const fn is_name(self) -> bool {
        matches!(self, Self::FullName | Self::GivenName | Self::Surname)
    }

    /// Whether two who have the same handle can be seen by it to be two.
    #[must_use]
    pub const fn tells_apart(self) -> bool {
        self.is_name() || matches!(self, Self::Birth)
    }
}

/// Between the parts of one value; nobody can type it.
const SEPARATOR: char = '\u{1f}';
/// Longer values are no names and no addresses.
const LONGEST: usize = 300;
/// More values of a person than this say nothing new.
const MOST: usize = 64;
/// The form of the bytes.
const FORM: u8 = 1;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// What it is about.
    pub attribute: Attribute,
    /// As it was said.
    pub text: String,
    /// How far it is believed.
    pub trust: Trust,
    /// By how many records.
    pub times: u16,
}

/// All values, each once, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said(Vec<Value>);

/// A postal address as one value.
#[must_use]
pub fn postal(street: &str, number: &str, city: &str, region: &str, postal_code: &str) -> String {
    [street, number, city, region, postal_code]
        .map(str::trim)
        .join("\u{1f}")
}

impl Said {
    /// Adds a value as one record says it. Empty and overlong ones say nothing.
    pub fn add(&mut self, attribute: Attribute, text: &str, trust: Trust) {
        let text = text.trim_matches(|c: char| c.is_whitespace());
        let says_nothing = text.chars().all(|c| c == SEPARATOR || c.is_whitespace());
        if says_nothing || text.len() > LONGEST {
            return;
        }
        self.put(Value {
            attribute,
            text: text.to_owned(),
            trust,
            times: 1,
        });
    }

    /// Adds a handle that is more than a claim.
    pub fn add_handle(&mut self, handle: &Handle) {
        if handle.trust == Trust::Claimed {
            return;
        }
        let value = handle.key.value.as_str();
        let named = |kind: &str| format!("{kind}{SEPARATOR}{value}");
        let (attribute, text) = match &handle.key.kind {
            HandleKind::Email => (Attribute::Email, value.to_owned()),
            HandleKind::Phone => (Attribute::Phone, value.to_owned()),
            // A number is there as a telephone number already.
            HandleKind::Whatsapp if handle.key.implied().is_some() => return,
            HandleKind::Crm => (Attribute::Exclusive, named("crm")),
            HandleKind::Webchat | HandleKind::Cookie | HandleKind::Device | HandleKind::Push => {
                (Attribute::Device, named(handle.key.kind.as_str()))
            }
            // So many have the same alias that it speaks for nobody.
            HandleKind::Review => return,
            HandleKind::Whatsapp | HandleKind::Loyalty | HandleKind::Social(_) | HandleKind::Other(_) => {
                (Attribute::Account, named(handle.key.kind.as_str()))
            }
        };
        self.add(attribute, &text, handle.trust);
    }

    /// The values.
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    /// Whether this was said, whoever believes it.
    pub fn says(&self, value: &Value) -> bool {
        self.place(value).is_ok()
    }

    fn place(&self, value: &Value) -> Result<usize, usize> {
        self.0
            .binary_search_by(|v| (v.attribute, v.text.as_str()).cmp(&(value.attribute, value.text.as_str())))
    }

    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether anything is said beside handles.
    pub fn names_somebody(&self) -> bool {
        self.0.iter().any(|v| match v.attribute {
            Attribute::FullName
            | Attribute::GivenName
            | Attribute::Surname
            | Attribute::Birth
            | Attribute::Address
            | Attribute::National => true,
            Attribute::Email
            | Attribute::Phone
            | Attribute::Exclusive
            | Attribute::Account
            | Attribute::Device => false,
        })
    }

    /// Takes over what another says. True when something was new.
    pub fn absorb(&mut self, other: &Said) -> bool {
        let mut grown = false;
        for value in &other.0 {
            grown |= self.put(value.clone());
        }
        grown
    }

    /// Takes a handle's value away, because it is the person's no more.
    pub fn forget(&mut self, handle: &Handle) {
        let mut gone = Said::default();
        gone.add_handle(&Handle {
            key: handle.key.clone(),
            trust: Trust::Observed,
        });
        self.0.retain(|v| {
            !gone
                .0
                .iter()
                .any(|g| g.attribute == v.attribute && g.text == v.text)
        });
    }

    fn put(&mut self, value: Value) -> bool {
        match self.place(&value) {
            Ok(known) => {
                let known = &mut self.0[known];
                known.times = known.times.saturating_add(value.times);
                known.trust = known.trust.max(value.trust);
                false
            }
            Err(_) if self.0.len() >= MOST => false,
            Err(place) => {
                self.0.insert(place, value);
                true
            }
        }
    }

    /// What is compared.
    pub fn facts(&self, policy: &Policy) -> Facts {
        let mut facts = Facts::default();
        let named = self.names_somebody();
        for value in &self.0 {
            read(Read { value, named }, policy, &mut facts);
        }
        facts
    }

    /// As stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.0.iter().map(|v| v.text.len() + 6).sum::<usize>());
        bytes.push(FORM);
        for value in &self.0 {
            let length = u16::try_from(value.text.len()).expect("longer values are not taken");
            bytes.push(value.attribute as u8);
            bytes.push(value.trust as u8);
            bytes.extend(value.times.to_le_bytes());
            bytes.extend(length.to_le_bytes());
            bytes.extend(value.text.as_bytes());
        }
        bytes
    }

    /// As it was stored; `None` when these bytes are none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (form, mut rest) = bytes.split_first()?;
        if *form != FORM {
            return None;
        }
        let mut said = Said::default();
        while let Some((head, tail)) = rest.split_at_checked(6) {
            let length = usize::from(u16::from_le_bytes([head[4], head[5]]));
            let (text, next) = tail.split_at_checked(length)?;
            said.0.push(Value {
                attribute: Attribute::of_number(head[0])?,
                trust: trust_of(head[1])?,
                times: u16::from_le_bytes([head[2], head[3]]),
                text: std::str::from_utf8(text).ok()?.to_owned(),
            });
            rest = next;
        }
        rest.is_empty().then_some(said)
    }
}

/// A value, and whether the record that says it says more than handles.
#[derive(Clone, Copy)]
struct Read<'a> {
    value: &'a Value,
    named: bool,
}

fn read(read: Read<'_>, policy: &Policy, facts: &mut Facts) {
    let text = read.value.text.as_str();
    let blocked = |text: &str| policy.blocked.is_blocked(text);
    let mut parts = text.splitn(2, SEPARATOR);
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut one = Facts::default();
    match read.value.attribute {
        Attribute::FullName => {
            let (given, surname) = split_full_name(text);
            name(&mut one, read, &given, NameKind::Given, policy);
            name(&mut one, read, &surname, NameKind::Surname, policy);
        }
        Attribute::GivenName => name(&mut one, read, text, NameKind::Given, policy),
        Attribute::Surname => name(&mut one, read, text, NameKind::Surname, policy),
        Attribute::Birth => {
            one.births
                .extend(Birth::parse(text, policy.file().dates).map(|b| seen(b, read)));
        }
        Attribute::Address => {
            let mut parts = text.split(SEPARATOR);
            let mut next = || parts.next().unwrap_or_default();
            let written = AddressText {
                street: next(),
                number: next(),
                locality: next(),
                region: next(),
                postal_code: next(),
                building: "",
            };
            one.addresses
                .extend(Address::parse(written).map(|a| seen(a, read)));
        }
        Attribute::Email => one
            .emails
            .extend(Email::parse(text, &policy.mail).map(|e| seen(e, read))),
        Attribute::Phone => one
            .phones
            .extend(Phone::parse(text, &policy.file().phone).map(|p| seen(p, read))),
        Attribute::Exclusive => identifier(&mut one, read, IdentifierClass::Exclusive, first, second),
        Attribute::National if !blocked(text) => {
            identifier(&mut one, read, IdentifierClass::National, "national", text);
        }
        Attribute::National => {}
        Attribute::Account => identifier(&mut one, read, IdentifierClass::Account, first, second),
        Attribute::Device => identifier(&mut one, read, IdentifierClass::Device, first, second),
    }
    facts.absorb(&one);
}

fn name(facts: &mut Facts, read: Read<'_>, text: &str, kind: NameKind, policy: &Policy) {
    if text.is_empty() || policy.blocked.is_blocked(text) {
        return;
    }
    let parsed = Name::parse(text, kind).map(|n| seen(n, read));
    match kind {
        NameKind::Given => facts.given_names.extend(parsed),
        NameKind::Surname => facts.surnames.extend(parsed),
    }
}

fn identifier(facts: &mut Facts, read: Read<'_>, class: IdentifierClass, namespace: &str, text: &str) {
    facts
        .identifiers
        .extend(Identifier::parse(class, namespace, text).map(|i| seen(i, read)));
}

fn seen<T>(parsed: T, Read { value, named }: Read<'_>) -> SeenValue<T> {
    SeenValue {
        named: if named { u32::from(value.times) } else { 0 },
        value: std::sync::Arc::new(parsed),
        times: u32::from(value.times),
        trust: match value.trust {
            Trust::Claimed => Belief::Claimed,
            Trust::Observed => Belief::Observed,
            Trust::Verified => Belief::Verified,
        },
    }
}

const fn trust_of(number: u8) -> Option<Trust> {
    match number {
        0 => Some(Trust::Claimed),
        1 => Some(Trust::Observed),
        2 => Some(Trust::Verified),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Said> {
        let attribute = prop::sample::select(Attribute::ALL.to_vec());
        let trust = prop::sample::select(vec![Trust::Claimed, Trust::Observed, Trust::Verified]);
        prop::collection::vec((attribute, "\\PC{0,40}", trust), 0..12).prop_map(|values| {
            let mut said = Said::default();
            for (attribute, text, trust) in values {
                said.add(attribute, &text, trust);
            }
            said
        })
    }

    #[test]
    fn what_was_said_is_known_whoever_believes_it() {
        let mut said = Said::default();
        said.add(Attribute::GivenName, "Anna", Trust::Claimed);
        let name = |text: &str| Value {
            attribute: Attribute::GivenName,
            text: text.into(),
            trust: Trust::Verified,
            times: 7,
        };
        assert!(said.says(&name("Anna")));
        assert!(!said.says(&name("Bruno")));
        assert!(Attribute::Birth.tells_apart() && !Attribute::Address.tells_apart());
    }

    proptest! {
        #[test]
        fn what_is_stored_comes_back(said in values()) {
            prop_assert_eq!(Said::decode(&said.encode()), Some(said));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Said::decode(&bytes);
        }

        #[test]
        fn anything_said_can_be_compared(said in values()) {
            let _ = said.facts(&Policy::shipped());
        }

        #[test]
        fn the_order_of_records_does_not_matter(one in values(), other in values()) {
            let (mut a, mut b) = (one.clone(), other.clone());
            a.absorb(&other);
            b.absorb(&one);
            prop_assert_eq!(a, b);
        }
    }
}
