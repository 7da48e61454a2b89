//! Handles: addresses by which a customer is known, in one spelling each.

use std::fmt;

use sha2::{Digest, Sha256};
use trama_proto::common::v1::{self as wire, ChannelKind};

/// What kind of address a handle is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandleKind {
    /// Mail address.
    Email,
    /// Telephone number in E.164.
    Phone,
    /// WhatsApp number (`wa_id`) or business-scoped user id.
    Whatsapp,
    /// Session of the web chat.
    Webchat,
    /// Id in the company's own books: one person has one.
    Crm,
    /// Cookie of a browser.
    Cookie,
    /// Any other, kept as it comes.
    Other(Box<str>),
}

impl HandleKind {
    /// The kind as handles write it.
    pub fn as_str(&self) -> &str {
        match self {
            HandleKind::Email => "email",
            HandleKind::Phone => "phone",
            HandleKind::Whatsapp => "whatsapp",
            HandleKind::Webchat => "webchat",
            HandleKind::Crm => "crm",
            HandleKind::Cookie => "cookie",
            HandleKind::Other(name) => name,
        }
    }

    /// Reads a kind.
    ///
    /// # Errors
    /// When it is not 1 to 32 of a-z, 0-9, - and _.
    pub fn parse(text: &str) -> Result<Self, InvalidHandle> {
        let name = text.trim().to_ascii_lowercase();
        Ok(match name.as_str() {
            "email" => HandleKind::Email,
            "phone" => HandleKind::Phone,
            "whatsapp" => HandleKind::Whatsapp,
            "webchat" => HandleKind::Webchat,
            "crm" => HandleKind::Crm,
            "cookie" => HandleKind::Cookie,
            _ if (1..=32).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b)) =>
            {
                HandleKind::Other(name.into())
            }
            _ => return Err(InvalidHandle::Kind),
        })
    }

    /// The kind of channel on which a message reaches this kind of handle, if there is one.
    pub const fn sendable_as(&self) -> Option<ChannelKind> {
        match self {
            HandleKind::Email => Some(ChannelKind::Email),
            HandleKind::Phone => Some(ChannelKind::Sms),
            HandleKind::Whatsapp => Some(ChannelKind::Whatsapp),
            HandleKind::Webchat => Some(ChannelKind::WebChat),
            HandleKind::Crm | HandleKind::Cookie | HandleKind::Other(_) => None,
        }
    }
}

/// Why a text is no handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHandle {
    /// The kind.
    #[error("the kind must be 1 to 32 of a-z, 0-9, - and _, such as email, phone, whatsapp, crm")]
    Kind,
    /// A mail address.
    #[error("must be a mail address such as anna@example.com")]
    Email,
    /// A telephone number.
    #[error("must be a telephone number of 6 to 15 digits such as +393331234567")]
    Phone,
    /// A WhatsApp id.
    #[error("must be a WhatsApp number of 6 to 15 digits or a business-scoped user id")]
    Whatsapp,
    /// Any other value.
    #[error("must be 1 to 256 characters without control characters")]
    Value,
}

/// How much a handle may be believed to belong to a person, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// The person said so.
    Claimed,
    /// The provider delivered from it.
    Observed,
    /// Possession was proven.
    Verified,
}

impl Trust {
    /// From the wire; `unsaid` when the sender did not say.
    pub const fn from_wire(trust: wire::Trust, unsaid: Trust) -> Self {
        match trust {
            wire::Trust::Unspecified => unsaid,
            wire::Trust::Claimed => Trust::Claimed,
            wire::Trust::Observed => Trust::Observed,
            wire::Trust::Verified => Trust::Verified,
        }
    }

    /// To the wire.
    pub const fn to_wire(self) -> wire::Trust {
        match self {
            Trust::Claimed => wire::Trust::Claimed,
            Trust::Observed => wire::Trust::Observed,
            Trust::Verified => wire::Trust::Verified,
        }
    }
}

/// Kind and value in the one spelling that is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleKey {
    /// What kind of address.
    pub kind: HandleKind,
    /// The normalised value.
    pub value: String,
}

impl fmt::Display for HandleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.value)
    }
}

