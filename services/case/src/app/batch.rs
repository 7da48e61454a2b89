//! One batch of events, in their order, in one transaction.

use std::sync::Arc;

use trama_platform::{Error, Tx, stage::Envelope};
use trama_proto::{case::v1::Understanding, resources::Resources};

use super::{
    App,
    hear::Word,
    report::News,
    workspace::{Needs, Workspace},
};
use crate::{
    consumer::Fact,
    store::articles,
    understanding::{is_courtesy, text_of, understand},
};

/// What every event of a batch may look at.
pub(super) struct Batch {
    /// Resources in force; one snapshot for all.
    pub resources: Arc<Resources>,
    /// What is in hand.
    pub workspace: Workspace,
}

impl App {
    /// Works in events in their order.
    ///
    /// # Errors
    /// When the database is away or a row is broken.
    pub async fn work_in(&self, tx: &mut Tx, facts: &[(&Envelope, Fact)]) -> Result<(), Error> {
        // A split takes apart what was written; it is rare and goes by itself.
        for run in facts
            .chunk_by(|(_, a), (_, b)| !matches!(a, Fact::Split { .. }) && !matches!(b, Fact::Split { .. }))
        {
            match run {
                [(envelope, Fact::Split { .. })] => {
                    tx.follow(envelope);
                    self.split(tx, &envelope.tenant, &run[0].1).await?;
                }
                _ => self.work_in_run(tx, run).await?,
            }
        }
        Ok(())
    }

    async fn work_in_run(&self, tx: &mut Tx, facts: &[(&Envelope, Fact)]) -> Result<(), Error> {
        let needs = needs_of(facts);
        let workspace = Workspace::load(tx, &needs, self.config).await?;
        let mut batch = Batch {
            resources: self.resources.snapshot(),
            workspace,
        };
        let understood = self.understand_all(&batch, facts);
        batch.load_articles(tx, &needs, &understood).await?;
        let mut words = understood.into_iter();
        for (number, (envelope, fact)) in facts.iter().enumerate() {
            tx.follow(envelope);
            let understanding = words.next().unwrap_or_default();
            batch.apply(tx, &envelope.tenant, fact, understanding, number)?;
        }
        let envelopes: Vec<&Envelope> = facts.iter().map(|(e, _)| *e).collect();
        batch.workspace.save(tx, &envelopes).await
    }

    fn understand_all(&self, batch: &Batch, facts: &[(&Envelope, Fact)]) -> Vec<Option<Understanding>> {
        facts
            .iter()
            .map(|(envelope, fact)| match fact {
                Fact::Identified {
                    interaction,
                    context,
                    customer,
                    ..
                } => {
                    let model = self.models.of(&envelope.tenant, &batch.resources);
                    let resources = batch.resources.tenant(&envelope.tenant);
                    let workspace = &batch.workspace;
                    let customer = workspace.aliases.resolve(&envelope.tenant, *customer);
                    let spoken = workspace
                        .cases_of(&envelope.tenant, customer)
                        .into_iter()
                        .max_by_key(|c| c.last_heard_at)
                        .map(|c| c.understanding.language.clone());
                    let known = if context.language.is_empty() {
                        spoken.unwrap_or_default()
                    } else {
                        context.language.clone()
                    };
                    Some(understand(&model, resources, interaction, &known))
                }
                _ => None,
            })
            .collect()
    }
}

fn needs_of(facts: &[(&Envelope, Fact)]) -> Needs {
    let mut needs = Needs::default();
    for (envelope, fact) in facts {
        let tenant = &envelope.tenant;
        needs.tenants.insert(tenant.clone());
        let mut customer = |id| needs.customers.insert((tenant.clone(), id));
        match fact {
            Fact::Identified {
                id, customer: who, ..
            } => {
                customer(*who);
                needs.lines.insert(*id);
            }
            Fact::Merged {
                merge,
                survivor,
                merged,
                ..
            } => {
                customer(*survivor);
                customer(*merged);
                needs.merges.insert(merge.uuid());
            }
            Fact::Split {
                survivor, restored, ..
            } => {
                customer(*survivor);
                customer(*restored);
            }
            Fact::Changed { customer: who, .. } => {
                customer(*who);
            }
            Fact::OfferMade { case, .. }
            | Fact::OfferAccepted { case, .. }
            | Fact::WorkCompleted { case, .. }
            | Fact::Transferred { case, .. }
            | Fact::Overflowed { case, .. } => {
                needs.cases.insert(*case);
            }
            Fact::Asked(question) => {
                customer(question.customer_id);
                needs.invitations.insert(question.invitation_id.uuid());
            }
            Fact::Responded {
                customer: who, case, ..
            } => {
                customer(*who);
                needs.cases.insert(*case);
            }
            Fact::Outcome {
                id,
                customer: who,
                case,
                ..
            } => {
                customer(*who);
                needs.lines.insert(*id);
                needs.cases.extend(*case);
            }
            Fact::Requested {
                case,
                customer: who,
                related,
                ..
            } => {
                customer(*who);
                needs.cases.insert(*case);
                needs.cases.extend(*related);
            }
        }
    }
    needs
}

