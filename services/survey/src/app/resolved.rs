//! A case is resolved: ask or not.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx, stage::Envelope, timers::TimerSpec};
use trama_proto::{
    case::v1::{Case, CaseResolved},
    common::v1::CustomerContext,
    ids::{CaseId, CustomerId, InteractionId, InvitationId, TenantId},
    resources::{Resources, SurveySpec, SurveyTrigger},
    time::from_wire,
};
use uuid::Uuid;

use super::ask::ASK;
use crate::{
    domain::{Decision, History, Invitation, State, decide},
    store::{self, Trace, Whose},
};

/// A resolution as it came.
pub struct Resolved<'a> {
    /// Envelope that it came in.
    pub envelope: &'a Envelope,
    /// What it says.
    pub event: CaseResolved,
}

/// A resolution that can be worked in.
struct Known<'a> {
    envelope: &'a Envelope,
    case: Case,
    case_id: CaseId,
    brand: String,
    customer: CustomerContext,
    customer_id: CustomerId,
    interaction_id: Option<InteractionId>,
    at: DateTime<Utc>,
    undecided: bool,
}

/// Decides for each resolved case and remembers the decision with its reason.
///
/// # Errors
/// `Invalid` when an id is none.
pub async fn invite(tx: &mut Tx, resources: &Resources, resolved: Vec<Resolved<'_>>) -> Result<(), Error> {
    let mut known = resolved
        .into_iter()
        .map(|one| read(one, tx.now()))
        .collect::<Result<Vec<_>, _>>()?;
    belong(tx, &mut known).await?;
    let asked: Vec<(&TenantId, CustomerId)> = known
        .iter()
        .map(|k| (&k.envelope.tenant, k.customer_id))
        .collect();
    let now_called = store::resolve(tx.conn(), &asked).await?;
    let current = |tenant: &TenantId, id: CustomerId| {
        now_called
            .get(&(tenant.as_str().to_owned(), id.uuid()))
            .copied()
            .unwrap_or(id)
    };
    let people: Vec<(&TenantId, CustomerId)> = asked.iter().map(|(t, c)| (*t, current(t, *c))).collect();
    let mut histories = store::histories(tx.conn(), &people).await?;
    let mut decided: HashMap<Uuid, (Invitation, CustomerId)> = HashMap::new();
    let mut order = Vec::new();
    for one in &known {
        let tenant = &one.envelope.tenant;
        let Some((survey, spec)) = survey_for(resources, tenant) else {
            continue;
        };
        let person = current(tenant, one.customer_id);
        let id = invitation_id(tenant, survey, one.case_id);
        if decided.contains_key(&id.uuid()) {
            continue;
        }
        let history = histories
            .entry((tenant.as_str().to_owned(), person.uuid()))
            .or_default();
        let mut invitation = invitation(tx, one, (survey, spec), person, *history);
        if one.undecided {
            invitation = invitation
                .clone()
                .suppress(store::UNDECIDED)
                .unwrap_or(invitation);
        }
        if matches!(invitation.state, State::Scheduled { .. }) {
            *history = History {
                last_invited_at: Some(tx.now()),
                open: true,
            };
        }
        order.push(id.uuid());
        decided.insert(id.uuid(), (invitation, one.customer_id));
    }
    let rows: Vec<(Invitation, CustomerId)> = order.iter().filter_map(|id| decided.remove(id)).collect();
    let new = store::add(tx, &rows).await?;
    for (invitation, _) in rows.iter().filter(|(i, _)| new.contains(&i.id.uuid())) {
        let decision = match invitation.state {
            State::Scheduled { ask_at } => {
                let trace = known
                    .iter()
                    .find(|k| k.case_id == invitation.case_id)
                    .and_then(|k| k.envelope.trace.clone());
                tx.arm(TimerSpec {
                    tenant: invitation.tenant.clone(),
                    kind: ASK,
                    key: invitation.id.to_string(),
                    due_at: ask_at,
                    payload: serde_json::json!({"trace": trace}),
                });
                "scheduled"
            }
            State::Asked { .. } | State::Completed | State::Suppressed | State::Lapsed => "suppressed",
        };
        metrics::counter!("trama_survey_decisions_total", "decision" => decision).increment(1);
    }
    Ok(())
}

