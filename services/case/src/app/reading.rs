//! Reading cases, timelines and journeys.

use chrono::{DateTime, Utc};
use trama_platform::{Error, page};
use trama_proto::{
    case::v1::{CaseStatus, JourneyStep},
    common::v1::{Direction, Interaction, InteractionKind},
    ids::{CaseId, CustomerId, TenantId},
    time::to_wire,
};
use uuid::Uuid;

use super::{App, hear::first_words};
use crate::{
    domain::{Case, Line},
    error::no_case,
    store::{aliases, cases, journey, timeline},
};

/// At most so many steps of each sort are told of a journey.
const LONGEST_JOURNEY: i64 = 1_000;

/// One page and the token of the next.
#[derive(Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Empty on the last page.
    pub next: String,
}

fn page_of<T>(mut items: Vec<T>, size: i64, key: impl Fn(&T) -> (DateTime<Utc>, Uuid)) -> Page<T> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = items.len() > size;
    items.truncate(size);
    let next = if more {
        items
            .last()
            .map(|last| page::token(&key(last)))
            .unwrap_or_default()
    } else {
        String::new()
    };
    Page { items, next }
}

impl App {
    /// One case.
    ///
    /// # Errors
    /// When there is no such case.
    pub async fn get_case(&self, tenant: &TenantId, id: CaseId) -> Result<Case, Error> {
        let mut tx = self.db.tx(tenant).await?;
        cases::find(&mut tx, tenant, id).await?.ok_or_else(|| no_case(id))
    }

    /// Cases, newest first; of a customer also under the ids they once had.
    ///
    /// # Errors
    /// When the page token is not ours.
    pub async fn list_cases(
        &self,
        tenant: &TenantId,
        customer: Option<CustomerId>,
        reference: &str,
        status: CaseStatus,
        (size, token): (i32, &str),
    ) -> Result<Page<Case>, Error> {
        let size = page::size(size)?;
        let before = page::start::<(DateTime<Utc>, Uuid)>(token)?;
        let mut tx = self.db.tx(tenant).await?;
        let customers = match customer {
            None => None,
            Some(customer) => Some(aliases::group(&mut tx, tenant, customer).await?.1),
        };
        let reference = reference.to_lowercase();
        let filter = cases::Filter {
            customers,
            reference: &reference,
            status,
            before,
        };
        let items = cases::list(&mut tx, tenant, &filter, size + 1).await?;
        Ok(page_of(items, size, |c| (c.opened_at, c.id.uuid())))
    }

    /// A case's timeline, oldest first.
    ///
    /// # Errors
    /// When there is no such case or the page token is not ours.
    pub async fn list_timeline(
        &self,
        tenant: &TenantId,
        id: CaseId,
        (size, token): (i32, &str),
    ) -> Result<Page<Line>, Error> {
        let size = page::size(size)?;
        let after = page::start::<(DateTime<Utc>, Uuid)>(token)?;
        let mut tx = self.db.tx(tenant).await?;
        cases::find(&mut tx, tenant, id)
            .await?
            .ok_or_else(|| no_case(id))?;
        let items = timeline::list(&mut tx, tenant, id, after, size + 1).await?;
        Ok(page_of(items, size, |l| (l.occurred_at, l.id.uuid())))
    }

    /// A customer's whole story across cases and channels, oldest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn get_journey(
        &self,
        tenant: &TenantId,
        customer: CustomerId,
    ) -> Result<(Vec<JourneyStep>, Vec<Case>), Error> {
        let mut tx = self.db.tx(tenant).await?;
        let (_, customers) = aliases::group(&mut tx, tenant, customer).await?;
        let filter = cases::Filter {
            customers: Some(customers.clone()),
            ..cases::Filter::default()
        };
        let mut own = cases::list(&mut tx, tenant, &filter, LONGEST_JOURNEY).await?;
        own.reverse();
        let ids: Vec<Uuid> = own.iter().map(|c| c.id.uuid()).collect();
        let lines = timeline::load_journey(&mut tx, tenant, &ids, &customers, LONGEST_JOURNEY).await?;
        let marks = journey::load(&mut tx, tenant, &ids, &customers, LONGEST_JOURNEY).await?;
        let mut steps: Vec<(DateTime<Utc>, JourneyStep)> =
            lines.iter().map(|l| (l.occurred_at, step_of_line(l))).collect();
        steps.extend(marks.into_iter().map(|mark| {
            let step = JourneyStep {
                at: Some(to_wire(mark.at)),
                channel_kind: mark.channel_kind.into(),
                what: mark.what,
                case_id: mark.case_id.map(|c| c.to_string()).unwrap_or_default(),
                summary: mark.summary,
                actor: mark.actor,
            };
            (mark.at, step)
        }));
        // Stable: what happened at the same moment stays in the order of the tables.
        steps.sort_by_key(|(at, _)| *at);
        Ok((steps.into_iter().map(|(_, step)| step).collect(), own))
    }
}

fn step_of_line(line: &Line) -> JourneyStep {
    let said = &line.interaction;
    let what = match (said.direction(), said.kind()) {
        (_, InteractionKind::Note) | (Direction::Internal, _) => "note",
        (Direction::Outbound, _) => "reply",
        (_, InteractionKind::Call) => "call",
        (_, InteractionKind::Reaction) => "reaction",
        (_, InteractionKind::SurveyAnswer) => "survey message",
        (_, InteractionKind::Message | InteractionKind::Unspecified) => "message",
    };
    JourneyStep {
        at: Some(to_wire(line.occurred_at)),
        channel_kind: said.channel_kind,
        what: what.to_owned(),
        case_id: line.case_id.map(|c| c.to_string()).unwrap_or_default(),
        summary: summary_of(said),
        actor: if said.author.is_empty() {
            "customer".to_owned()
        } else {
            said.author.clone()
        },
    }
}

/// The gist of a line, in one line: what was said, or what it was when nothing was.
fn summary_of(said: &Interaction) -> String {
    // A greeting on a line of its own says nothing yet.
    let words = said.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let gist = match (&said.call, said.attachments.first()) {
        _ if !words.is_empty() => words,
        (Some(call), _) if call.duration_seconds > 0 => format!("{} s", call.duration_seconds),
        (None, Some(file)) if file.voice_note => "voice note".to_owned(),
        (None, Some(file)) => file.content_type.clone(),
        _ => said.subject.clone(),
    };
    first_words(&gist, 120)
}
