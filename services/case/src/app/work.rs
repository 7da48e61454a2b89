//! What routing reports: who was asked, who took the work, who has it now, what is done when it waits too long.

use std::collections::hash_map::Entry;

use chrono::{DateTime, Utc};
use trama_platform::Tx;
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::Purpose,
    ids::{CaseId, MessageId, OfferId, TenantId},
    notification::v1::MessageRequested,
    routing::v1::OverflowAction,
    time::to_wire,
};
use uuid::Uuid;

use super::{
    batch::Batch,
    hear::{after, outbound_line},
    report::{step_id, step_of},
};
use crate::{consumer::Fact, domain::ASSISTANT};

impl Batch {
    pub(super) fn offer_made(
        &mut self,
        tenant: &TenantId,
        offer: OfferId,
        case: CaseId,
        agent: &str,
        at: DateTime<Utc>,
    ) {
        let id = step_id(tenant, "offered", offer.uuid().as_bytes());
        if let Some(held) = self.workspace.held(tenant, case) {
            let step = step_of(&held.case, id, "offered", agent, at);
            self.workspace.steps.push(step);
        }
    }

    pub(super) fn offer_accepted(
        &mut self,
        tenant: &TenantId,
        offer: OfferId,
        case: CaseId,
        agent: &str,
        (at, by_voice): (DateTime<Utc>, bool),
        cause: usize,
    ) {
        let id = step_id(tenant, "assigned", offer.uuid().as_bytes());
        let Some(held) = self.workspace.held(tenant, case) else {
            return;
        };
        let step = step_of(&held.case, id, "assigned", agent, at);
        if held.case.state.is_live() {
            held.case.assign(agent, at);
            if by_voice {
                held.case.first_answer_at.get_or_insert(at);
            }
            held.dirty = true;
            held.cause = cause;
        }
        self.workspace.steps.push(step);
    }

    /// An agent put the work down. If they did not answer in writing they did it by word of mouth: the case waits for
    /// the customer, unless the customer spoke since.
    pub(super) fn work_completed(
        &mut self,
        tenant: &TenantId,
        case: CaseId,
        agent: &str,
        at: DateTime<Utc>,
        cause: usize,
    ) {
        let Some(held) = self.workspace.held(tenant, case) else {
            return;
        };
        if held.case.state.waiting_since().is_some_and(|since| since <= at)
            && held.case.last_heard_at <= at
            && held.case.assigned_agent == agent
            && held.case.answer(agent, at).is_ok()
        {
            held.dirty = true;
            held.cause = cause;
        }
    }

    /// The work went to another agent, or waits again with its place.
    pub(super) fn work_transferred(
        &mut self,
        tenant: &TenantId,
        id: Uuid,
        case: CaseId,
        to: &str,
        (at, reason): (DateTime<Utc>, &str),
        cause: usize,
    ) {
        let Some(held) = self.workspace.held(tenant, case) else {
            return;
        };
        let mut step = step_of(&held.case, id, "transferred", to, at);
        reason.clone_into(&mut step.summary);
        if held.case.state.is_live() {
            if to.is_empty() {
                held.case.give_back(at);
            } else {
                held.case.assign(to, at);
            }
            held.dirty = true;
            held.cause = cause;
        }
        self.workspace.steps.push(step);
    }

    /// The customer would wait too long: the journey shows what is done, and they are told.
    pub(super) fn work_overflowed(&mut self, tx: &mut Tx, tenant: &TenantId, fact: &Fact) {
        let Fact::Overflowed {
            id,
            case,
            action,
            template,
            expected_at,
            at,
        } = fact
        else {
            return;
        };
        let Some(held) = self.workspace.held(tenant, *case) else {
            return;
        };
        let mut step = step_of(&held.case, *id, "overflowed", "", *at);
        words(*action).clone_into(&mut step.summary);
        let request = (!template.is_empty() && held.case.state.is_live()).then(|| {
            let case = &held.case;
            // A caller cannot be written to on the line they wait on.
            let fallback = match case.channel_kind {
                ChannelKind::Voice => ChannelKind::Sms,
                kind => kind,
            };
            let minutes = expected_at.map(|then| ((then - *at).num_seconds().max(0) + 59) / 60);
            MessageRequested {
                message_id: MessageId::new(*id).to_string(),
                customer_id: case.customer_id.to_string(),
                case_id: case.id.to_string(),
                need: case.intent().to_owned(),
                purpose: Purpose::Service.into(),
                author: ASSISTANT.to_owned(),
                template: template.clone(),
                template_values: minutes
                    .map(|m| ("minutes".to_owned(), m.to_string()))
                    .into_iter()
                    .collect(),
                language: case.understanding.language.clone(),
                fallback: fallback.into(),
                interaction_id: case.last_word.map(|word| word.to_string()).unwrap_or_default(),
                subject: case.subject.clone(),
                brand: self.resources.brand(tenant, &case.channel).to_owned(),
                requested_at: Some(to_wire(tx.now())),
                ..MessageRequested::default()
            }
        });
        let (case, customer, heard) = (held.case.id, held.case.customer_id, held.case.last_heard_at);
        self.workspace.steps.push(step);
        if let Some(request) = request {
            let line = outbound_line(tenant, customer, &request, Some(case), after(heard, tx.now()));
            // A repeat finds the line in place: the customer was told.
            if let Entry::Vacant(place) = self.workspace.lines.entry((tenant.clone(), line.id)) {
                tx.publish_as(*id, tenant, &customer.to_string(), &request);
                place.insert((line, true));
            }
        }
    }
}

/// As the journey shows it.
const fn words(action: OverflowAction) -> &'static str {
    match action {
        OverflowAction::Unspecified => "another way was taken",
        OverflowAction::Queue => "moved to another queue",
        OverflowAction::Callback => "a callback keeps the place",
        OverflowAction::Voicemail => "a voice message is answered in writing or called back",
        OverflowAction::Defer => "answered later, on the channel of the customer's choice",
        OverflowAction::Assistant => "the assistant takes over",
        OverflowAction::Closed => "nobody is there now",
    }
}
