//! A person wants their data, or to be forgotten: asked of all services, answered by all, told in a signed report.

mod file;
mod holding;
mod silent;
mod staying;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::types::Json;
use trama_platform::{
    Command, Error, Kind, Tx,
    objects::Objects,
    page,
    privacy::{Holder, PrivacyKeys, take_in},
    timers::{Timer, TimerSpec},
};
use trama_proto::{
    events::{EVENTS, Event as _},
    identity_resolution::v1::{self as wire, PrivacyState, person},
    ids::{CustomerId, TenantId},
    privacy::v1::{PrivacyAction, PrivacyDone, PrivacyRequested, RecordCount, SubjectSort},
    resources::KeptRecords,
    time::{from_wire, to_wire},
};
use uuid::Uuid;

use super::{App, Caller, profiles::rows, similarity::values_of};
use crate::{
    domain::customer::Customer,
    error::refused,
    store::{
        privacy::{self as store, AnswerRow, RequestRow},
        similar::{self, News},
    },
};

pub use file::Manifest;
pub use holding::{Holding, Keeping};
pub(super) use staying::was_erased;

/// The kind of the timer that removes the files of an export.
pub const TIMER: &str = "privacy_export";
/// Days for which they lie there when no policy says otherwise.
const EXPORT_DAYS: u32 = 7;

/// What privacy needs besides the database.
pub struct Privacy {
    /// Hashes and signatures.
    pub keys: PrivacyKeys,
    /// Where exports lie.
    pub objects: Objects,
}

/// What is wanted of a person's data.
pub struct Demand<'a> {
    /// Copy or erasure.
    pub action: PrivacyAction,
    /// Whose.
    pub person: Option<&'a wire::Person>,
    /// Why.
    pub reason: String,
}

/// What all services are asked about somebody.
struct Asked<'a> {
    action: PrivacyAction,
    reason: &'a str,
}

