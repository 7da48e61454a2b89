//! How long a customer who never leaves would wait, where others do leave.

/// A part of an integral this much smaller (as a power of e) than its peak is nothing.
const NEGLIGIBLE_EXPONENT: f64 = 45.0;

/// The wait of a customer with endless patience, given that there is one: its density is proportional to
/// exp(arrivals * (1 - exp(-leaving x)) / leaving - service x), all rates per second.
pub(super) struct VirtualWait {
    pub arrivals: f64,
    pub service: f64,
    pub leaving: f64,
}

/// Integrals over the density, relative to its peak.
pub(super) struct Integrals {
    /// The exponent at the peak; all others are relative to it.
    pub log_peak: f64,
    /// Of all who wait.
    pub all: f64,
    /// Of those who leave before their turn.
    pub left: f64,
    /// Of those who are served in the target time.
    pub served_in_time: f64,
    /// The waits of those who are served.
    pub wait_of_served: f64,
}

impl VirtualWait {
    fn exponent(&self, x: f64) -> f64 {
        -self.arrivals * (-self.leaving * x).exp_m1() / self.leaving - self.service * x
    }

    pub(super) fn integrals(&self, within: f64) -> Integrals {
        let peak = if self.arrivals > self.service {
            (self.arrivals / self.service).ln() / self.leaving
        } else {
            0.0
        };
        let log_peak = self.exponent(peak);
        let negligible = |x: f64| self.exponent(x) - log_peak < -NEGLIGIBLE_EXPONENT;
        // The exponent is concave and falls without end, so the doubling ends.
        let mut width = 1.0 / self.service;
        while !negligible(peak + width) {
            width *= 2.0;
        }
        let upper = boundary(peak, peak + width, negligible);
        let left = (peak - width).max(0.0);
        let lower = if negligible(left) {
            boundary(peak, left, negligible)
        } else {
            0.0
        };
        let density = |x: f64| (self.exponent(x) - log_peak).exp();
        let stays = |x: f64| (-self.leaving * x).exp();
        Integrals {
            log_peak,
            all: integral(lower, upper, density),
            left: integral(lower, upper, |x| -(-self.leaving * x).exp_m1() * density(x)),
            served_in_time: if within > lower {
                integral(lower, upper.min(within), |x| stays(x) * density(x))
            } else {
                0.0
            },
            wait_of_served: integral(lower, upper, |x| x * stays(x) * density(x)),
        }
    }
}

/// The place between `inside` and `outside` where the integrand becomes negligible, to a thousandth.
fn boundary(mut inside: f64, mut outside: f64, negligible: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..12 {
        let middle = f64::midpoint(inside, outside);
        if negligible(middle) {
            outside = middle;
        } else {
            inside = middle;
        }
    }
    outside
}

/// Gauss-Legendre with five points on each of 48 panels: about 1e-7 of the whole for integrands that span `NEGLIGIBLE_EXPONENT`.
pub(super) fn integral(lower: f64, upper: f64, of: impl Fn(f64) -> f64) -> f64 {
    const PANELS: u32 = 48;
    const POINTS: [(f64, f64); 5] = [
        (-0.906_179_845_938_664, 0.236_926_885_056_189_1),
        (-0.538_469_310_105_683_1, 0.478_628_670_499_366_5),
        (0.0, 0.568_888_888_888_888_9),
        (0.538_469_310_105_683_1, 0.478_628_670_499_366_5),
        (0.906_179_845_938_664, 0.236_926_885_056_189_1),
    ];
    if upper <= lower {
        return 0.0;
    }
    let half = (upper - lower) / f64::from(PANELS) / 2.0;
    let mut sum = 0.0;
    for panel in 0..PANELS {
        let middle = lower + half * f64::from(2 * panel + 1);
        for (place, weight) in POINTS {
            sum += weight * of(middle + half * place);
        }
    }
    sum * half
}
