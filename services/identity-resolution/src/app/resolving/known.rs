//! The lane of those who are known: read, and noted in one call, without a transaction that holds anything in between.

use std::{collections::BTreeMap, sync::Arc};

use tokio_util::sync::CancellationToken;
use trama_platform::{Error, Single};
use trama_proto::ids::TenantId;

use super::{
    response,
    waiting::{AT_ONCE, Wanted, by_tenant},
};
use crate::{
    app::{
        App,
        observing::{Decided, Item, Repeat, repeat, whose_handles},
        records::item,
    },
    store::{self, known::Repeats},
};

impl App {
    /// Answers those who are known, until the service stops, and hands on the others.
    ///
    /// # Errors
    /// Never: who waits hears what went wrong.
    pub async fn resolve_arriving(self: Arc<Self>, stopping: CancellationToken) -> Result<(), Error> {
        let mut batch = Vec::with_capacity(AT_ONCE);
        let mut single = self.db.single();
        loop {
            let underway = tokio::select! {
                () = stopping.cancelled() => break,
                underway = self.waiting.arriving.next(&mut batch) => underway,
            };
            for (tenant, wanted) in by_tenant(&mut batch) {
                for undecided in self.answer_known(&mut single, &tenant, wanted).await {
                    self.waiting.undecided.add(undecided);
                }
            }
            drop(underway);
        }
        self.waiting.arriving.close().await;
        Ok(())
    }

    /// Answers the records of which nobody changes; gives back the others.
    async fn answer_known(
        &self,
        single: &mut Single<'_>,
        tenant: &TenantId,
        wanted: Vec<Wanted>,
    ) -> Vec<Wanted> {
        let noted = match self.note_known(single, tenant, &wanted).await {
            Ok(noted) => noted,
            // Whoever decides about them meets what went wrong here, and says so.
            Err(error) => {
                single.renew();
                tracing::debug!(%tenant, error = error.detail(), "records of known customers take the other lane");
                return wanted;
            }
        };
        let mut undecided = Vec::new();
        for (wanted, decided) in wanted.into_iter().zip(noted) {
            match decided {
                Some(decided) => {
                    if let Some(call) = &wanted.call {
                        call.changes_nothing();
                    }
                    // Who no longer waits needs no answer.
                    drop(wanted.answer.send(Ok(response(&decided))));
                }
                None => undecided.push(wanted),
            }
        }
        undecided
    }

    /// Notes the records of which nobody changes: what they come to, in their places.
    async fn note_known(
        &self,
        single: &mut Single<'_>,
        tenant: &TenantId,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Decided>>, Error> {
        let (rules, now) = (self.rules(tenant), self.now());
        let items = wanted.iter().map(|wanted| item(tenant, &wanted.record, &rules));
        let mut items: Vec<Item<'_>> = items.collect();
        let conn = single.conn().await?;
        let mut worlds = store::load(conn, &whose_handles(&items), &|t| self.rules(t), now).await?;
        let repeats: Vec<Option<Repeat<'_>>> = items
            .iter_mut()
            .map(|item| repeat(item, &mut worlds, now))
            .collect();
        let found: Vec<&Repeat<'_>> = repeats.iter().flatten().collect();
        if found.is_empty() {
            return Ok(repeats.iter().map(|_| None).collect());
        }
        let shown = wanted.iter().zip(&repeats).filter(|(_, repeat)| repeat.is_some());
        let handles = shown.flat_map(|(wanted, _)| &wanted.record.handles);
        let news = Repeats {
            hashes: self.hashes_of_erased(tenant, handles)?,
            // Of what is said twice in a batch the last holds.
            sightings: found
                .iter()
                .flat_map(|repeat| &repeat.sightings)
                .map(|held| (&held.key, held))
                .collect::<BTreeMap<_, _>>()
                .into_values()
                .collect(),
            observations: found
                .iter()
                .flat_map(|repeat| &repeat.said)
                .map(|said| (said.id, said.row()))
                .collect::<BTreeMap<_, _>>()
                .into_values()
                .collect(),
        };
        let noted = store::known::note(conn, tenant, &news, now).await?;
        metrics::histogram!("trama_identity_resolution_records_together").record(found.len() as f64);
        Ok(repeats
            .into_iter()
            .map(|repeat| repeat.filter(|_| noted).map(|repeat| repeat.decided))
            .collect())
    }
}
