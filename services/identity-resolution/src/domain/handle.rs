//! Handles: addresses by which a customer is known, in one spelling each.

mod network;
mod spelling;

use std::fmt;

use sha2::{Digest, Sha256};
use trama_proto::common::v1::{self as wire, ChannelKind};

pub use network::Network;

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
    /// Telephone, tablet or app, by the id that it was installed with.
    Device,
    /// Where a push notification is sent.
    Push,
    /// Number of a loyalty card.
    Loyalty,
    /// Name or id in a social network.
    Social(Network),
    /// Name under which reviews are written, with the site: `trustpilot.com/anna b`. Many have the same.
    Review,
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
            HandleKind::Device => "device",
            HandleKind::Push => "push",
            HandleKind::Loyalty => "loyalty",
            HandleKind::Social(network) => network.as_str(),
            HandleKind::Review => "review",
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
            "device" => HandleKind::Device,
            "push" => HandleKind::Push,
            "loyalty" => HandleKind::Loyalty,
            "review" => HandleKind::Review,
            _ if let Some(network) = Network::parse(&name) => HandleKind::Social(network),
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
            HandleKind::Crm
            | HandleKind::Cookie
            | HandleKind::Device
            | HandleKind::Push
            | HandleKind::Loyalty
            | HandleKind::Social(_)
            | HandleKind::Review
            | HandleKind::Other(_) => None,
        }
    }

    /// The most that a delivery can say for a handle of this kind, whatever it claims: anybody can write reviews under any name.
    pub const fn most_trust(&self) -> Trust {
        match self {
            HandleKind::Review => Trust::Claimed,
            HandleKind::Email
            | HandleKind::Phone
            | HandleKind::Whatsapp
            | HandleKind::Webchat
            | HandleKind::Crm
            | HandleKind::Cookie
            | HandleKind::Device
            | HandleKind::Push
            | HandleKind::Loyalty
            | HandleKind::Social(_)
            | HandleKind::Other(_) => Trust::Verified,
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
    /// The id of a device.
    #[error(
        "must be the id of a device: 8 to 128 of a-z, 0-9, - and _, not one that all have who forbid being followed"
    )]
    Device,
    /// Where a push notification goes.
    #[error("must be a push token or the endpoint of a push service: 16 to 1024 characters without spaces")]
    Push,
    /// A loyalty card.
    #[error("must be the number of a card: 4 to 32 letters and digits")]
    Loyalty,
    /// A name in a social network.
    #[error("must be a name or id in the network, or the address of its page there")]
    Social,
    /// A name of reviews.
    #[error("must be the site and the name there, such as trustpilot.com/anna b")]
    Review,
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
            HandleKind::Email => spelling::email(value)?,
            HandleKind::Phone => spelling::phone(value, country_code)?,
            HandleKind::Whatsapp => spelling::whatsapp(value)?,
            HandleKind::Device => spelling::device(value)?,
            HandleKind::Push => spelling::push(value)?,
            HandleKind::Loyalty => spelling::loyalty(value)?,
            HandleKind::Social(network) => network.name(value)?,
            HandleKind::Review => spelling::review(value)?,
            HandleKind::Webchat | HandleKind::Crm | HandleKind::Cookie | HandleKind::Other(_) => {
                spelling::plain(value)?
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
    fn devices_cards_names_and_aliases_have_one_spelling_too() {
        assert_eq!(
            it("device", " 6D92078A-8246-4BA4-AE5B-76104861E7DC "),
            "6d92078a-8246-4ba4-ae5b-76104861e7dc"
        );
        assert_eq!(it("device", "00000000-0000-0000-0000-000000000000"), "Device");
        assert_eq!(
            it("push", "cXy_1:APA91bE-Zq0123456789"),
            "cXy_1:APA91bE-Zq0123456789"
        );
        assert_eq!(it("push", "short"), "Push");
        assert_eq!(
            it("loyalty", "4971 0012-3456.ab"),
            "4971001234 56AB".replace(' ', "")
        );
        assert_eq!(
            it("instagram", "https://www.instagram.com/Anna.B/?hl=it"),
            "anna.b"
        );
        assert_eq!(it("instagram", "@Anna.B"), "anna.b");
        assert_eq!(it("youtube", "https://youtube.com/@AnnaB"), "annab");
        let channel = "UCanNaB0123456789abcdEFg";
        assert_eq!(
            it("youtube", &format!("https://www.youtube.com/channel/{channel}")),
            channel
        );
        assert_eq!(
            HandleKey::normalise("twitter", "https://x.com/AnnaB", "39"),
            HandleKey::normalise("x", "@annab", "39")
        );
        assert_eq!(it("telegram", "t.me/anna_b"), "anna_b");
        assert_eq!(
            it("facebook", "facebook.com/profile.php?id=100001234"),
            "100001234"
        );
        assert_eq!(
            it("linkedin", "https://it.linkedin.com/in/anna-bianchi-1b/"),
            "anna-bianchi-1b"
        );
        assert_eq!(it("instagram", "anna bianchi"), "Social");
        assert_eq!(
            it("review", "https://www.Trustpilot.com / Anna   B."),
            "trustpilot.com/anna b."
        );
        assert_eq!(it("review", "Anna B."), "Review");
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
            kind in prop::sample::select(vec!["email", "phone", "whatsapp", "crm", "cookie", "fax", "device", "push", "loyalty", "facebook", "x", "review"]),
            value in prop_oneof!["\\PC{0,30}", "[+0-9 ()./-]{0,20}", "[A-Za-z.+]{1,8}@[A-Za-z.-]{1,12}",
                "(https://)?(www.)?(x.com|facebook.com|site.example)/[@A-Za-z /?=._-]{0,12}"],
        ) {
            if let Ok(once) = HandleKey::normalise(kind, &value, "39") {
                let twice = HandleKey::normalise(once.kind.as_str(), &once.value, "39");
                prop_assert_eq!(twice, Ok(once));
            }
        }
    }
}
