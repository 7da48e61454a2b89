//! A row and the item that it is.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, types::Json};
use trama_platform::{Error, Tx};
use trama_proto::ids::{AgentId, CaseId, OfferId, TenantId, WorkItemId};
use uuid::Uuid;

use crate::{
    domain::{
        Answered, Exclusion, Hand, Handover, HandoverNote, Hold, Manner, Rest, Route, Second, State, Wanted,
        WorkItem,
    },
    error::broken_row,
    store::kind,
};

use super::{HANDOVER, SECOND};

macro_rules! columns {
    ($($from:literal),+) => {
        concat!(
            "SELECT work_item_id, case_id, number, version, revision, state, waiting_since, queued_at, channel_kind,
             route, preferred_agent, pinned_agent, exclusions, transfers, handover, agent_id, offer_id,
             offer_expires_at, held_units, rest, assigned_at, done_at, wrap_up_until, answered_at, answered_channel,
             answered_in_target, ended_at, second, second_agent, second_offer_id, second_units, second_expires_at,
             second_joined_at, manner, trace
             FROM ",
            $($from),+
        )
    };
}
/// Id by id of `$2`, in their order: without fresh statistics the planner would rather read the whole table.
macro_rules! columns_by_id {
    ($end:literal) => {
        $crate::store::items::row::columns!(
            "unnest($2::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
                 SELECT * FROM work_items WHERE tenant = $1 AND work_item_id = wanted.id ",
            $end,
            ") w"
        )
    };
}
pub(super) use {columns, columns_by_id};

#[derive(FromRow)]
pub(super) struct Row {
    work_item_id: Uuid,
    case_id: Uuid,
    number: i32,
    version: i64,
    revision: i64,
    state: String,
    waiting_since: DateTime<Utc>,
    queued_at: DateTime<Utc>,
    channel_kind: i32,
    route: Json<Route>,
    preferred_agent: Option<String>,
    pinned_agent: Option<String>,
    exclusions: Value,
    transfers: i32,
    handover: Option<Value>,
    agent_id: Option<String>,
    offer_id: Option<Uuid>,
    offer_expires_at: Option<DateTime<Utc>>,
    held_units: Option<i32>,
    rest: String,
    assigned_at: Option<DateTime<Utc>>,
    done_at: Option<DateTime<Utc>>,
    wrap_up_until: Option<DateTime<Utc>>,
    answered_at: Option<DateTime<Utc>>,
    answered_channel: Option<i32>,
    answered_in_target: Option<bool>,
    ended_at: Option<DateTime<Utc>>,
    second: Option<Value>,
    second_agent: Option<String>,
    second_offer_id: Option<Uuid>,
    second_units: Option<i32>,
    second_expires_at: Option<DateTime<Utc>>,
    second_joined_at: Option<DateTime<Utc>>,
    manner: Json<Manner>,
    trace: Option<String>,
}

/// Opens what agents tell each other.
pub(super) async fn open(tx: &mut Tx, tenant: &TenantId, rows: &mut [Row]) -> Result<(), Error> {
    let told = rows
        .iter_mut()
        .map(|r| (tenant.as_str(), r.work_item_id, &mut r.handover));
    tx.open(HANDOVER, told).await?;
    let wanted = rows
        .iter_mut()
        .map(|r| (tenant.as_str(), r.work_item_id, &mut r.second));
    tx.open(SECOND, wanted).await
}

/// A hand-over as JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct NoteJson {
    how: String,
    from: String,
    note: String,
}

/// An exclusion as JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct ExclusionJson {
    agent: String,
    at: DateTime<Utc>,
    times: u32,
}

impl ExclusionJson {
    pub(super) fn of(exclusion: &Exclusion) -> Self {
        Self {
            agent: exclusion.agent.to_string(),
            at: exclusion.at,
            times: exclusion.times,
        }
    }

    fn exclusion(self) -> Option<Exclusion> {
        Some(Exclusion {
            agent: self.agent.parse().ok()?,
            at: self.at,
            times: self.times,
        })
    }
}

/// A second agent that is wanted, as JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct WantedJson {
    told: NoteJson,
    queue: String,
    skills: BTreeMap<String, u8>,
    pinned: Option<String>,
    excluded: Vec<String>,
    since: DateTime<Utc>,
}

/// The word for a hand-over.
pub(crate) const fn handover_word(how: Handover) -> &'static str {
    match how {
        Handover::Blind => "blind",
        Handover::Warm => "warm",
        Handover::Consult => "consult",
    }
}

/// The hand-over of a word.
pub(crate) fn handover_of(word: &str) -> Option<Handover> {
    [Handover::Blind, Handover::Warm, Handover::Consult]
        .into_iter()
        .find(|how| handover_word(*how) == word)
}

impl NoteJson {
    pub(super) fn of(told: &HandoverNote) -> Self {
        Self {
            how: handover_word(told.how).to_owned(),
            from: told.from.to_string(),
            note: told.note.clone(),
        }
    }

    fn note(self) -> Option<HandoverNote> {
        Some(HandoverNote {
            how: handover_of(&self.how)?,
            from: self.from.parse().ok()?,
            note: self.note,
        })
    }
}

