//! One spelling for each value. Every function here takes any text without panicking, gives `None` for what says nothing, and
//! gives its own result back unchanged.

mod address;
mod blocked;
mod date;
mod email;
mod identifier;
mod name;
mod nickname;
mod phone;
mod phonetic;

pub use address::{Address, AddressText};
pub use blocked::Blocked;
pub use date::{Birth, DateOrder};
pub use email::{Email, MailRules};
pub use identifier::{Identifier, IdentifierClass, Other, OtherComparison};
pub use name::{Name, NameKind, split_full_name};
pub use phone::{Phone, PhoneRules};
pub use phonetic::italian_sound;

/// Lower case ASCII of any script: `Façade` → `facade`, `Жанна` → `zhanna`.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        let mut folded = deunicode::deunicode(text);
        folded.make_ascii_lowercase();
        folded
    }
}

/// Families of stored hashes: the number is part of the stored value, so a family never changes its number.
pub(crate) mod family {
    pub const GIVEN_ROOT: u8 = 1;
    pub const GIVEN: u8 = 2;
    pub const SURNAME: u8 = 3;
    pub const BIRTH: u8 = 4;
    pub const EMAIL: u8 = 5;
    pub const PHONE: u8 = 6;
    pub const STREET: u8 = 7;
    pub const LOCALITY: u8 = 8;
    pub const POSTAL_CODE: u8 = 9;
    pub const REGION: u8 = 10;
    pub const BUILDING: u8 = 11;
    pub const ADDRESS: u8 = 12;
    pub const IDENTIFIER: u8 = 13;
    pub const OTHER: u8 = 14;
    pub const NUMBER: u8 = 15;
}
