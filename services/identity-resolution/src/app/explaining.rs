//! Why: how alike two customers are, and what joined two.

use trama_platform::{Error, Tx};
use trama_proto::{
    identity_resolution::v1::{self as wire, Resolution},
    ids::{CustomerId, MergeId, TenantId},
    time::to_wire,
};

use super::{App, customers::wire_merge, similarity};
use crate::{
    domain::{
        customer::Customer,
        merge::{Likeness, Part},
        rules::Rules,
    },
    error::{no_merge, refused},
    matching::nearest::Reach,
    store,
};

impl App {
    /// How alike two customers are, by what is known now.
    pub async fn explain_match(
        &self,
        tenant: &TenantId,
        (one, other): (CustomerId, CustomerId),
    ) -> Result<wire::ExplainMatchResponse, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let rules = self.rules(tenant);
        let one = self.read(&mut tx, tenant, one).await?;
        let other = self.read(&mut tx, tenant, other).await?;
        if one.id == other.id {
            return Ok(wire::ExplainMatchResponse {
                same_customer: true,
                resolution: Resolution::Same as i32,
                ..Default::default()
            });
        }
        let apart = store::merges::apart(tx.conn(), tenant, &[one.id, other.id]).await?;
        let Some((likeness, resolution)) = self.alike(&mut tx, tenant, &one, &other, &rules).await? else {
            return Err(refused("the matching policy wants no similarity"));
        };
        let resolution = match (resolution, apart.is_empty()) {
            (Resolution::Same, false) => Resolution::Review,
            (resolution, _) => resolution,
        };
        Ok(wire::ExplainMatchResponse {
            likeness: Some(wire_likeness(&likeness)),
            resolution: resolution as i32,
            same_customer: false,
            kept_apart: !apart.is_empty(),
        })
    }

    /// How alike two are and what follows; `None` when the policy wants no similarity.
    pub(super) async fn alike(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        one: &Customer,
        other: &Customer,
        rules: &Rules,
    ) -> Result<Option<(Likeness, Resolution)>, Error> {
        let Some(policy) = rules.similarity() else {
            return Ok(None);
        };
        let facts = [one.facts(policy), other.facts(policy)];
        let wanted = [(tenant, policy, facts.iter().collect())];
        let besides = [(tenant, one), (tenant, other)];
        let near = similarity::neighbourhoods(tx.conn(), &wanted, &besides, Reach::Near).await?;
        let score = near
            .get(tenant)
            .and_then(|near| near.score(policy, one.id, other.id))
            .ok_or_else(|| Error::internal("two customers that were read are not near each other"))?;
        let likeness = Likeness::of(policy, &score);
        let resolution = if score.is_same(policy) {
            Resolution::Same
        } else if score.is_worth_a_look(policy.thresholds().review) {
            Resolution::Review
        } else {
            Resolution::Different
        };
        Ok(Some((likeness, resolution)))
    }

    /// Why two customers were joined.
    pub async fn explain_merge(
        &self,
        tenant: &TenantId,
        id: MergeId,
    ) -> Result<wire::ExplainMergeResponse, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let (record, undone) = store::merges::find(tx.conn(), tenant, id, false)
            .await?
            .ok_or_else(|| no_merge(id))?;
        Ok(wire::ExplainMergeResponse {
            merge: Some(wire_merge(&record)),
            survivor_customer_id: record.survivor.to_string(),
            likeness: record.likeness.as_ref().map(wire_likeness),
            undone_at: undone.as_ref().map(|(at, _)| to_wire(*at)),
            undone_by: undone.map(|(_, by)| by).unwrap_or_default(),
        })
    }
}

/// For the wire.
pub(super) fn wire_likeness(likeness: &Likeness) -> wire::Likeness {
    wire::Likeness {
        bits: likeness.bits,
        probability: likeness.probability(),
        evidence: likeness
            .parts
            .iter()
            .map(|Part { what, words, bits }| wire::Evidence {
                part: what.clone(),
                words: words.clone(),
                bits: *bits,
            })
            .collect(),
        vetoes: likeness.vetoes.clone(),
        model: likeness.model.clone(),
    }
}
