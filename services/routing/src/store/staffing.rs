//! Staffing's tables.

mod presences;
mod schedules;
mod volumes;

pub use presences::{saw_presence, seen};
pub use schedules::{known_agents, lock_imports, planned, replace_schedules};
pub use volumes::{Ended, Wanted, count_ended, fold_volumes, replace_volumes, volumes};
