//! Finding customers, and who looked at them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use trama_platform::{Error, page, privacy::forgotten};
use trama_proto::{
    identity_resolution::v1 as wire,
    ids::{CustomerId, TenantId},
    time::to_wire,
};
use uuid::Uuid;

use super::rows;
use crate::{
    app::{App, Caller},
    domain::handle::HandleKey,
    store::{self, Question},
};

/// Who is looked for.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Whose name has a word that begins so, lower case.
    Name(String),
    /// Who holds a handle.
    Handle(HandleKey),
    /// Who belongs to a segment.
    Segment(String),
}

#[derive(Serialize, Deserialize)]
enum Place {
    Word(String, Uuid),
    Id(Uuid),
}

impl App {
    /// Finds customers, page by page.
    pub async fn search_customers(
        &self,
        caller: &Caller,
        wanted: &Wanted,
        size: i64,
        page_token: &str,
    ) -> Result<wire::SearchCustomersResponse, Error> {
        let tenant = &caller.tenant;
        let place: Option<Place> = page::start(page_token)?;
        let mut tx = self.db.tx(tenant).await?;
        let now = tx.now();
        let (found, next): (Vec<Uuid>, Option<Place>) = match wanted {
            Wanted::Name(prefix) => {
                let after = match place {
                    Some(Place::Word(word, id)) => Some((word, id)),
                    Some(Place::Id(_)) | None => None,
                };
                let words = store::profiles::by_name(tx.conn(), tenant, prefix, after.as_ref(), size).await?;
                let next = full(words.len(), size)
                    .and_then(|()| words.last())
                    .map(|(w, id)| Place::Word(w.clone(), *id));
                (words.into_iter().map(|(_, id)| id).collect(), next)
            }
            Wanted::Segment(segment) => {
                let after = match place {
                    Some(Place::Id(id)) => Some(id),
                    Some(Place::Word(..)) | None => None,
                };
                let ids = store::profiles::by_segment(tx.conn(), tenant, segment, after, size).await?;
                let next = full(ids.len(), size)
                    .and_then(|()| ids.last())
                    .map(|id| Place::Id(*id));
                (ids, next)
            }
            Wanted::Handle(key) => {
                let question = Question {
                    handles: vec![(tenant, key)],
                    ..Question::default()
                };
                let worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
                let owner = worlds.get(tenant).and_then(|w| w.owner(key)).map(|c| c.id.uuid());
                (owner.into_iter().collect(), None)
            }
        };
        let question = Question {
            customers: found.iter().map(|id| (tenant, CustomerId::new(*id))).collect(),
            ..Question::default()
        };
        let worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        let rules = self.rules(tenant);
        let (mut seen, mut customers) = (Vec::new(), Vec::new());
        for id in found {
            // The name of an alias leads to the customer that it belongs to; two words of a name to one customer.
            let customer = worlds.get(tenant).and_then(|w| w.get(CustomerId::new(id)));
            if let Some(customer) = customer.filter(|c| !seen.contains(&c.id)) {
                seen.push(customer.id);
                customers.push(customer.context(&rules, now, false));
            }
        }
        self.note(&mut tx, caller, &seen, "found", "").await?;
        tx.commit().await?;
        Ok(wire::SearchCustomersResponse {
            customers,
            next_page_token: next.map(|place| page::token(&place)).unwrap_or_default(),
        })
    }

    /// Who read or changed a customer, newest first.
    pub async fn list_access(
        &self,
        tenant: &TenantId,
        id: CustomerId,
        size: i64,
        page_token: &str,
    ) -> Result<wire::ListAccessResponse, Error> {
        let before: Option<(DateTime<Utc>, Uuid)> = page::start(page_token)?;
        let mut tx = self.db.tx(tenant).await?;
        // Of somebody who was erased the log is all that is left.
        let rows = if forgotten(&mut tx, tenant, &[id.uuid()]).await?.is_empty() {
            let customer = self.read(&mut tx, tenant, id).await?;
            rows(&mut tx, tenant, customer.id).await?
        } else {
            vec![id.uuid()]
        };
        let lines = store::access::list(tx.conn(), tenant, &rows, before, size).await?;
        let next = full(lines.len(), size)
            .and_then(|()| lines.last())
            .map(|l| page::token(&(l.at, l.id)));
        Ok(wire::ListAccessResponse {
            entries: lines
                .into_iter()
                .map(|line| wire::AccessEntry {
                    subject: line.subject,
                    action: line.action,
                    detail: line.detail,
                    create_time: Some(to_wire(line.at)),
                    origin_customer_id: line.origin.to_string(),
                    origin: line.from_where,
                })
                .collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }
}

/// Whether a page is full, so that there may be another one.
fn full(length: usize, size: i64) -> Option<()> {
    (i64::try_from(length) == Ok(size)).then_some(())
}
