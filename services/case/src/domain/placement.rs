//! Which need does a word of the customer belong to?

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::{
    common::v1::InteractionKind,
    ids::{CaseId, CustomerId, InvitationId, TenantId},
};

use super::{case::Case, state::State};

/// A survey question on its way: the customer's next number is the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Whose data.
    pub tenant: TenantId,
    /// Which asking.
    pub invitation_id: InvitationId,
    /// Which question.
    pub question_id: String,
    /// Who is asked.
    pub customer_id: CustomerId,
    /// About which case.
    pub case_id: CaseId,
    /// Smallest answer.
    pub min_score: i32,
    /// Largest answer.
    pub max_score: i32,
    /// Until when.
    pub closes_at: DateTime<Utc>,
    /// Since when.
    pub asked_at: DateTime<Utc>,
}

/// A word of the customer, as far as its place depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// What it is.
    pub kind: InteractionKind,
    /// Sure intent, empty when unknown or when it is no need of its own (asks for a person).
    pub intent: &'a str,
    /// References in it.
    pub references: &'a [String],
    /// Written by a machine.
    pub automatic: bool,
    /// Only thanks.
    pub courtesy: bool,
    /// The number in it, if it can be read as an answer on the scale of the open question.
    pub score: Option<i32>,
}

/// Where a word of the customer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// It answers the open survey question and opens no case.
    SurveyAnswer {
        /// The number.
        score: i32,
    },
    /// It belongs to a live case.
    Attach(CaseId),
    /// It closes a conversation that is over: kept there, nobody needs to act.
    AttachToResolved(CaseId),
    /// It is kept, on no case: a machine wrote it and it answers nothing.
    Record,
    /// It is a new need.
    Open,
}

