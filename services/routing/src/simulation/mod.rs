//! A simulated day: the world that customers and agents make, and routers put into it.
//!
//! Staffing asks it "what if five fewer came to work", the search for better policy lives a thousand days in it, and
//! the benchmark compares routers in it. Any [`Router`] can be put in: the engine that serves, or a baseline.

pub mod baselines;
pub mod engine;
pub mod generator;
pub mod kpi;
pub mod protocol;
pub mod trace;
pub mod world;

#[cfg(test)]
mod tests;

use self::{
    engine::BenchEngine,
    protocol::{Answer, Event},
    trace::Trace,
    world::World,
};

/// Who decides which agent gets which item.
pub trait Router {
    /// Hears what happened; says what is wrong with an event that makes no sense.
    fn event(&mut self, event: &Event) -> Result<(), String>;

    /// Decides at this second of the day.
    fn decide(&mut self, at: f64) -> Answer;
}

/// Lives a day with this router; ask [`kpi::kpi`] and [`kpi::log`] how it went.
///
/// # Errors
/// When the router does not understand what it is told.
pub fn live<'a>(trace: &'a Trace, router: &mut dyn Router) -> Result<World<'a>, String> {
    let mut world = World::new(trace);
    world.run(router)?;
    Ok(world)
}

impl Router for BenchEngine {
    fn event(&mut self, event: &Event) -> Result<(), String> {
        Self::event(self, event)
    }

    fn decide(&mut self, at: f64) -> Answer {
        Self::decide(self, at)
    }
}