impl App {
    /// Asks all services for a person's data, or to forget them. For this service that happens at once, in the same
    /// transaction.
    ///
    /// # Errors
    /// When there is no such person, or no secret is configured.
    pub async fn demand<R>(
        &self,
        caller: &Caller,
        demand: &Demand<'_>,
        command: Command<'_, impl prost::Message>,
        answer: impl FnOnce(wire::PrivacyRequest) -> R,
    ) -> Result<R, Error>
    where
        R: prost::Message + Default,
    {
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        if let Some(response) = tx.replay(&command).await? {
            return Ok(response);
        }
        if demand.action == PrivacyAction::Erase {
            store::hold_decisions(tx.conn(), &[tenant.as_str()], true).await?;
        }
        let id = self.person(&mut tx, tenant, demand.person).await?;
        let asked = Asked {
            action: demand.action,
            reason: &demand.reason,
        };
        let row = self.ask_everybody(&mut tx, caller, id, &asked).await?;
        let response = answer(to_request(&row, &[]));
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Asks all services; the caller holds back who decides, if somebody is to be forgotten.
    async fn ask_everybody(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        id: CustomerId,
        asked: &Asked<'_>,
    ) -> Result<RequestRow, Error> {
        let (tenant, now) = (&caller.tenant, tx.now());
        let customer = self.read_alone(tx, tenant, id).await?;
        let ids = rows(tx, tenant, customer.id).await?;
        let rules = self.rules(tenant);
        let handles = store::handles_of(tx.conn(), tenant, &ids).await?;
        let keys = handles
            .iter()
            .filter_map(|(kind, value)| rules.handle(kind, value).ok());
        let hashes: BTreeSet<Vec<u8>> = self.hashes(tenant, keys)?.into_iter().collect();
        let hashes: Vec<Vec<u8>> = hashes.into_iter().collect();
        let row = RequestRow {
            request_id: tx.new_id(),
            action: asked.action as i16,
            state: PrivacyState::Running as i16,
            customer_ids: ids.clone(),
            requested_by: caller.subject.to_string(),
            reason: asked.reason.to_owned(),
            created_at: now,
            done_at: None,
            expires_at: None,
            report: None,
        };
        store::add_request(tx.conn(), tenant, &row).await?;
        let running = PrivacyState::Running.as_str_name();
        tx.changed(("privacy_request", &row.request_id), "state", "", running);
        let wanted = PrivacyRequested {
            request_id: row.request_id.to_string(),
            action: asked.action as i32,
            sort: SubjectSort::Customer as i32,
            subject_ids: ids.iter().map(Uuid::to_string).collect(),
            handle_hashes: hashes.clone(),
            requested_at: Some(to_wire(now)),
        };
        let did = match asked.action {
            PrivacyAction::Erase => {
                store::put_erased(tx.conn(), tenant, &hashes, now).await?;
                self.count_down(tx, tenant, &customer).await?;
                "erased"
            }
            PrivacyAction::Export | PrivacyAction::Unspecified => "exported",
        };
        self.note(tx, caller, &[customer.id], did, asked.reason).await?;
        let holder: Arc<dyn Holder> = Arc::new(Holding);
        take_in(tx, &holder, tenant, &wanted).await?;
        tx.publish(tenant, &customer.id.to_string(), &wanted);
        metrics::counter!("trama_identity_resolution_privacy_requests_total", "action" => did).increment(1);
        Ok(row)
    }

    /// Whoever is forgotten is not counted any more: how rare a name is, is asked of those who are known.
    async fn count_down(&self, tx: &mut Tx, tenant: &TenantId, customer: &Customer) -> Result<(), Error> {
        let rules = self.rules(tenant);
        let Some(policy) = rules.similarity() else {
            return Ok(());
        };
        let values = values_of(policy, &customer.said());
        let news = News {
            values: values.into_iter().map(|v| (tenant, v, -1)).collect(),
            ..News::default()
        };
        let now = tx.now();
        similar::save(tx.conn(), &news, now).await
    }

    async fn person(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        person: Option<&wire::Person>,
    ) -> Result<CustomerId, Error> {
        match person.and_then(|p| p.person.as_ref()) {
            Some(person::Person::CustomerId(id)) => id
                .parse()
                .map_err(|_| Error::invalid("person.customer_id", "must be a UUID")),
            Some(person::Person::Handle(handle)) => {
                let key = staying::key_of(&self.rules(tenant), &handle.kind, &handle.value)?;
                let owner = self.owner(tx, tenant, &key).await?;
                owner
                    .map(|c| c.id)
                    .ok_or_else(|| Error::new(Kind::NotFound, "nobody holds this handle"))
            }
            None => Err(Error::invalid(
                "person",
                "say whose data, by customer_id or handle",
            )),
        }
    }

    /// Works a service's answer in; with the last one, the report is signed.
    ///
    /// # Errors
    /// When the answer cannot be read or the database is away.
    pub async fn privacy_answered(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        done: &PrivacyDone,
    ) -> Result<(), Error> {
        let id =
            Uuid::try_parse(&done.request_id).map_err(|_| Error::invalid("request_id", "must be a UUID"))?;
        let Some(mut row) = store::find_request(tx.conn(), tenant, id).await? else {
            return Ok(());
        };
        let now = tx.now();
        let answer = AnswerRow {
            request_id: id,
            service: done.service.clone(),
            counts: Json(done.counts.iter().map(|c| (c.records.clone(), c.count)).collect()),
            object_key: done.object_key.clone(),
            done_at: from_wire(done.done_at.as_ref()).unwrap_or(now),
        };
        store::add_answer(tx.conn(), tenant, &answer).await?;
        let answers = store::answers(tx.conn(), tenant, &[id]).await?;
        if row.done_at.is_some() || !waiting_for(&answers).is_empty() {
            return Ok(());
        }
        row.state = PrivacyState::Done as i16;
        row.done_at = Some(now);
        if row.action == PrivacyAction::Export as i16 {
            let expires_at = now + TimeDelta::days(i64::from(self.export_days(tenant)));
            row.expires_at = Some(expires_at);
            tx.arm(TimerSpec {
                tenant: tenant.clone(),
                kind: TIMER,
                key: id.to_string(),
                due_at: expires_at,
                payload: Value::Null,
            });
        }
        let signed = self.privacy.keys.sign(report(tenant, &row, &answers, now))?;
        row.report = Some(serde_json::to_string_pretty(&signed).map_err(Error::internal)?);
        store::save_request(tx.conn(), tenant, &row).await
    }

    fn export_days(&self, tenant: &TenantId) -> u32 {
        let snapshot = self.resources.snapshot();
        let policies = snapshot.tenant(tenant).map(|r| r.retention_policies.values());
        let days = policies
            .into_iter()
            .flatten()
            .filter_map(|p| p.keep_days.get(&KeptRecords::Exports));
        days.copied().min().unwrap_or(EXPORT_DAYS)
    }

    /// Removes the files of an export whose time is over.
    pub(super) async fn expire_export(&self, tx: &mut Tx, timer: &Timer) -> Result<(), Error> {
        let tenant = &timer.tenant;
        let id = Uuid::try_parse(&timer.key)
            .map_err(|_| Error::internal("the timer of an export without its id"))?;
        let Some(mut row) = store::find_request(tx.conn(), tenant, id).await? else {
            return Ok(());
        };
        for answer in store::answers(tx.conn(), tenant, &[id]).await? {
            // Our own store, and only once in the life of an export: the transaction can wait for it.
            if !answer.object_key.is_empty() {
                self.privacy.objects.remove(tenant, &answer.object_key).await?;
            }
        }
        row.state = PrivacyState::Expired as i16;
        store::save_request(tx.conn(), tenant, &row).await
    }

    /// Where a request stands.
    ///
    /// # Errors
    /// When there is none.
    pub async fn privacy_request(&self, tenant: &TenantId, id: Uuid) -> Result<wire::PrivacyRequest, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let row = store::find_request(tx.conn(), tenant, id)
            .await?
            .ok_or_else(|| Error::not_found("privacy request", id))?;
        let answers = store::answers(tx.conn(), tenant, &[id]).await?;
        Ok(to_request(&row, &answers))
    }

