//! All SQL of the service.

mod customers;
mod invitations;
pub mod privacy;
mod scores;

pub use customers::{UNDECIDED, save_merge, save_split};
pub use invitations::{
    Asked, Response, add, by_messages, find, histories, list, lock, others_open, save, save_asked,
    save_responses, scores_of, unask,
};
pub use scores::{answer_counts, asked_counts};
pub use trama_customers::{Split, Trace, Whose, resolve, whose};
