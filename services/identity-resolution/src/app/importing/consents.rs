//! What rows say of consent: news where the customer has not refused it since.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx};
use trama_proto::ids::{CustomerId, TenantId};
use uuid::Uuid;

use super::{
    super::{App, Caller},
    rows::Resolved,
};
use crate::{
    domain::{
        consent::{Entry, Subject, Word},
        customer::Customer,
        import::{Claim, Consented, Row, Worth, evidence, weigh},
    },
    store,
};

/// The last word of a file on each consent.
pub struct Told<'r> {
    words: BTreeMap<(CustomerId, &'r Subject), (&'r Consented, &'r Row)>,
    evidence: String,
    recorded_at: Option<DateTime<Utc>>,
}

/// Gathers what rows say. A later row of a customer has the last word.
pub fn told<'r>(
    source: &str,
    recorded_at: Option<DateTime<Utc>>,
    rows: &'r [Row],
    people: &[Resolved],
) -> Told<'r> {
    let words = rows.iter().zip(people).flat_map(|(row, person)| {
        let of_row = row.consents.iter();
        of_row.map(move |said| ((person.customer, &said.subject), (said, row)))
    });
    Told {
        words: words.collect(),
        evidence: evidence(source),
        recorded_at,
    }
}

/// What is taken of it.
#[derive(Debug, Default)]
pub struct News {
    /// What is written.
    pub entries: Vec<Entry>,
    /// The lines and columns that say yes where the customer said no.
    pub refused: Vec<(i64, String)>,
}

impl App {
    /// What of it differs from what holds for whom. What it says of customers who are held is as it stays.
    pub(super) async fn weigh_consents(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        told: &Told<'_>,
        held: &[Customer],
    ) -> Result<News, Error> {
        let (tenant, now) = (&caller.tenant, tx.now());
        let mut news = News::default();
        if told.words.is_empty() {
            return Ok(news);
        }
        // They may have been joined to somebody while we waited for them.
        let now_of: HashMap<CustomerId, CustomerId> = held
            .iter()
            .flat_map(|c| c.members.iter().map(|m| (m.id, c.id)))
            .collect();
        let root = |id: &CustomerId| now_of.get(id).copied().unwrap_or(*id);
        let ids: BTreeSet<CustomerId> = told.words.keys().map(|(id, _)| root(id)).collect();
        let ids: Vec<CustomerId> = ids.into_iter().collect();
        let rows = store::profiles::rows_of(tx.conn(), tenant, &ids).await?;
        let roots: HashMap<Uuid, CustomerId> = rows.iter().copied().collect();
        let rows: Vec<Uuid> = roots.keys().copied().collect();
        let mut logs: HashMap<CustomerId, Vec<Entry>> = HashMap::new();
        for entry in store::consents::log(tx.conn(), tenant, &rows).await? {
            if let Some(root) = roots.get(&entry.origin.uuid()) {
                logs.entry(*root).or_default().push(entry);
            }
        }
        let one_since: HashMap<CustomerId, DateTime<Utc>> = held
            .iter()
            .filter_map(|c| Some((c.id, c.members.iter().filter_map(|m| m.merged_at).max()?)))
            .collect();
        for ((id, subject), (said, row)) in &told.words {
            let customer = root(id);
            let claim = Claim {
                entry: Entry {
                    subject: (*subject).clone(),
                    word: if said.granted { Word::Granted } else { Word::Denied },
                    evidence: told.evidence.clone(),
                    by: caller.subject.to_string(),
                    at: now,
                    expires_at: None,
                    origin: customer,
                    of_the_whole: true,
                    through: None,
                },
                said_at: row.consent_times.get(*subject).copied(),
                recorded_at: told.recorded_at,
                one_since: one_since.get(&customer).copied(),
                log: logs.get(&customer).map_or(&[], Vec::as_slice),
            };
            match weigh(claim, now) {
                Worth::Nothing => {}
                Worth::News(entry) => news.entries.push(entry),
                Worth::Refused => news.refused.push((row.line, said.column.clone())),
            }
        }
        Ok(news)
    }

    /// Writes it. The customers are held alone, and are as they are now afterwards. Returns whose consents changed.
    pub(super) async fn take_consents(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        entries: &[Entry],
        customers: &mut [Customer],
    ) -> Result<Vec<CustomerId>, Error> {
        let changed: BTreeSet<CustomerId> = entries.iter().map(|entry| entry.origin).collect();
        let changed: Vec<CustomerId> = changed.into_iter().collect();
        if changed.is_empty() {
            return Ok(changed);
        }
        self.log_consents(tx, tenant, entries).await?;
        for written in self.project_consents(tx, tenant, &changed).await? {
            if let Some(customer) = customers.iter_mut().find(|c| c.id == written.id) {
                *customer = written;
            }
        }
        Ok(changed)
    }
}
