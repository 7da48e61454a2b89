//! Queues in closed form: Erlang B, Erlang C and Erlang A.
//!
//! All figures hold for a queue in its steady state with Poisson arrivals, exponential work and, in Erlang A, exponential
//! patience. They are where a plan starts; where channels and skills mix, a simulation has the last word.
//!
//! - Erlang B by the recursion of A. K. Erlang (1917), which cannot overflow.
//! - Erlang C from Erlang B.
//! - Erlang A (Palm 1946) by the density of the virtual wait (Baccelli & Hebuterne 1981; Mandelbaum & Zeltyn 2007, "Service
//!   engineering in action: the Palm/Erlang-A queue"). An integral of a log-concave function is as good for one agent as for
//!   ten thousand, where sums over the states of the queue overflow or never end.
//!
//! The tests recompute the example that Gans, Koole & Mandelbaum (2003, "Telephone call centers: tutorial, review, and
//! research prospects") print for both models, and the usual Erlang B table (as in ITU-D's teletraffic handbook).

mod virtual_wait;

use self::virtual_wait::{VirtualWait, integral};

/// The load up to which a queue is computed, in erlang. A pool of people is smaller.
pub const GREATEST_LOAD: f64 = 100_000.0;
/// The longest patience that counts as one: above it customers as good as never leave.
const ENDLESS_PATIENCE_SECONDS: f64 = 1e7;
/// The shortest time that counts as one: work and patience of people are longer.
const LEAST_SECONDS: f64 = 0.1;

/// A load or a target that no queue can have.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidQueue {
    /// Not a finite number of zero or more.
    #[error("{what} must be a number of zero or more, it is {value}")]
    Negative {
        /// Which number.
        what: &'static str,
        /// What it is.
        value: f64,
    },
    /// Not a finite number of at least a tenth of a second.
    #[error("{what} must be {LEAST_SECONDS} seconds or more, it is {value}")]
    TooShort {
        /// Which time.
        what: &'static str,
        /// What it is.
        value: f64,
    },
    /// Not between zero and one.
    #[error("{what} must be between 0 and 1, it is {value}")]
    NotAShare {
        /// Which number.
        what: &'static str,
        /// What it is.
        value: f64,
    },
    /// More than any pool of people serves.
    #[error("the load of {load} erlang is more than {GREATEST_LOAD}")]
    TooMuch {
        /// The load.
        load: f64,
    },
}

pub(super) fn zero_or_more(what: &'static str, value: f64) -> Result<f64, InvalidQueue> {
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(InvalidQueue::Negative { what, value })
    }
}

fn seconds(what: &'static str, value: f64) -> Result<f64, InvalidQueue> {
    if value.is_finite() && value >= LEAST_SECONDS {
        Ok(value)
    } else {
        Err(InvalidQueue::TooShort { what, value })
    }
}

pub(super) fn share(what: &'static str, value: f64) -> Result<f64, InvalidQueue> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(InvalidQueue::NotAShare { what, value })
    }
}

/// What comes in and how long it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    per_second: f64,
    handle_seconds: f64,
    patience_seconds: Option<f64>,
}

impl Traffic {
    /// Contacts per hour, the mean time an agent works on one, and the mean time after which a waiting customer leaves
    /// (`None`: they wait for ever, which is Erlang C).
    pub fn new(
        contacts_per_hour: f64,
        handle_seconds: f64,
        patience_seconds: Option<f64>,
    ) -> Result<Self, InvalidQueue> {
        let per_second = zero_or_more("contacts per hour", contacts_per_hour)? / 3_600.0;
        let handle_seconds = seconds("the handling time", handle_seconds)?;
        let patience_seconds = match patience_seconds {
            Some(patience) => {
                Some(seconds("the patience", patience)?).filter(|s| *s < ENDLESS_PATIENCE_SECONDS)
            }
            None => None,
        };
        let load = per_second * handle_seconds;
        if load > GREATEST_LOAD {
            return Err(InvalidQueue::TooMuch { load });
        }
        Ok(Self {
            per_second,
            handle_seconds,
            patience_seconds,
        })
    }

    /// The agents that would be busy if nobody waited or left.
    pub fn load(&self) -> f64 {
        self.per_second * self.handle_seconds
    }

    /// Contacts in an hour.
    pub fn contacts_per_hour(&self) -> f64 {
        self.per_second * 3_600.0
    }

    /// Mean time an agent works on one contact.
    pub fn handle_seconds(&self) -> f64 {
        self.handle_seconds
    }

    /// Mean time after which a waiting customer leaves.
    pub fn patience_seconds(&self) -> Option<f64> {
        self.patience_seconds
    }
}

/// What the customers are promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    answer_within_seconds: f64,
    share: f64,
    greatest_abandonment: f64,
    greatest_occupancy: f64,
}

