//! The sandbox from outside: over HTTP and SMTP, as a service and a story see it.

mod control;
mod graph;
mod harness;
mod receipts;
mod sign;
mod smtp;
mod twilio;
