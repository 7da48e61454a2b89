//! Events → app.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use prost::Message as _;
use trama_platform::{
    Error, Tx,
    stage::{Envelope, Handler},
};
use trama_proto::{
    case::v1::{self, WorkRequested, WorkWithdrawn},
    common::v1::ChannelKind,
    ids::{AgentId, CaseId, TenantId},
    resources::{Resources, TenantResources},
    time::from_wire,
};

use crate::{
    app::{Incoming, Routing},
    domain::{Facts, Request, WithdrawReason, route},
};

/// Works in requests and withdrawals.
pub struct Consumer {
    /// The use cases.
    pub routing: Routing,
}

#[async_trait::async_trait]
impl Handler for Consumer {
    async fn handle(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        let resources = self.routing.resources.snapshot();
        let mut by_tenant: BTreeMap<TenantId, Vec<(usize, Incoming)>> = BTreeMap::new();
        for (place, envelope) in batch.iter().enumerate() {
            if let Some(incoming) = parse(envelope, &resources, tx.now())? {
                by_tenant
                    .entry(envelope.tenant.clone())
                    .or_default()
                    .push((place, incoming));
            }
        }
        // In the order of their names: so two batches never wait for each other in a circle.
        for (tenant, messages) in by_tenant {
            self.routing.work_in(tx, &tenant, messages, batch).await?;
        }
        Ok(())
    }
}

fn parse(envelope: &Envelope, resources: &Resources, now: DateTime<Utc>) -> Result<Option<Incoming>, Error> {
    if envelope.is::<WorkRequested>() {
        let request = requested(envelope.decode()?, resources.tenant(&envelope.tenant), now)?;
        Ok(Some(Incoming::Requested(request)))
    } else if envelope.is::<WorkWithdrawn>() {
        withdrawn(&envelope.decode()?).map(Some)
    } else {
        Ok(None)
    }
}

fn requested(
    event: WorkRequested,
    resources: Option<&TenantResources>,
    now: DateTime<Utc>,
) -> Result<Request, Error> {
    let channel = event.channel_kind();
    if channel == ChannelKind::Unspecified {
        return Err(Error::invalid("channel_kind", "must be said"));
    }
    let waiting_since = from_wire(event.waiting_since.as_ref())
        .ok_or_else(|| Error::invalid("waiting_since", "must say since when the customer waits"))?;
    let preferred = match event.preferred_agent_id.as_str() {
        "" => None,
        id => Some(
            id.parse::<AgentId>()
                .map_err(|e| Error::invalid("preferred_agent_id", e.to_string()))?,
        ),
    };
    let route = route(
        &Facts::of(channel, event.snapshot.as_ref(), waiting_since),
        resources,
        now,
    );
    if route.failed_conditions > 0 {
        metrics::counter!("trama_routing_conditions_failed_total")
            .increment(u64::from(route.failed_conditions));
    }
    Ok(Request {
        case_id: case_id(&event.case_id)?,
        revision: revision(event.revision)?,
        channel,
        waiting_since,
        preferred,
        customer_left: event.customer_left,
        calls_back: false,
        route,
        snapshot: event.snapshot.map(|s| s.encode_to_vec()).unwrap_or_default(),
    })
}

fn withdrawn(event: &WorkWithdrawn) -> Result<Incoming, Error> {
    let reason = match event.reason() {
        v1::WithdrawReason::Unspecified => return Err(Error::invalid("reason", "must be said")),
        v1::WithdrawReason::Resolved => WithdrawReason::Resolved,
        v1::WithdrawReason::Merged => WithdrawReason::Merged,
        v1::WithdrawReason::Answered => WithdrawReason::Answered,
    };
    Ok(Incoming::Withdrawn {
        case_id: case_id(&event.case_id)?,
        revision: revision(event.revision)?,
        reason,
    })
}

fn case_id(text: &str) -> Result<CaseId, Error> {
    text.parse()
        .map_err(|e: trama_proto::ids::InvalidId| Error::invalid("case_id", e.to_string()))
}

fn revision(number: i64) -> Result<i64, Error> {
    if number > 0 {
        Ok(number)
    } else {
        Err(Error::invalid("revision", "must count from 1"))
    }
}
