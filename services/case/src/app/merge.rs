//! Two customers are one.

use chrono::{DateTime, Utc};
use trama_platform::Error;
use trama_proto::{
    case::v1::WithdrawReason,
    common::v1::CustomerContext,
    ids::{CaseId, CustomerId, MergeId, TenantId},
};

use super::batch::Batch;
use crate::{domain::Case, store::aliases::Merge};

/// The case of the survivor that is the same need, if there is one.
fn same_need(theirs: &Case, ours: &[&Case]) -> Option<CaseId> {
    let mut live: Vec<&&Case> = ours.iter().filter(|c| c.state.is_live()).collect();
    live.sort_by_key(|c| (std::cmp::Reverse(c.last_heard_at), c.id));
    let shares = |c: &&&&Case| {
        c.understanding
            .references
            .iter()
            .any(|r| theirs.understanding.references.contains(r))
    };
    live.iter()
        .find(shares)
        .or_else(|| {
            if theirs.intent().is_empty() {
                return live.first();
            }
            live.iter()
                .find(|c| c.intent() == theirs.intent())
                .or_else(|| live.iter().find(|c| c.intent().is_empty()))
        })
        .map(|c| c.id)
}

impl Batch {
    pub(super) fn merge(
        &mut self,
        tenant: &TenantId,
        merge: MergeId,
        (survivor, merged): (CustomerId, CustomerId),
        (context, by_likeness): (&CustomerContext, bool),
        at: DateTime<Utc>,
        cause: usize,
    ) -> Result<(), Error> {
        if survivor == merged || !self.workspace.known_merges.insert((tenant.clone(), merge)) {
            return Ok(());
        }
        let survivor = self.workspace.aliases.resolve(tenant, survivor);
        if survivor == merged {
            return Ok(());
        }
        self.workspace
            .aliases
            .add(tenant, merged, survivor, context.clone());
        self.workspace.merges.push(Merge {
            tenant: tenant.clone(),
            id: merge,
            merged,
            survivor,
            context: context.clone(),
            at,
        });
        for id in self.workspace.ids_of(tenant, survivor) {
            if let Some(held) = self.workspace.held(tenant, id)
                && held.case.state.is_live()
            {
                held.case.go_with(context, by_likeness);
                held.request(cause);
            }
        }
        let mut theirs: Vec<CaseId> = self
            .workspace
            .cases_of(tenant, merged)
            .into_iter()
            .filter(|c| c.state.is_live())
            .map(|c| c.id)
            .collect();
        theirs.sort();
        for id in &theirs {
            self.join_or_keep(tenant, *id, survivor, merge, (context, by_likeness), cause)?;
        }
        self.workspace.give_all(tenant, merged, survivor);
        Ok(())
    }

    fn join_or_keep(
        &mut self,
        tenant: &TenantId,
        theirs: CaseId,
        survivor: CustomerId,
        merge: MergeId,
        (context, by_likeness): (&CustomerContext, bool),
        cause: usize,
    ) -> Result<(), Error> {
        let key = (tenant.clone(), theirs);
        let Some(mut its) = self.workspace.cases.remove(&key) else {
            return Ok(());
        };
        its.case.go_with(context, by_likeness);
        match same_need(&its.case, &self.workspace.cases_of(tenant, survivor)) {
            None => its.request(cause),
            Some(into) => {
                if let Some(ours) = self.workspace.held(tenant, into) {
                    ours.case.join(&mut its.case, merge)?;
                    ours.reread = true;
                    ours.request(cause);
                    its.withdraw(WithdrawReason::Merged, cause);
                    metrics::counter!("trama_case_joined_total").increment(1);
                }
                for (line, _) in self.workspace.lines.values_mut() {
                    if line.case_id == Some(theirs) && line.tenant == *tenant {
                        line.origin_case_id.get_or_insert(theirs);
                        line.case_id = Some(into);
                    }
                }
                self.workspace.joined.push((tenant.clone(), theirs, into));
            }
        }
        self.workspace.cases.insert(key, its);
        Ok(())
    }
}
