//! What the state of an item says, column by column.

use chrono::{DateTime, Utc};
use serde_json::Value;
use trama_proto::ids::AgentId;
use uuid::Uuid;

use super::row::{WantedJson, rest_word};
use crate::domain::{Hand, Second, State, WorkItem};

/// What the state says, column by column.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) state: &'static str,
    pub(super) agent: Option<&'a str>,
    pub(super) offer: Option<Uuid>,
    pub(super) expires: Option<DateTime<Utc>>,
    pub(super) units: Option<i32>,
    pub(super) rest: &'static str,
    pub(super) assigned: Option<DateTime<Utc>>,
    pub(super) done: Option<DateTime<Utc>>,
    pub(super) wrap_up: Option<DateTime<Utc>>,
    pub(super) ended: Option<DateTime<Utc>>,
    pub(super) second: Option<Value>,
    pub(super) second_agent: Option<&'a str>,
    pub(super) second_offer: Option<Uuid>,
    pub(super) second_units: Option<i32>,
    pub(super) second_expires: Option<DateTime<Utc>>,
    pub(super) second_joined: Option<DateTime<Utc>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(item: &'a WorkItem) -> Self {
        let plain = |state| Self {
            state,
            rest: "no",
            ..Self::default()
        };
        let hand = |state, hand: &'a Hand| Self {
            agent: Some(hand.agent.as_str()),
            offer: Some(hand.offer.uuid()),
            units: Some(hand.units),
            assigned: Some(hand.at),
            ..plain(state)
        };
        match &item.state {
            State::Pending => plain("pending"),
            State::Offered(h) => Self {
                agent: Some(h.agent.as_str()),
                offer: Some(h.offer.uuid()),
                expires: Some(h.until),
                units: Some(h.units),
                ..plain("offered")
            },
            State::Assigned {
                hand: h,
                rest,
                second,
            } => {
                let mut columns = Self {
                    rest: rest_word(*rest),
                    ..hand("assigned", h)
                };
                if let Some(second) = second {
                    columns.add_second(second);
                }
                columns
            }
            State::Wrapping {
                hand: h,
                done_at,
                until,
            } => Self {
                done: Some(*done_at),
                wrap_up: Some(*until),
                ..hand("wrapping", h)
            },
            State::Completed {
                agent,
                assigned_at,
                at,
            } => Self {
                agent: agent.as_ref().map(AgentId::as_str),
                assigned: *assigned_at,
                ended: Some(*at),
                ..plain("completed")
            },
            State::Cancelled { at } => Self {
                ended: Some(*at),
                ..plain("cancelled")
            },
            State::Abandoned { at } => Self {
                ended: Some(*at),
                ..plain("abandoned")
            },
        }
    }

    fn add_second(&mut self, second: &'a Second) {
        self.second = serde_json::to_value(WantedJson::of(second.wanted())).ok();
        match second {
            Second::Wanted(_) => {}
            Second::Offered(_, hold) => {
                self.second_agent = Some(hold.agent.as_str());
                self.second_offer = Some(hold.offer.uuid());
                self.second_units = Some(hold.units);
                self.second_expires = Some(hold.until);
            }
            Second::Joined(_, hand) => {
                self.second_agent = Some(hand.agent.as_str());
                self.second_offer = Some(hand.offer.uuid());
                self.second_units = Some(hand.units);
                self.second_joined = Some(hand.at);
            }
        }
    }
}