    /// A page of requests, newest first.
    ///
    /// # Errors
    /// When the token is none of ours or the database is away.
    pub async fn privacy_requests(
        &self,
        tenant: &TenantId,
        size: i64,
        page_token: &str,
    ) -> Result<wire::ListPrivacyRequestsResponse, Error> {
        let before: Option<(DateTime<Utc>, Uuid)> = page::start(page_token)?;
        let mut tx = self.db.tx(tenant).await?;
        let rows = store::list_requests(tx.conn(), tenant, before, size).await?;
        let ids: Vec<Uuid> = rows.iter().map(|r| r.request_id).collect();
        let mut answers: BTreeMap<Uuid, Vec<AnswerRow>> = BTreeMap::new();
        for answer in store::answers(tx.conn(), tenant, &ids).await? {
            answers.entry(answer.request_id).or_default().push(answer);
        }
        let full = i64::try_from(rows.len()) == Ok(size);
        let next = rows.last().filter(|_| full);
        Ok(wire::ListPrivacyRequestsResponse {
            next_page_token: next
                .map(|r| page::token(&(r.created_at, r.request_id)))
                .unwrap_or_default(),
            requests: rows
                .iter()
                .map(|row| to_request(row, answers.get(&row.request_id).map_or(&[], Vec::as_slice)))
                .collect(),
        })
    }

    /// The files of a finished export, in the order in which they go into the tar file: name and key.
    ///
    /// # Errors
    /// When there is none, it is not done yet, or its files are gone.
    pub async fn export_files(
        &self,
        caller: &Caller,
        id: Uuid,
    ) -> Result<(DateTime<Utc>, Vec<(String, String)>), Error> {
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        let row = store::find_request(tx.conn(), tenant, id)
            .await?
            .filter(|row| row.action == PrivacyAction::Export as i16)
            .ok_or_else(|| Error::not_found("export", id))?;
        if row.state != PrivacyState::Done as i16 {
            let words = if row.done_at.is_none() {
                "the export is not done yet; GetPrivacyRequest says whom it waits for"
            } else {
                "the files of this export are removed; ask for a new one"
            };
            return Err(refused(words));
        }
        let answers = store::answers(tx.conn(), tenant, &[id]).await?;
        let customers: Vec<CustomerId> = row
            .customer_ids
            .iter()
            .take(1)
            .map(|c| CustomerId::new(*c))
            .collect();
        self.note(
            &mut tx,
            caller,
            &customers,
            "exported",
            &format!("download of {id}"),
        )
        .await?;
        tx.commit().await?;
        let files = answers
            .into_iter()
            .filter(|a| !a.object_key.is_empty())
            .map(|a| (format!("{}.json", a.service), a.object_key))
            .collect();
        Ok((row.created_at, files))
    }

