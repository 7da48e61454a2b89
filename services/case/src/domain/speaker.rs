//! Who spoke last on a case, and which proof of identity holds for them: whoever acts on it sees that one, not the customer's best.

use chrono::{DateTime, Utc};
use trama_proto::{
    common::v1::{CustomerContext, Verification},
    ids::InteractionId,
    time::from_wire,
};

use super::Case;

/// Who says a word.
#[derive(Debug, Clone, Copy)]
pub struct Speaker<'a> {
    /// Which word.
    pub word: InteractionId,
    /// When.
    pub at: DateTime<Utc>,
    /// What is known of the customer, with the proof that holds for whoever speaks.
    pub context: &'a CustomerContext,
    /// Other proofs of the customer may not hold for them.
    pub in_doubt: bool,
}

/// A proof and the interaction in which it was asked for.
pub type Asked = (InteractionId, Verification);

impl Case {
    /// Takes in who says a word, before the case hears it.
    pub fn meet(&mut self, speaker: Speaker<'_>, now: DateTime<Utc>) {
        let is_last = self.last_word.is_none() || speaker.at >= self.last_heard_at;
        if !speaker.in_doubt && (is_last || !self.in_doubt) {
            self.know(speaker.context, now);
        } else {
            let old = self.customer.verification.take();
            self.customer = speaker.context.clone();
            if is_last {
                self.count_again(old.as_ref());
            } else {
                // A word from before comes late: what the last speaker proved stays.
                self.customer.verification = old;
            }
        }
        if is_last {
            (self.last_word, self.in_doubt) = (Some(speaker.word), speaker.in_doubt);
        }
    }

    /// Takes in news about the customer.
    pub fn learn(&mut self, context: &CustomerContext, asked: Option<&Asked>, now: DateTime<Utc>) {
        if !self.in_doubt {
            self.know(context, now);
            return;
        }
        let own = self.customer.verification.take().filter(|own| holds(own, now));
        let asked = asked.filter(|(word, _)| Some(*word) == self.last_word);
        let asked = asked.map(|(_, proof)| proof.clone());
        let best = own.into_iter().chain(asked).max_by_key(|proof| proof.level);
        self.customer = context.clone();
        self.customer.verification = Some(best.unwrap_or_default());
    }

    /// Is of a customer with whom another was joined.
    pub fn go_with(&mut self, context: &CustomerContext, by_likeness: bool) {
        self.in_doubt |= by_likeness;
        let own = self.customer.verification.take();
        self.customer = context.clone();
        if self.in_doubt {
            self.customer.verification = own;
        }
    }

    /// Is of one of two who are no longer one.
    pub fn return_to(&mut self, context: &CustomerContext) {
        self.customer = context.clone();
        if self.in_doubt {
            self.customer.verification = Some(Verification::default());
        }
    }

    /// The last word was somebody else's: until the next one nobody knows who is there.
    pub fn lose_speaker(&mut self) {
        (self.last_word, self.in_doubt) = (None, true);
    }

    /// Whoever spoke last on a case that is joined with this one may be the last of both.
    pub(super) fn take_speaker_of(&mut self, other: &Self) {
        if other.last_word.is_some() && (self.last_word.is_none() || other.last_heard_at > self.last_heard_at)
        {
            (self.last_word, self.in_doubt) = (other.last_word, other.in_doubt);
            let proof = &mut self.customer.verification;
            proof.clone_from(&other.customer.verification);
        }
    }

    /// Takes in what is known of a customer whose proofs hold for whoever speaks. One that still holds is not lost to news
    /// that was written before it.
    fn know(&mut self, context: &CustomerContext, now: DateTime<Utc>) {
        let old = self.customer.verification.take().filter(|old| old.level > 0);
        self.customer = context.clone();
        let Some(old) = old else { return };
        let new = self.customer.verification.as_ref().filter(|new| new.level > 0);
        let is_older = new.is_none_or(|new| verified_at(new) < verified_at(&old));
        if !is_older {
            self.count_again(Some(&old));
        } else if holds(&old, now) {
            self.customer.verification = Some(old);
        }
    }

    /// A proof that was asked for again while another held is effort.
    fn count_again(&mut self, old: Option<&Verification>) {
        let new = self.customer.verification.as_ref().filter(|new| new.level > 0);
        let (Some(old), Some(new)) = (old.filter(|old| old.level > 0), new) else {
            return;
        };
        if verified_at(new) > verified_at(old)
            && from_wire(old.expires_at.as_ref()) > verified_at(new)
            && old.level >= new.level
            // A login is no effort, the site did it; one more on another channel is.
            && (!is_login(new) || (is_login(old) && new.verified_by != old.verified_by))
        {
            self.effort.reverifications += 1;
        }
    }
}

fn verified_at(proof: &Verification) -> Option<DateTime<Utc>> {
    from_wire(proof.verified_at.as_ref())
}

fn holds(proof: &Verification, now: DateTime<Utc>) -> bool {
    proof.level > 0 && from_wire(proof.expires_at.as_ref()).is_some_and(|until| until > now)
}

fn is_login(proof: &Verification) -> bool {
    proof.method == "login" || proof.method.ends_with("_login")
}

#[cfg(test)]
mod tests {
    use trama_proto::{
        ids::{CaseId, CustomerId},
        time::to_wire,
    };

