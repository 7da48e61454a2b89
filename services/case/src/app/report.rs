//! What other services report: messages, surveys, customers.

use chrono::{DateTime, Utc};
use trama_platform::Error;
use trama_proto::{
    case::v1::{CaseKind, CaseRequested, Mood},
    common::v1::{CustomerContext, Direction, Interaction, InteractionKind},
    identity_resolution::v1::Purpose,
    ids::{CaseId, CustomerId, InvitationId, TenantId, derive},
    survey::v1::SurveyResponded,
    time::to_wire,
};
use uuid::Uuid;

use super::batch::Batch;
use crate::{
    consumer::Fact,
    domain::{Asked, Case, Expectation, Kind, Line, Live, NewCase, OutboundStatus, State},
    store::journey::Step,
};

/// The id of a step: the same happening is the same step.
pub(super) fn step_id(tenant: &TenantId, what: &str, id: &[u8]) -> Uuid {
    derive(&[tenant.as_str().as_bytes(), b"step", what.as_bytes(), id])
}

/// A step on a case.
pub(super) fn step_of(case: &Case, id: Uuid, what: &str, actor: &str, at: DateTime<Utc>) -> Step {
    Step {
        tenant: case.tenant.clone(),
        id,
        customer_id: case.customer_id,
        case_id: Some(case.id),
        at,
        channel_kind: case.channel_kind,
        what: what.to_owned(),
        summary: case.subject.clone(),
        actor: actor.to_owned(),
    }
}

/// What changed of a customer.
pub(super) struct News<'a> {
    /// What is known of them now.
    pub context: &'a CustomerContext,
    /// It is about their verification.
    pub verification: bool,
    /// A proof no longer holds, though its time is not over.
    pub revoked: bool,
    /// The proof that was given just now, if it was asked for in an interaction.
    pub asked: Option<&'a Asked>,
}

impl Batch {
    pub(super) fn question_asked(&mut self, question: &Expectation) {
        let customer = self
            .workspace
            .aliases
            .resolve(&question.tenant, question.customer_id);
        let known = self.workspace.expectations.iter().any(|(q, _, _)| {
            q.tenant == question.tenant
                && q.invitation_id == question.invitation_id
                && q.question_id == question.question_id
        });
        if known {
            return;
        }
        for (other, open, dirty) in &mut self.workspace.expectations {
            let theirs = self.workspace.aliases.resolve(&other.tenant, other.customer_id) == customer;
            if *open && other.tenant == question.tenant && theirs {
                (*open, *dirty) = (false, true);
            }
        }
        let question = Expectation {
            customer_id: customer,
            ..question.clone()
        };
        self.workspace.expectations.insert(0, (question, true, true));
    }

    pub(super) fn survey_responded(
        &mut self,
        tenant: &TenantId,
        invitation: InvitationId,
        event: &SurveyResponded,
        (customer, case): (CustomerId, CaseId),
        at: DateTime<Utc>,
    ) {
        let key = format!("{invitation}/{}", event.question_id);
        let customer_id = self.workspace.aliases.resolve(tenant, customer);
        self.workspace.steps.push(Step {
            tenant: tenant.clone(),
            id: step_id(tenant, "survey", key.as_bytes()),
            customer_id,
            case_id: Some(case),
            at,
            channel_kind: event.channel_kind(),
            what: format!("survey answer {}", event.score),
            summary: event.question_id.clone(),
            actor: "customer".to_owned(),
        });
    }

    pub(super) fn customer_changed(
        &mut self,
        tenant: &TenantId,
        customer: CustomerId,
        news: &News<'_>,
        cause: usize,
    ) {
        if self.workspace.aliases.walk(tenant, customer).is_some() {
            // Of somebody who is an alias by now: what is known of who remains is newer.
            return;
        }
        let mut channel_kind = trama_proto::common::v1::ChannelKind::Unspecified;
        let now = self.workspace.now;
        for id in self.workspace.ids_of(tenant, customer) {
            let Some(held) = self.workspace.held(tenant, id) else {
                continue;
            };
            if held.case.state.is_live() && held.case.customer != *news.context {
                if news.revoked {
                    held.case.customer.verification = None;
                }
                held.case.learn(news.context, news.asked, now);
                held.request(cause);
                channel_kind = held.case.channel_kind;
            }
        }
        if let Some(proof) = news
            .context
            .verification
            .as_ref()
            .filter(|v| news.verification && v.level > 0)
        {
            let when = proof.verified_at.as_ref().map_or(0, |t| t.seconds);
            let key = format!("{customer}/{}/{}/{when}", proof.method, proof.level);
            self.workspace.steps.push(Step {
                tenant: tenant.clone(),
                id: step_id(tenant, "verified", key.as_bytes()),
                customer_id: customer,
                case_id: None,
                at: trama_proto::time::from_wire(proof.verified_at.as_ref()).unwrap_or(self.workspace.now),
                channel_kind,
                what: "verified".to_owned(),
                summary: format!("level {} by {}", proof.level, proof.method),
                actor: proof.verified_by.clone(),
            });
        }
    }

