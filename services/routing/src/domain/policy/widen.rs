//! What is asked less as the wait grows.

use chrono::TimeDelta;
use trama_proto::resources::WideningStep;

use super::{Requirement, Step};

/// The steps in order of time, each with all that is asked from then on. Steps that change nothing are left out.
pub(super) fn widen(
    base: &Requirement,
    steps: &[WideningStep],
    target: TimeDelta,
    never_relax: &[String],
) -> Vec<Step> {
    let mut steps: Vec<(TimeDelta, &WideningStep)> = steps.iter().map(|s| (after(s, target), s)).collect();
    steps.sort_by_key(|(after, _)| *after);
    let mut asked = base.clone();
    let mut found: Vec<Step> = Vec::new();
    for (after, step) in steps {
        let before = asked.clone();
        relax(&mut asked, step, never_relax);
        if asked == before {
            continue;
        }
        let requirement = asked.clone();
        match found.last_mut() {
            Some(last) if last.after == after => last.requirement = requirement,
            Some(_) | None => found.push(Step { after, requirement }),
        }
    }
    found
}

fn after(step: &WideningStep, target: TimeDelta) -> TimeDelta {
    match (step.after_seconds, step.after_share_of_target) {
        (Some(seconds), _) => TimeDelta::seconds(i64::from(seconds)),
        (None, share) => super::route::scaled(target, share.unwrap_or(0.0)),
    }
}

fn relax(asked: &mut Requirement, step: &WideningStep, never_relax: &[String]) {
    let may = |skill: &String| !never_relax.contains(skill);
    asked
        .skills
        .retain(|skill, _| !(step.drop_skills.contains(skill) && may(skill)));
    for (skill, level) in &mut asked.skills {
        if !may(skill) || !(step.skills.is_empty() || step.skills.contains(skill)) {
            continue;
        }
        if let Some(by) = step.relax_levels_by {
            *level = level.saturating_sub(by).max(1);
        }
        if let Some(to) = step.relax_levels_to {
            *level = (*level).min(to);
        }
    }
    if step.any_team {
        asked.teams.clear();
    } else if !asked.teams.is_empty() {
        asked.teams.extend(step.open_teams.iter().cloned());
        asked.teams.sort();
        asked.teams.dedup();
    }
    if step.any_language {
        asked.language = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> Requirement {
        Requirement {
            skills: [("billing", 5), ("law", 4), ("hard", 2)]
                .map(|(s, l)| (s.to_owned(), l))
                .into(),
            language: Some("it".into()),
            teams: vec!["turin".into()],
        }
    }

    fn step(share: f64) -> WideningStep {
        WideningStep {
            after_share_of_target: Some(share),
            ..WideningStep::default()
        }
    }

    #[test]
    fn steps_add_up_in_order_of_time_and_spare_what_is_never_relaxed() {
        let steps = [
            WideningStep {
                any_language: true,
                any_team: true,
                ..step(1.0)
            },
            WideningStep {
                relax_levels_by: Some(2),
                open_teams: vec!["milan".into()],
                ..step(0.25)
            },
            WideningStep {
                relax_levels_to: Some(1),
                skills: vec!["billing".into()],
                ..step(0.5)
            },
            WideningStep {
                drop_skills: vec!["hard".into()],
                after_seconds: Some(100),
                ..WideningStep::default()
            },
        ];
        let found = widen(&base(), &steps, TimeDelta::seconds(100), &["law".into()]);
        let words: Vec<String> = found
            .iter()
            .map(|s| {
                format!(
                    "{} {:?} {:?} {:?}",
                    s.after.num_seconds(),
                    s.requirement.skills,
                    s.requirement.language,
                    s.requirement.teams
                )
            })
            .collect();
        assert_eq!(
            words,
            [
                r#"25 {"billing": 3, "hard": 1, "law": 4} Some("it") ["milan", "turin"]"#,
                r#"50 {"billing": 1, "hard": 1, "law": 4} Some("it") ["milan", "turin"]"#,
                r#"100 {"billing": 1, "law": 4} None []"#,
            ]
        );
    }

    #[test]
    fn steps_that_change_nothing_are_left_out() {
        let steps = [WideningStep {
            relax_levels_to: Some(9),
            ..step(0.5)
        }];
        assert_eq!(widen(&base(), &steps, TimeDelta::seconds(10), &[]), []);
    }

    proptest! {
        #[test]
        fn every_step_asks_for_less_than_the_one_before(
            shares in prop::collection::vec((0.0_f64..3.0, 0_u8..10, any::<bool>(), any::<bool>(), any::<bool>()), 0..6),
        ) {
            let steps: Vec<WideningStep> = shares
                .into_iter()
                .map(|(share, by, language, team, drop)| WideningStep {
                    relax_levels_by: Some(by),
                    any_language: language,
                    any_team: team,
                    drop_skills: if drop { vec!["billing".into(), "law".into()] } else { vec![] },
                    ..step(share)
                })
                .collect();
            let found = widen(&base(), &steps, TimeDelta::seconds(600), &["law".into()]);
            let mut before = (TimeDelta::seconds(-1), base());
            for step in found {
                prop_assert!(before.0 < step.after);
                let now = step.requirement;
                prop_assert_eq!(now.skills.get("law"), Some(&4));
                for (skill, level) in &now.skills {
                    prop_assert!(*level >= 1 && Some(level) <= before.1.skills.get(skill));
                }
                prop_assert!(now.language.is_none() || before.1.language.is_some());
                before = (step.after, now);
            }
        }
    }
}
