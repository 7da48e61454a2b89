use proptest::prelude::*;

use super::*;

fn close(actual: f64, expected: f64, tolerance: f64) {
    assert!(
        (actual - expected).abs() <= tolerance,
        "{actual} is not {expected} +- {tolerance}"
    );
}

fn traffic(per_hour: f64, handle: f64, patience: Option<f64>) -> Traffic {
    Traffic::new(per_hour, handle, patience).unwrap()
}

/// Loads at which so many trunks block 1 % and 2 %, as every Erlang B table prints them.
#[test]
fn erlang_b_agrees_with_the_printed_table() {
    for (agents, one_percent, two_percent) in [
        (1, 0.0101, 0.0204),
        (2, 0.153, 0.223),
        (5, 1.36, 1.66),
        (10, 4.46, 5.08),
        (20, 12.0, 13.2),
        (30, 20.3, 21.9),
        (50, 37.9, 40.3),
        (100, 84.1, 88.0),
    ] {
        // The table rounds loads to three digits; one more percent of load is about one fifth more blocking.
        close(erlang_b(one_percent, agents), 0.01, 0.0006);
        close(erlang_b(two_percent, agents), 0.02, 0.0009);
    }
}

#[test]
fn erlang_b_and_c_agree_with_their_sums() {
    for (load, agents) in [(0.5, 1_u32), (3.0, 4), (5.0, 8), (9.5, 10), (22.0, 25)] {
        let mut term = 1.0;
        let mut below = 0.0;
        for k in 0..agents {
            below += term;
            term *= load / f64::from(k + 1);
        }
        close(erlang_b(load, agents), term / (below + term), 1e-12);
        let waiting = term / (1.0 - load / f64::from(agents));
        close(erlang_c(load, agents), waiting / (below + waiting), 1e-12);
    }
}

/// Gans, Koole & Mandelbaum 2003: 48 calls a minute, one minute each, 50 agents, customers wait two minutes.
#[test]
fn both_models_agree_with_the_published_comparison() {
    let endless = figures(&traffic(2_880.0, 60.0, None), 50, 20.0);
    close(endless.answer_seconds, 20.8, 0.05);
    close(endless.waiting, 17.0, 0.5);
    close(endless.occupancy, 0.96, 1e-9);
    let patient = figures(&traffic(2_880.0, 60.0, Some(120.0)), 50, 20.0);
    close(patient.abandonment, 0.031, 0.0005);
    close(patient.wait_seconds, 3.7, 0.05);
    close(patient.waiting, 3.0, 0.05);
    close(patient.occupancy, 0.93, 0.005);
}

/// The birth-death chain of `erlang.py`, which integrates the differential equations of the queue instead of the wait.
#[test]
fn erlang_a_agrees_with_the_birth_death_chain() {
    for (per_hour, handle, patience, agents, within, waits, leaves, wait, level) in [
        (
            2_880.0,
            60.0,
            120.0,
            50,
            20.0,
            0.467_774_069,
            0.030_912_249,
            3.709_469_9,
            0.943_018_95,
        ),
        (
            200.0,
            180.0,
            120.0,
            12,
            20.0,
            0.279_807_019,
            0.061_597_377,
            7.391_685_2,
            0.825_582_64,
        ),
        (
            450.0,
            200.0,
            150.0,
            25,
            20.0,
            0.492_891_555,
            0.085_185_658,
            12.777_848_8,
            0.696_595_91,
        ),
        (
            517.5,
            200.0,
            150.0,
            25,
            20.0,
            0.739_058_490,
            0.160_691_145,
            24.103_671_7,
            0.457_063_06,
        ),
        (
            5.0,
            300.0,
            90.0,
            1,
            60.0,
            0.314_595_798,
            0.244_970_084,
            22.047_307_6,
            0.724_752_09,
        ),
    ] {
        let got = figures(&traffic(per_hour, handle, Some(patience)), agents, within);
        close(got.wait_probability, waits, 2e-7);
        close(got.abandonment, leaves, 2e-7);
        close(got.wait_seconds, wait, 1e-5);
        close(got.service_level, level, 1e-6);
    }
}

/// One agent who serves as fast as customers leave: an endless number of servers, whose busy number is Poisson.
#[test]
fn patience_as_long_as_the_work_is_a_poisson_queue() {
    let (load, agents) = (30.0_f64, 28_u32);
    let got = figures(&traffic(load * 20.0, 180.0, Some(180.0)), agents, 0.0);
    let mut term = (-load).exp();
    let mut below = 0.0;
    for k in 0..agents {
        below += term;
        term *= load / f64::from(k + 1);
    }
    close(got.wait_probability, 1.0 - below, 1e-9);
    close(got.service_level, below, 1e-9);
}

#[test]
fn endless_patience_is_erlang_c() {
    let patient = figures(&traffic(200.0, 180.0, Some(9e6)), 13, 20.0);
    let endless = figures(&traffic(200.0, 180.0, None), 13, 20.0);
    close(patient.service_level, endless.service_level, 1e-4);
    close(patient.answer_seconds, endless.answer_seconds, 0.01);
}

