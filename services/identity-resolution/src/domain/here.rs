//! What can prove a need from where somebody stands.

use chrono::{DateTime, Utc};
use trama_proto::resources::ProofMethod;

use super::{
    challenge::{HIGHEST_LEVEL_OF_CODES, level_of_code},
    contact,
    customer::{Customer, Held, Verification},
    handle::{HandleKind, Trust},
    proof::Need,
    rules::Rules,
    standing::Standing,
};

/// Where somebody stands who is to be proven.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// Who they say they are.
    pub customer: &'a Customer,
    /// The proofs that hold for them.
    pub proofs: &'a [Verification],
    /// What the tenant accepts.
    pub rules: &'a Rules,
    /// When.
    pub now: DateTime<Utc>,
}

/// Why no code can prove a need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// Codes are not worth so much.
    #[error("this level needs a document or strong authentication; a one-time code cannot give it")]
    TooHigh,
    /// The need or the policy wants other methods.
    #[error("a one-time code does not prove this need, and nothing else that the policy accepts can here")]
    NotWanted,
    /// There is nowhere to send it.
    #[error("the customer has no mail address or number of their own that a code could go to")]
    Nowhere,
    /// A claim, shared, or no address of messages.
    #[error(
        "a code can only go to a mail address or number that the customer was seen to use and does not share with others"
    )]
    Unfit,
    /// It would be the same proof again.
    #[error("this handle proves something already; a second proof needs another one")]
    Proven,
    /// It is worth more only beside another proof.
    #[error("a first proof must hold before a second one can: require level 1 first")]
    Alone,
}

impl<'a> Here<'a> {
    /// Whether a code could be asked for at all.
    pub fn wants_code(&self, need: &Need) -> bool {
        self.accepted(need).contains(&ProofMethod::OneTimeCode)
    }

    /// Where a code goes that proves the need.
    ///
    /// # Errors
    /// When none can.
    pub fn place(&self, need: &Need) -> Result<&'a Held, NoPlace> {
        self.worth_asking(need)?;
        let too_little = self
            .customer
            .handles
            .iter()
            .filter(|h| self.reaches(h) < need.level);
        let too_little: Vec<i64> = too_little.map(|h| h.key.evidence()).collect();
        let found = contact::for_code(self.customer, &too_little, self.rules);
        found.ok_or_else(|| match contact::for_code(self.customer, &[], self.rules) {
            None => NoPlace::Nowhere,
            Some(_) if self.holding().next().is_some() => NoPlace::Proven,
            Some(_) => NoPlace::Alone,
        })
    }

    /// The same for a place that somebody chose.
    ///
    /// # Errors
    /// When a code that goes there does not prove the need.
    pub fn at(&self, held: &'a Held, need: &Need) -> Result<&'a Held, NoPlace> {
        self.worth_asking(need)?;
        if !contact::can_take_code(self.customer, held, self.rules) {
            Err(NoPlace::Unfit)
        } else if self.reaches(held) >= need.level {
            Ok(held)
        } else if self.holding().next().is_some() {
            Err(NoPlace::Proven)
        } else {
            Err(NoPlace::Alone)
        }
    }

    /// The methods that can prove the need from here, by a code if there is a place for it.
    pub fn methods(&self, need: &Need, by_code: bool) -> Vec<ProofMethod> {
        let mut methods = self.accepted(need);
        methods.retain(|m| match m {
            ProofMethod::OneTimeCode => by_code,
            other => self.may(*other, need.level),
        });
        methods
    }

    /// Those besides that can give the first proof, beside which a code is worth more.
    pub fn first_methods(&self, enough: &[ProofMethod]) -> Vec<ProofMethod> {
        let mut methods = self.accepted(&Need::of_level(1));
        let places = self.customer.handles.iter();
        let places: Vec<&Held> = places
            .filter(|h| contact::can_take_code(self.customer, h, self.rules))
            .collect();
        let lines = places
            .iter()
            .any(|one| places.iter().any(|other| !one.key.same_line(&other.key)));
        methods.retain(|m| !enough.contains(m));
        methods.retain(|m| match m {
            // The second code must go somewhere else.
            ProofMethod::OneTimeCode => lines,
            other => self.may(*other, 1),
        });
        methods
    }

    fn worth_asking(&self, need: &Need) -> Result<(), NoPlace> {
        if need.level > HIGHEST_LEVEL_OF_CODES {
            Err(NoPlace::TooHigh)
        } else if self.wants_code(need) {
            Ok(())
        } else {
            Err(NoPlace::NotWanted)
        }
    }

    fn accepted(&self, need: &Need) -> Vec<ProofMethod> {
        need.methods(&self.rules.policy().verification)
    }

    fn holding(&self) -> impl Iterator<Item = &'a Verification> {
        let now = self.now;
        self.proofs.iter().filter(move |p| p.expires_at > now)
    }

    /// The level that a right code from this handle gives.
    fn reaches(&self, held: &Held) -> i32 {
        let theirs = self.customer.proofs_for(&Standing::of_handle(held, self.rules));
        let mut holding = self.holding().filter(|p| theirs.contains(p));
        level_of_code(holding.any(|p| !self.customer.is_line(&held.key, p.evidence)))
    }

    /// Whether a method is there for this customer, and worth so much.
    fn may(&self, method: ProofMethod, level: i32) -> bool {
        match method {
            ProofMethod::InAppConfirm => {
                let account = |h: &Held| h.key.kind == HandleKind::Crm && h.trust > Trust::Claimed;
                self.customer.handles.iter().any(account)
            }
            ProofMethod::Login => self.rules.strongest_login() >= level,
            ProofMethod::OneTimeCode
            | ProofMethod::KnowledgeQuestion
            | ProofMethod::AgentCheck
            | ProofMethod::Document => true,
        }
    }
}
