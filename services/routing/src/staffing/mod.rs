//! Staffing: how many people are needed, when, and whether they were there. Pure: history and plans in, figures out.
//!
//! - [`rows`] counts as they are exchanged and kept, [`volume`] what came in, [`calendar`] the days on which it did;
//! - [`forecast`] what will come in, with bands, and how good such forecasts were;
//! - [`erlang`] queues in closed form, [`required`] how many people a group needs and why;
//! - [`whatif`] what would happen otherwise, over formulas or the router's simulation ([`serving`]);
//! - [`shifts`] shifts that cover the need at least cost;
//! - [`adherence`] schedule and presence compared.

pub mod adherence;
pub mod calendar;
pub mod demand;
pub mod erlang;
mod flow;
pub mod forecast;
pub mod required;
pub mod rows;
pub mod serving;
pub mod shifts;
pub mod table;
pub mod volume;
pub mod whatif;