#[test]
fn a_hundred_calls_in_half_an_hour_need_fourteen_agents_or_twelve_when_customers_leave() {
    let target = Target::new(0.8, 20.0).unwrap();
    assert_eq!(required_agents(&traffic(200.0, 180.0, None), &target).agents, 14);
    assert_eq!(
        required_agents(&traffic(200.0, 180.0, Some(120.0)), &target).agents,
        12
    );
}

#[test]
fn a_cap_on_occupancy_adds_agents_to_a_large_pool() {
    let large = traffic(20_000.0, 180.0, Some(120.0));
    let target = Target::new(0.8, 20.0).unwrap();
    let free = required_agents(&large, &target);
    let capped = required_agents(&large, &target.and_occupancy_at_most(0.85).unwrap());
    assert!(free.figures.occupancy > 0.9);
    assert!(capped.figures.occupancy <= 0.85 && capped.agents > free.agents);
}

#[test]
fn the_square_root_rule_gives_its_published_safety() {
    close(halfin_whitt_beta(0.2), 1.0615, 1e-4);
    assert_eq!(square_root_rule(100.0, 0.2), 111);
    assert_eq!(square_root_rule(0.0, 0.2), 0);
}

#[test]
fn a_great_queue_answers_as_the_fluid_does() {
    let got = figures(&traffic(100_000.0 * 12.0, 300.0, Some(600.0)), 80_000, 30.0);
    close(got.abandonment, 0.2, 1e-4);
    close(got.wait_probability, 1.0, 1e-9);
    close(got.service_level, 0.0, 1e-9);
    close(got.answer_seconds, 600.0 * (1.0_f64 / 0.8).ln(), 0.5);
}

#[test]
fn impossible_numbers_are_refused() {
    for per_hour in [f64::NAN, f64::INFINITY, -1.0, 1e12] {
        assert!(Traffic::new(per_hour, 180.0, None).is_err(), "{per_hour}");
    }
    for seconds in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
        assert!(Traffic::new(10.0, seconds, None).is_err(), "{seconds}");
        assert!(Traffic::new(10.0, 180.0, Some(seconds)).is_err(), "{seconds}");
    }
    assert!(Target::new(1.2, 20.0).is_err() && Target::new(f64::NAN, 20.0).is_err());
    close(erlang_b(f64::NAN, 3), 0.0, 0.0);
    close(erlang_c(f64::NAN, 3), 0.0, 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn more_agents_are_never_worse(
        per_hour in 0.0..20_000.0_f64,
        handle in 1.0..3_000.0_f64,
        patience in prop::option::of(0.5..100_000.0_f64),
        over in -0.3..0.3_f64,
        within in 0.0..600.0_f64,
    ) {
        let traffic = traffic(per_hour, handle, patience);
        let near = whole_agents(traffic.load() * (1.0 + over));
        let mut before = figures(&traffic, near, within);
        for agents in near + 1..near + 6 {
            let now = figures(&traffic, agents, within);
            for share in [now.wait_probability, now.abandonment, now.service_level, now.occupancy] {
                prop_assert!((0.0..=1.0).contains(&share));
            }
            prop_assert!(now.wait_probability <= before.wait_probability + 1e-7);
            prop_assert!(now.abandonment <= before.abandonment + 1e-7);
            prop_assert!(now.service_level >= before.service_level - 1e-7);
            prop_assert!(now.answer_seconds <= before.answer_seconds * (1.0 + 1e-6) + 1e-7);
            before = now;
        }
    }

    /// Who comes in is served or leaves, and what agents do is what the served needed.
    #[test]
    fn customers_are_neither_lost_nor_made(
        load in 0.01..500.0_f64,
        handle in 10.0..1_000.0_f64,
        patience in 5.0..5_000.0_f64,
        agents in 1..600_u32,
    ) {
        let traffic = traffic(load * 3_600.0 / handle, handle, Some(patience));
        let got = figures(&traffic, agents, 20.0);
        prop_assert!((got.occupancy * f64::from(agents) - load * (1.0 - got.abandonment)).abs() < 1e-6 * load);
        let all = got.answer_seconds * (1.0 - got.abandonment);
        prop_assert!(all <= got.wait_seconds + 1e-6, "the wait of the served is part of all waits");
        prop_assert!(got.service_level <= 1.0 - got.abandonment + 1e-9);
    }

    #[test]
    fn the_need_is_the_fewest_agents_that_do(
        per_hour in 0.0..50_000.0_f64,
        handle in 1.0..2_000.0_f64,
        patience in prop::option::of(1.0..10_000.0_f64),
        share in 0.0..1.0_f64,
        within in 0.0..600.0_f64,
    ) {
        let traffic = traffic(per_hour, handle, patience);
        let target = Target::new(share, within).unwrap();
        let need = required_agents(&traffic, &target);
        prop_assert!(target.is_met_by(&need.figures));
        if need.agents > 0 {
            prop_assert!(!target.is_met_by(&figures(&traffic, need.agents - 1, within)));
        }
    }
}
