//! Events and timers → app.

use prost::Message as _;
use trama_platform::{
    Error, Tx,
    resources::ResourceStore,
    stage::{Envelope, Handler},
    timers::{Timer, TimerHandler},
};
use trama_proto::{
    case::v1::{CaseResolved, SurveyAnswerReceived},
    common::v1::CustomerContext,
    identity_resolution::v1::{CustomerMerged, CustomerSplit, Purpose},
    ids::{CustomerId, InteractionId, MergeId, TenantId},
    notification::v1::MessageFailed,
    time::from_wire,
};

use crate::{
    app::{self, Given, Resolved, Undelivered},
    config::Config,
    store::{self, Split},
};

/// Works in what the service listens to, and its timers.
pub struct Consumer {
    /// Surveys in force.
    pub resources: ResourceStore,
    /// How askings end.
    pub config: Config,
}

#[async_trait::async_trait]
impl Handler for Consumer {
    async fn handle(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        let (mut resolved, mut given, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for envelope in batch {
            // Merges first, in their order: a decision is made for the person, not for the id.
            if envelope.is::<CustomerMerged>() {
                merge(tx, &envelope.tenant, envelope.decode()?).await?;
            } else if envelope.is::<CustomerSplit>() {
                split(tx, &envelope.tenant, envelope.decode()?).await?;
            } else if envelope.is::<CaseResolved>() {
                resolved.push(Resolved {
                    envelope,
                    event: envelope.decode()?,
                });
            } else if envelope.is::<SurveyAnswerReceived>() {
                given.push((envelope, answer(tx, &envelope.tenant, envelope.decode()?)?));
            } else if envelope.is::<MessageFailed>() {
                failed.extend(failure(&envelope.tenant, envelope.decode()?)?);
            } else {
                return Err(Error::invalid(
                    "event",
                    format!("{} is not one we listen to", envelope.name),
                ));
            }
        }
        if !resolved.is_empty() {
            let resources = self.resources.snapshot();
            app::invite(tx, &resources, resolved).await?;
        }
        if !given.is_empty() {
            app::answered(tx, given, self.config).await?;
        }
        if !failed.is_empty() {
            app::undelivered(tx, &failed).await?;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl TimerHandler for Consumer {
    async fn fire(&self, tx: &mut Tx, due: &[Timer]) -> Result<(), Error> {
        let of = |kind: &str| due.iter().filter(|t| t.kind == kind).collect::<Vec<_>>();
        let (ask, lapse) = (of(app::ASK), of(app::LAPSE));
        if ask.len() + lapse.len() < due.len() {
            return Err(Error::internal("a timer of an unknown kind"));
        }
        if !ask.is_empty() {
            app::ask_due(tx, &ask, self.config).await?;
        }
        if !lapse.is_empty() {
            app::lapse_due(tx, &lapse).await?;
        }
        Ok(())
    }
}

fn answer(tx: &Tx, tenant: &TenantId, event: SurveyAnswerReceived) -> Result<Given, Error> {
    let said = event.interaction.unwrap_or_default();
    Ok(Given {
        tenant: tenant.clone(),
        invitation_id: event.invitation_id.parse()?,
        question_id: event.question_id,
        score: event.score,
        channel_kind: said.channel_kind(),
        at: from_wire(said.occurred_at.as_ref()).unwrap_or_else(|| tx.now()),
        provider_id: said.provider_id,
        subject: said.subject,
    })
}

fn failure(tenant: &TenantId, event: MessageFailed) -> Result<Option<Undelivered>, Error> {
    let Some(outcome) = event.outcome.filter(|o| o.purpose() == Purpose::Survey) else {
        return Ok(None);
    };
    Ok(Some(Undelivered {
        tenant: tenant.clone(),
        message_id: outcome.message_id.parse()?,
        reason: outcome.reason,
    }))
}

async fn merge(tx: &mut Tx, tenant: &TenantId, event: CustomerMerged) -> Result<(), Error> {
    let (survivor, known) = person(event.survivor)?;
    let (merge, merged): (MergeId, CustomerId) = (event.merge_id.parse()?, event.merged_customer_id.parse()?);
    store::save_merge(tx, tenant, merge, (survivor, &known), merged).await
}

async fn split(tx: &mut Tx, tenant: &TenantId, event: CustomerSplit) -> Result<(), Error> {
    let (survivor, _) = person(event.survivor)?;
    let (restored, known) = person(event.restored)?;
    let interactions = event
        .restored_interaction_ids
        .iter()
        .map(|id| Ok(id.parse::<InteractionId>()?.uuid()))
        .collect::<Result<Vec<_>, Error>>()?;
    let split = Split {
        merge: event.merge_id.parse()?,
        survivor,
        restored,
        interactions: &interactions,
        merged_at: from_wire(event.merged_at.as_ref()),
        at: from_wire(event.split_at.as_ref()).unwrap_or_else(|| tx.now()),
    };
    store::save_split(tx, tenant, &split, &known).await
}

fn person(context: Option<CustomerContext>) -> Result<(CustomerId, Vec<u8>), Error> {
    let context = context.ok_or_else(|| Error::invalid("customer", "is missing"))?;
    Ok((context.customer_id.parse()?, context.encode_to_vec()))
}