    use super::{
        super::{Kind, NewCase},
        *,
    };

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("in range")
    }

    fn known(proof: Option<(i64, &str)>) -> CustomerContext {
        let verification = proof.map(|(when, method)| Verification {
            level: 1,
            method: method.to_owned(),
            verified_by: "bruno".to_owned(),
            verified_at: Some(to_wire(at(when))),
            expires_at: Some(to_wire(at(when + 1_000))),
        });
        CustomerContext {
            verification,
            ..CustomerContext::default()
        }
    }

    fn case() -> Case {
        let new = NewCase {
            tenant: "acme".parse().expect("a tenant"),
            id: CaseId::derived(&[b"case"]),
            customer_id: CustomerId::derived(&[b"anna"]),
            customer: known(None),
            kind: Kind::Need,
            subject: String::new(),
            heard_at: at(0),
        };
        Case::open(new, at(0))
    }

    fn speaks(case: &mut Case, word: &str, when: i64, context: &CustomerContext, in_doubt: bool) {
        let speaker = Speaker {
            word: id(word),
            at: at(when),
            context,
            in_doubt,
        };
        case.meet(speaker, at(when));
        case.last_heard_at = case.last_heard_at.max(at(when));
    }

    fn level(case: &Case) -> i32 {
        case.customer.verification.as_ref().map_or(0, |v| v.level)
    }

    fn id(word: &str) -> InteractionId {
        InteractionId::derived(&[word.as_bytes()])
    }

    #[test]
    fn the_proof_is_that_of_whoever_spoke_last() {
        let (proven, unproven) = (known(Some((100, "one_time_code"))), known(None));
        let mut case = case();
        speaks(&mut case, "mail", 100, &proven, false);
        speaks(&mut case, "call", 200, &unproven, true);
        assert_eq!(level(&case), 0, "they call from a number that was only claimed");
        case.learn(&known(Some((250, "one_time_code"))), None, at(250));
        assert_eq!(level(&case), 0, "proven by somebody else");
        speaks(&mut case, "late", 150, &proven, false);
        assert_eq!(level(&case), 0, "a word from before comes late");

        let code = known(Some((300, "one_time_code")));
        let asked = |word| Some((id(word), code.verification.clone().expect("a proof")));
        case.learn(&code, asked("mail").as_ref(), at(300));
        assert_eq!(level(&case), 0, "asked for elsewhere");
        case.learn(&code, asked("call").as_ref(), at(300));
        assert_eq!(level(&case), 1, "they read out the code in this call");
        assert_eq!(case.effort.reverifications, 0, "nothing had been proven for them");
        case.learn(&unproven, None, at(2_000));
        assert_eq!(level(&case), 0, "it is over");
        speaks(&mut case, "mail 2", 2_000, &known(Some((1_900, "login"))), false);
        assert_eq!(level(&case), 1);
    }

    #[test]
    fn likeness_lends_no_case_a_proof_and_a_split_takes_back_what_is_in_doubt() {
        let (proven, unproven) = (known(Some((100, "one_time_code"))), known(None));
        let mut by_hand = case();
        by_hand.go_with(&proven, false);
        assert_eq!(level(&by_hand), 1);
        let mut alike = case();
        speaks(&mut alike, "mail", 100, &unproven, false);
        alike.go_with(&proven, true);
        alike.learn(&proven, None, at(200));
        assert_eq!(level(&alike), 0);
        speaks(&mut alike, "mail 2", 300, &proven, true);
        assert_eq!(level(&alike), 1);
        alike.return_to(&proven);
        assert_eq!(level(&alike), 0);
    }

    #[test]
    fn a_proof_that_holds_survives_news_from_before_it() {
        let mut case = case();
        case.know(&known(Some((100, "one_time_code"))), at(100));
        case.know(&known(None), at(200));
        case.know(&known(Some((50, "one_time_code"))), at(200));
        assert_eq!(case.customer, known(Some((100, "one_time_code"))));
        case.know(&known(None), at(2_000));
        assert_eq!(case.customer, known(None));
        assert_eq!(case.effort.reverifications, 0);
    }

    #[test]
    fn asking_for_a_proof_that_holds_is_effort() {
        let mut case = case();
        case.know(&known(Some((100, "one_time_code"))), at(100));
        case.know(&known(Some((100, "one_time_code"))), at(100));
        case.know(&known(Some((300, "site_login"))), at(300));
        assert_eq!(case.effort.reverifications, 0);
        case.know(&known(Some((400, "one_time_code"))), at(400));
        assert_eq!(case.effort.reverifications, 1);
        case.know(&known(Some((9_000, "one_time_code"))), at(9_000));
        assert_eq!(case.effort.reverifications, 1, "the old one had expired");
    }

    #[test]
    fn every_method_that_is_asked_again_is_effort_and_a_login_on_another_channel_is_too() {
        let methods = [
            "one_time_code",
            "knowledge_question",
            "in_app_confirm",
            "agent_check",
            "document",
        ];
        for method in methods {
            let mut case = case();
            case.know(&known(Some((100, "site_login"))), at(100));
            case.know(&known(Some((200, method))), at(200));
            case.know(&known(Some((300, method))), at(300));
            assert_eq!(case.effort.reverifications, 2, "{method}");
        }
        let by = |channel: &str, when, method| {
            let mut context = known(Some((when, method)));
            let proof = context.verification.as_mut().expect("a proof");
            channel.clone_into(&mut proof.verified_by);
            context
        };
        for method in ["site_login", "login"] {
            let mut case = case();
            case.know(&by("site", 100, method), at(100));
            case.know(&by("site", 200, method), at(200));
            assert_eq!(case.effort.reverifications, 0, "a line more of the same login");
            case.know(&by("app", 300, method), at(300));
            assert_eq!(case.effort.reverifications, 1, "logged in twice");
        }
    }
}