impl Batch {
    async fn load_articles(
        &mut self,
        tx: &mut Tx,
        needs: &Needs,
        understood: &[Option<Understanding>],
    ) -> Result<(), Error> {
        let mut intents: Vec<String> = understood.iter().flatten().map(|u| u.intent.clone()).collect();
        intents.extend(self.workspace.cases.values().map(|h| h.case.intent().to_owned()));
        let mut keys: Vec<String> = self
            .workspace
            .cases
            .values()
            .map(|h| h.case.article_key.clone())
            .collect();
        for list in [&mut intents, &mut keys] {
            list.retain(|text| !text.is_empty());
            list.sort_unstable();
            list.dedup();
        }
        let tenants: Vec<&str> = needs.tenants.iter().map(|t| t.as_str()).collect();
        self.workspace.articles = articles::load(tx.conn(), &tenants, &intents, &keys).await?;
        Ok(())
    }

    fn apply(
        &mut self,
        tx: &mut Tx,
        tenant: &trama_proto::ids::TenantId,
        fact: &Fact,
        understanding: Option<Understanding>,
        cause: usize,
    ) -> Result<(), Error> {
        match fact {
            Fact::Identified {
                id,
                customer,
                at,
                interaction,
                context,
                in_doubt,
            } => {
                let understanding = understanding.unwrap_or_default();
                let spec = self
                    .resources
                    .tenant(tenant)
                    .and_then(|t| t.intents.get(&understanding.intent));
                let word = Word {
                    tenant,
                    id: *id,
                    customer: self.workspace.aliases.resolve(tenant, *customer),
                    at: *at,
                    interaction,
                    context: self.context_of(tenant, *customer, context),
                    in_doubt: *in_doubt,
                    asks_for_person: spec.is_some_and(|s| s.asks_for_person),
                    self_service: spec.is_some_and(|s| s.self_service),
                    courtesy: is_courtesy(&text_of(interaction)),
                    understanding,
                    cause,
                };
                self.hear(tx, word)?;
            }
            Fact::Merged {
                merge,
                survivor,
                merged,
                context,
                by_likeness,
                at,
            } => {
                let both = (*survivor, *merged);
                self.merge(tenant, *merge, both, (context, *by_likeness), *at, cause)?;
            }
            // Goes by itself, see `work_in`.
            Fact::Split { .. } => {}
            Fact::Changed {
                customer,
                context,
                verification,
                revoked,
                asked,
            } => {
                let news = News {
                    context,
                    verification: *verification,
                    revoked: *revoked,
                    asked: asked.as_ref(),
                };
                self.customer_changed(tenant, *customer, &news, cause);
            }
            Fact::OfferMade {
                offer,
                case,
                agent,
                at,
            } => self.offer_made(tenant, *offer, *case, agent, *at),
            Fact::OfferAccepted {
                offer,
                case,
                agent,
                at,
                by_voice,
            } => {
                self.offer_accepted(tenant, *offer, *case, agent, (*at, *by_voice), cause);
            }
            Fact::WorkCompleted { case, agent, at } => self.work_completed(tenant, *case, agent, *at, cause),
            Fact::Transferred {
                id,
                case,
                to,
                at,
                reason,
            } => self.work_transferred(tenant, *id, *case, to, (*at, reason), cause),
            Fact::Overflowed { .. } => self.work_overflowed(tx, tenant, fact),
            Fact::Asked(question) => self.question_asked(question),
            Fact::Responded {
                invitation,
                event,
                customer,
                case,
                at,
            } => {
                self.survey_responded(tenant, *invitation, event, (*customer, *case), *at);
            }
            Fact::Outcome { .. } => self.message_outcome(tenant, fact, cause)?,
            Fact::Requested {
                case,
                customer,
                related,
                at,
                event,
            } => {
                self.case_requested(tenant, (*case, *customer, *related), *at, event, cause);
            }
        }
        Ok(())
    }

    /// What is known of a customer: of one who was merged since, what is known of who remains.
    fn context_of(
        &self,
        tenant: &trama_proto::ids::TenantId,
        customer: trama_proto::ids::CustomerId,
        told: &trama_proto::common::v1::CustomerContext,
    ) -> trama_proto::common::v1::CustomerContext {
        match self.workspace.aliases.walk(tenant, customer) {
            None => told.clone(),
            Some((survivor, at_merge)) => {
                let cases = self.workspace.cases_of(tenant, survivor).into_iter();
                let latest = cases
                    .filter(|c| c.state.is_live())
                    .max_by_key(|c| c.last_heard_at);
                let mut known = latest.map_or_else(|| at_merge.clone(), |c| c.customer.clone());
                // Which proof holds for whoever spoke, only their own word says.
                known.verification.clone_from(&told.verification);
                known
            }
        }
    }
}
