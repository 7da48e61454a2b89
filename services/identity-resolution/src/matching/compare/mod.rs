//! How alike two values are: a level, never a number, so that each level has its own weight and its own words.

mod contact;
mod name;
mod text;

use serde::{Deserialize, Serialize};

pub use contact::{births, emails, identifiers, phones};
pub(crate) use name::cross;
pub use name::{given_names, given_names_contradict, surnames, swapped};
pub use text::{codes, house_numbers, texts};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Comparison {
    /// Given name.
    GivenName,
    /// Surname.
    Surname,
    /// Given name of one with the surname of the other, both ways.
    SwappedNames,
    /// Date of birth.
    BirthDate,
    /// Mail address.
    Email,
    /// Telephone number.
    Phone,
    /// Id of which a person has one.
    Exclusive,
    /// Id from the state.
    National,
    /// Account on a social network.
    Account,
    /// Cookie, device.
    Device,
    /// Street.
    Street,
    /// House number.
    HouseNumber,
    /// Building or flat.
    Building,
    /// Town or suburb.
    Locality,
    /// Postal code.
    PostalCode,
    /// State or province.
    Region,
    /// Foreign attribute, compared as text.
    Text,
    /// Foreign attribute, equal or not.
    Category,
}

impl Comparison {
    /// How many there are.
    pub const COUNT: usize = 18;
    /// All, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::GivenName,
        Self::Surname,
        Self::SwappedNames,
        Self::BirthDate,
        Self::Email,
        Self::Phone,
        Self::Exclusive,
        Self::National,
        Self::Account,
        Self::Device,
        Self::Street,
        Self::HouseNumber,
        Self::Building,
        Self::Locality,
        Self::PostalCode,
        Self::Region,
        Self::Text,
        Self::Category,
    ];

    /// Its place in tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// What it is called for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::GivenName => "given name",
            Self::Surname => "surname",
            Self::SwappedNames => "names, swapped",
            Self::BirthDate => "date of birth",
            Self::Email => "mail address",
            Self::Phone => "telephone",
            Self::Exclusive => "customer number or login",
            Self::National => "national id",
            Self::Account => "social account",
            Self::Device => "device",
            Self::Street => "street",
            Self::HouseNumber => "house number",
            Self::Building => "building",
            Self::Locality => "town",
            Self::PostalCode => "postal code",
            Self::Region => "region",
            Self::Text => "other text",
            Self::Category => "other category",
        }
    }
}

/// How alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Level {
    /// One of the two does not say.
    Missing,
    /// Equal in their one spelling.
    Exact,
    /// Equal, but of a kind that several people share: landline, mailbox of a role or a family.
    SharedExact,
    /// One is short for the other, or both for a third.
    Nickname,
    /// Sound the same, or one slip apart.
    Close,
    /// Day and month changed places.
    Swapped,
    /// One digit differs.
    OneSlip,
    /// Two digits differ.
    TwoSlips,
    /// One begins or ends with the other.
    Part,
    /// One is the other's initial.
    Initial,
    /// Somewhat alike.
    Similar,
    /// The same name before the `@`, another provider.
    SameLocal,
    /// Not alike.
    Different,
}

impl Level {
    /// How many there are.
    pub const COUNT: usize = 13;
    /// All, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Missing,
        Self::Exact,
        Self::SharedExact,
        Self::Nickname,
        Self::Close,
        Self::Swapped,
        Self::OneSlip,
        Self::TwoSlips,
        Self::Part,
        Self::Initial,
        Self::Similar,
        Self::SameLocal,
        Self::Different,
    ];

    /// Its place in tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// What it is called for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Missing => "not said by both",
            Self::Exact => "equal",
            Self::SharedExact => "equal, but shared by nature",
            Self::Nickname => "short for the same name",
            Self::Close => "one slip apart or the same sound",
            Self::Swapped => "day and month swapped",
            Self::OneSlip => "one digit differs",
            Self::TwoSlips => "two digits differ",
            Self::Part => "one is part of the other",
            Self::Initial => "initial fits",
            Self::Similar => "somewhat alike",
            Self::SameLocal => "same name, other provider",
            Self::Different => "different",
        }
    }
}
