//! Who is known, and who asks.

use trama_proto::{
    common::v1::{Handle, Trust},
    identity_resolution::v1::{PersonFacts, Record, ResolveRecordRequest},
    ids::derive,
};

/// Somebody, the same for the same number.
pub struct Somebody {
    pub given_name: String,
    pub surname: String,
    pub birth_date: String,
    pub street: String,
    pub house_number: String,
    pub city: String,
    pub postal_code: String,
    pub email: String,
    pub phone: String,
}

const SYLLABLES: [&str; 24] = [
    "ma", "ri", "lu", "gio", "van", "ni", "fe", "de", "ca", "ste", "fa", "bi", "ro", "ber", "to", "sal",
    "va", "co", "len", "zi", "gra", "pe", "do", "me",
];

fn word(mut number: u64, syllables: usize, end: char) -> String {
    let mut word = String::new();
    for _ in 0..syllables {
        word.push_str(SYLLABLES[(number % 24) as usize]);
        number /= 24;
    }
    word.push(end);
    word
}

impl Somebody {
    /// Who that is.
    pub fn of(number: u64) -> Self {
        // Every third lives with the one before, under the same surname.
        let home = if number % 3 == 2 { number - 1 } else { number };
        let mix = |whose: u64, salt: u64| {
            let mut x = whose.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd1b5_4a32_d192_ed03);
            x ^= x >> 29;
            x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x ^ (x >> 32)
        };
        // Few frequent and many rare names, as in life.
        let skewed = |whose: u64, salt: u64, most: f64| {
            let share = (mix(whose, salt) % 1_000_000) as f64 / 1_000_000.0;
            (share * share * share * most) as u64
        };
        let city = skewed(home, 5, 3_000.0);
        Self {
            given_name: word(skewed(number, 1, 1_200.0) * 7, 2, 'a'),
            surname: word(skewed(home, 2, 40_000.0) * 5, 3, 'i'),
            birth_date: format!(
                "{}-{:02}-{:02}",
                1940 + mix(number, 3) % 65,
                1 + mix(number, 4) % 12,
                1 + mix(number, 6) % 28
            ),
            street: format!("via {}", word(skewed(home, 7, 9_000.0) * 3, 3, 'o')),
            house_number: (1 + mix(home, 8) % 120).to_string(),
            postal_code: format!("{:05}", 10_000 + city * 17),
            city: word(city * 11, 3, 'e'),
            email: format!("person{number}@mail{}.test", number % 50),
            phone: format!("+393{:09}", 200_000_000 + number),
        }
    }

    /// Their id.
    pub fn id(number: u64) -> uuid::Uuid {
        derive(&[b"bench customer", &number.to_be_bytes()])
    }
}

/// Whose records are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// As channels bring it: a handle, which half of the time is known, and for most a name.
    Contacts,
    /// Whole records, half of them known by their handle, the others not.
    Records,
    /// Whole records, everybody known by their handle: most who write again.
    Known,
    /// Whole records, nobody known by their handle: they must be matched.
    Unknown,
}

/// What a call says of whom.
enum Call {
    /// A handle that is known.
    Known,
    /// Somebody who is known, under a new handle.
    Elsewhere,
    /// Somebody new.
    New,
}

impl Mix {
    /// Of ten calls five are by a handle that is known, and two about somebody new.
    const fn call(self, number: u64) -> Call {
        match (self, number % 10) {
            (Self::Known, _) | (Self::Contacts | Self::Records, 0..5) => Call::Known,
            (Self::Unknown, 0..6) | (Self::Contacts | Self::Records, 5..8) => Call::Elsewhere,
            _ => Call::New,
        }
    }

    /// What else a call says: a whole record, a name, or, of every fifth contact, nothing.
    fn facts(self, number: u64, somebody: Somebody) -> Option<PersonFacts> {
        let name = PersonFacts {
            given_name: somebody.given_name,
            surname: somebody.surname,
            ..PersonFacts::default()
        };
        match self {
            Self::Contacts => (!(number / 10).is_multiple_of(5)).then_some(name),
            Self::Records | Self::Known | Self::Unknown => Some(PersonFacts {
                birth_date: somebody.birth_date,
                street: somebody.street,
                house_number: somebody.house_number,
                city: somebody.city,
                postal_code: somebody.postal_code,
                ..name
            }),
        }
    }
}

/// What call number `n` says.
pub fn request(number: u64, salt: u64, customers: u64, mix: Mix) -> ResolveRecordRequest {
    let whom = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % customers;
    let handle = |kind: &str, value: String| Handle {
        kind: kind.into(),
        value,
        trust: Trust::Observed as i32,
    };
    let somebody = match mix.call(number) {
        Call::Known | Call::Elsewhere => Somebody::of(whom),
        Call::New => Somebody::of(customers + salt + number),
    };
    let handle = match mix.call(number) {
        Call::Known => handle("email", somebody.email.clone()),
        Call::Elsewhere => handle("email", format!("other{salt}x{number}@mail.test")),
        Call::New => handle("phone", somebody.phone.clone()),
    };
    ResolveRecordRequest {
        record: Some(Record {
            source: "bench".into(),
            external_id: format!("{salt}-{number}"),
            handles: vec![handle],
            facts: mix.facts(number, somebody),
            ..Record::default()
        }),
        dry_run: false,
    }
}
