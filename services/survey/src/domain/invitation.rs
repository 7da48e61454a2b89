//! One asking and its life.

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::{
    common::v1::{ChannelKind, CustomerContext},
    ids::{CaseId, CustomerId, InteractionId, InvitationId, MessageId, TenantId},
    resources::{Measure, SurveyQuestion, SurveySpec},
    survey::v1::QuestionKind,
};

/// Where an asking stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waiting for its moment.
    Scheduled {
        /// When.
        ask_at: DateTime<Utc>,
    },
    /// A question is open.
    Asked {
        /// Its position.
        question: usize,
        /// Until when an answer counts.
        closes_at: DateTime<Utc>,
    },
    /// Every question is answered.
    Completed,
    /// Not asked.
    Suppressed,
    /// Not answered in time.
    Lapsed,
}

/// One asking.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// Whose.
    pub tenant: TenantId,
    /// Its id.
    pub id: InvitationId,
    /// Name of the Survey resource.
    pub survey: String,
    /// The survey as it was when it was decided.
    pub spec: SurveySpec,
    /// Who.
    pub customer_id: CustomerId,
    /// What is known of them.
    pub customer: CustomerContext,
    /// About which case.
    pub case_id: CaseId,
    /// What the customer said last on it.
    pub interaction_id: Option<InteractionId>,
    /// Its subject.
    pub case_subject: String,
    /// Its intent.
    pub need: String,
    /// Its language.
    pub language: String,
    /// Where the customer spoke last.
    pub channel_kind: ChannelKind,
    /// Where it stands.
    pub state: State,
    /// Why.
    pub reason: String,
    /// The case that a bad answer opened.
    pub follow_up: Option<CaseId>,
    /// When it was decided.
    pub created_at: DateTime<Utc>,
}

/// What an answer led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The question that is asked next, if any.
    pub next: Option<usize>,
    /// The case that is to be opened, if the answer is bad and none was opened before.
    pub follow_up: Option<CaseId>,
}

/// Why something cannot be done with an asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Outside the scale of the question.
    #[error("the score must be from {low} to {high}")]
    OutsideScale {
        /// Smallest.
        low: i32,
        /// Largest.
        high: i32,
    },
    /// The survey has no such question.
    #[error("the survey has no such question")]
    NoSuchQuestion,
    /// The first answer counts.
    #[error("the question was answered already; the first answer counts")]
    AlreadyAnswered,
    /// It was not asked yet.
    #[error("the question was not asked yet")]
    NotAsked,
    /// The asking is over.
    #[error("the asking is over")]
    Over,
    /// After the end of the asking.
    #[error("the answer came after the asking was closed")]
    TooLate,
    /// It does not wait for its moment any more.
    #[error("the asking does not wait for its moment")]
    NotScheduled,
}

/// What a question measures, in the words of the contract.
pub const fn kind_of(measure: Measure) -> QuestionKind {
    match measure {
        Measure::Nps => QuestionKind::Nps,
        Measure::Csat => QuestionKind::Csat,
        Measure::Ces => QuestionKind::Ces,
    }
}

impl Invitation {
    /// The position of a question.
    ///
    /// # Errors
    /// When the survey has none of this id.
    pub fn position(&self, question_id: &str) -> Result<usize, Rejected> {
        self.spec
            .questions
            .iter()
            .position(|q| q.id == question_id)
            .ok_or(Rejected::NoSuchQuestion)
    }

    /// A question.
    ///
    /// # Errors
    /// When the survey has fewer.
    pub fn question(&self, position: usize) -> Result<&SurveyQuestion, Rejected> {
        self.spec.questions.get(position).ok_or(Rejected::NoSuchQuestion)
    }

    /// The message that carries a question.
    pub fn message_id(&self, question: &SurveyQuestion) -> MessageId {
        MessageId::derived(&[
            b"survey question",
            self.id.uuid().as_bytes(),
            question.id.as_bytes(),
        ])
    }

