//! Consent taken back: at once, and for everything that it reaches.

use trama_platform::{Command, Error, Tx};
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::{self as wire, Purpose},
    ids::{CustomerId, TenantId},
};

use super::{App, Caller, Received, consenting::consent_to_wire, profiles::rows};
use crate::{
    domain::{
        consent::{self, Entry, Subject, Withdrawal, Word},
        customer::Customer,
    },
    store,
};

impl App {
    /// Takes consent back.
    pub async fn withdraw_consent(
        &self,
        caller: &Caller,
        id: CustomerId,
        (kinds, purposes): (&[ChannelKind], &[Purpose]),
        request: &wire::WithdrawConsentRequest,
    ) -> Result<wire::WithdrawConsentResponse, Error> {
        const METHOD: &str = "WithdrawConsent";
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
        let customer = self.read_alone(&mut tx, tenant, id).await?;
        let entries = self
            .withdrawals(
                &mut tx,
                caller,
                &customer,
                (kinds, purposes, &request.brand),
                &request.evidence,
            )
            .await?;
        self.record_consents(&mut tx, caller, customer.id, &entries)
            .await?;
        let response = wire::WithdrawConsentResponse {
            withdrawn: entries.iter().map(|e| consent_to_wire(e, now)).collect(),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Takes consent back for those whose whole message says so, on the kind of channel that they wrote on: for the brand that
    /// the channel speaks for, because whoever answers `STOP` answers a sender, and for all brands when they say so.
    pub async fn withdraw_by_keyword(&self, tx: &mut Tx, batch: &[Received<'_>]) -> Result<(), Error> {
        for received in batch {
            let interaction = &received.interaction;
            let kind = ChannelKind::try_from(interaction.channel_kind).unwrap_or_default();
            let Some(reach) = consent::withdrawal(&interaction.text) else {
                continue;
            };
            if !consent::CHANNELS.contains(&kind) {
                continue;
            }
            let tenant = &received.envelope.tenant;
            let brand = match reach {
                Withdrawal::Here => self.brand_of(tenant, &interaction.channel),
                Withdrawal::Everywhere => String::new(),
            };
            let Some(owner) = store::consents::owner_of(tx.conn(), tenant, received.id).await? else {
                continue;
            };
            let caller = Caller {
                tenant: tenant.clone(),
                subject: "keyword".parse()?,
                origin: String::new(),
            };
            tx.follow(received.envelope);
            let customer = self.read_alone(tx, tenant, owner).await?;
            let evidence = format!("interaction {}", received.id);
            let entries = self
                .withdrawals(tx, &caller, &customer, (&[kind], &[], &brand), &evidence)
                .await?;
            self.record_consents(tx, &caller, customer.id, &entries).await?;
            metrics::counter!("trama_identity_resolution_withdrawals_by_keyword_total").increment(1);
        }
        Ok(())
    }

    /// For which brand a channel speaks; for all when empty.
    fn brand_of(&self, tenant: &TenantId, channel: &str) -> String {
        let snapshot = self.resources.snapshot();
        let spec = snapshot.tenant(tenant).and_then(|t| t.channels.get(channel));
        spec.map(|spec| spec.brand.clone()).unwrap_or_default()
    }

    /// The words that take consent back: for all brands together, and for each that was agreed to by itself.
    pub(super) async fn withdrawals(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        customer: &Customer,
        (kinds, purposes, brand): (&[ChannelKind], &[Purpose], &str),
        evidence: &str,
    ) -> Result<Vec<Entry>, Error> {
        let (tenant, now) = (&caller.tenant, tx.now());
        let rows = rows(tx, tenant, customer.id).await?;
        let log = store::consents::log(tx.conn(), tenant, &rows).await?;
        let current = consent::current(&log, now);
        let kinds = if kinds.is_empty() {
            &consent::CHANNELS
        } else {
            kinds
        };
        let purposes = if purposes.is_empty() {
            &[Purpose::Marketing, Purpose::Survey]
        } else {
            purposes
        };
        let mut entries = Vec::new();
        for kind in kinds {
            for purpose in purposes {
                let about = Subject::new(*kind, *purpose, brand);
                let mut subjects = vec![about.clone()];
                if brand.is_empty() {
                    let of_brands = current
                        .keys()
                        .filter(|s| s.kind == about.kind && s.purpose == about.purpose);
                    subjects.extend(of_brands.filter(|s| !s.brand.is_empty()).cloned());
                }
                entries.extend(subjects.into_iter().map(|subject| Entry {
                    subject,
                    word: Word::Denied,
                    evidence: evidence.to_owned(),
                    by: caller.subject.to_string(),
                    at: now,
                    expires_at: None,
                    origin: customer.id,
                    of_the_whole: true,
                    through: None,
                }));
            }
        }
        Ok(entries)
    }
}
