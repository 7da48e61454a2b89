//! All SQL of the service.

mod customers;
mod messages;
pub mod privacy;
mod receipts;

pub use customers::{Split, Trace, Whose, resolve, save_merge, save_split, whose};
pub use messages::{
    AttemptRow, Beginning, Claimed, MessageRow, NewMessage, attempts_of, begin, claim, close_attempt, find,
    finish, insert, last_attempts, record_sent, requeue, touch,
};
pub use receipts::{
    EarlyReceipt, early_of_messages, forget_early, keep_early, lock_provider_ids, rows_of, save_standings,
    take_early,
};
