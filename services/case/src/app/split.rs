//! A merge of customers was undone: give back what is the restored customer's by its own evidence. Rare, so it works
//! on the tables directly, case by case.

use std::collections::HashMap;

use trama_platform::{Error, Tx};
use trama_proto::{
    common::v1::CustomerContext,
    ids::{CaseId, CustomerId, InteractionId, MergeId, TenantId},
};
use uuid::Uuid;

use super::{
    App,
    snapshot::{article_of, lines_of},
    workspace::work_requested,
};
use crate::{
    consumer::Fact,
    domain::{Case, Kind, NewCase, State},
    store::{
        aliases::{self, Merge},
        cases, expectations, timeline,
    },
};

impl App {
    pub(super) async fn split(&self, tx: &mut Tx, tenant: &TenantId, fact: &Fact) -> Result<(), Error> {
        let Fact::Split {
            merge,
            survivor,
            restored,
            survivor_context,
            restored_context,
            interactions,
            at,
        } = fact
        else {
            return Ok(());
        };
        let keys = [*survivor, *restored].map(|c| format!("{tenant}/{c}"));
        aliases::lock(tx.conn(), keys.to_vec()).await?;
        let undone = Merge {
            tenant: tenant.clone(),
            id: *merge,
            merged: *restored,
            survivor: *survivor,
            context: survivor_context.as_ref().clone(),
            at: *at,
        };
        if !aliases::split(tx, &undone).await? {
            return Ok(());
        }
        let own: Vec<Uuid> = interactions.iter().map(|i| i.uuid()).collect();
        let both = [survivor.uuid(), restored.uuid()];
        let mut all: HashMap<CaseId, Case> = cases::load_for_split(tx, tenant, &both, *merge)
            .await?
            .into_iter()
            .map(|c| (c.id, c))
            .collect();
        let reopened = part(&mut all, *merge, *restored, restored_context);
        let parted: Vec<Uuid> = reopened.iter().map(|c| c.uuid()).collect();
        timeline::part(tx.conn(), tenant, &parted, *restored).await?;
        let given = give_whole_cases(tx, tenant, &mut all, &own, *restored, restored_context).await?;
        let home = reopened.first().or(given.first()).copied();
        self.give_single_lines(
            tx,
            tenant,
            &mut all,
            interactions,
            home,
            (*restored, restored_context),
        )
        .await?;
        for case in all.values_mut() {
            if case.customer_id == *survivor && case.state.is_live() {
                if case.last_word.is_some_and(|word| own.contains(&word.uuid())) {
                    case.lose_speaker();
                }
                case.return_to(survivor_context);
            }
            case.version += 1;
            case.work_revision += i64::from(case.state.is_open());
        }
        let theirs: Vec<Uuid> = all
            .values()
            .filter(|c| c.customer_id == *restored)
            .map(|c| c.id.uuid())
            .collect();
        expectations::give(tx.conn(), tenant, &theirs, (*survivor, *restored)).await?;
        let changed: Vec<&Case> = all.values().collect();
        cases::save(tx, &changed).await?;
        for case in changed.into_iter().filter(|c| c.state.is_open()) {
            let lines = lines_of(tx, case, self.config).await?;
            let article = article_of(tx.conn(), case, self.config).await?;
            let event = work_requested(case, lines, article);
            tx.publish(tenant, &case.id.to_string(), &event);
        }
        Ok(())
    }

    /// Words of the restored customer that stand on cases with words of the survivor move to a case of their own:
    /// nobody may read another person's words.
    async fn give_single_lines(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        all: &mut HashMap<CaseId, Case>,
        interactions: &[InteractionId],
        home: Option<CaseId>,
        (restored, context): (CustomerId, &CustomerContext),
    ) -> Result<(), Error> {
        let own: Vec<Uuid> = interactions.iter().map(|i| i.uuid()).collect();
        let lines = timeline::load(tx, &[tenant.as_str()], &own).await?;
        let strayed: Vec<_> = lines
            .iter()
            .filter(|l| {
                l.case_id
                    .is_none_or(|c| all.get(&c).is_none_or(|case| case.customer_id != restored))
            })
            .collect();
        let on_cases: Vec<Uuid> = strayed
            .iter()
            .filter(|l| l.case_id.is_some())
            .map(|l| l.id.uuid())
            .collect();
        let caseless: Vec<Uuid> = strayed
            .iter()
            .filter(|l| l.case_id.is_none())
            .map(|l| l.id.uuid())
            .collect();
        timeline::give(tx.conn(), tenant, &caseless, None, restored).await?;
        let Some(first) = strayed
            .iter()
            .filter(|l| l.case_id.is_some())
            .min_by_key(|l| l.occurred_at)
        else {
            return Ok(());
        };
        let home = home.unwrap_or_else(|| {
            let case = Case::open(
                NewCase {
                    tenant: tenant.clone(),
                    id: CaseId::derived(&[
                        tenant.as_str().as_bytes(),
                        b"split",
                        restored.uuid().as_bytes(),
                        first.id.uuid().as_bytes(),
                    ]),
                    customer_id: restored,
                    customer: context.clone(),
                    kind: Kind::Need,
                    subject: String::new(),
                    heard_at: first.occurred_at,
                },
                tx.now(),
            );
            let case = Case {
                channel: first.interaction.channel.clone(),
                channel_kind: first.interaction.channel_kind(),
                understanding: first.understanding.clone().unwrap_or_default(),
                ..case
            };
            let id = case.id;
            all.insert(id, case);
            id
        });
        timeline::give(tx.conn(), tenant, &on_cases, Some(home), restored).await
    }
}

/// Reopens the cases that the merge had joined with others.
fn part(
    all: &mut HashMap<CaseId, Case>,
    merge: MergeId,
    restored: CustomerId,
    context: &CustomerContext,
) -> Vec<CaseId> {
    let joined: Vec<(CaseId, CaseId)> = all
        .values()
        .filter_map(|c| match c.state {
            State::Merged { into, merge: by, .. } if by == merge => Some((c.id, into)),
            State::Merged { .. } | State::Live(_) | State::Resolved { .. } => None,
        })
        .collect();
    for (id, into) in &joined {
        let Some(mut its) = all.remove(id) else { continue };
        if let Ok(state) = its.state.clone().unmerged() {
            its.state = state;
            its.customer_id = restored;
            its.return_to(context);
            if let Some(ours) = all.get_mut(into) {
                ours.part(&its);
            }
        }
        all.insert(*id, its);
    }
    joined.into_iter().map(|(id, _)| id).collect()
}

/// Cases that hold nothing but the restored customer's words go back to them.
async fn give_whole_cases(
    tx: &mut Tx,
    tenant: &TenantId,
    all: &mut HashMap<CaseId, Case>,
    own: &[Uuid],
    restored: CustomerId,
    context: &CustomerContext,
) -> Result<Vec<CaseId>, Error> {
    let others: Vec<Uuid> = all
        .values()
        .filter(|c| c.customer_id != restored)
        .map(|c| c.id.uuid())
        .collect();
    let mut given = Vec::new();
    for case in timeline::of_nobody_else(tx, tenant, &others, own).await? {
        if let Some(case) = all.get_mut(&case) {
            case.customer_id = restored;
            case.return_to(context);
            if case.state.is_live() {
                given.push(case.id);
            }
        }
    }
    Ok(given)
}
