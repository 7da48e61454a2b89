//! Events → app.

use std::sync::Arc;

use trama_platform::{
    Error, Tx,
    stage::{Envelope, Handler},
};
use trama_proto::{
    ids::InteractionId,
    ingest::v1::{HandleChanged, InteractionReceived},
    privacy::v1::PrivacyDone,
};

use crate::app::{App, Received};

/// Works in interactions.
pub struct Consumer(Arc<App>);

impl Consumer {
    /// Over the use cases.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

#[async_trait::async_trait]
impl Handler for Consumer {
    async fn handle(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        // What was said from a number before it changed is not of whoever has it afterwards.
        for part in batch.chunk_by(|a, b| a.is::<HandleChanged>() == b.is::<HandleChanged>()) {
            if part.first().is_some_and(|e| e.is::<HandleChanged>()) {
                for envelope in part {
                    let change: HandleChanged = envelope.decode()?;
                    tx.follow(envelope);
                    self.0.follow_change(tx, &envelope.tenant, &change).await?;
                }
            } else {
                self.identify(tx, part).await?;
            }
        }
        Ok(())
    }
}

impl Consumer {
    async fn identify(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        let received = batch
            .iter()
            .filter(|e| e.is::<InteractionReceived>())
            .map(read)
            .collect::<Result<Vec<_>, _>>()?;
        if received.is_empty() {
            return Ok(());
        }
        tx.plan_once().await?;
        let received = self.0.unless_erased(tx, received).await?;
        self.0.identify(tx, &received).await?;
        self.0.withdraw_by_keyword(tx, &received).await
    }
}

fn read(envelope: &Envelope) -> Result<Received<'_>, Error> {
    let event: InteractionReceived = envelope.decode()?;
    let interaction = event
        .interaction
        .ok_or_else(|| Error::invalid("interaction", "is missing"))?;
    let id: InteractionId = interaction.interaction_id.parse()?;
    Ok(Received {
        envelope,
        interaction,
        id,
    })
}

/// Keeps who changed what.
pub struct Keeper(Arc<App>);

impl Keeper {
    /// Over the use cases.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

#[async_trait::async_trait]
impl Handler for Keeper {
    async fn handle(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        self.0.keep_audit(tx, batch).await
    }
}

/// Works in what services answer to requests of privacy.
pub struct Answers(Arc<App>);

impl Answers {
    /// Over the use cases.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

#[async_trait::async_trait]
impl Handler for Answers {
    async fn handle(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        for envelope in batch {
            if envelope.is::<PrivacyDone>() {
                let done: PrivacyDone = envelope.decode()?;
                self.0.privacy_answered(tx, &envelope.tenant, &done).await?;
            }
        }
        Ok(())
    }
}
