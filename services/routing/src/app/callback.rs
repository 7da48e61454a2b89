//! Callers hang up, keep their place, and are called.

use chrono::{DateTime, TimeDelta, Utc};
use prost::Message;
use trama_platform::{Error, Kind};
use trama_proto::{
    ids::CaseId,
    resources::TenantResources,
    routing::v1::{self, OverflowAction},
};

use super::{Change, Ordered, Overflowing, Routing, once};
use crate::{api::wire, store};

/// Nobody is promised a call later than this.
const LATEST: TimeDelta = TimeDelta::days(30);

/// How often the callers of a queue are called.
fn attempts(resources: Option<&TenantResources>, queue: &str) -> u32 {
    let spec = resources.and_then(|r| r.queues.get(queue));
    spec.map(|q| q.callback.attempts)
        .unwrap_or_else(|| trama_proto::resources::Callback::default().attempts)
}

impl Routing {
    /// Whoever waits for a call may hang up; or nobody answered, and they are called once more.
    pub async fn request_callback<Q: Message, R: Message + Default>(
        &self,
        ordered: &Ordered<'_, Q>,
        case: CaseId,
        at: Option<DateTime<Utc>>,
        answer: fn(v1::WorkItem) -> R,
    ) -> Result<R, Error> {
        once!(self, ordered, |tx| {
            let (tenant, now) = (ordered.tenant, tx.now());
            if at.is_some_and(|at| at <= now || at > now + LATEST) {
                return Err(Error::invalid("at", "must be within the next 30 days"));
            }
            let item = store::last_of_cases(tx, tenant, &[case])
                .await?
                .pop()
                .filter(|item| item.number > 0)
                .ok_or_else(|| {
                    Error::new(
                        Kind::NotFound,
                        format!("case {case} never needed anybody: it has no work item"),
                    )
                })?;
            let mut change = Change::new(tenant, now);
            change.know(&item);
            let resources = self.resources.snapshot();
            let most = attempts(resources.tenant(tenant), &item.route.queue);
            let (item, returned) = item.call_back(at, most, now)?;
            let mut reason = "a callback was asked for";
            if let Some(returned) = returned {
                if !returned.unanswered {
                    reason = "nobody answered our call";
                }
                change.returned(&item, &returned, reason);
            }
            let said = Overflowing {
                action: OverflowAction::Callback,
                template: None,
                expected_at: at,
                reason,
            };
            change.overflowed(&item, said);
            change.put(item.clone());
            change.save(tx, &[], &self.signals, false).await?;
            Ok(answer(wire::item(&item)))
        })
    }
}