impl Target {
    /// This share of all customers is answered within so many seconds.
    pub fn new(share_answered: f64, within_seconds: f64) -> Result<Self, InvalidQueue> {
        Ok(Self {
            answer_within_seconds: zero_or_more("the time to answer", within_seconds)?,
            share: share("the share to answer in time", share_answered)?.min(0.9999),
            greatest_abandonment: 1.0,
            greatest_occupancy: 1.0,
        })
    }

    /// And at most this share gives up waiting.
    pub fn and_abandonment_at_most(mut self, greatest: f64) -> Result<Self, InvalidQueue> {
        self.greatest_abandonment = share("the share that may leave", greatest)?.max(1e-4);
        Ok(self)
    }

    /// And agents are busy at most this share of their time.
    pub fn and_occupancy_at_most(mut self, greatest: f64) -> Result<Self, InvalidQueue> {
        self.greatest_occupancy = share("the occupancy", greatest)?.max(0.05);
        Ok(self)
    }

    /// Time to answer.
    pub fn answer_within_seconds(&self) -> f64 {
        self.answer_within_seconds
    }

    /// Share to answer in that time.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// Whether these figures keep the promise.
    pub fn is_met_by(&self, figures: &Figures) -> bool {
        figures.service_level >= self.share
            && figures.abandonment <= self.greatest_abandonment
            && figures.occupancy <= self.greatest_occupancy
    }
}

/// How a queue does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Share of customers who find no free agent.
    pub wait_probability: f64,
    /// Share of customers who give up waiting.
    pub abandonment: f64,
    /// Share of all customers who are answered in the target time; those who leave count as missed.
    pub service_level: f64,
    /// Mean wait of those who are answered. Infinite where the queue grows without end.
    pub answer_seconds: f64,
    /// Mean wait of all customers, those who leave included.
    pub wait_seconds: f64,
    /// Mean number of waiting customers.
    pub waiting: f64,
    /// Share of the agents' time that is work.
    pub occupancy: f64,
}

impl Figures {
    const NOBODY_CALLS: Self = Self {
        wait_probability: 0.0,
        abandonment: 0.0,
        service_level: 1.0,
        answer_seconds: 0.0,
        wait_seconds: 0.0,
        waiting: 0.0,
        occupancy: 0.0,
    };
}

/// Agents needed and what they achieve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Need {
    /// The fewest agents that keep the promise.
    pub agents: u32,
    /// What they achieve.
    pub figures: Figures,
    /// What the square-root rule says, as a check by rule of thumb.
    pub rule_of_thumb: u32,
}

/// Erlang B: the share of customers that `agents` turn away when nobody can wait.
pub fn erlang_b(load: f64, agents: u32) -> f64 {
    if load.is_nan() || load <= 0.0 {
        return if agents == 0 { 1.0 } else { 0.0 };
    }
    let mut blocked = 1.0;
    for k in 1..=agents {
        blocked = load * blocked / (f64::from(k) + load * blocked);
        if blocked < f64::MIN_POSITIVE {
            return 0.0;
        }
    }
    blocked
}

/// Erlang C: the share of customers who wait when nobody leaves; 1 where the load is too much.
pub fn erlang_c(load: f64, agents: u32) -> f64 {
    if load.is_nan() || load <= 0.0 {
        return 0.0;
    }
    let count = f64::from(agents);
    if count <= load {
        return 1.0;
    }
    let blocked = erlang_b(load, agents);
    blocked / (1.0 - load / count * (1.0 - blocked))
}

/// How so many agents do: Erlang A where customers leave, Erlang C where they do not.
pub fn figures(traffic: &Traffic, agents: u32, answer_within_seconds: f64) -> Figures {
    let within = if answer_within_seconds.is_nan() {
        0.0
    } else {
        answer_within_seconds.max(0.0)
    };
    if traffic.per_second <= 0.0 {
        return Figures::NOBODY_CALLS;
    }
    match traffic.patience_seconds {
        Some(patience) => with_patience(traffic, patience, agents, within),
        None => without_leaving(traffic, agents, within),
    }
}

fn without_leaving(traffic: &Traffic, agents: u32, within: f64) -> Figures {
    let load = traffic.load();
    let count = f64::from(agents);
    if count <= load {
        return Figures {
            wait_probability: 1.0,
            abandonment: 0.0,
            service_level: 0.0,
            answer_seconds: f64::INFINITY,
            wait_seconds: f64::INFINITY,
            waiting: f64::INFINITY,
            occupancy: 1.0,
        };
    }
    let waits = erlang_c(load, agents);
    let spare_per_second = count / traffic.handle_seconds - traffic.per_second;
    let wait_seconds = waits / spare_per_second;
    Figures {
        wait_probability: waits,
        abandonment: 0.0,
        service_level: (1.0 - waits * (-spare_per_second * within).exp()).clamp(0.0, 1.0),
        answer_seconds: wait_seconds,
        wait_seconds,
        waiting: traffic.per_second * wait_seconds,
        occupancy: load / count,
    }
}

