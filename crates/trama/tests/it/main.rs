//! The whole platform, as its users meet it: the binary, real servers, real doors.

mod access;
mod audit;
mod crash;
mod keys;
mod leader;
mod platform;
mod privacy;
mod sealing;
mod story;
mod traces;