    pub(super) fn message_outcome(
        &mut self,
        tenant: &TenantId,
        fact: &Fact,
        cause: usize,
    ) -> Result<(), Error> {
        let Fact::Outcome {
            id,
            customer,
            case,
            status,
            at,
            outcome,
            text,
            article_version,
        } = fact
        else {
            return Ok(());
        };
        let case = case.map(|c| self.workspace.living(tenant, c));
        let customer = self.workspace.aliases.resolve(tenant, *customer);
        let key = (tenant.clone(), *id);
        let failed_before = match self.workspace.lines.get_mut(&key) {
            Some((line, dirty)) => {
                let before = line.outbound;
                line.outbound = before.after(*status);
                *dirty = true;
                before == OutboundStatus::Failed
            }
            None => {
                // Written by another service: surveys, one-time codes. The first report opens the line.
                let line = Line {
                    tenant: tenant.clone(),
                    id: *id,
                    case_id: case,
                    origin_case_id: None,
                    customer_id: customer,
                    occurred_at: *at,
                    outbound: *status,
                    article_version: String::new(),
                    interaction: Interaction {
                        interaction_id: id.to_string(),
                        revision: 1,
                        kind: InteractionKind::Message.into(),
                        direction: Direction::Outbound.into(),
                        author: outcome.author.clone(),
                        message_id: outcome.message_id.clone(),
                        occurred_at: Some(to_wire(*at)),
                        received_at: Some(to_wire(*at)),
                        ..Interaction::default()
                    },
                    understanding: None,
                };
                self.workspace.lines.insert(key.clone(), (line, true));
                false
            }
        };
        let Some((line, _)) = self.workspace.lines.get_mut(&key) else {
            return Ok(());
        };
        tell_line(line, fact);
        if !text.is_empty() && outcome.purpose() != Purpose::Security {
            line.interaction.text.clone_from(text);
        }
        if !article_version.is_empty() {
            line.article_version.clone_from(article_version);
        }
        let failed_now = line.outbound == OutboundStatus::Failed && !failed_before;
        let case = line.case_id;
        if failed_now && outcome.purpose() == Purpose::Service {
            self.answer_failed(tenant, case, &outcome.author, *at, cause)?;
        }
        Ok(())
    }

    /// An answer that never arrives is no answer: somebody must act again.
    fn answer_failed(
        &mut self,
        tenant: &TenantId,
        case: Option<CaseId>,
        author: &str,
        at: DateTime<Utc>,
        cause: usize,
    ) -> Result<(), Error> {
        let Some(held) = case.and_then(|c| self.workspace.held(tenant, c)) else {
            return Ok(());
        };
        let ours = held.case.last_agent == author;
        if let (State::Live(Live::Waiting { .. }), true) = (&held.case.state, ours) {
            held.case.state = held.case.state.clone().heard(at)?;
            if held.case.is_with_assistant() {
                held.case.hand_over(at);
            }
            held.reread = true;
            held.request(cause);
            metrics::counter!("trama_case_answers_failed_total").increment(1);
        }
        Ok(())
    }

    pub(super) fn case_requested(
        &mut self,
        tenant: &TenantId,
        (id, customer, related): (CaseId, CustomerId, Option<CaseId>),
        at: DateTime<Utc>,
        event: &CaseRequested,
        cause: usize,
    ) {
        if self.workspace.held(tenant, id).is_some() {
            return;
        }
        let told = event.customer.clone().unwrap_or_default();
        let survivor = self.workspace.aliases.resolve(tenant, customer);
        let context = self
            .workspace
            .aliases
            .walk(tenant, customer)
            .map_or(told, |(_, at_merge)| at_merge.clone());
        let kind = if event.kind() == CaseKind::Recovery {
            Kind::Recovery
        } else {
            Kind::Need
        };
        let now = self.workspace.now;
        let new = NewCase {
            tenant: tenant.clone(),
            id,
            customer_id: survivor,
            customer: context,
            kind,
            subject: event.subject.clone(),
            heard_at: at,
        };
        let mut case = Case::open(new, now);
        case.related = related;
        case.channel_kind = event.channel_kind();
        if let Some(before) = related.and_then(|r| self.workspace.held(tenant, r)) {
            case.understanding = before.case.understanding.clone();
            case.channel.clone_from(&before.case.channel);
            case.article_key.clone_from(&before.case.article_key);
        }
        if kind == Kind::Recovery {
            case.understanding.mood = Mood::Negative.into();
        }
        if case.understanding.language.is_empty() {
            case.understanding.language.clone_from(&case.customer.language);
        }
        self.workspace.take(case, true);
        if let Some(held) = self.workspace.held(tenant, id) {
            held.request(cause);
        }
    }
}

/// Writes where a message went into its line.
fn tell_line(line: &mut Line, fact: &Fact) {
    let Fact::Outcome { outcome, .. } = fact else {
        return;
    };
    let said = &mut line.interaction;
    if !outcome.channel.is_empty() {
        said.channel.clone_from(&outcome.channel);
    }
    if outcome.channel_kind != 0 {
        said.channel_kind = outcome.channel_kind;
    }
    if outcome.handle.is_some() {
        said.party.clone_from(&outcome.handle);
    }
    if !outcome.provider_message_id.is_empty() {
        said.provider_id.clone_from(&outcome.provider_message_id);
    }
}
