//! Households, companies and their people: customers who belong together without being one.

use chrono::{DateTime, Utc};
use trama_platform::{Command, Error, page};
use trama_proto::{
    identity_resolution::v1::{self as wire, RelationKind, RelationStatus},
    ids::{CustomerId, TenantId},
    time::to_wire,
};
use uuid::Uuid;

use super::{App, Caller, hierarchy::wholes_of};
use crate::{
    domain::ids::RelationId,
    error::refused,
    store::{
        self,
        relations::{self, Relation},
    },
};

/// Two belong together.
#[derive(Debug, Clone)]
pub struct Together {
    /// The first.
    pub one: CustomerId,
    /// The second.
    pub other: CustomerId,
    /// How.
    pub kind: RelationKind,
    /// Role of the second.
    pub role: String,
    /// How we know.
    pub evidence: String,
}

impl App {
    /// Says that two belong together.
    pub async fn link_relation(
        &self,
        caller: &Caller,
        wanted: Together,
        request: &wire::LinkRelationRequest,
    ) -> Result<wire::LinkRelationResponse, Error> {
        const METHOD: &str = "LinkRelation";
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        let command = Command::new(
            tenant,
            caller.subject.as_str(),
            METHOD,
            &request.request_id,
            request,
        );
        if let Some(response) = tx.replay(&command).await? {
            return Ok(response);
        }
        let one = self.read(&mut tx, tenant, wanted.one).await?.id;
        let other = self.read(&mut tx, tenant, wanted.other).await?.id;
        if one == other {
            return Err(refused("both ids are the same customer"));
        }
        if wanted.kind == RelationKind::PartOf {
            relations::hold_hierarchy(tx.conn(), tenant).await?;
            if wholes_of(&mut tx, tenant, one).await?.contains(&other) {
                return Err(refused(
                    "the second is what the first is part of already: nothing is part of itself",
                ));
            }
        }
        let (one, other) = relations::in_order(one, other, wanted.kind);
        let relation = Relation {
            id: relations::id_of(tenant, one, other, wanted.kind),
            one,
            other,
            kind: wanted.kind,
            role: wanted.role,
            status: RelationStatus::Confirmed,
            evidence: wanted.evidence,
            decided_by: caller.subject.to_string(),
            created_at: tx.now(),
        };
        let before = relations::find(tx.conn(), tenant, relation.id).await?;
        relations::put(tx.conn(), tenant, &relation).await?;
        tx.changed(
            ("relation", &relation.id),
            "status",
            before.map_or("", |before| before.status.as_str_name()),
            relation.status.as_str_name(),
        );
        let stored = relations::find(tx.conn(), tenant, relation.id).await?;
        let response = wire::LinkRelationResponse {
            relation: Some(wire_relation(&stored.unwrap_or(relation))),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Takes a relation away.
    pub async fn unlink_relation(
        &self,
        caller: &Caller,
        id: RelationId,
        request: &wire::UnlinkRelationRequest,
    ) -> Result<wire::UnlinkRelationResponse, Error> {
        const METHOD: &str = "UnlinkRelation";
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        let command = Command::new(
            tenant,
            caller.subject.as_str(),
            METHOD,
            &request.request_id,
            request,
        );
        if let Some(response) = tx.replay(&command).await? {
            return Ok(response);
        }
        let before = relations::find(tx.conn(), tenant, id).await?;
        if !relations::dismiss(tx.conn(), tenant, id).await? {
            return Err(Error::not_found("relation", id));
        }
        let before = before.map_or("", |before| before.status.as_str_name());
        tx.changed(("relation", &id), "status", before, "");
        let response = wire::UnlinkRelationResponse {};
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Who a customer belongs together with.
    pub async fn list_relations(
        &self,
        tenant: &TenantId,
        id: CustomerId,
        (size, token): (i32, &str),
    ) -> Result<wire::ListRelationsResponse, Error> {
        let most = page::size(size)?;
        let after: Option<(DateTime<Utc>, Uuid)> = page::start(token)?;
        let mut tx = self.db.tx(tenant).await?;
        let customer = self.read(&mut tx, tenant, id).await?;
        let ids: Vec<CustomerId> = customer.members.iter().map(|m| m.id).collect();
        let mut found = store::relations::list(tx.conn(), tenant, &ids, after, most + 1).await?;
        let more = i64::try_from(found.len()).is_ok_and(|n| n > most);
        found.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        let last = found.last().filter(|_| more);
        Ok(wire::ListRelationsResponse {
            next_page_token: last
                .map(|r| page::token(&(r.created_at, r.id.uuid())))
                .unwrap_or_default(),
            relations: found.iter().map(wire_relation).collect(),
        })
    }
}

pub(super) fn wire_relation(relation: &Relation) -> wire::Relation {
    wire::Relation {
        relation_id: relation.id.to_string(),
        customer_id: relation.one.to_string(),
        other_customer_id: relation.other.to_string(),
        kind: relation.kind as i32,
        role: relation.role.clone(),
        status: relation.status as i32,
        evidence: relation.evidence.clone(),
        decided_by: relation.decided_by.clone(),
        create_time: Some(to_wire(relation.created_at)),
    }
}
