//! The whole platform, as its users meet it: the binary, real servers, real doors.

mod access;
mod crash;
mod platform;
mod story;
mod traces;
