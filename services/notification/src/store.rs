//! All SQL of the service.

mod attempts;
mod customers;
mod messages;
pub mod privacy;
mod receipts;

pub use attempts::{AttemptRow, attempts_of, close_attempt, last_attempts};
pub use customers::{save_merge, save_split};
pub use messages::{
    Beginning, Claimed, MessageRow, NewMessage, begin, claim, find, finish, insert, record_sent, requeue,
    touch,
};
pub use receipts::{
    EarlyReceipt, early_of_messages, forget_early, keep_early, lock_provider_ids, rows_of, save_standings,
    take_early,
};
pub use trama_customers::{Split, Trace, Whose, resolve, whose};
