//! Events → app. Decodes and checks each event; what is wrong goes to the dead letters by itself.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use trama_platform::{
    Error, Tx,
    stage::{Envelope, Handler},
};
use trama_proto::{
    case::v1::CaseRequested,
    common::v1::{CustomerContext, Interaction},
    identity_resolution::v1::{CustomerChanged, CustomerMerged, CustomerSplit, InteractionIdentified},
    ids::{CaseId, CustomerId, InteractionId, InvitationId, MergeId, MessageId, OfferId, derive},
    notification::v1::{MessageDelivered, MessageFailed, MessageOutcome, MessageRead, MessageSent},
    routing::v1::{OfferAccepted, OfferMade, OverflowAction, WorkCompleted, WorkOverflowed, WorkTransferred},
    survey::v1::{SurveyQuestionAsked, SurveyResponded},
    time::from_wire,
};
use uuid::Uuid;

use crate::{
    app::App,
    domain::{Asked, Expectation, OutboundStatus},
};

/// An event, checked.
#[derive(Debug)]
pub enum Fact {
    /// A customer said something.
    Identified {
        /// Which.
        id: InteractionId,
        /// Who.
        customer: CustomerId,
        /// When.
        at: DateTime<Utc>,
        /// What.
        interaction: Box<Interaction>,
        /// What is known of them.
        context: Box<CustomerContext>,
        /// Proofs of the customer may not hold for whoever spoke.
        in_doubt: bool,
    },
    /// Two customers are one.
    Merged {
        /// Which merge.
        merge: MergeId,
        /// Who remains.
        survivor: CustomerId,
        /// Whose id is now an alias.
        merged: CustomerId,
        /// What is known of who remains.
        context: Box<CustomerContext>,
        /// Nothing but likeness joins them.
        by_likeness: bool,
        /// When.
        at: DateTime<Utc>,
    },
    /// A merge was undone.
    Split {
        /// Which merge.
        merge: MergeId,
        /// Who had remained.
        survivor: CustomerId,
        /// Who is themselves again.
        restored: CustomerId,
        /// What is known of who had remained.
        survivor_context: Box<CustomerContext>,
        /// What is known of who is themselves again.
        restored_context: Box<CustomerContext>,
        /// Their own words.
        interactions: Vec<InteractionId>,
        /// When.
        at: DateTime<Utc>,
    },
    /// What is known of a customer changed.
    Changed {
        /// Who.
        customer: CustomerId,
        /// What is known now.
        context: Box<CustomerContext>,
        /// Whether it is about their verification.
        verification: bool,
        /// Whether a proof no longer holds, though its time is not over.
        revoked: bool,
        /// The proof that was given just now, if it was asked for in an interaction.
        asked: Option<Asked>,
    },
    /// Work is held for an agent.
    OfferMade {
        /// Which offer.
        offer: OfferId,
        /// On which case.
        case: CaseId,
        /// To whom.
        agent: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// An agent took the work.
    OfferAccepted {
        /// Which offer.
        offer: OfferId,
        /// On which case.
        case: CaseId,
        /// By whom.
        agent: String,
        /// When.
        at: DateTime<Utc>,
        /// Whether it is a call: then taking it is the answer.
        by_voice: bool,
    },
    /// An agent is done with the work.
    WorkCompleted {
        /// On which case.
        case: CaseId,
        /// Who.
        agent: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// The work went to another agent, or back to the queue.
    Transferred {
        /// Which happening: a repeat is the same.
        id: Uuid,
        /// On which case.
        case: CaseId,
        /// Who has it now; empty when it waits.
        to: String,
        /// When.
        at: DateTime<Utc>,
        /// Why, in words.
        reason: String,
    },
    /// The customer would wait too long.
    Overflowed {
        /// Which happening: a repeat is the same.
        id: Uuid,
        /// On which case.
        case: CaseId,
        /// What is done.
        action: OverflowAction,
        /// MessageTemplate that tells the customer; none when empty.
        template: String,
        /// When somebody will be there.
        expected_at: Option<DateTime<Utc>>,
        /// When.
        at: DateTime<Utc>,
    },
    /// A survey question is on its way.
    Asked(Expectation),
    /// A survey question was answered.
    Responded {
        /// Which asking.
        invitation: InvitationId,
        /// What.
        event: Box<SurveyResponded>,
        /// Who.
        customer: CustomerId,
        /// About which case.
        case: CaseId,
        /// When.
        at: DateTime<Utc>,
    },
    /// The fate of something that we wrote.
    Outcome {
        /// Its line in the timeline.
        id: InteractionId,
        /// To whom.
        customer: CustomerId,
        /// About which case.
        case: Option<CaseId>,
        /// How far it got.
        status: OutboundStatus,
        /// When.
        at: DateTime<Utc>,
        /// All about it.
        outcome: Box<MessageOutcome>,
        /// The text as the customer reads it; empty when it may not be kept or is not told.
        text: String,
        /// Article that it cites.
        article_version: String,
    },
    /// Somebody asks for a follow-up.
    Requested {
        /// Which case it shall be.
        case: CaseId,
        /// Whose.
        customer: CustomerId,
        /// The case that it follows.
        related: Option<CaseId>,
        /// When.
        at: DateTime<Utc>,
        /// All of it.
        event: Box<CaseRequested>,
    },
}

/// The line of an outbound message in the timeline.
pub fn line_of_message(tenant: &trama_proto::ids::TenantId, message: MessageId) -> InteractionId {
    InteractionId::derived(&[tenant.as_str().as_bytes(), b"message", message.uuid().as_bytes()])
}

/// The same thing happening to the same item at the same moment is the same happening.
fn happening(envelope: &Envelope, what: &str, item: &str, at: DateTime<Utc>) -> Uuid {
    derive(&[
        envelope.tenant.as_str().as_bytes(),
        what.as_bytes(),
        item.as_bytes(),
        &at.timestamp_micros().to_be_bytes(),
    ])
}

fn missing(field: &'static str) -> impl Fn() -> Error {
    move || Error::invalid(field, "is missing")
}

fn optional<T: std::str::FromStr<Err = trama_proto::ids::InvalidId>>(id: &str) -> Result<Option<T>, Error> {
    if id.is_empty() {
        Ok(None)
    } else {
        Ok(Some(id.parse()?))
    }
}

fn outcome_of(
    envelope: &Envelope,
    outcome: Option<MessageOutcome>,
    status: OutboundStatus,
    text: String,
    article_version: String,
    now: DateTime<Utc>,
) -> Result<Fact, Error> {
    let outcome = outcome.ok_or_else(missing("outcome"))?;
    Ok(Fact::Outcome {
        id: line_of_message(&envelope.tenant, outcome.message_id.parse()?),
        customer: outcome.customer_id.parse()?,
        case: optional(&outcome.case_id)?,
        status,
        at: from_wire(outcome.at.as_ref()).unwrap_or(now),
        outcome: Box::new(outcome),
        text,
        article_version,
    })
}

/// Reads one event.
///
/// # Errors
/// When it is not what its name says or lacks what it must have.
pub fn read(envelope: &Envelope, now: DateTime<Utc>) -> Result<Option<Fact>, Error> {
    let time = |at: Option<&prost_types::Timestamp>| from_wire(at).unwrap_or(now);
    let fact = if envelope.is::<InteractionIdentified>() {
        let event: InteractionIdentified = envelope.decode()?;
        let interaction = event.interaction.ok_or_else(missing("interaction"))?;
        let context = event.customer.ok_or_else(missing("customer"))?;
        let at = from_wire(interaction.occurred_at.as_ref())
            .or_else(|| from_wire(interaction.received_at.as_ref()))
            // A provider's clock that runs ahead must not make anybody wait from tomorrow on.
            .map_or(now, |at| at.min(now));
        Fact::Identified {
            id: interaction.interaction_id.parse()?,
            customer: context.customer_id.parse()?,
            at,
            interaction: Box::new(interaction),
            context: Box::new(context),
            in_doubt: event.in_doubt,
        }
    } else if envelope.is::<CustomerMerged>() {
        let event: CustomerMerged = envelope.decode()?;
        let context = event.survivor.ok_or_else(missing("survivor"))?;
        Fact::Merged {
            merge: event.merge_id.parse()?,
            survivor: context.customer_id.parse()?,
            merged: event.merged_customer_id.parse()?,
            context: Box::new(context),
            by_likeness: event.by_likeness,
            at: time(event.merged_at.as_ref()),
        }
    } else if envelope.is::<CustomerSplit>() {
        let event: CustomerSplit = envelope.decode()?;
        let survivor = event.survivor.ok_or_else(missing("survivor"))?;
        let restored = event.restored.ok_or_else(missing("restored"))?;
        Fact::Split {
            merge: event.merge_id.parse()?,
            survivor: survivor.customer_id.parse()?,
            restored: restored.customer_id.parse()?,
            survivor_context: Box::new(survivor),
            restored_context: Box::new(restored),
            interactions: event
                .restored_interaction_ids
                .iter()
                .map(|id| id.parse())
                .collect::<Result<_, _>>()?,
            at: time(event.split_at.as_ref()),
        }
    } else if envelope.is::<CustomerChanged>() {
        let event: CustomerChanged = envelope.decode()?;
        let context = event.customer.ok_or_else(missing("customer"))?;
        Fact::Changed {
            customer: context.customer_id.parse()?,
            verification: event.changed_fields.iter().any(|f| f == "verification"),
            revoked: event.changed_fields.iter().any(|f| f == "verification_revoked"),
            asked: optional(&event.interaction_id)?.zip(event.proof),
            context: Box::new(context),
        }
    } else if envelope.is::<OfferMade>() {
        let event: OfferMade = envelope.decode()?;
        Fact::OfferMade {
            offer: event.offer_id.parse()?,
            case: event.case_id.parse()?,
            at: time(event.offered_at.as_ref()),
            agent: event.agent_id,
        }
    } else if envelope.is::<OfferAccepted>() {
        let event: OfferAccepted = envelope.decode()?;
        Fact::OfferAccepted {
            offer: event.offer_id.parse()?,
            case: event.case_id.parse()?,
            at: time(event.accepted_at.as_ref()),
            by_voice: event.channel_kind() == trama_proto::common::v1::ChannelKind::Voice,
            agent: event.agent_id,
        }
    } else if envelope.is::<WorkCompleted>() {
        let event: WorkCompleted = envelope.decode()?;
        Fact::WorkCompleted {
            case: event.case_id.parse()?,
            at: time(event.completed_at.as_ref()),
            agent: event.agent_id,
        }
    } else if envelope.is::<WorkTransferred>() {
        let event: WorkTransferred = envelope.decode()?;
        let at = time(event.transferred_at.as_ref());
        Fact::Transferred {
            id: happening(envelope, "transferred", &event.work_item_id, at),
            case: event.case_id.parse()?,
            to: event.to_agent_id,
            at,
            reason: event.reason,
        }
    } else if envelope.is::<WorkOverflowed>() {
        let event: WorkOverflowed = envelope.decode()?;
        let at = time(event.at.as_ref());
        Fact::Overflowed {
            id: happening(envelope, "overflowed", &event.work_item_id, at),
            case: event.case_id.parse()?,
            action: event.action(),
            expected_at: from_wire(event.expected_at.as_ref()),
            template: event.message_template,
            at,
        }
    } else if envelope.is::<SurveyQuestionAsked>() {
        let event: SurveyQuestionAsked = envelope.decode()?;
        Fact::Asked(Expectation {
            tenant: envelope.tenant.clone(),
            invitation_id: event.invitation_id.parse()?,
            question_id: event.question_id,
            customer_id: event.customer_id.parse()?,
            case_id: event.case_id.parse()?,
            min_score: event.min_score,
            max_score: event.max_score,
            closes_at: from_wire(event.closes_at.as_ref()).ok_or_else(missing("closes_at"))?,
            asked_at: now,
        })
    } else if envelope.is::<SurveyResponded>() {
        let event: SurveyResponded = envelope.decode()?;
        Fact::Responded {
            invitation: event.invitation_id.parse()?,
            customer: event
                .customer
                .as_ref()
                .ok_or_else(missing("customer"))?
                .customer_id
                .parse()?,
            case: event.case_id.parse()?,
            at: time(event.responded_at.as_ref()),
            event: Box::new(event),
        }
    } else if envelope.is::<MessageSent>() {
        let event: MessageSent = envelope.decode()?;
        outcome_of(
            envelope,
            event.outcome,
            OutboundStatus::Sent,
            event.text,
            event.article_version,
            now,
        )?
    } else if envelope.is::<MessageDelivered>() {
        let event: MessageDelivered = envelope.decode()?;
        outcome_of(
            envelope,
            event.outcome,
            OutboundStatus::Delivered,
            String::new(),
            String::new(),
            now,
        )?
    } else if envelope.is::<MessageRead>() {
        let event: MessageRead = envelope.decode()?;
        outcome_of(
            envelope,
            event.outcome,
            OutboundStatus::Read,
            String::new(),
            String::new(),
            now,
        )?
    } else if envelope.is::<MessageFailed>() {
        let event: MessageFailed = envelope.decode()?;
        outcome_of(
            envelope,
            event.outcome,
            OutboundStatus::Failed,
            String::new(),
            String::new(),
            now,
        )?
    } else if envelope.is::<CaseRequested>() {
        let event: CaseRequested = envelope.decode()?;
        Fact::Requested {
            case: event.case_id.parse()?,
            customer: event
                .customer
                .as_ref()
                .ok_or_else(missing("customer"))?
                .customer_id
                .parse()?,
            related: optional(&event.related_case_id)?,
            at: time(event.requested_at.as_ref()).min(now),
            event: Box::new(event),
        }
    } else {
        return Ok(None);
    };
    Ok(Some(fact))
}

/// The one stage of this service.
pub struct Consumer(pub Arc<App>);

#[async_trait::async_trait]
impl Handler for Consumer {
    async fn handle(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        let now = tx.now();
        let mut facts = Vec::with_capacity(batch.len());
        for envelope in batch {
            if let Some(fact) = read(envelope, now)? {
                facts.push((envelope, fact));
            }
        }
        self.0.work_in(tx, &facts).await
    }
}
