//! All SQL of the service.

mod customers;
mod invitations;
pub mod privacy;
mod scores;

pub use customers::{Split, Trace, UNDECIDED, Whose, resolve, save_merge, save_split, whose};
pub use invitations::{
    Asked, Response, add, by_messages, find, histories, list, lock, others_open, save, save_asked,
    save_responses, scores_of, unask,
};
pub use scores::{answer_counts, asked_counts};
