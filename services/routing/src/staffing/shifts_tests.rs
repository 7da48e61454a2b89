use proptest::prelude::*;

use super::*;

fn full_day(starts: std::ops::Range<usize>) -> ShiftType {
    ShiftType {
        name: "full day".to_owned(),
        starts: starts.collect(),
        length: 17,
        breaks: vec![Break {
            after_minutes: 240,
            minutes: 30,
        }],
        cost: 8.0,
        most: None,
    }
}

fn half_day(starts: std::ops::Range<usize>) -> ShiftType {
    ShiftType {
        name: "half day".to_owned(),
        starts: starts.collect(),
        length: 8,
        breaks: vec![],
        cost: 4.2,
        most: None,
    }
}

fn problem(need: Vec<u32>, types: Vec<ShiftType>) -> ShiftProblem {
    ShiftProblem {
        step: Step::Half,
        need,
        types,
        cost_of_missing_hour: 10.0,
    }
}

/// Two peaks, as of the forecast's example.
fn day(peak: f64) -> Vec<u32> {
    (0..48_u32)
        .map(|slot| {
            let hour = f64::from(slot) / 2.0;
            let peaks =
                0.15 + (-(hour - 10.5).powi(2) / 4.0).exp() + 0.7 * (-(hour - 16.0).powi(2) / 5.0).exp();
            if (8.0..20.0).contains(&hour) {
                (peak * peaks).ceil() as u32
            } else {
                0
            }
        })
        .collect()
}

#[test]
fn a_day_is_covered_at_a_cost_near_its_bound() {
    let problem = problem(day(30.0), vec![full_day(16..32), half_day(16..40)]);
    let proposal = propose(&problem, 20.0).unwrap();
    let hours: f64 = problem.need.iter().map(|need| f64::from(*need) * 0.5).sum();
    println!("{hours} hours needed, {proposal:?}");
    assert!(
        matches!(proposal.quality, Quality::Optimal | Quality::NearlyOptimal),
        "{:?}",
        proposal.quality
    );
    assert!(proposal.missing_hours < 0.05 * hours);
    // No hour costs less than one.
    assert!(proposal.cost + 10.0 * proposal.missing_hours >= hours);
    assert!(
        proposal.cost < 1.35 * hours,
        "{} for {hours} hours",
        proposal.cost
    );
}

#[test]
fn the_solver_finds_what_can_be_worked_out_by_hand() {
    // Two shifts in a row cover eight hours of three people exactly.
    let mut need = vec![0; 48];
    need[16..32].fill(3);
    let proposal = propose(&problem(need, vec![half_day(14..34)]), 20.0).unwrap();
    assert_eq!(
        proposal.shifts,
        [
            Shift {
                shift_type: 0,
                start: 16,
                people: 3
            },
            Shift {
                shift_type: 0,
                start: 24,
                people: 3
            },
        ]
    );
    assert_eq!(
        (proposal.missing_hours, proposal.surplus_hours, proposal.quality),
        (0.0, 0.0, Quality::Optimal)
    );
}

#[test]
fn a_break_is_missing_work() {
    let covers = covers(
        &ShiftType {
            breaks: vec![Break {
                after_minutes: 45,
                minutes: 30,
            }],
            ..half_day(0..1)
        },
        Step::Half,
    );
    assert_eq!(covers[..4], [1.0, 0.5, 0.5, 1.0]);
}

#[test]
fn people_who_cost_more_than_they_save_are_not_proposed() {
    let mut need = vec![0; 48];
    need[20] = 1;
    let proposal = propose(&problem(need, vec![half_day(10..24)]), 20.0).unwrap();
    assert_eq!((proposal.shifts.len(), proposal.missing_hours), (1, 0.0));
    let mut cheap = problem(vec![1; 1], vec![half_day(0..1)]);
    cheap.cost_of_missing_hour = 1.0;
    assert!(propose(&cheap, 20.0).unwrap().shifts.is_empty());
}

#[test]
fn a_limit_on_a_type_is_kept_and_what_is_missing_is_said() {
    let mut only = half_day(16..17);
    only.most = Some(2);
    let mut need = vec![0; 48];
    need[16..24].fill(5);
    let proposal = propose(&problem(need, vec![only]), 20.0).unwrap();
    assert_eq!((proposal.shifts[0].people, proposal.missing_hours), (2, 12.0));
}

#[test]
fn without_time_the_greedy_proposal_stands() {
    let problem = problem(day(30.0), vec![full_day(16..32), half_day(16..40)]);
    let proposal = propose(&problem, 0.0).unwrap();
    assert!(
        matches!(proposal.quality, Quality::OutOfTime | Quality::Greedy),
        "{:?}",
        proposal.quality
    );
    assert!(proposal.missing_hours < 5.0);
}

#[test]
fn nonsense_is_refused_with_its_name() {
    let refused = |change: &dyn Fn(&mut ShiftProblem)| {
        let mut problem = problem(vec![1; 48], vec![half_day(0..40)]);
        change(&mut problem);
        propose(&problem, 1.0).unwrap_err().to_string()
    };
    assert!(refused(&|p| p.types[0].length = 0).contains("`half day`: it must last"));
    assert!(refused(&|p| p.types[0].cost = f64::NAN).contains("its cost"));
    assert!(refused(&|p| p.types[0].starts = vec![48]).contains("starts after"));
    assert!(
        refused(&|p| p.types[0].breaks = vec![Break {
            after_minutes: u32::MAX,
            minutes: 9
        }])
        .contains("a break")
    );
    assert!(refused(&|p| p.cost_of_missing_hour = 0.0).contains("missing hour"));
    assert!(refused(&|p| p.need[3] = u32::MAX).contains("more than"));
}

#[test]
fn nothing_needed_is_nothing_proposed() {
    for problem in [
        problem(vec![], vec![]),
        problem(vec![0; 48], vec![half_day(0..40)]),
        problem(vec![2; 4], vec![]),
    ] {
        let proposal = propose(&problem, 1.0).unwrap();
        assert!(proposal.shifts.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_solver_is_never_worse_than_greedy(need in prop::collection::vec(0_u32..6, 24), missing in 1.0..20.0_f64) {
        let mut problem = problem(need, vec![half_day(0..24), ShiftType { starts: (0..20).collect(), ..full_day(0..1) }]);
        problem.cost_of_missing_hour = missing;
        let candidates = problem.candidates();
        let greedy = problem.greedy(&candidates);
        let proposal = propose(&problem, 5.0).unwrap();
        let total = proposal.cost + proposal.missing_hours * missing;
        prop_assert!(total <= problem.total(&candidates, &greedy) + 1e-6);
        for c in &proposal.coverage {
            prop_assert!((c.at_work + c.short - c.over - f64::from(c.need)).abs() < 1e-9);
        }
    }
}
