//! Consent: asked for, confirmed, ended by time.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Duration, Utc};
use serde_json::json;
use trama_platform::{Command, Error, Kind, Tx, timers::TimerSpec};
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::{self as wire, ConsentState, Purpose},
    ids::{CustomerId, TenantId},
    notification::v1::MessageRequested,
    time::to_wire,
};
use uuid::Uuid;

use super::{
    App, Caller,
    auditing::{challenge_changed, profile_changed},
    profiles::rows,
    publish_change,
};
use crate::{
    domain::{
        challenge::{Answer, Challenge, Code, hash_token},
        consent::{self, Entry, Subject, Word},
        contact,
        customer::{Customer, Origin},
        handle::HandleKey,
    },
    error::{overtaken, refused},
    store::{
        self,
        consents::{Confirmation, Holds},
    },
};

/// Kind of the timer that ends consents.
pub const TIMER: &str = "consent";
/// Template of the message that asks to confirm.
const TEMPLATE: &str = "consent-confirmation";
/// Wrong codes before a confirmation is locked.
const ATTEMPTS: u32 = 5;
/// Lines of the log that are shown.
const LINES_SHOWN: usize = 500;
/// Language of customers who have not shown another one.
const LANGUAGE: &str = "it";

/// A wish to record consent.
#[derive(Debug, Clone)]
pub struct Consenting {
    /// Whose.
    pub customer: CustomerId,
    /// On which kind of channel.
    pub kind: ChannelKind,
    /// For which purpose.
    pub purpose: Purpose,
    /// Until when it counts.
    pub expires_at: Option<DateTime<Utc>>,
}

/// How a customer confirms.
#[derive(Debug, Clone)]
pub enum Proof {
    /// With the code of the message.
    Code(Code),
    /// With the token of the link.
    Token(String),
}

