//! What is asked after a case.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Localized, Validate, check};

/// What is asked after a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SurveySpec {
    /// When it is asked.
    pub trigger: SurveyTrigger,
    /// How long after the trigger.
    #[serde(default)]
    pub delay_seconds: u32,
    /// Share of cases that are asked, 0 to 1; drawn by customer and case, reproducibly.
    #[serde(default = "one_f")]
    pub sample_rate: f64,
    /// Not asked again within so many days.
    #[serde(default = "quarantine")]
    pub quarantine_days: u32,
    /// An answer counts within so many hours.
    #[serde(default = "answer_window")]
    pub answer_within_hours: u32,
    /// For which brand it asks: who refused surveys of this brand is not asked. When empty, the brand of the channel on which
    /// the customer spoke last.
    #[serde(default)]
    pub brand: String,
    /// In order; at most three in messaging.
    pub questions: Vec<SurveyQuestion>,
}

/// When a survey is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SurveyTrigger {
    /// When a case is resolved.
    CaseResolved,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SurveyQuestion {
    /// Id in this survey.
    pub id: String,
    /// What it measures; decides the scale.
    pub measures: Measure,
    /// The question.
    pub text: Localized,
    /// An answer up to this score opens a follow-up case.
    pub follow_up_at_most: Option<i32>,
}

/// What a question measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// Net promoter score, 0 to 10.
    Nps,
    /// Customer satisfaction, 1 to 5.
    Csat,
    /// Customer effort score, 1 to 7.
    Ces,
}

impl Measure {
    /// The smallest and largest answer. NPS starts at 0: a scale from 1 is a different measure.
    pub const fn scale(self) -> (i32, i32) {
        match self {
            Measure::Nps => (0, 10),
            Measure::Csat => (1, 5),
            Measure::Ces => (1, 7),
        }
    }
}

impl Validate for SurveySpec {
    fn validate(&self) -> Result<(), String> {
        check(
            (1..=3).contains(&self.questions.len()),
            "spec.questions: one to three",
        )?;
        check(
            (0.0..=1.0).contains(&self.sample_rate),
            "spec.sampleRate must be from 0 to 1",
        )?;
        check(
            self.brand.is_empty() || super::super::valid_name(&self.brand),
            "spec.brand must be 1 to 63 of a-z, 0-9 and -, no - at the ends",
        )?;
        let ids: std::collections::BTreeSet<_> = self.questions.iter().map(|q| &q.id).collect();
        check(
            ids.len() == self.questions.len(),
            "spec.questions: an id stands twice",
        )?;
        for question in &self.questions {
            check(
                !question.text.is_empty(),
                "spec.questions: a question without text",
            )?;
            let (low, high) = question.measures.scale();
            check(
                question
                    .follow_up_at_most
                    .is_none_or(|f| (low..=high).contains(&f)),
                "spec.questions: followUpAtMost is outside the scale",
            )?;
        }
        Ok(())
    }
}

const fn one_f() -> f64 {
    1.0
}

const fn quarantine() -> u32 {
    30
}

const fn answer_window() -> u32 {
    72
}
