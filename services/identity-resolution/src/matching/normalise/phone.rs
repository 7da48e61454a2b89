//! Telephone numbers in E.164.

use rlibphonenumber::{PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};
use serde::{Deserialize, Serialize};

use super::family;
use crate::matching::{
    facts::Keyed,
    hash::{StableHasher, ValueKey},
};

/// How numbers without a prefix are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PhoneRules {
    /// Country (ISO 3166, two letters) whose numbers are written without a prefix.
    pub region: String,
}

impl Default for PhoneRules {
    fn default() -> Self {
        Self { region: "IT".into() }
    }
}

/// A telephone number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone {
    /// `+` and up to 15 digits.
    pub e164: Box<str>,
    /// A line of a house or a company, which several people answer.
    pub fixed: bool,
    /// Hash of the number.
    pub key: ValueKey,
}

impl Phone {
    /// Reads a number: any spelling with a prefix, or as it is dialled in the region.
    #[must_use]
    pub fn parse(text: &str, rules: &PhoneRules) -> Option<Self> {
        let text = text.trim();
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        if !(6..=17).contains(&digits) || text.len() > 40 {
            return None;
        }
        let region = Region::try_from(rules.region.as_str()).ok();
        let rewritten = text.strip_prefix("00").map(|rest| format!("+{rest}"));
        let number = PhoneNumber::parse(rewritten.as_deref().unwrap_or(text), region).ok()?;
        let e164: Box<str> = number.format_as(PhoneNumberFormat::E164).into();
        let national = e164.bytes().skip(3);
        let mut signs: Vec<u8> = national.collect();
        signs.dedup();
        if signs.len() <= 1 {
            return None;
        }
        let fixed = match number.get_type() {
            PhoneNumberType::Mobile
            | PhoneNumberType::PersonalNumber
            | PhoneNumberType::Pager
            | PhoneNumberType::FixedLineOrMobile
            | PhoneNumberType::Unknown => false,
            PhoneNumberType::FixedLine
            | PhoneNumberType::TollFree
            | PhoneNumberType::PremiumRate
            | PhoneNumberType::SharedCost
            | PhoneNumberType::VoIP
            | PhoneNumberType::UAN
            | PhoneNumberType::VoiceMail => true,
        };
        Some(Self {
            key: StableHasher::new(family::PHONE).part(&e164).value(),
            e164,
            fixed,
        })
    }

    /// The last seven digits, which survive a wrong prefix.
    #[must_use]
    pub fn tail(&self) -> &str {
        self.e164
            .len()
            .checked_sub(7)
            .and_then(|from| self.e164.get(from..))
            .unwrap_or(&self.e164)
    }
}

impl Keyed for Phone {
    fn key(&self) -> ValueKey {
        self.key
    }
}
