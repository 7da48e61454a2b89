//! NPS, CSAT and CES with their 95 % intervals.

use trama_proto::survey::v1::QuestionKind;

/// Two-sided 95 % of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// How often each answer was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(std::collections::BTreeMap<i32, u64>);

/// A score with the ends of its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The score; 0 without answers.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Tally {
    /// Adds answers.
    pub fn add(&mut self, score: i32, times: u64) {
        *self.0.entry(score).or_default() += times;
    }

    /// How many answers there are.
    pub fn responses(&self) -> u64 {
        self.0.values().sum()
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "2^53 answers are more than there are people"
    )]
    fn share_of(&self, wanted: impl Fn(i32) -> bool) -> f64 {
        self.0
            .iter()
            .filter(|(score, _)| wanted(**score))
            .map(|(_, times)| *times)
            .sum::<u64>() as f64
    }
}

/// The score that a kind of question amounts to; `None` for a kind that does not exist.
pub fn score(kind: QuestionKind, tally: &Tally) -> Option<Interval> {
    match kind {
        QuestionKind::Nps => Some(nps(tally)),
        QuestionKind::Csat => Some(csat(tally)),
        QuestionKind::Ces => Some(ces(tally)),
        QuestionKind::Unspecified => None,
    }
}

/// 100 × (promoters − detractors) / n, with the adjusted Wald interval: Wald after adding three answers of which 3/4
/// are promoters and 3/4 detractors. Plain Wald covers far too little when answers are few or agree.
fn nps(tally: &Tally) -> Interval {
    let (n, promoters, detractors) = (
        tally.share_of(|_| true),
        tally.share_of(|s| s >= 9),
        tally.share_of(|s| s <= 6),
    );
    if n == 0.0 {
        return Interval {
            value: 0.0,
            low: -100.0,
            high: 100.0,
        };
    }
    let (p, d) = ((promoters + 0.75) / (n + 3.0), (detractors + 0.75) / (n + 3.0));
    let centre = p - d;
    let error = ((p + d - centre * centre) / (n + 3.0)).sqrt();
    Interval {
        value: 100.0 * (promoters - detractors) / n,
        low: (100.0 * (centre - Z * error)).max(-100.0),
        high: (100.0 * (centre + Z * error)).min(100.0),
    }
}

/// Share of 4 and 5, with the Wilson interval.
fn csat(tally: &Tally) -> Interval {
    let (n, satisfied) = (tally.share_of(|_| true), tally.share_of(|s| s >= 4));
    if n == 0.0 {
        return Interval {
            value: 0.0,
            low: 0.0,
            high: 1.0,
        };
    }
    let p = satisfied / n;
    let middle = p + Z * Z / (2.0 * n);
    let reach = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Interval {
        value: p,
        low: ((middle - reach) / scale).max(0.0),
        high: ((middle + reach) / scale).min(1.0),
    }
}

/// Mean of 1 to 7, with the t interval.
fn ces(tally: &Tally) -> Interval {
    let n = tally.share_of(|_| true);
    if n == 0.0 {
        return Interval {
            value: 0.0,
            low: 1.0,
            high: 7.0,
        };
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "2^53 answers are more than there are people"
    )]
    let weighted = |f: &dyn Fn(f64) -> f64| {
        tally
            .0
            .iter()
            .map(|(s, times)| f(f64::from(*s)) * *times as f64)
            .sum::<f64>()
    };
    let mean = weighted(&|s| s) / n;
    if n < 2.0 {
        // One answer says nothing about the spread.
        return Interval {
            value: mean,
            low: 1.0,
            high: 7.0,
        };
    }
    let variance = weighted(&|s| (s - mean) * (s - mean)) / (n - 1.0);
    let reach = t_quantile(n - 1.0) * (variance / n).sqrt();
    Interval {
        value: mean,
        low: (mean - reach).max(1.0),
        high: (mean + reach).min(7.0),
    }
}

/// The 97.5 % quantile of Student's t: a table where the expansion is rough, then the Cornish–Fisher expansion.
fn t_quantile(freedom: f64) -> f64 {
    const SMALL: [f64; 9] = [
        12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622,
    ];
    if freedom < 10.0 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number from 1 to 9"
        )]
        return SMALL[(freedom as usize).clamp(1, 9) - 1];
    }
    let z = Z;
    z + (z.powi(3) + z) / (4.0 * freedom)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * freedom.powi(2))
        + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / (384.0 * freedom.powi(3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(answers: &[(i32, u64)]) -> Tally {
        let mut tally = Tally::default();
        for (score, times) in answers {
            tally.add(*score, *times);
        }
        tally
    }

    fn close(a: f64, b: f64, by: f64) -> bool {
        (a - b).abs() < by
    }

    #[test]
    fn nps_of_a_hundred_answers_has_the_known_interval() {
        let interval = nps(&tally(&[(10, 30), (9, 20), (8, 30), (6, 10), (0, 10)]));
        assert!(close(interval.value, 30.0, 1e-9));
        // p' = 50.75/103, d' = 20.75/103: 29.126 ± 15.075.
        assert!(
            close(interval.low, 14.05, 0.01) && close(interval.high, 44.20, 0.01),
            "{interval:?}"
        );
    }

    #[test]
    fn unanimous_answers_still_have_an_interval() {
        let interval = nps(&tally(&[(10, 10)]));
        assert!(
            interval.high - interval.low > 5.0 && close(interval.value, 100.0, 1e-9),
            "{interval:?}"
        );
    }

    #[test]
    fn csat_has_the_known_wilson_interval() {
        let interval = csat(&tally(&[(5, 5), (4, 3), (2, 2)]));
        assert!(close(interval.value, 0.8, 1e-9));
        assert!(
            close(interval.low, 0.4902, 1e-4) && close(interval.high, 0.9433, 1e-4),
            "{interval:?}"
        );
    }

    #[test]
    fn ces_has_the_known_t_interval() {
        let interval = ces(&tally(&[(4, 1), (5, 1), (6, 1)]));
        // 5 ± 4.3027 × 1/√3.
        assert!(
            close(interval.value, 5.0, 1e-9) && close(interval.low, 2.516, 0.001) && interval.high == 7.0,
            "{interval:?}"
        );
        assert!(
            close(t_quantile(10.0), 2.2281, 5e-4)
                && close(t_quantile(30.0), 2.0423, 1e-4)
                && close(t_quantile(1e9), 1.96, 1e-4)
        );
    }

    proptest! {
        #[test]
        fn a_score_lies_on_its_scale_and_in_its_interval(answers in prop::collection::vec((0..=10_i32, 0..50_u64), 0..11)) {
            for (kind, scale, ends) in [
                (QuestionKind::Nps, 0..=10, (-100.0, 100.0)),
                (QuestionKind::Csat, 1..=5, (0.0, 1.0)),
                (QuestionKind::Ces, 1..=7, (1.0, 7.0)),
            ] {
                let on_scale: Vec<(i32, u64)> = answers.iter().copied().filter(|(s, _)| scale.contains(s)).collect();
                let interval = score(kind, &tally(&on_scale)).expect("a kind");
                prop_assert!(interval.low <= interval.high, "{interval:?}");
                prop_assert!(interval.low >= ends.0 && interval.high <= ends.1, "{interval:?}");
                prop_assert!(interval.value.is_finite() && interval.low.is_finite() && interval.high.is_finite());
            }
        }
    }
}