impl App {
    /// Records consent, or asks the customer to confirm it first.
    pub async fn request_consent(
        &self,
        caller: &Caller,
        wanted: Consenting,
        request: &wire::RequestConsentRequest,
    ) -> Result<wire::RequestConsentResponse, Error> {
        const METHOD: &str = "RequestConsent";
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
        let now = tx.now();
        let customer = self.read_alone(&mut tx, tenant, wanted.customer).await?;
        let mut entry = Entry {
            subject: Subject::new(wanted.kind, wanted.purpose, &request.brand),
            word: Word::Granted,
            evidence: request.evidence.clone(),
            by: caller.subject.to_string(),
            at: now,
            expires_at: wanted.expires_at,
            origin: customer.id,
            of_the_whole: true,
            through: None,
        };
        let response = if request.double_opt_in {
            let hours = self.schema(tenant).spec().confirmation_hours;
            let until = now + Duration::hours(i64::from(hours));
            let (id, handle) = self
                .ask_to_confirm(&mut tx, caller, &customer, &entry, until)
                .await?;
            entry.through = Some(handle.evidence());
            entry.word = Word::Pending;
            entry.expires_at = Some(until);
            self.record_consents(&mut tx, caller, customer.id, &[entry])
                .await?;
            wire::RequestConsentResponse {
                state: ConsentState::Pending as i32,
                confirmation_id: id.to_string(),
                masked_handle: handle.masked(),
                confirm_until_time: Some(to_wire(until)),
            }
        } else {
            self.record_consents(&mut tx, caller, customer.id, &[entry])
                .await?;
            wire::RequestConsentResponse {
                state: ConsentState::Granted as i32,
                ..wire::RequestConsentResponse::default()
            }
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn ask_to_confirm(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        customer: &Customer,
        entry: &Entry,
        until: DateTime<Utc>,
    ) -> Result<(Uuid, HandleKey), Error> {
        let (tenant, rules, now) = (&caller.tenant, self.rules(&caller.tenant), tx.now());
        let kind = ChannelKind::try_from(entry.subject.kind).unwrap_or_default();
        let handle = contact::on_channel(customer, kind, &rules).ok_or_else(|| {
            refused("the customer has no address on this channel that a message could go to")
        })?;
        let rows = rows(tx, tenant, customer.id).await?;
        let since = now - Duration::hours(1);
        let asked = store::consents::count_confirmations(tx.conn(), tenant, &rows, since).await?;
        if asked >= self.config.codes_per_hour {
            return Err(Error::new(
                Kind::Exhausted,
                "this customer was asked to confirm too often within an hour; try later",
            ));
        }
        let code = self.code()?;
        let (salt, token) = (self.random::<16>()?, hex::encode(self.random::<32>()?));
        let confirmation = Confirmation {
            id: tx.new_id(),
            // Whoever reads what is sent there: a split may make them somebody else before they confirm.
            customer: handle.row_owner,
            subject: entry.subject.clone(),
            evidence: entry.evidence.clone(),
            through: Some(handle.key.evidence()),
            consent_expires_at: entry.expires_at,
            code_hash: code.hash(self.config.code_pepper.as_bytes(), &salt),
            token_hash: hash_token(self.config.code_pepper.as_bytes(), &salt, &token),
            salt: salt.to_vec(),
            requested_at: now,
            state: Challenge::start(ATTEMPTS, until - now, now),
        };
        store::consents::add_confirmation(tx.conn(), tenant, &confirmation, caller.subject.as_str()).await?;
        challenge_changed(tx, ("confirmation", &confirmation.id), None, confirmation.state);
        let language = if customer.profile.language.is_empty() {
            LANGUAGE
        } else {
            &customer.profile.language
        };
        let event = MessageRequested {
            message_id: confirmation.id.to_string(),
            customer_id: customer.id.to_string(),
            purpose: Purpose::Security as i32,
            author: "security".to_owned(),
            template: TEMPLATE.to_owned(),
            template_values: HashMap::from([
                ("code".to_owned(), code.reveal().to_owned()),
                ("token".to_owned(), token),
                ("confirmation".to_owned(), confirmation.id.to_string()),
                ("brand".to_owned(), entry.subject.brand.clone()),
            ]),
            language: language.to_owned(),
            channel_kind: kind as i32,
            handle: Some(handle.to_wire()),
            brand: entry.subject.brand.clone(),
            requested_at: Some(to_wire(now)),
            ..MessageRequested::default()
        };
        tx.publish(tenant, &customer.id.to_string(), &event);
        Ok((confirmation.id, handle.key.clone()))
    }

    /// Finishes a double opt-in.
    pub async fn confirm_consent(
        &self,
        caller: &Caller,
        id: Uuid,
        proof: &Proof,
    ) -> Result<wire::Consent, Error> {
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        let now = tx.now();
        let no_confirmation = || Error::not_found("confirmation", id);
        let owner = store::consents::customer_of_confirmation(tx.conn(), tenant, id)
            .await?
            .ok_or_else(no_confirmation)?;
        let customer = self.read_alone(&mut tx, tenant, owner).await?;
        let waiting = store::consents::find_confirmation(tx.conn(), tenant, id)
            .await?
            .ok_or_else(no_confirmation)?;
        // The address was taken out of the customer while this waited for them: it is somebody else's word by now.
        if customer.member(waiting.customer).is_none() {
            return Err(overtaken());
        }
        if self
            .was_withdrawn_since(&mut tx, tenant, &customer, &waiting)
            .await?
        {
            if waiting.state.attempts().is_some() {
                let state = Challenge::Expired;
                store::consents::save_confirmation(tx.conn(), tenant, id, state).await?;
                challenge_changed(&tx, ("confirmation", &id), Some(waiting.state), state);
            }
            tx.commit().await?;
            return Err(refused(
                "consent was withdrawn after this confirmation was asked for; ask for consent again",
            ));
        }
        let pepper = self.config.code_pepper.as_bytes();
        let (expected, given) = match proof {
            Proof::Code(code) => (&waiting.code_hash, code.hash(pepper, &waiting.salt)),
            Proof::Token(token) => (&waiting.token_hash, hash_token(pepper, &waiting.salt, token)),
        };
        let (state, answer) = waiting.state.answer(expected, &given, now);
        if state != waiting.state {
            store::consents::save_confirmation(tx.conn(), tenant, id, state).await?;
            challenge_changed(&tx, ("confirmation", &id), Some(waiting.state), state);
        }
        let result = match answer {
            Answer::Right => {
                let entry = Entry {
                    subject: waiting.subject,
                    word: Word::Granted,
                    evidence: format!("confirmed {id}; {}", waiting.evidence),
                    by: caller.subject.to_string(),
                    at: now,
                    expires_at: waiting.consent_expires_at,
                    origin: customer.id,
                    of_the_whole: true,
                    through: waiting.through,
                };
                let shown = consent_to_wire(&entry, now);
                self.record_consents(&mut tx, caller, customer.id, &[entry])
                    .await?;
                Ok(shown)
            }
            Answer::Wrong { left } => Err(Error::invalid("code", format!("is wrong; {left} more tries"))),
            Answer::Locked => Err(Error::new(
                Kind::Precondition,
                "too many wrong codes; ask for consent again",
            )),
            Answer::Expired => Err(refused("the time to confirm is over; ask for consent again")),
            Answer::Spent => Err(refused("this was confirmed before")),
        };
        tx.commit().await?;
        result
    }

    /// Whether the customer refused what waits to be confirmed after it was asked for: whoever opens an old link, such as
    /// a program that looks into mails, does not take that back.
    async fn was_withdrawn_since(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        customer: &Customer,
        waiting: &Confirmation,
    ) -> Result<bool, Error> {
        let rows = rows(tx, tenant, customer.id).await?;
        let log = store::consents::log(tx.conn(), tenant, &rows).await?;
        // What was said in the very moment of the request came after it if it ended it.
        let ended = waiting.state == Challenge::Expired;
        Ok(log.iter().any(|said| {
            said.word == Word::Denied
                && said.subject.covers(&waiting.subject)
                && (said.at > waiting.requested_at || (ended && said.at == waiting.requested_at))
        }))
    }

    /// What holds and how it came about.
    pub async fn list_consents(
        &self,
        tenant: &TenantId,
        id: CustomerId,
    ) -> Result<wire::ListConsentsResponse, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let now = tx.now();
        let customer = self.read(&mut tx, tenant, id).await?;
        let rows = rows(&mut tx, tenant, customer.id).await?;
        let log = store::consents::log(tx.conn(), tenant, &rows).await?;
        Ok(wire::ListConsentsResponse {
            consents: to_wire_all(&consent::current(&log, now), now),
            log: log
                .iter()
                .take(LINES_SHOWN)
                .map(|e| consent_to_wire(e, now))
                .collect(),
        })
    }

    /// Adds to the log, keeps what follows from it where sending looks, and tells everybody. The customers are held alone
    /// by the caller.
    pub(super) async fn record_consents(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        customer: CustomerId,
        entries: &[Entry],
    ) -> Result<(), Error> {
        let tenant = &caller.tenant;
        self.log_consents(tx, tenant, entries).await?;
        self.note(tx, caller, &[customer], "changed", "consent").await?;
        self.project_consents(tx, tenant, &[customer]).await?;
        Ok(())
    }

    /// Adds to the log. What somebody takes back they are no longer asked to confirm.
    pub(super) async fn log_consents(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        entries: &[Entry],
    ) -> Result<(), Error> {
        let lines: Vec<(Uuid, &Entry)> = entries.iter().map(|e| (tx.new_id(), e)).collect();
        store::consents::add(tx.conn(), tenant, &lines).await?;
        let mut refusals: BTreeMap<CustomerId, Vec<&Subject>> = BTreeMap::new();
        for entry in entries.iter().filter(|e| e.word == Word::Denied) {
            refusals.entry(entry.origin).or_default().push(&entry.subject);
        }
        if refusals.is_empty() {
            return Ok(());
        }
        let who: Vec<CustomerId> = refusals.keys().copied().collect();
        let rows = store::profiles::rows_of(tx.conn(), tenant, &who).await?;
        let covered: Vec<(Uuid, &Subject)> = rows
            .iter()
            .flat_map(|(row, root)| refusals[root].iter().map(move |subject| (*row, *subject)))
            .collect();
        for id in store::consents::void_confirmations(tx.conn(), tenant, &covered).await? {
            tx.changed(("confirmation", &id), "state", "pending", "expired");
        }
        Ok(())
    }

    /// Works out anew what holds by the own log of each of these rows. Called again when the next consent ends.
    pub(super) async fn project_consents(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        rows: &[CustomerId],
    ) -> Result<Vec<Customer>, Error> {
        let now = tx.now();
        let before = self.roots(tx, tenant, rows.iter()).await?;
        let ids: Vec<Uuid> = rows.iter().map(|id| id.uuid()).collect();
        let mut logs: BTreeMap<CustomerId, Vec<Entry>> = rows.iter().map(|id| (*id, Vec::new())).collect();
        for entry in store::consents::log(tx.conn(), tenant, &ids).await? {
            logs.entry(entry.origin).or_default().push(entry);
        }
        let mut kept = Vec::with_capacity(logs.len());
        for (id, log) in logs {
            let current = consent::current(&log, now);
            if let Some(due_at) = consent::next_expiry(&current, now) {
                tx.arm(TimerSpec {
                    tenant: tenant.clone(),
                    kind: TIMER,
                    // With its moment, so that nobody who holds the customer waits for the timer that fires for them.
                    key: format!("{id} {}", due_at.timestamp_micros()),
                    due_at,
                    payload: json!({}),
                });
            }
            kept.push((id, holds(&current, now)));
        }
        store::consents::keep(tx.conn(), tenant, &kept).await?;
        let mut customers = self.roots(tx, tenant, rows.iter()).await?;
        let views = self.refresh(tx, tenant, &mut customers).await?;
        let rules = self.rules(tenant);
        for customer in &customers {
            let Some(before) = before.iter().find(|c| c.id == customer.id) else {
                continue;
            };
            profile_changed(tx, customer.id, &before.profile, &customer.profile);
            if views.contains(&customer.id) || customer.profile.consents != before.profile.consents {
                publish_change(tx, tenant, customer, &rules, &["consent"]);
            }
        }
        Ok(customers)
    }
}

/// What of a row's consents is kept beside it.
pub(super) fn holds(current: &BTreeMap<Subject, Entry>, now: DateTime<Utc>) -> Holds {
    let decided = current.iter().filter_map(|(subject, entry)| {
        let status = match entry.state(now) {
            ConsentState::Granted => wire::ConsentStatus::Granted,
            ConsentState::Denied => wire::ConsentStatus::Denied,
            ConsentState::Unspecified | ConsentState::Pending | ConsentState::Expired => return None,
        };
        let brand = if subject.brand.is_empty() {
            String::new()
        } else {
            format!("/{}", subject.brand)
        };
        let origin = Origin {
            source: entry.by.clone(),
            at: entry.at,
            verified: false,
            by_hand: true,
        };
        let key = format!("{}/{}{brand}", subject.kind, subject.purpose);
        Some((key, (status as i32, origin)))
    });
    decided.collect()
}

/// For the wire.
pub(super) fn to_wire_all(current: &BTreeMap<Subject, Entry>, now: DateTime<Utc>) -> Vec<wire::Consent> {
    current.values().map(|e| consent_to_wire(e, now)).collect()
}

pub(super) fn consent_to_wire(entry: &Entry, now: DateTime<Utc>) -> wire::Consent {
    wire::Consent {
        channel_kind: entry.subject.kind,
        purpose: entry.subject.purpose,
        brand: entry.subject.brand.clone(),
        state: entry.state(now) as i32,
        evidence: entry.evidence.clone(),
        recorded_by: entry.by.clone(),
        record_time: Some(to_wire(entry.at)),
        expire_time: entry.expires_at.map(to_wire),
    }
}