fn with_patience(traffic: &Traffic, patience: f64, agents: u32, within: f64) -> Figures {
    let arrivals = traffic.per_second;
    if agents == 0 {
        return Figures {
            wait_probability: 1.0,
            abandonment: 1.0,
            service_level: 0.0,
            answer_seconds: f64::INFINITY,
            wait_seconds: patience,
            waiting: arrivals * patience,
            occupancy: 1.0,
        };
    }
    let virtual_wait = VirtualWait {
        arrivals,
        service: f64::from(agents) / traffic.handle_seconds,
        leaving: 1.0 / patience,
    };
    let integrals = virtual_wait.integrals(within);
    // P(W > 0) = 1 / (1 + 1 / (blocked * arrivals * integral)), with the peak of the integrand taken out so that neither
    // factor overflows.
    let blocked = erlang_b(traffic.load(), agents - 1);
    let odds = blocked.ln() + integrals.log_peak + (arrivals * integrals.all).ln();
    let waits = 1.0 / (1.0 + (-odds).exp());
    let of_waiting = |part: f64| (part / integrals.all).clamp(0.0, 1.0);
    // The integrals have errors of their own; what agents can do is a bound without any.
    let beyond_all_agents = 1.0 - f64::from(agents) / traffic.load();
    let abandonment = (waits * of_waiting(integrals.left)).max(beyond_all_agents);
    let answered = 1.0 - abandonment;
    Figures {
        wait_probability: waits,
        abandonment,
        service_level: ((1.0 - waits) + waits * of_waiting(integrals.served_in_time)).clamp(0.0, answered),
        answer_seconds: waits * integrals.wait_of_served / integrals.all / answered.max(f64::MIN_POSITIVE),
        wait_seconds: abandonment * patience,
        waiting: arrivals * abandonment * patience,
        occupancy: (traffic.load() * answered / f64::from(agents)).clamp(0.0, 1.0),
    }
}

/// The fewest agents that keep a promise.
pub fn required_agents(traffic: &Traffic, target: &Target) -> Need {
    let within = target.answer_within_seconds;
    let at = |agents: u32| figures(traffic, agents, within);
    let rule_of_thumb = square_root_rule(traffic.load(), 1.0 - target.share);
    if traffic.per_second <= 0.0 {
        return Need {
            agents: 0,
            figures: at(0),
            rule_of_thumb: 0,
        };
    }
    // More agents are never worse, so the border between too few and enough is found by halving. The rule of thumb is
    // near it; the steps away from it double.
    let meets = |agents: u32| target.is_met_by(&at(agents));
    let mut step = 1 + rule_of_thumb / 64;
    let (mut few, mut enough);
    if meets(rule_of_thumb) {
        enough = rule_of_thumb;
        few = enough.saturating_sub(step);
        while few > 0 && meets(few) {
            enough = few;
            step *= 2;
            few = enough.saturating_sub(step);
        }
    } else {
        few = rule_of_thumb;
        enough = few + step;
        while !meets(enough) {
            few = enough;
            step *= 2;
            enough = few + step;
        }
    }
    while enough - few > 1 {
        let middle = few + (enough - few) / 2;
        if meets(middle) {
            enough = middle;
        } else {
            few = middle;
        }
    }
    Need {
        agents: enough,
        figures: at(enough),
        rule_of_thumb,
    }
}

/// The square-root staffing rule (Halfin & Whitt 1981): load + beta * sqrt(load), where beta is such that about this share
/// of customers waits.
pub fn square_root_rule(load: f64, wait_probability: f64) -> u32 {
    if load.is_nan() || load <= 0.0 {
        return 0;
    }
    let load = load.min(GREATEST_LOAD);
    let safety = halfin_whitt_beta(wait_probability) * load.sqrt();
    whole_agents(load + safety).max(1)
}

/// Beta with [1 + beta Phi(beta) / phi(beta)]^-1 = the share that waits.
pub fn halfin_whitt_beta(wait_probability: f64) -> f64 {
    let wanted = if wait_probability.is_nan() {
        0.2
    } else {
        wait_probability.clamp(1e-6, 1.0)
    };
    let (mut low, mut high) = (0.0, 6.0);
    for _ in 0..60 {
        let beta: f64 = f64::midpoint(low, high);
        let density = (-beta * beta / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        if 1.0 / (1.0 + beta * normal_below(beta) / density) > wanted {
            low = beta;
        } else {
            high = beta;
        }
    }
    f64::midpoint(low, high)
}

/// The share of a standard normal distribution below `x` >= 0, by integration: few digits are needed, few are lost.
fn normal_below(x: f64) -> f64 {
    0.5 + integral(0.0, x, |t| (-t * t / 2.0).exp()) / (2.0 * std::f64::consts::PI).sqrt()
}

/// Up to the next whole person, forgiving the rounding of floating-point sums.
pub(super) fn whole_agents(agents: f64) -> u32 {
    let up = (agents - 1e-9).ceil();
    if up.is_nan() || up <= 0.0 {
        0
    } else {
        // Within range: bounded just now, and saturating besides.
        up.min(f64::from(u32::MAX)) as u32
    }
}

#[cfg(test)]
#[path = "erlang_tests.rs"]
mod tests;