/// Decides where a word of the customer goes. `cases` are the customer's, in any state; a thank-you within `courtesy`
/// after the end of one belongs to it.
pub fn place(
    said: &Said<'_>,
    question_is_open: bool,
    cases: &[&Case],
    now: DateTime<Utc>,
    courtesy: TimeDelta,
) -> Placement {
    if let (true, Some(score), false) = (question_is_open, said.score, said.automatic) {
        return Placement::SurveyAnswer { score };
    }
    let mut live: Vec<&Case> = cases.iter().copied().filter(|c| c.state.is_live()).collect();
    // The last one the customer spoke about first; ids make the order total.
    live.sort_by_key(|c| (std::cmp::Reverse(c.last_heard_at), c.id));
    if said.automatic || said.kind == InteractionKind::Reaction {
        return live
            .first()
            .map_or(Placement::Record, |c| Placement::Attach(c.id));
    }
    let shares_reference = |c: &&&Case| {
        c.understanding
            .references
            .iter()
            .any(|r| said.references.contains(r))
    };
    let chosen = live
        .iter()
        .find(shares_reference)
        .or_else(|| match said.intent {
            "" => live.first(),
            intent => live
                .iter()
                .find(|c| c.intent() == intent)
                .or_else(|| live.iter().find(|c| c.intent().is_empty())),
        })
        .map(|c| c.id);
    match chosen {
        Some(case) => Placement::Attach(case),
        None if said.courtesy => cases
            .iter()
            .filter_map(|c| match &c.state {
                State::Resolved { at, .. } if now - *at <= courtesy => Some((*at, c.id)),
                State::Resolved { .. } | State::Live(_) | State::Merged { .. } => None,
            })
            .max()
            .map_or(Placement::Open, |(_, case)| Placement::AttachToResolved(case)),
        None => Placement::Open,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trama_proto::{case::v1::Understanding, common::v1::CustomerContext, ids::MergeId};

    use super::{
        super::{Kind, NewCase},
        *,
    };

    const DAY: TimeDelta = TimeDelta::hours(24);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).expect("in range")
    }

    fn case(name: &str, intent: &str, references: &[&str], heard: i64) -> Case {
        let mut case = Case::open(
            NewCase {
                tenant: "acme".parse().expect("a tenant"),
                id: CaseId::derived(&[name.as_bytes()]),
                customer_id: CustomerId::derived(&[b"anna"]),
                customer: CustomerContext::default(),
                kind: Kind::Need,
                subject: String::new(),
                heard_at: at(heard),
            },
            at(heard),
        );
        case.understanding = Understanding {
            intent: intent.to_owned(),
            references: references.iter().map(|r| (*r).to_owned()).collect(),
            ..Understanding::default()
        };
        case
    }

    fn said<'a>(intent: &'a str, references: &'a [String]) -> Said<'a> {
        Said {
            kind: InteractionKind::Message,
            intent,
            references,
            automatic: false,
            courtesy: false,
            score: None,
        }
    }

    #[test]
    fn the_same_need_is_the_same_case() {
        let (fault, bill) = (
            case("fault", "product-fault", &[], 0),
            case("bill", "billing", &[], 5),
        );
        let cases = [&fault, &bill];
        assert_eq!(
            place(&said("product-fault", &[]), false, &cases, at(9), DAY),
            Placement::Attach(fault.id)
        );
        assert_eq!(
            place(&said("", &[]), false, &cases, at(9), DAY),
            Placement::Attach(bill.id)
        );
        assert_eq!(
            place(&said("opening-hours", &[]), false, &cases, at(9), DAY),
            Placement::Open
        );
    }

    #[test]
    fn a_reference_says_more_than_an_intent() {
        let (old, new) = (
            case("old", "product-fault", &["order:4711"], 0),
            case("new", "product-fault", &[], 5),
        );
        let references = ["order:4711".to_owned()];
        assert_eq!(
            place(
                &said("product-fault", &references),
                false,
                &[&old, &new],
                at(9),
                DAY
            ),
            Placement::Attach(old.id)
        );
    }

    #[test]
    fn a_case_without_intent_takes_any() {
        let call = case("call", "", &[], 0);
        assert_eq!(
            place(&said("billing", &[]), false, &[&call], at(9), DAY),
            Placement::Attach(call.id)
        );
    }

    #[test]
    fn thanks_after_the_end_open_nothing_for_a_day() {
        let mut done = case("done", "billing", &[], 0);
        done.resolve("carla", at(10)).expect("live");
        let thanks = Said {
            courtesy: true,
            ..said("", &[])
        };
        assert_eq!(
            place(&thanks, false, &[&done], at(20), DAY),
            Placement::AttachToResolved(done.id)
        );
        assert_eq!(place(&thanks, false, &[&done], at(90_000), DAY), Placement::Open);
        assert_eq!(
            place(&said("", &[]), false, &[&done], at(20), DAY),
            Placement::Open
        );
    }

    #[test]
    fn a_machine_never_opens_a_case() {
        let vacation = Said {
            automatic: true,
            score: Some(3),
            ..said("billing", &[])
        };
        assert_eq!(place(&vacation, true, &[], at(0), DAY), Placement::Record);
    }

    proptest! {
        #[test]
        fn every_word_finds_a_place_among_its_own(
            intent in "(|a|b)", kinds in prop::collection::vec(("(|a|b)", 0_usize..3, 0_i64..50), 0..6),
            automatic: bool, courtesy: bool, score in prop::option::of(0_i32..10), open: bool,
        ) {
            let mut cases: Vec<Case> = kinds.iter().enumerate()
                .map(|(n, (intent, _, heard))| case(&n.to_string(), intent, &[], *heard)).collect();
            for (case, (_, state, _)) in cases.iter_mut().zip(&kinds) {
                match state {
                    0 => {}
                    1 => case.resolve("x", at(60)).expect("live"),
                    _ => case.state = case.state.clone().merged(CaseId::derived(&[b"z"]), MergeId::derived(&[b"m"])).expect("live"),
                }
            }
            let borrowed: Vec<&Case> = cases.iter().collect();
            let said = Said { automatic, courtesy, score, ..said(&intent, &[]) };
            let found = |id: CaseId| borrowed.iter().find(|c| c.id == id).copied();
            match place(&said, open, &borrowed, at(70), DAY) {
                Placement::SurveyAnswer { score: s } => prop_assert!(open && score == Some(s) && !automatic),
                Placement::Attach(id) => prop_assert!(found(id).is_some_and(|c| c.state.is_live())),
                Placement::AttachToResolved(id) => prop_assert!(courtesy && found(id).is_some_and(|c| !c.state.is_live())),
                Placement::Record => prop_assert!(automatic),
                Placement::Open => prop_assert!(!automatic),
            }
        }
    }
}
