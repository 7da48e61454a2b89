//! What the state of an item says, column by column.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{Postgres, postgres::PgArguments, query::Query};
use trama_proto::ids::AgentId;
use uuid::Uuid;

use super::row::{WantedJson, rest_word};
use crate::domain::{Answered, Hand, Second, State, WorkItem};

/// What the state says, column by column.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) state: &'static str,
    agent: Option<&'a str>,
    offer: Option<Uuid>,
    expires: Option<DateTime<Utc>>,
    units: Option<i32>,
    rest: &'static str,
    assigned: Option<DateTime<Utc>>,
    done: Option<DateTime<Utc>>,
    wrap_up: Option<DateTime<Utc>>,
    answered: Option<Answered>,
    ended: Option<DateTime<Utc>>,
    pub(super) second: Option<Value>,
    pub(super) second_agent: Option<&'a str>,
    pub(super) second_offer: Option<Uuid>,
    pub(super) second_units: Option<i32>,
    pub(super) second_expires: Option<DateTime<Utc>>,
    pub(super) second_joined: Option<DateTime<Utc>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(item: &'a WorkItem) -> Self {
        Self {
            answered: item.answered,
            ..Self::of_state(item)
        }
    }

    fn of_state(item: &'a WorkItem) -> Self {
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

/// Binds who has items in hand and since when, from `agent_id` to `ended_at`: in the order in which both statements that
/// write items name these columns.
pub(super) fn bind_hands<'q>(
    statement: Query<'q, Postgres, PgArguments>,
    states: &[Columns<'q>],
) -> Query<'q, Postgres, PgArguments> {
    let answered = || states.iter().map(|s| s.answered);
    statement
        .bind(states.iter().map(|s| s.agent).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.offer).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.expires).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.units).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.rest).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.assigned).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.done).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.wrap_up).collect::<Vec<_>>())
        .bind(answered().map(|a| a.map(|a| a.at)).collect::<Vec<_>>())
        .bind(
            answered()
                .map(|a| a.map(|a| a.channel as i32))
                .collect::<Vec<_>>(),
        )
        .bind(answered().map(|a| a.map(|a| a.in_target)).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.ended).collect::<Vec<_>>())
}