impl HandleKey {
    /// Brings a value into the one spelling that is compared.
    ///
    /// # Errors
    /// When it cannot be a handle of this kind.
    pub fn normalise(kind: &str, value: &str, country_code: &str) -> Result<Self, InvalidHandle> {
        let kind = HandleKind::parse(kind)?;
        let value = match &kind {
            HandleKind::Email => email(value)?,
            HandleKind::Phone => phone(value, country_code)?,
            HandleKind::Whatsapp => whatsapp(value)?,
            HandleKind::Webchat | HandleKind::Crm | HandleKind::Cookie | HandleKind::Other(_) => {
                plain(value)?
            }
        };
        Ok(Self { kind, value })
    }

    /// From the columns of a row, normalised before.
    pub fn of_row(kind: &str, value: String) -> Option<Self> {
        Some(Self {
            kind: HandleKind::parse(kind).ok()?,
            value,
        })
    }

    /// The telephone number that a WhatsApp number is; a business-scoped user id hides it.
    pub fn implied(&self) -> Option<HandleKey> {
        let is_number = self.kind == HandleKind::Whatsapp && self.value.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| HandleKey {
            kind: HandleKind::Phone,
            value: format!("+{}", self.value),
        })
    }

    /// Whether both are the same line, once as telephone and once as WhatsApp.
    pub fn same_line(&self, other: &HandleKey) -> bool {
        self == other || self.implied().as_ref() == Some(other) || other.implied().as_ref() == Some(self)
    }

    /// The handle as evidence: 64 bits of its hash, small enough for every interaction to carry.
    pub fn evidence(&self) -> i64 {
        evidence_of(self.kind.as_str(), &self.value)
    }

    /// For eyes that may know that there is an address, but not which: `a••a@example.com`, `+39•••••67`.
    pub fn masked(&self) -> String {
        match self.value.split_once('@') {
            Some((local, domain)) => {
                let mut letters = local.chars();
                match (letters.next(), letters.next_back()) {
                    (Some(first), Some(last)) if local.chars().count() > 2 => {
                        format!("{first}••{last}@{domain}")
                    }
                    (Some(first), _) => format!("{first}••@{domain}"),
                    (None, _) => format!("••@{domain}"),
                }
            }
            None => {
                let letters: Vec<char> = self.value.chars().collect();
                if letters.len() < 6 {
                    return "••••".to_owned();
                }
                let head: String = letters[..3].iter().collect();
                let tail: String = letters[letters.len() - 2..].iter().collect();
                format!("{head}•••••{tail}")
            }
        }
    }
}

/// Evidence of an interaction that came without any handle: the customer made for it.
pub fn evidence_of_customer(id: trama_proto::ids::CustomerId) -> i64 {
    evidence_of("customer", &id.to_string())
}

fn evidence_of(kind: &str, value: &str) -> i64 {
    let digest = Sha256::new()
        .chain_update(kind)
        .chain_update(":")
        .chain_update(value)
        .finalize();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(bytes)
}

/// A handle as one delivery shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// Which.
    pub key: HandleKey,
    /// How much this delivery says for it.
    pub trust: Trust,
}

fn email(value: &str) -> Result<String, InvalidHandle> {
    let value = value.trim().to_lowercase();
    let value = value.trim_end_matches('.');
    let (local, domain) = value.rsplit_once('@').ok_or(InvalidHandle::Email)?;
    let printable = |c: char| !c.is_whitespace() && !c.is_control();
    let domain_ok = !domain.is_empty()
        && domain
            .split('.')
            .all(|label| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-'));
    let local_ok = (1..=64).contains(&local.len())
        && local
            .chars()
            .all(|c| printable(c) && !matches!(c, '@' | '<' | '>' | ',' | ';' | '(' | ')'));
    if local_ok && domain_ok && value.len() <= 254 {
        Ok(value.to_owned())
    } else {
        Err(InvalidHandle::Email)
    }
}

fn phone(value: &str, country_code: &str) -> Result<String, InvalidHandle> {
    let value = value.trim();
    let value = value.strip_prefix("tel:").unwrap_or(value).trim();
    let international = value.starts_with('+') || value.starts_with("00");
    // `+44 (0)20 …`: the zero in brackets is for callers from inside only.
    let value = if international {
        value.replace("(0)", "")
    } else {
        value.to_owned()
    };
    let mut digits = String::with_capacity(value.len());
    for (position, c) in value.chars().enumerate() {
        match c {
            '0'..='9' => digits.push(c),
            '+' if position == 0 => {}
            ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}' => {}
            _ => return Err(InvalidHandle::Phone),
        }
    }
    let number = if value.starts_with('+') {
        digits
    } else if let Some(rest) = digits.strip_prefix("00") {
        rest.to_owned()
    } else {
        // Italy dials the leading zero of landlines from abroad too; elsewhere it falls away.
        let national = if country_code == "39" {
            &digits[..]
        } else {
            digits.strip_prefix('0').unwrap_or(&digits)
        };
        if national.is_empty() {
            return Err(InvalidHandle::Phone);
        }
        format!("{country_code}{national}")
    };
    if (6..=15).contains(&number.len()) {
        Ok(format!("+{number}"))
    } else {
        Err(InvalidHandle::Phone)
    }
}

