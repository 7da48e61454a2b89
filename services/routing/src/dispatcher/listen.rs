//! What other replicas say and ask.

use std::sync::Arc;

use futures::StreamExt as _;
use trama_platform::{Error, Lifecycle};
use trama_proto::ids::TenantId;

use super::{Leaders, Question};
use crate::app::Routing;

/// Hears news, vacancies and questions of other replicas.
///
/// # Errors
/// When NATS refuses the subscription.
pub async fn listen(routing: Routing, lifecycle: Lifecycle) -> Result<(), Error> {
    let leaders = Arc::clone(&routing.leaders);
    let stopping = lifecycle.stopping();
    let subject = format!("{}.routing.>", leaders.bus.prefix());
    let mut heard = leaders
        .bus
        .client()
        .subscribe(subject)
        .await
        .map_err(|e| Error::unavailable("NATS", e))?;
    loop {
        let message = tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            message = heard.next() => message,
        };
        // The client reconnects by itself and subscribes again; the stream ends only with the client.
        let Some(message) = message else { return Ok(()) };
        let mut words = message.subject.rsplit('.');
        let (what, tenant) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match what {
            "news" => {
                if let Err(error) = routing.signals.heard(&message.payload) {
                    tracing::debug!(
                        detail = error.detail(),
                        "a hint of another replica cannot be read"
                    );
                }
            }
            "vacant" => leaders.look_for_work(),
            "explain" | "health" => {
                if let (Ok(tenant), Some(reply)) = (tenant.parse::<TenantId>(), message.reply.clone())
                    && leaders.leads(&tenant)
                {
                    let (leaders, what) = (Arc::clone(&leaders), what.to_owned());
                    lifecycle.spawn("leader-answer", async move {
                        answer(&leaders, &tenant, &what, &message.payload, reply).await;
                        Ok(())
                    });
                }
            }
            _ => {}
        }
    }
}

async fn answer(
    leaders: &Leaders,
    tenant: &TenantId,
    what: &str,
    payload: &[u8],
    reply: async_nats::Subject,
) {
    let bytes = if what == "health" {
        let health = leaders.ask(tenant, Question::Health).await;
        serde_json::to_vec(&health.unwrap_or_default())
    } else {
        let item = std::str::from_utf8(payload)
            .ok()
            .and_then(|text| text.parse().ok());
        let Some(item) = item else { return };
        let explanation = leaders.ask(tenant, |reply| Question::Explain(item, reply)).await;
        serde_json::to_vec(&explanation.unwrap_or_default())
    };
    if let Err(error) = leaders
        .bus
        .client()
        .publish(reply, bytes.unwrap_or_default().into())
        .await
    {
        tracing::debug!(%error, "an answer to another replica was not sent");
    }
}
