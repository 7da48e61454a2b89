//! Who is who: the matching engine.
//!
//! Pure: no clock, no database, no network. What a record says is [normalised](normalise) into [`Facts`]; [blocking keys](blocking)
//! find the profiles that could be the same person; [`score`] weighs what agrees and what contradicts, in bits (Fellegi–Sunter,
//! record against whole profile); [`Resolver`] decides: attach, merge, keep apart, or ask a person. Keys, scores and choices are the
//! same online, over [`MemoryStore`] filled from PostgreSQL for a batch, and in `trama identity train|eval`; but online the handles
//! of a record are asked first (`domain::resolution`), and only whoever they do not name comes here.

pub mod blocking;
pub mod compare;
pub mod crowded;
pub mod eval;
mod evidence;
pub mod facts;
pub mod hash;
pub mod memory;
pub mod nearest;
pub mod normalise;
pub mod policy;
pub mod resolve;
pub mod score;
pub mod store;
pub mod train;

pub use facts::{Facts, Seen, Trust};
pub use memory::MemoryStore;
pub use policy::Policy;
pub use resolve::{Decision, Outcome, Resolver};
pub use score::{Score, Scorer};
pub use store::{Observation, Profile, ProfileId, RecordId, Store};

#[cfg(test)]
mod tests;