    /// The last piece of a tar file: the signed list of what came before.
    ///
    /// # Errors
    /// When no secret is configured.
    pub fn export_end(
        &self,
        tenant: &TenantId,
        id: Uuid,
        manifest: &Manifest,
        at: DateTime<Utc>,
    ) -> Result<Vec<u8>, Error> {
        let signed = self.privacy.keys.sign(manifest.text(tenant, id))?;
        let text = serde_json::to_string_pretty(&signed).map_err(Error::internal)?;
        let mut piece = file::entry(file::MANIFEST, text.as_bytes(), at)?;
        piece.extend(file::end());
        Ok(piece)
    }

    /// One piece of a tar file: a file of the export, with its header; it is noted in the list.
    ///
    /// # Errors
    /// When the object store is away, or an object is gone.
    pub async fn export_file(
        &self,
        tenant: &TenantId,
        (name, key): (&str, &str),
        manifest: &mut Manifest,
        at: DateTime<Utc>,
    ) -> Result<(Vec<u8>, Vec<(String, String)>), Error> {
        let bytes = match self.privacy.objects.get(tenant, key).await {
            Ok(bytes) => bytes,
            // A file that was removed since it was listed is missing in the copy; the rest is there.
            Err(error) if error.kind() == Kind::NotFound => return Ok((Vec::new(), Vec::new())),
            Err(error) => return Err(error),
        };
        let listed: Option<Value> = name
            .ends_with(".json")
            .then(|| serde_json::from_slice(&bytes).ok())
            .flatten();
        let listed = listed.as_ref().and_then(|d| d["attachments"].as_array());
        let attachments = listed
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|key| {
                let words: Vec<&str> = key.rsplit('/').take(2).collect();
                let name = words.iter().rev().copied().collect::<Vec<_>>().join("-");
                (format!("attachments/{name}"), key.to_owned())
            })
            .collect();
        let name = manifest.free(name);
        manifest.add(&name, &bytes);
        Ok((file::entry(&name, &bytes, at)?, attachments))
    }
}

/// Every service that must answer: who hears of requests, and we.
fn holders() -> Vec<&'static str> {
    let heard = EVENTS.iter().find(|e| e.name == PrivacyRequested::NAME);
    let mut services: Vec<&str> = heard.map(|e| e.listened_by.to_vec()).unwrap_or_default();
    services.push(crate::NAME);
    services.sort_unstable();
    services
}

fn waiting_for(answers: &[AnswerRow]) -> Vec<String> {
    let missing = holders()
        .into_iter()
        .filter(|service| !answers.iter().any(|a| a.service == *service));
    missing.map(str::to_owned).collect()
}

const fn action_word(action: i16) -> &'static str {
    if action == PrivacyAction::Erase as i16 {
        "erasure"
    } else {
        "export"
    }
}

/// What is signed: who asked for what, and what became of it. No name, address or text is in it.
fn report(tenant: &TenantId, row: &RequestRow, answers: &[AnswerRow], now: DateTime<Utc>) -> String {
    let services: Vec<Value> = answers
        .iter()
        .map(|a| json!({"service": a.service, "doneAt": a.done_at, "records": a.counts.0}))
        .collect();
    let document = json!({
        "report": action_word(row.action),
        "request": row.request_id,
        "tenant": tenant,
        "customers": row.customer_ids,
        "requestedBy": row.requested_by,
        "requestedAt": row.created_at,
        "doneAt": now,
        "services": services,
    });
    format!("{document:#}")
}

fn to_request(row: &RequestRow, answers: &[AnswerRow]) -> wire::PrivacyRequest {
    wire::PrivacyRequest {
        privacy_request_id: row.request_id.to_string(),
        action: i32::from(row.action),
        state: i32::from(row.state),
        customer_ids: row.customer_ids.iter().map(Uuid::to_string).collect(),
        requested_by: row.requested_by.clone(),
        reason: row.reason.clone(),
        answers: answers
            .iter()
            .map(|a| wire::ServiceAnswer {
                service: a.service.clone(),
                counts: a
                    .counts
                    .0
                    .iter()
                    .map(|(records, count)| RecordCount {
                        records: records.clone(),
                        count: *count,
                    })
                    .collect(),
                done_at: Some(to_wire(a.done_at)),
            })
            .collect(),
        waiting_for: if row.done_at.is_some() {
            Vec::new()
        } else {
            waiting_for(answers)
        },
        report: row.report.clone().unwrap_or_default(),
        create_time: Some(to_wire(row.created_at)),
        done_time: row.done_at.map(to_wire),
        expire_time: row.expires_at.map(to_wire),
    }
}
