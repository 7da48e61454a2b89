//! Companies and their parts: a walk over relations, level by level.

use std::collections::HashSet;

use trama_platform::{Error, Tx};
use trama_proto::{
    identity_resolution::v1::{self as wire, RelationKind},
    ids::{CustomerId, TenantId},
};

use super::{App, relating::wire_relation};
use crate::store::{
    self,
    relations::{self, End, Relation},
};

/// Levels that are walked in each direction.
const LEVELS: i32 = 16;
/// Relations that one answer holds.
const MOST: usize = 1_000;

/// What was found on the way.
#[derive(Default)]
struct Walk {
    steps: Vec<wire::HierarchyStep>,
    truncated: bool,
}

impl Walk {
    fn add(&mut self, found: &[Relation], level: i32) {
        let room = MOST.saturating_sub(self.steps.len());
        self.truncated |= found.len() > room;
        self.steps
            .extend(found.iter().take(room).map(|relation| wire::HierarchyStep {
                relation: Some(wire_relation(relation)),
                level,
            }));
    }
}

impl App {
    /// What a company is part of, what is part of it, and who acts for them.
    ///
    /// # Errors
    /// When there is no such customer, or the database is away.
    pub async fn list_hierarchy(
        &self,
        tenant: &TenantId,
        id: CustomerId,
        with_contacts: bool,
    ) -> Result<wire::ListHierarchyResponse, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let start = self.read(&mut tx, tenant, id).await?.id;
        let mut walk = Walk::default();
        climb(&mut tx, tenant, (start, End::Other), with_contacts, &mut walk).await?;
        if with_contacts {
            let contacts = next(
                &mut tx,
                tenant,
                (&[start], End::One),
                RelationKind::CompanyContact,
            )
            .await?;
            walk.add(&contacts, 0);
        }
        climb(&mut tx, tenant, (start, End::One), with_contacts, &mut walk).await?;
        Ok(wire::ListHierarchyResponse {
            steps: walk.steps,
            truncated: walk.truncated,
        })
    }
}

/// All that a customer is part of, themselves included.
pub(super) async fn wholes_of(
    tx: &mut Tx,
    tenant: &TenantId,
    id: CustomerId,
) -> Result<HashSet<CustomerId>, Error> {
    climb(tx, tenant, (id, End::Other), false, &mut Walk::default()).await
}

/// Walks in one direction: from where the start is the second to what it is part of, or down to its parts. Returns
/// everybody on the way; nobody is visited twice, so a circle ends where it began.
async fn climb(
    tx: &mut Tx,
    tenant: &TenantId,
    (start, end): (CustomerId, End),
    with_contacts: bool,
    walk: &mut Walk,
) -> Result<HashSet<CustomerId>, Error> {
    let mut seen = HashSet::from([start]);
    let mut level = vec![start];
    for depth in 1..=LEVELS {
        let found = next(tx, tenant, (&level, end), RelationKind::PartOf).await?;
        let depth = match end {
            End::One => depth,
            End::Other => -depth,
        };
        walk.add(&found, depth);
        level = found
            .iter()
            .map(|relation| match end {
                End::One => relation.other,
                End::Other => relation.one,
            })
            .filter(|id| seen.insert(*id))
            .collect();
        if level.is_empty() {
            return Ok(seen);
        }
        if with_contacts {
            let contacts = next(tx, tenant, (&level, End::One), RelationKind::CompanyContact).await?;
            walk.add(&contacts, depth);
        }
        if walk.truncated || seen.len() > MOST {
            break;
        }
    }
    walk.truncated = true;
    Ok(seen)
}

/// Relations of a kind at one end of which any of these stands, under any of their ids.
async fn next(
    tx: &mut Tx,
    tenant: &TenantId,
    (level, end): (&[CustomerId], End),
    kind: RelationKind,
) -> Result<Vec<Relation>, Error> {
    let rows: Vec<_> = store::profiles::rows_of(tx.conn(), tenant, level)
        .await?
        .into_iter()
        .map(|(row, _)| row)
        .collect();
    let most = i64::try_from(MOST + 1).unwrap_or(i64::MAX);
    relations::of_kind(tx.conn(), tenant, (&rows, end), kind, most).await
}
