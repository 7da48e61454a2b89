//! How far off a forecast may be: counts are Poisson with a rate that is itself uncertain (gamma), so they are negative
//! binomial. The uncertainty of the rate is what past forecasts missed by more than chance.

/// The range in which a share of outcomes falls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Band {
    /// Whether an outcome falls in it.
    pub fn contains(&self, contacts: f64) -> bool {
        (self.low..=self.high).contains(&contacts)
    }
}

/// Above this mean, quantiles come from a gamma instead of a sum.
const LARGE_MEAN: f64 = 400.0;

/// The dispersion that explains these pairs of expectation and outcome: Var = mean + dispersion * mean^2.
pub(super) fn dispersion(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (above_chance, squares) = pairs.fold((0.0, 0.0), |(above, squares), (expected, contacts)| {
        let error = contacts - expected;
        (above + error * error - expected, squares + expected * expected)
    });
    if squares > 0.0 {
        (above_chance / squares).clamp(0.0, 4.0)
    } else {
        0.0
    }
}

/// The band that holds this share of outcomes.
pub(super) fn band(mean: f64, dispersion: f64, share: f64) -> Band {
    let tail = (1.0 - share) / 2.0;
    Band {
        low: quantile(mean, dispersion, tail),
        high: quantile(mean, dispersion, 1.0 - tail),
    }
}

/// The least count whose probability of not being exceeded reaches `probability`.
pub(super) fn quantile(mean: f64, dispersion: f64, probability: f64) -> f64 {
    if mean.is_nan() || mean <= 0.0 {
        return 0.0;
    }
    let dispersion = dispersion.max(1e-9);
    if mean > LARGE_MEAN {
        return large_quantile(mean, dispersion, probability);
    }
    let size = 1.0 / dispersion;
    let success = mean / (size + mean);
    let mut term = (-size * (dispersion * mean).ln_1p()).exp();
    let mut below = term;
    let mut count = 0.0;
    // Far beyond any outcome; the sum stops there even if rounding keeps it short of the probability.
    let last = mean + 60.0 * (mean + dispersion * mean * mean).sqrt() + 60.0;
    while below < probability && count < last {
        term *= success * (size + count) / (count + 1.0);
        below += term;
        count += 1.0;
    }
    count
}

/// Wilson & Hilferty: the cube root of a gamma is nearly normal. A gamma of the same mean and variance is near enough where
/// counts are large.
fn large_quantile(mean: f64, dispersion: f64, probability: f64) -> f64 {
    let shape = mean / (1.0 + dispersion * mean);
    let root = 1.0 - 1.0 / (9.0 * shape) + normal_quantile(probability) / (3.0 * shape.sqrt());
    (mean * root.max(0.0).powi(3)).round()
}

/// Abramowitz & Stegun 26.2.23, good to 4.5e-4.
fn normal_quantile(probability: f64) -> f64 {
    let tail = probability.min(1.0 - probability).max(1e-9);
    let t = (-2.0 * tail.ln()).sqrt();
    let z = t
        - (2.515_517 + 0.802_853 * t + 0.010_328 * t * t)
            / (1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t * t * t);
    if probability < 0.5 { -z } else { z }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_dispersion_quantiles_are_those_of_poisson() {
        // Poisson(10): P(X <= 5) = .067, P(X <= 6) = .130, P(X <= 14) = .917, P(X <= 17) = .986.
        assert_eq!(band(10.0, 0.0, 0.8), Band { low: 6.0, high: 14.0 });
        assert_eq!(band(10.0, 0.0, 0.95), Band { low: 4.0, high: 17.0 });
    }

    #[test]
    fn both_ways_to_a_quantile_agree_where_they_meet() {
        for dispersion in [0.0, 0.01, 0.1, 0.5] {
            for probability in [0.025, 0.1, 0.5, 0.9, 0.975] {
                let exact = quantile(LARGE_MEAN, dispersion, probability);
                let near = large_quantile(LARGE_MEAN, dispersion, probability);
                assert!(
                    (exact - near).abs() <= (0.02 + 0.15 * dispersion) * exact + 2.0,
                    "{dispersion} {probability}: {exact} {near}"
                );
            }
        }
    }

    #[test]
    fn odd_numbers_give_an_empty_band() {
        for mean in [f64::NAN, -1.0, 0.0] {
            assert_eq!(band(mean, 0.1, 0.95), Band { low: 0.0, high: 0.0 });
        }
        assert!(quantile(1e9, 4.0, 0.975).is_finite());
    }
}
