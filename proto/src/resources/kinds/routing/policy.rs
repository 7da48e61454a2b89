//! Which work waits where, and whom it asks for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MatchingSpec, Skills, WorkWords, one, positive, skills::LEVELS};
use crate::resources::{
    condition::Condition,
    kinds::{Kind, Validate, check},
};

/// Which work waits where. The first rule that fits wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutingPolicySpec {
    /// In order.
    pub rules: Vec<RoutingRule>,
    /// For what no rule fits.
    pub default_queue: String,
    /// BusinessHours whose clock `hour`, `weekday` and `open` in conditions mean; UTC and always open without.
    #[serde(default)]
    pub hours: Option<String>,
    /// Skills that no step may ever relax, in level or at all: what the law or a contract asks for.
    #[serde(default)]
    pub never_relax: Vec<String>,
    /// What is asked less as the wait grows, for rules that have no steps of their own.
    #[serde(default = "steps")]
    pub steps: Vec<WideningStep>,
    /// How waiting work and free agents are matched.
    #[serde(default)]
    pub matching: MatchingSpec,
}

/// One rule: every list that is not empty must contain the work's value, and the condition must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutingRule {
    /// For explanations.
    pub name: String,
    /// Intents.
    #[serde(default)]
    pub intents: Vec<String>,
    /// Kinds of channel.
    #[serde(default)]
    pub channel_kinds: Vec<Kind>,
    /// Entitlements.
    #[serde(default)]
    pub entitlements: Vec<String>,
    /// At least so urgent, 0 to 1.
    #[serde(default)]
    pub min_urgency: f64,
    /// Only follow-ups of bad survey answers.
    #[serde(default)]
    pub recovery_only: bool,
    /// A condition in CEL, such as `mood == 'negative' && transfers > 1`.
    #[serde(default)]
    pub when: Option<Condition<WorkWords>>,
    /// Where it waits.
    pub queue: String,
    /// Points added to the priority. Each makes the work count as if it had a tenth less time.
    #[serde(default)]
    pub priority: i32,
    /// Multiplies the target: 0.5 means twice as fast.
    #[serde(default = "one")]
    pub target_factor: f64,
    /// Further skills, or higher levels than the queue's.
    #[serde(default)]
    pub skills: Skills,
    /// Teams that get it instead of the queue's.
    #[serde(default)]
    pub teams: Vec<String>,
    /// Not for bots: people get the emotional and hard cases.
    #[serde(default)]
    pub require_human: bool,
    /// Whether bots or people are asked first.
    #[serde(default)]
    pub agents: AgentOrder,
    /// What is asked less as the wait grows, instead of the policy's steps.
    #[serde(default)]
    pub steps: Option<Vec<WideningStep>>,
}

/// Whether bots or people are asked first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AgentOrder {
    /// Whoever fits best.
    #[default]
    Any,
    /// People only when no bot who can do it has room.
    BotsFirst,
    /// Bots only when no person who can do it has room.
    PeopleFirst,
}

/// From when on less is asked of an agent. Steps add up: what one relaxed stays relaxed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WideningStep {
    /// After this share of the target …
    pub after_share_of_target: Option<f64>,
    /// … or after so many seconds.
    pub after_seconds: Option<u32>,
    /// Levels asked for fall by so much, not below 1.
    pub relax_levels_by: Option<u8>,
    /// Levels asked for fall to this.
    pub relax_levels_to: Option<u8>,
    /// Only these skills are relaxed; all when empty.
    pub skills: Vec<String>,
    /// These skills are no longer asked for.
    pub drop_skills: Vec<String>,
    /// These teams get it too.
    pub open_teams: Vec<String>,
    /// Every team gets it.
    pub any_team: bool,
    /// The language is no longer asked for.
    pub any_language: bool,
}

impl Validate for RoutingPolicySpec {
    fn validate(&self) -> Result<(), String> {
        for (number, rule) in self.rules.iter().enumerate() {
            rule.validate(&self.never_relax)
                .map_err(|e| format!("spec.rules[{number}] `{}`: {e}", rule.name))?;
        }
        check_steps(&self.steps, &self.never_relax).map_err(|e| format!("spec.{e}"))?;
        self.matching.validate().map_err(|e| format!("spec.matching.{e}"))
    }
}

impl RoutingRule {
    fn validate(&self, never_relax: &[String]) -> Result<(), String> {
        check(
            (0.0..=1.0).contains(&self.min_urgency),
            "minUrgency must be from 0 to 1",
        )?;
        check(positive(self.target_factor), "targetFactor must be positive")?;
        if let Some(problem) = self.skills.problem() {
            return Err(format!("skills: {problem}"));
        }
        check(
            !(self.require_human && self.agents == AgentOrder::BotsFirst),
            "requireHuman and agents: botsFirst contradict each other",
        )?;
        check_steps(self.steps.as_deref().unwrap_or_default(), never_relax)
    }
}

fn check_steps(steps: &[WideningStep], never_relax: &[String]) -> Result<(), String> {
    steps.iter().enumerate().try_for_each(|(number, step)| {
        step.validate(never_relax)
            .map_err(|e| format!("steps[{number}]{e}"))
    })
}

impl WideningStep {
    fn validate(&self, never_relax: &[String]) -> Result<(), String> {
        let relaxes = self.relax_levels_by.is_some() || self.relax_levels_to.is_some();
        let opens = !self.open_teams.is_empty() || self.any_team || self.any_language;
        check(
            self.after_share_of_target.is_some() != self.after_seconds.is_some(),
            " must have either afterShareOfTarget or afterSeconds",
        )?;
        check(
            self.after_share_of_target
                .is_none_or(|s| s >= 0.0 && s.is_finite()),
            ".afterShareOfTarget must not be negative",
        )?;
        check(
            self.relax_levels_by.is_none() || self.relax_levels_to.is_none(),
            ": relaxLevelsBy and relaxLevelsTo exclude each other",
        )?;
        check(
            self.relax_levels_to.is_none_or(|level| LEVELS.contains(&level)),
            ".relaxLevelsTo must be from 1 to 10",
        )?;
        check(
            relaxes || self.skills.is_empty(),
            ".skills says nothing without relaxLevelsBy or relaxLevelsTo",
        )?;
        check(
            relaxes || opens || !self.drop_skills.is_empty(),
            " relaxes nothing: say relaxLevelsTo, dropSkills, openTeams, anyTeam or anyLanguage",
        )?;
        let kept = self
            .skills
            .iter()
            .chain(&self.drop_skills)
            .find(|s| never_relax.contains(s));
        kept.map_or(Ok(()), |skill| Err(format!(": skill `{skill}` is in neverRelax")))
    }
}

/// Any level of the skill after half of the target; at the breach, any language: it is a guess from few words, and a
/// wrong guess must not leave a customer waiting for nobody.
fn steps() -> Vec<WideningStep> {
    vec![
        WideningStep {
            after_share_of_target: Some(0.5),
            relax_levels_to: Some(1),
            ..WideningStep::default()
        },
        WideningStep {
            after_share_of_target: Some(1.0),
            any_language: true,
            ..WideningStep::default()
        },
    ]
}