fn whatsapp(value: &str) -> Result<String, InvalidHandle> {
    let value = value.trim();
    let value = value.strip_prefix("whatsapp:").unwrap_or(value).trim();
    let bare: String = value
        .chars()
        .filter(|c| !matches!(c, '+' | ' ' | '-' | '(' | ')'))
        .collect();
    if !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()) {
        return if (6..=15).contains(&bare.len()) {
            Ok(bare)
        } else {
            Err(InvalidHandle::Whatsapp)
        };
    }
    let is_user_id = (1..=128).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    if is_user_id {
        Ok(value.to_owned())
    } else {
        Err(InvalidHandle::Whatsapp)
    }
}

fn plain(value: &str) -> Result<String, InvalidHandle> {
    let value = value.trim();
    let ok = (1..=256).contains(&value.chars().count()) && !value.chars().any(char::is_control);
    if ok {
        Ok(value.to_owned())
    } else {
        Err(InvalidHandle::Value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn it(kind: &str, value: &str) -> String {
        HandleKey::normalise(kind, value, "39").map_or_else(|e| format!("{e:?}"), |k| k.value)
    }

    #[test]
    fn one_address_has_one_spelling() {
        assert_eq!(it("Email", "  Anna@Example.COM "), "anna@example.com");
        assert_eq!(it("email", "anna"), "Email");
        assert_eq!(it("email", "a b@example.com"), "Email");
        assert_eq!(it("phone", "333 123 4567"), "+393331234567");
        assert_eq!(it("phone", "0039 333-1234567"), "+393331234567");
        assert_eq!(it("phone", "+39 (333) 1234567"), "+393331234567");
        assert_eq!(it("phone", "02 1234567"), "+39021234567");
        assert_eq!(
            HandleKey::normalise("phone", "020 7946 0000", "44").map(|k| k.value),
            Ok("+442079460000".into())
        );
        assert_eq!(
            HandleKey::normalise("phone", "+44 (0)20 7946 0000", "39").map(|k| k.value),
            Ok("+442079460000".into())
        );
        assert_eq!(it("phone", "Vodafone"), "Phone");
        assert_eq!(it("whatsapp", "whatsapp:+39 333 1234567"), "393331234567");
        assert_eq!(
            it("whatsapp", "IT.13491208655302741918"),
            "IT.13491208655302741918"
        );
        assert_eq!(it("crm", " 1001 "), "1001");
    }

    #[test]
    fn a_whatsapp_number_is_a_telephone_number() {
        let number = HandleKey::normalise("whatsapp", "393331234567", "39").expect("valid");
        let phone = HandleKey::normalise("phone", "+393331234567", "39").expect("valid");
        assert_eq!(number.implied(), Some(phone.clone()));
        assert!(phone.same_line(&number));
        assert_eq!(
            HandleKey::normalise("whatsapp", "IT.134912086", "39")
                .expect("valid")
                .implied(),
            None
        );
    }

    #[test]
    fn a_masked_handle_does_not_tell() {
        let mask = |kind, value| HandleKey::normalise(kind, value, "39").expect("valid").masked();
        assert_eq!(mask("email", "anna@example.com"), "a••a@example.com");
        assert_eq!(mask("phone", "+393331234567"), "+39•••••67");
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(
            kind in prop::sample::select(vec!["email", "phone", "whatsapp", "crm", "cookie", "fax"]),
            value in prop_oneof!["\\PC{0,30}", "[+0-9 ()./-]{0,20}", "[A-Za-z.+]{1,8}@[A-Za-z.-]{1,12}"],
        ) {
            if let Ok(once) = HandleKey::normalise(kind, &value, "39") {
                let twice = HandleKey::normalise(once.kind.as_str(), &once.value, "39");
                prop_assert_eq!(twice, Ok(once));
            }
        }
    }
}
