//! One-time codes: what is asked, how often it may be answered wrongly, until when.

use std::fmt;

use chrono::{DateTime, Duration, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Six digits. Never shown by `Debug`, never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

impl Code {
    /// How many codes there are.
    pub const COUNT: u32 = 1_000_000;

    /// From a random number; `None` for numbers that would make some codes likelier than others.
    pub fn from_random(number: u32) -> Option<Self> {
        let fair = u32::MAX - u32::MAX % Self::COUNT;
        (number < fair).then(|| Self(format!("{:06}", number % Self::COUNT)))
    }

    /// As somebody read it out: blanks and hyphens do not count.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
        (digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(Self(digits))
    }

    /// The digits, for the one message that carries them.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored instead of the code.
    pub fn hash(&self, pepper: &[u8], salt: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(pepper).expect("HMAC takes keys of any length");
        mac.update(salt);
        mac.update(self.0.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(••••••)")
    }
}

/// Where a challenge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// The code is out.
    Pending {
        /// Wrong answers so far.
        attempts: u32,
        /// Wrong answers that lock it.
        max_attempts: u32,
        /// Until when the code is good.
        expires_at: DateTime<Utc>,
    },
    /// The code was right.
    Passed,
    /// Too many wrong answers.
    Locked,
    /// Too late, or replaced by a newer one.
    Expired,
}

/// What an answer was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Right: possession is proven.
    Right,
    /// Wrong, so many tries are left.
    Wrong {
        /// Tries left.
        left: u32,
    },
    /// Wrong once too often, now or before.
    Locked,
    /// Too late.
    Expired,
    /// Answered before.
    Spent,
}

impl Challenge {
    /// A fresh one.
    pub fn start(max_attempts: u32, good_for: Duration, now: DateTime<Utc>) -> Self {
        Challenge::Pending {
            attempts: 0,
            max_attempts,
            expires_at: now + good_for,
        }
    }

    /// Works an answer in. Both hashes are compared in constant time.
    #[must_use]
    pub fn answer(self, expected: &[u8], given: &[u8], now: DateTime<Utc>) -> (Self, Answer) {
        match self {
            Challenge::Pending { expires_at, .. } if now >= expires_at => {
                (Challenge::Expired, Answer::Expired)
            }
            Challenge::Pending { .. } if bool::from(expected.ct_eq(given)) => {
                (Challenge::Passed, Answer::Right)
            }
            Challenge::Pending {
                attempts,
                max_attempts,
                expires_at,
            } => {
                let attempts = attempts + 1;
                if attempts >= max_attempts {
                    (Challenge::Locked, Answer::Locked)
                } else {
                    let left = max_attempts - attempts;
                    (
                        Challenge::Pending {
                            attempts,
                            max_attempts,
                            expires_at,
                        },
                        Answer::Wrong { left },
                    )
                }
            }
            Challenge::Passed => (Challenge::Passed, Answer::Spent),
            Challenge::Locked => (Challenge::Locked, Answer::Locked),
            Challenge::Expired => (Challenge::Expired, Answer::Expired),
        }
    }

    /// From its row; `None` for a state that nobody writes.
    pub fn of_row(state: &str, attempts: u32, max_attempts: u32, expires_at: DateTime<Utc>) -> Option<Self> {
        match state {
            "pending" => Some(Challenge::Pending {
                attempts,
                max_attempts,
                expires_at,
            }),
            "passed" => Some(Challenge::Passed),
            "locked" => Some(Challenge::Locked),
            "expired" => Some(Challenge::Expired),
            _ => None,
        }
    }

    /// Wrong answers so far, while it is open.
    pub const fn attempts(self) -> Option<u32> {
        match self {
            Challenge::Pending { attempts, .. } => Some(attempts),
            Challenge::Passed | Challenge::Locked | Challenge::Expired => None,
        }
    }

    /// Name of the state, for its row.
    pub const fn name(self) -> &'static str {
        match self {
            Challenge::Pending { .. } => "pending",
            Challenge::Passed => "passed",
            Challenge::Locked => "locked",
            Challenge::Expired => "expired",
        }
    }
}

/// What is stored instead of a link's token.
pub fn hash_token(pepper: &[u8], salt: &[u8], token: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(pepper).expect("HMAC takes keys of any length");
    mac.update(salt);
    mac.update(token.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The level that a right code is worth: a second proof beside another one is worth more than a first.
pub const fn level_of_code(another_proof_holds: bool) -> i32 {
    if another_proof_holds { 2 } else { 1 }
}

/// The highest level that codes can reach; a document or strong authentication is another matter.
pub const HIGHEST_LEVEL_OF_CODES: i32 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_shows_itself_only_when_asked() {
        let code = Code::from_random(42).expect("fair");
        assert_eq!(code.reveal(), "000042");
        assert_eq!(format!("{code:?}"), "Code(••••••)");
        assert_eq!(Code::parse(" 000-042 "), Some(code));
        assert_eq!(Code::parse("00004"), None);
        assert_eq!(Code::from_random(u32::MAX), None);
    }

    proptest! {
        #[test]
        fn too_many_wrong_answers_lock_for_good(max in 1..8_u32, tries in 0..12_u32) {
            let now = DateTime::<Utc>::UNIX_EPOCH;
            let mut challenge = Challenge::start(max, Duration::minutes(10), now);
            for _ in 0..tries {
                challenge = challenge.answer(b"right", b"wrong", now).0;
            }
            let (_, answer) = challenge.answer(b"right", b"right", now);
            prop_assert_eq!(answer, if tries >= max { Answer::Locked } else { Answer::Right });
        }
    }

    #[test]
    fn a_right_code_counts_once_and_in_time() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let fresh = Challenge::start(3, Duration::minutes(10), now);
        let (passed, answer) = fresh.answer(b"x", b"x", now);
        assert_eq!(answer, Answer::Right);
        assert_eq!(passed.answer(b"x", b"x", now).1, Answer::Spent);
        assert_eq!(
            fresh.answer(b"x", b"x", now + Duration::minutes(10)).1,
            Answer::Expired
        );
    }
}
