//! What a household shares. Surname, address, landline and family mailbox of one home are one fact, not four: together they say
//! "this household", and who of it is meant, only given name and date of birth can say. At home these mean less than elsewhere:
//! twins have one date of birth, a son has his father's name.

use super::{Score, Scorer};
use crate::matching::{
    compare::{Comparison, Level},
    store::Store,
};

/// What each kind of evidence comes to.
#[derive(Default)]
struct Sums {
    /// The best equal handle.
    handle: f32,
    /// What further equal handles add.
    further: f32,
    /// What people of one home share.
    house: f32,
    /// Another surname, another address.
    against: f32,
    /// Given name.
    given: f32,
    /// Date of birth.
    birth: f32,
    /// A mail address that is like the other's: people of one name have such.
    like_mail: f32,
    /// Everything else.
    rest: f32,
}

impl<S: Store> Scorer<'_, S> {
    /// Adds up. Of several equal handles the strongest counts in full, the others a little, because who shares one shares
    /// another. Two are one person only if they are neither strangers who resemble each other nor two of one household: what
    /// explains the evidence best decides.
    pub(super) fn sum(&self, score: &mut Score) {
        let sums = self.sums(score);
        let straight = sums.given + sums.birth;
        let unrelated = self.prior
            + sums.handle
            + sums.further
            + sums.house
            + straight
            + sums.like_mail
            + sums.against
            + sums.rest;
        if !self.homes_are_shared {
            score.household_excess = 0.0;
            score.bits = unrelated;
            score.suspicion = unrelated;
            return;
        }
        let near = self.at_one_home(score, sums.given, sums.birth).min(straight);
        let related = if sums.handle > 0.0 {
            // Who shares a telephone shares a home: the handle has said so already.
            let house = sums.house.min(self.policy.file().household_beside_handle);
            self.prior + sums.handle + sums.further + house + near
        } else {
            self.policy.household + near
        };
        // Who is called the same is called the same at every provider.
        let apart = sums.like_mail.min(0.0) + sums.against + sums.rest;
        score.bits = unrelated.min(related + apart);
        score.suspicion = unrelated.min(related - near + straight + apart);
        score.household_excess = unrelated - score.bits;
    }

    fn sums(&self, score: &Score) -> Sums {
        let part = |c: Comparison| score.parts.get(c.index()).copied().unwrap_or(0.0);
        let level = |c: Comparison| score.levels.get(c.index()).copied().unwrap_or(Level::Missing);
        let mut sums = Sums::default();
        let mut address = 0.0_f32;
        for comparison in Comparison::ALL {
            let bits = part(comparison);
            match comparison {
                Comparison::Surname if bits >= 0.0 => sums.house += bits,
                Comparison::Surname => sums.against += bits,
                Comparison::Street
                | Comparison::HouseNumber
                | Comparison::Building
                | Comparison::Locality
                | Comparison::PostalCode
                | Comparison::Region => address += bits,
                Comparison::Email
                | Comparison::Phone
                | Comparison::Account
                | Comparison::Device
                | Comparison::National
                | Comparison::Exclusive => match level(comparison) {
                    Level::Exact => {
                        sums.further += sums
                            .handle
                            .min(bits)
                            .clamp(0.0, self.policy.file().further_handle);
                        sums.handle = sums.handle.max(bits);
                    }
                    Level::SharedExact => sums.house += bits.max(0.0),
                    Level::Close | Level::SameLocal if comparison == Comparison::Email => {
                        sums.like_mail += bits
                    }
                    _ => sums.rest += bits,
                },
                Comparison::GivenName => sums.given += bits,
                // One of the two is the surname, which all at home have.
                Comparison::SwappedNames => {
                    let given = self.policy.alone(Comparison::GivenName, Level::Exact).min(bits);
                    sums.given += given;
                    sums.house += bits - given;
                }
                Comparison::BirthDate => sums.birth += bits,
                Comparison::Text | Comparison::Category => sums.rest += bits,
            }
        }
        if address >= 0.0 {
            sums.house += address;
        } else {
            sums.against += address.max(self.policy.file().moved);
        }
        sums
    }

    /// What given name and date of birth say of two of one home: against a twin, who has the date, against a namesake, who has
    /// the name, and against everybody else there, whose name is anybody's, but whose year is a neighbour's.
    fn at_one_home(&self, score: &Score, given: f32, birth: f32) -> f32 {
        let rule = self.policy.file().homes;
        let level = score.levels.get(Comparison::BirthDate.index());
        let birth = match level {
            Some(Level::OneSlip | Level::TwoSlips | Level::Swapped) => birth - rule.near_births,
            _ => birth,
        };
        let (twins, namesakes) = (rule.twins, rule.namesakes);
        let others = 1.0 - twins - namesakes;
        -(twins * (-given).exp2() + namesakes * (-birth).exp2() + others * (-given - birth).exp2()).log2()
    }
}