/// What was resolved before a split and comes after it: whose it is by the customer's last word, or nobody's.
async fn belong(tx: &mut Tx, known: &mut [Known<'_>]) -> Result<(), Error> {
    let traces: Vec<Trace<'_>> = known
        .iter()
        .map(|k| Trace {
            tenant: &k.envelope.tenant,
            asked: k.customer_id,
            interaction: k.interaction_id.map(InteractionId::uuid),
            at: k.at,
        })
        .collect();
    let whose = store::whose(tx.conn(), &traces).await?;
    for (one, whose) in known.iter_mut().zip(whose) {
        match whose {
            Whose::Asked => {}
            Whose::Restored(customer_id) => {
                // What is known came with the other's name.
                one.customer_id = customer_id;
                one.customer = CustomerContext::default();
            }
            Whose::Undecided => one.undecided = true,
        }
    }
    Ok(())
}

fn read(resolved: Resolved<'_>, now: DateTime<Utc>) -> Result<Known<'_>, Error> {
    let case = resolved
        .event
        .case
        .ok_or_else(|| Error::invalid("case", "is missing"))?;
    let customer = resolved
        .event
        .customer
        .ok_or_else(|| Error::invalid("customer", "is missing"))?;
    let interaction_id = resolved.event.interaction_id;
    Ok(Known {
        envelope: resolved.envelope,
        interaction_id: if interaction_id.is_empty() {
            None
        } else {
            Some(interaction_id.parse()?)
        },
        at: from_wire(case.resolve_time.as_ref()).unwrap_or(now),
        undecided: false,
        case_id: case.case_id.parse()?,
        brand: resolved.event.brand,
        customer_id: customer.customer_id.parse()?,
        case,
        customer,
    })
}

/// The survey that is asked after a case: the first by name.
fn survey_for<'a>(resources: &'a Resources, tenant: &TenantId) -> Option<(&'a str, &'a SurveySpec)> {
    let surveys = &resources.tenant(tenant)?.surveys;
    surveys
        .iter()
        .find(|(_, spec)| match spec.trigger {
            SurveyTrigger::CaseResolved => true,
        })
        .map(|(name, spec)| (name.as_str(), spec.as_ref()))
}

/// One asking per survey and case, however often the case is resolved or told so.
fn invitation_id(tenant: &TenantId, survey: &str, case: CaseId) -> InvitationId {
    InvitationId::derived(&[
        b"survey invitation",
        tenant.as_str().as_bytes(),
        survey.as_bytes(),
        case.uuid().as_bytes(),
    ])
}

fn invitation(
    tx: &Tx,
    one: &Known<'_>,
    (survey, spec): (&str, &SurveySpec),
    person: CustomerId,
    history: History,
) -> Invitation {
    let now = tx.now();
    let tenant = one.envelope.tenant.clone();
    let (state, reason) = match decide(spec, survey, one.case.kind(), (person, one.case_id), history, now) {
        Decision::Ask { at, reason } => (State::Scheduled { ask_at: at }, reason),
        Decision::Suppress { reason } => (State::Suppressed, reason),
    };
    let understood = one.case.understanding.as_ref();
    let spoken = understood.map_or("", |u| u.language.as_str());
    let language = if spoken.is_empty() {
        one.customer.language.as_str()
    } else {
        spoken
    };
    Invitation {
        id: invitation_id(&tenant, survey, one.case_id),
        tenant,
        survey: survey.to_owned(),
        // A survey of no brand asks for the brand that the customer spoke with.
        spec: SurveySpec {
            brand: if spec.brand.is_empty() {
                one.brand.clone()
            } else {
                spec.brand.clone()
            },
            ..spec.clone()
        },
        customer_id: person,
        customer: CustomerContext {
            customer_id: person.to_string(),
            ..one.customer.clone()
        },
        case_id: one.case_id,
        interaction_id: one.interaction_id,
        case_subject: one.case.subject.clone(),
        need: understood.map(|u| u.intent.clone()).unwrap_or_default(),
        language: language.to_owned(),
        channel_kind: one.case.channel_kind(),
        state,
        reason,
        follow_up: None,
        created_at: now,
    }
}
