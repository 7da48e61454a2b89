//! Pure decisions: signatures, visitors, what a chat client may say.

pub mod chat;
pub mod mention;
pub mod signature;
pub mod visitor;
