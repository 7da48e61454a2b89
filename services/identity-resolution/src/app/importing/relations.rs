//! Who belongs together with whom, as lines say it.

use std::collections::{BTreeMap, BTreeSet};

use trama_platform::{Error, Tx};
use trama_proto::{
    identity_resolution::v1::{RelationKind, RelationStatus},
    ids::{CustomerId, TenantId},
};

use super::super::{App, Caller, hierarchy::wholes_of};
use crate::{
    domain::{
        ids::RelationId,
        import::{Bond, Row},
    },
    store::{
        self, Question,
        imports::LineError,
        relations::{self, Relation},
    },
};

/// The column, as errors name it.
const COLUMN: &str = "relations";

impl App {
    /// Keeps the relations that lines name. Both sides and the kind make one: said again, it is the same, and one that a
    /// person took away stays away. Of customers that nobody knows the line is named; the rest of it is taken.
    ///
    /// # Errors
    /// When the database is away.
    pub(super) async fn take_relations(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        source: &str,
        rows: &[Row],
    ) -> Result<Vec<LineError>, Error> {
        let rows: Vec<&Row> = rows.iter().filter(|row| !row.relations.is_empty()).collect();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let (tenant, now) = (&caller.tenant, tx.now());
        let bonds = || rows.iter().flat_map(|row| &row.relations);
        let others: BTreeSet<CustomerId> = bonds().map(|bond| bond.other).collect();
        let question = Question {
            handles: rows
                .iter()
                .filter_map(|row| Some((tenant, &row.handles.first()?.key)))
                .collect(),
            customers: others.iter().map(|id| (tenant, *id)).collect(),
        };
        let worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        let Some(world) = worlds.get(tenant) else {
            return Ok(Vec::new());
        };
        let mut errors = Vec::new();
        let mut wanted: BTreeMap<RelationId, (i64, Relation)> = BTreeMap::new();
        for row in &rows {
            let Some(own) = row.handles.first().and_then(|h| world.owner(&h.key)) else {
                continue;
            };
            for bond in &row.relations {
                match world.get(bond.other).map(|other| other.id) {
                    None => wrong(&mut errors, row.line, "there is no such customer"),
                    Some(other) if other == own.id => {
                        wrong(&mut errors, row.line, "both are the same customer");
                    }
                    Some(other) => {
                        let relation = relation(tenant, (own.id, other), bond);
                        wanted.insert(relation.id, (row.line, relation));
                    }
                }
            }
        }
        let ids: Vec<RelationId> = wanted.keys().copied().collect();
        for known in relations::by_ids(tx.conn(), tenant, &ids).await? {
            let news = wanted.get(&known.id).is_some_and(|(_, relation)| {
                !known.dismissed && (known.status, &known.role) != (relation.status, &relation.role)
            });
            if !news {
                wanted.remove(&known.id);
            }
        }
        let mut taken = Vec::with_capacity(wanted.len());
        for (number, mut relation) in wanted.into_values() {
            relation.evidence = format!("import from {source}");
            relation.decided_by = caller.subject.to_string();
            relation.created_at = now;
            if relation.kind == RelationKind::PartOf {
                // One at a time: two lines of a file could close a circle that neither of them sees.
                relations::hold_hierarchy(tx.conn(), tenant).await?;
                if wholes_of(tx, tenant, relation.one)
                    .await?
                    .contains(&relation.other)
                {
                    wrong(
                        &mut errors,
                        number,
                        "nothing is part of itself, not by others either",
                    );
                    continue;
                }
                relations::put(tx.conn(), tenant, &relation).await?;
            }
            taken.push(relation);
        }
        relations::put_all(tx.conn(), tenant, &taken).await?;
        for relation in &taken {
            let confirmed = RelationStatus::Confirmed.as_str_name();
            tx.changed(("relation", &relation.id), "status", "", confirmed);
        }
        Ok(errors)
    }
}

fn relation(tenant: &TenantId, (own, other): (CustomerId, CustomerId), bond: &Bond) -> Relation {
    let (one, other) = if bond.first { (own, other) } else { (other, own) };
    let (one, other) = relations::in_order(one, other, bond.kind);
    Relation {
        id: relations::id_of(tenant, one, other, bond.kind),
        one,
        other,
        kind: bond.kind,
        role: bond.role.clone(),
        status: RelationStatus::Confirmed,
        evidence: String::new(),
        decided_by: String::new(),
        created_at: chrono::DateTime::UNIX_EPOCH,
    }
}

fn wrong(errors: &mut Vec<LineError>, line: i64, message: &str) {
    errors.push(LineError {
        line,
        number: 0,
        column: COLUMN.to_owned(),
        message: message.to_owned(),
    });
}