impl WantedJson {
    pub(super) fn of(wanted: &Wanted) -> Self {
        Self {
            told: NoteJson::of(&wanted.told),
            queue: wanted.queue.clone(),
            skills: wanted.skills.clone(),
            pinned: wanted.pinned.as_ref().map(ToString::to_string),
            excluded: wanted.excluded.iter().map(ToString::to_string).collect(),
            since: wanted.since,
        }
    }

    fn wanted(self) -> Option<Wanted> {
        Some(Wanted {
            told: self.told.note()?,
            queue: self.queue,
            skills: self.skills,
            pinned: self.pinned.and_then(|p| p.parse().ok()),
            excluded: self
                .excluded
                .iter()
                .map(|e| e.parse().ok())
                .collect::<Option<_>>()?,
            since: self.since,
        })
    }
}

impl Row {
    pub(super) fn item(self) -> Result<WorkItem, Error> {
        let broken = |what: &str| broken_row("work_items", self.work_item_id, what);
        let state = self
            .read_state()
            .ok_or_else(|| broken("a state without what belongs to it"))?;
        let answered = match (self.answered_at, self.answered_channel, self.answered_in_target) {
            (Some(at), Some(channel), Some(in_target)) => Some(Answered {
                at,
                channel: kind(channel),
                in_target,
            }),
            _ => None,
        };
        let agent = |text: Option<String>| text.map(|t| t.parse::<AgentId>()).transpose();
        Ok(WorkItem {
            id: WorkItemId::new(self.work_item_id),
            case_id: CaseId::new(self.case_id),
            number: self.number,
            version: self.version,
            revision: self.revision,
            route: self.route.0,
            channel: kind(self.channel_kind),
            waiting_since: self.waiting_since,
            queued_at: self.queued_at,
            preferred: agent(self.preferred_agent)?,
            pinned: agent(self.pinned_agent)?,
            excluded: serde_json::from_value::<Vec<ExclusionJson>>(self.exclusions)
                .unwrap_or_default()
                .into_iter()
                .filter_map(ExclusionJson::exclusion)
                .collect(),
            transfers: self.transfers,
            handover: self
                .handover
                .and_then(|v| serde_json::from_value::<NoteJson>(v).ok())
                .and_then(NoteJson::note),
            snapshot: None,
            trace: self.trace,
            answered,
            manner: self.manner.0,
            state,
        })
    }

    /// `None` when columns do not fit each other.
    fn read_state(&self) -> Option<State> {
        let hand = || {
            Some(Hand {
                offer: OfferId::new(self.offer_id?),
                agent: self.agent_id.as_deref()?.parse().ok()?,
                units: self.held_units?,
                at: self.assigned_at?,
            })
        };
        Some(match self.state.as_str() {
            "pending" => State::Pending,
            "offered" => State::Offered(Hold {
                offer: OfferId::new(self.offer_id?),
                agent: self.agent_id.as_deref()?.parse().ok()?,
                units: self.held_units?,
                until: self.offer_expires_at?,
            }),
            "assigned" => State::Assigned {
                hand: hand()?,
                rest: rest(&self.rest)?,
                second: self.read_second()?,
            },
            "wrapping" => State::Wrapping {
                hand: hand()?,
                done_at: self.done_at?,
                until: self.wrap_up_until?,
            },
            "completed" => State::Completed {
                agent: self.agent_id.as_deref().map(str::parse).transpose().ok()?,
                assigned_at: self.assigned_at,
                at: self.ended_at?,
            },
            "cancelled" => State::Cancelled { at: self.ended_at? },
            "abandoned" => State::Abandoned { at: self.ended_at? },
            _ => return None,
        })
    }

    #[expect(clippy::option_option, reason = "the outer one says that the row is broken")]
    fn read_second(&self) -> Option<Option<Second>> {
        let Some(json) = &self.second else {
            return Some(None);
        };
        let wanted = serde_json::from_value::<WantedJson>(json.clone())
            .ok()?
            .wanted()?;
        let (Some(agent), Some(offer), Some(units)) =
            (&self.second_agent, self.second_offer_id, self.second_units)
        else {
            return Some(Some(Second::Wanted(wanted)));
        };
        let (agent, offer) = (agent.parse().ok()?, OfferId::new(offer));
        Some(Some(match self.second_joined_at {
            Some(at) => Second::Joined(
                wanted,
                Hand {
                    offer,
                    agent,
                    units,
                    at,
                },
            ),
            None => Second::Offered(
                wanted,
                Hold {
                    offer,
                    agent,
                    units,
                    until: self.second_expires_at?,
                },
            ),
        }))
    }
}

fn rest(word: &str) -> Option<Rest> {
    [Rest::No, Rest::Parked, Rest::Paused]
        .into_iter()
        .find(|r| rest_word(*r) == word)
}

pub(super) const fn rest_word(rest: Rest) -> &'static str {
    match rest {
        Rest::No => "no",
        Rest::Parked => "parked",
        Rest::Paused => "paused",
    }
}