    fn closes_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now + TimeDelta::hours(i64::from(self.spec.answer_within_hours))
    }

    /// Its moment has come: the first question is open.
    ///
    /// # Errors
    /// When it does not wait any more.
    pub fn ask(mut self, now: DateTime<Utc>) -> Result<Self, Rejected> {
        match self.state {
            State::Scheduled { .. } => {
                self.state = State::Asked {
                    question: 0,
                    closes_at: self.closes_at(now),
                };
                Ok(self)
            }
            State::Asked { .. } | State::Completed | State::Suppressed | State::Lapsed => {
                Err(Rejected::NotScheduled)
            }
        }
    }

    /// An answer, given at `at`.
    ///
    /// # Errors
    /// When it does not count.
    pub fn answer(
        mut self,
        position: usize,
        score: i32,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(Self, Answered), Rejected> {
        let question = self.question(position)?;
        let (low, high) = question.measures.scale();
        if !(low..=high).contains(&score) {
            return Err(Rejected::OutsideScale { low, high });
        }
        let is_bad = question.follow_up_at_most.is_some_and(|limit| score <= limit);
        let follow_up = (is_bad && self.follow_up.is_none()).then(|| {
            CaseId::derived(&[
                b"survey follow-up",
                self.id.uuid().as_bytes(),
                question.id.as_bytes(),
            ])
        });
        match self.state {
            State::Scheduled { .. } => Err(Rejected::NotAsked),
            State::Asked { question, .. } if position < question => Err(Rejected::AlreadyAnswered),
            State::Asked { question, .. } if position > question => Err(Rejected::NotAsked),
            State::Asked { closes_at, .. } if at > closes_at => Err(Rejected::TooLate),
            State::Asked { .. } => {
                let next = Some(position + 1).filter(|n| *n < self.spec.questions.len());
                self.state = match next {
                    Some(question) => State::Asked {
                        question,
                        closes_at: self.closes_at(now),
                    },
                    None => State::Completed,
                };
                self.follow_up = self.follow_up.or(follow_up);
                Ok((self, Answered { next, follow_up }))
            }
            State::Completed => Err(Rejected::AlreadyAnswered),
            State::Suppressed | State::Lapsed => Err(Rejected::Over),
        }
    }

    /// Nobody answered in time.
    ///
    /// # Errors
    /// When no question is open, or it still is.
    pub fn lapse(mut self, now: DateTime<Utc>) -> Result<Self, Rejected> {
        match self.state {
            State::Asked { closes_at, .. } if closes_at <= now => {
                self.state = State::Lapsed;
                "not answered in time".clone_into(&mut self.reason);
                Ok(self)
            }
            State::Asked { .. }
            | State::Scheduled { .. }
            | State::Completed
            | State::Suppressed
            | State::Lapsed => Err(Rejected::Over),
        }
    }

    /// The message with the question will not arrive: before the first answer nobody was asked.
    ///
    /// # Errors
    /// When that question is not open.
    pub fn undeliverable(mut self, position: usize, why: &str) -> Result<Self, Rejected> {
        match self.state {
            State::Asked { question, .. } if question == position => {
                self.state = if position == 0 {
                    State::Suppressed
                } else {
                    State::Lapsed
                };
                self.reason = format!("the question did not arrive: {why}");
                Ok(self)
            }
            State::Asked { .. }
            | State::Scheduled { .. }
            | State::Completed
            | State::Suppressed
            | State::Lapsed => Err(Rejected::Over),
        }
    }

    /// It is not asked after all.
    ///
    /// # Errors
    /// When it was asked.
    pub fn suppress(mut self, why: &str) -> Result<Self, Rejected> {
        match self.state {
            State::Scheduled { .. } => {
                self.state = State::Suppressed;
                why.clone_into(&mut self.reason);
                Ok(self)
            }
            State::Asked { .. } | State::Completed | State::Suppressed | State::Lapsed => {
                Err(Rejected::NotScheduled)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("valid")
    }

    fn invitation() -> Invitation {
        let spec = serde_json::from_value(serde_json::json!({
            "trigger": "caseResolved", "answerWithinHours": 1,
            "questions": [
                {"id": "nps", "measures": "nps", "text": {"it": "0-10?"}, "followUpAtMost": 6},
                {"id": "csat", "measures": "csat", "text": {"it": "1-5?"}, "followUpAtMost": 2}
            ]
        }));
        Invitation {
            tenant: "acme".parse().expect("a tenant"),
            id: InvitationId::derived(&[b"i"]),
            survey: "after-case".into(),
            spec: spec.expect("a survey"),
            customer_id: CustomerId::derived(&[b"c"]),
            customer: CustomerContext::default(),
            case_id: CaseId::derived(&[b"k"]),
            interaction_id: None,
            case_subject: String::new(),
            need: String::new(),
            language: "it".into(),
            channel_kind: ChannelKind::Whatsapp,
            state: State::Scheduled { ask_at: at(0) },
            reason: "sampled".into(),
            follow_up: None,
            created_at: at(0),
        }
    }

    #[test]
    fn questions_are_asked_one_after_the_other_and_one_bad_answer_opens_one_case() {
        let asked = invitation().ask(at(0)).expect("asked");
        let (asked, first) = asked.answer(0, 3, at(10), at(10)).expect("answered");
        assert_eq!(first.next, Some(1));
        assert!(first.follow_up.is_some());
        assert_eq!(
            asked.clone().answer(0, 9, at(11), at(11)).err(),
            Some(Rejected::AlreadyAnswered)
        );
        let (done, second) = asked.answer(1, 1, at(12), at(12)).expect("answered");
        assert_eq!(
            (done.state, second),
            (
                State::Completed,
                Answered {
                    next: None,
                    follow_up: None
                }
            )
        );
        assert_eq!(
            done.answer(1, 1, at(13), at(13)).err(),
            Some(Rejected::AlreadyAnswered)
        );
    }

    #[test]
    fn an_answer_counts_until_the_asking_closes_whenever_it_is_worked_in() {
        let asked = invitation().ask(at(0)).expect("asked");
        assert!(asked.clone().answer(0, 10, at(3_600), at(3_700)).is_ok());
        assert_eq!(
            asked.clone().answer(0, 10, at(3_601), at(3_700)).err(),
            Some(Rejected::TooLate)
        );
        assert!(asked.clone().lapse(at(3_599)).is_err());
        assert_eq!(asked.lapse(at(3_600)).expect("lapsed").state, State::Lapsed);
    }

    #[test]
    fn a_question_that_did_not_arrive_was_not_asked() {
        let asked = invitation().ask(at(0)).expect("asked");
        let over = asked.undeliverable(0, "no way").expect("over");
        assert_eq!(over.state, State::Suppressed);
        assert_eq!(over.answer(0, 9, at(1), at(1)).err(), Some(Rejected::Over));
    }

    proptest! {
        #[test]
        fn no_answer_outside_the_scale_counts(score in any::<i32>(), position in 0..4_usize) {
            let asked = invitation().ask(at(0)).expect("asked");
            if let Ok((after, _)) = asked.answer(position, score, at(1), at(1)) {
                prop_assert!((0..=10).contains(&score) && position == 0);
                let expected = State::Asked { question: 1, closes_at: at(3_601) };
                prop_assert_eq!(after.state, expected);
            }
        }
    }
}
