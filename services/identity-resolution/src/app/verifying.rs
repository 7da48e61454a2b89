//! Proof of identity: asked once, valid everywhere until it expires.

use std::collections::HashMap;

use chrono::Duration;
use ring::rand::SecureRandom as _;
use trama_platform::{Command, Error, Kind, Tx};
use trama_proto::{
    common::v1::Verification as WireVerification,
    identity_resolution::v1::{self as wire, Purpose},
    ids::{ChallengeId, CustomerId, InteractionId, TenantId},
    notification::v1::MessageRequested,
    resources::ProofMethod,
    time::to_wire,
};

use super::{
    App, Caller,
    verification::{Proven, count_failure, keep, names, open, prove, rely_on, unless_locked},
};
use crate::{
    domain::{
        challenge::{Answer, Challenge, Code, level_of_code},
        customer::{Customer, Held, Verification},
        handle::{HandleKey, Trust},
        here::{Here, NoPlace},
        proof::Need,
        rules::Rules,
        standing::Standing,
    },
    error::{no_challenge, refused},
    store::{self, HandleRow, challenges::Stored, proofs::Scopes},
};

/// Template that carries the code.
const TEMPLATE: &str = "one-time-code";
/// Language of customers who have not shown another one.
const LANGUAGE: &str = "it";

/// A need asks for proof.
#[derive(Debug, Clone)]
pub struct Requirement {
    /// Of whom.
    pub customer: CustomerId,
    /// How strong, how old, by which methods.
    pub need: Need,
    /// Intent that it is for; empty when only a level was asked for.
    pub intent: String,
    /// Where the code shall go, if the asker cares.
    pub handle: Option<HandleKey>,
    /// For which case.
    pub case_id: String,
    /// Who is to be proven: whoever speaks in this interaction; the customer, whoever is there, when absent.
    pub interaction: Option<InteractionId>,
}

/// The answer.
pub type Required = wire::RequireVerificationResponse;

impl App {
    /// Answers at once if a proof of the level holds for whoever asks, else sends a code or says what else could prove it.
    pub async fn require_verification(
        &self,
        caller: &Caller,
        wanted: Requirement,
        request: &wire::RequireVerificationRequest,
    ) -> Result<Required, Error> {
        const METHOD: &str = "RequireVerification";
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
        let (rules, now) = (self.rules(tenant), tx.now());
        let mut customer = self.read_alone(&mut tx, tenant, wanted.customer).await?;
        let response = if wanted.need.level < 1 {
            Required {
                holds: true,
                ..Required::default()
            }
        } else {
            let proofs = self
                .proofs_of(&mut tx, tenant, &customer, &wanted, &rules)
                .await?;
            match wanted.need.met_by(&proofs, now) {
                Some(proof) => {
                    let proof = rely_on(&mut tx, tenant, &mut customer, proof, &rules).await?;
                    Required {
                        holds: true,
                        verification: Some(proof.to_wire()),
                        ..Required::default()
                    }
                }
                None => {
                    self.ask(&mut tx, caller, (&customer, &proofs), &wanted, &rules)
                        .await?
                }
            }
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        let outcome = match (response.holds, response.challenge_id.is_empty()) {
            (true, _) => "holds",
            (false, true) => "other_methods",
            (false, false) => "sent",
        };
        metrics::counter!("trama_identity_resolution_verifications_required_total", "outcome" => outcome)
            .increment(1);
        Ok(response)
    }

    /// The proofs that hold for whoever is to be proven.
    async fn proofs_of(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        customer: &Customer,
        wanted: &Requirement,
        rules: &Rules,
    ) -> Result<Vec<Verification>, Error> {
        let mut proofs = customer.verifications.clone();
        if let Some(interaction) = wanted.interaction {
            let standing = self.standing(tx, tenant, customer, interaction, rules).await?;
            proofs = customer.proofs_for(&standing);
        }
        if let Some(key) = &wanted.handle {
            let by = customer.proofs_for(&Standing::of_handle(held(customer, key)?, rules));
            // What was asked for in this very interaction holds wherever the code would go.
            let asked = |p: &Verification| p.asked_in.is_some() && p.asked_in == wanted.interaction;
            proofs.retain(|p| by.contains(p) || asked(p));
        }
        Ok(proofs)
    }

    /// Sends a code where one proves what is needed, and says what else does. Who asks for a level and not for a need wants a
    /// code.
    async fn ask(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        (customer, proofs): (&Customer, &[Verification]),
        wanted: &Requirement,
        rules: &Rules,
    ) -> Result<Required, Error> {
        let here = Here {
            customer,
            proofs,
            rules,
            now: tx.now(),
        };
        let place = match &wanted.handle {
            Some(key) if here.wants_code(&wanted.need) => here.at(held(customer, key)?, &wanted.need),
            Some(_) | None => here.place(&wanted.need),
        };
        let methods = here.methods(&wanted.need, place.is_ok());
        let first = match &place {
            Err(NoPlace::Alone | NoPlace::Proven) => here.first_methods(&methods),
            Ok(_) | Err(_) => Vec::new(),
        };
        let mut response = match place {
            Ok(handle) => {
                self.challenge(tx, caller, (customer, handle), wanted, rules)
                    .await?
            }
            // A place that the asker chose cannot be another.
            Err(why @ (NoPlace::Unfit | NoPlace::Proven)) if wanted.handle.is_some() => {
                return Err(refused(why.to_string()));
            }
            Err(why) if wanted.intent.is_empty() => return Err(refused(why.to_string())),
            Err(why) if methods.is_empty() && first.is_empty() => return Err(refused(why.to_string())),
            Err(_) => Required::default(),
        };
        response.methods = names(&methods);
        response.first_methods = names(&first);
        Ok(response)
    }

    async fn challenge(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        (customer, handle): (&Customer, &Held),
        wanted: &Requirement,
        rules: &Rules,
    ) -> Result<Required, Error> {
        let (tenant, now) = (&caller.tenant, tx.now());
        let scopes = Scopes {
            customer: customer.id,
            handle: handle.key.evidence(),
            source: caller.subject.as_str(),
        };
        unless_locked(tx, tenant, scopes, rules).await?;
        let sent =
            store::challenges::count_since(tx.conn(), tenant, customer.id, now - Duration::hours(1)).await?;
        if sent >= self.config.codes_per_hour {
            return Err(Error::new(
                Kind::Exhausted,
                "this customer was sent too many codes within an hour; try later",
            ));
        }
        let code = self.code()?;
        let salt = self.random::<16>()?;
        let state = Challenge::start(
            rules.policy().verification_attempts,
            Duration::minutes(self.config.code_minutes),
            now,
        );
        let stored = Stored {
            id: ChallengeId::new(tx.new_id()),
            customer: customer.id,
            method: ProofMethod::OneTimeCode,
            handle: Some(handle.key.clone()),
            question: String::new(),
            level: wanted.need.level,
            case_id: wanted.case_id.clone(),
            interaction: wanted.interaction,
            code_hash: code.hash(self.config.code_pepper.as_bytes(), &salt),
            salt: salt.to_vec(),
            state,
        };
        open(tx, caller, &stored).await?;
        let event = self.message(&stored, customer, handle, &code, tx);
        tx.publish(tenant, &customer.id.to_string(), &event);
        Ok(Required {
            holds: false,
            verification: None,
            challenge_id: stored.id.to_string(),
            masked_handle: handle.key.masked(),
            expires_at: Some(to_wire(now + Duration::minutes(self.config.code_minutes))),
            ..Required::default()
        })
    }

    fn message(
        &self,
        challenge: &Stored,
        customer: &Customer,
        handle: &Held,
        code: &Code,
        tx: &Tx,
    ) -> MessageRequested {
        let language = if customer.profile.language.is_empty() {
            LANGUAGE
        } else {
            &customer.profile.language
        };
        MessageRequested {
            message_id: challenge.id.to_string(),
            customer_id: customer.id.to_string(),
            case_id: challenge.case_id.clone(),
            purpose: Purpose::Security as i32,
            author: "security".to_owned(),
            template: TEMPLATE.to_owned(),
            template_values: HashMap::from([
                ("code".to_owned(), code.reveal().to_owned()),
                ("minutes".to_owned(), self.config.code_minutes.to_string()),
            ]),
            language: language.to_owned(),
            channel_kind: handle.key.kind.sendable_as().unwrap_or_default() as i32,
            handle: Some(handle.to_wire()),
            requested_at: Some(to_wire(tx.now())),
            ..MessageRequested::default()
        }
    }

    /// Compares a code. A wrong one is counted before the caller hears of it.
    pub async fn check_verification(
        &self,
        caller: &Caller,
        id: ChallengeId,
        code: &Code,
    ) -> Result<WireVerification, Error> {
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        let (rules, now) = (self.rules(tenant), tx.now());
        let (stored, customer) = self
            .hold_challenge(&mut tx, tenant, id, ProofMethod::OneTimeCode)
            .await?;
        let handle = stored.handle.clone().ok_or_else(|| no_challenge(id))?;
        let scopes = Scopes {
            customer: stored.customer,
            handle: handle.evidence(),
            source: caller.subject.as_str(),
        };
        unless_locked(&mut tx, tenant, scopes, &rules).await?;
        let given = code.hash(self.config.code_pepper.as_bytes(), &stored.salt);
        let (state, answer) = stored.state.answer(&stored.code_hash, &given, now);
        keep(&mut tx, caller, &stored, state).await?;
        let result = match answer {
            Answer::Right => Ok(self
                .prove_possession(&mut tx, caller, customer, (&stored, &handle), &rules)
                .await?),
            Answer::Wrong { left } => Err(Error::invalid("code", format!("is wrong; {left} more tries"))),
            Answer::Locked => Err(refused("too many wrong codes; ask for a new one")),
            Answer::Expired => Err(refused("this code is no longer good; ask for a new one")),
            Answer::Spent => Err(refused("this code was used before; ask for a new one")),
        };
        if matches!(answer, Answer::Wrong { .. }) || (answer == Answer::Locked && state != stored.state) {
            count_failure(&mut tx, caller, scopes, ProofMethod::OneTimeCode, &stored.case_id).await?;
        }
        tx.commit().await?;
        let outcome = match answer {
            Answer::Right => "right",
            Answer::Wrong { .. } => "wrong",
            Answer::Locked => "locked",
            Answer::Expired => "expired",
            Answer::Spent => "spent",
        };
        metrics::counter!("trama_identity_resolution_codes_checked_total", "outcome" => outcome).increment(1);
        result
    }

    async fn prove_possession(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        mut customer: Customer,
        (stored, handle): (&Stored, &HandleKey),
        rules: &Rules,
    ) -> Result<WireVerification, Error> {
        let (tenant, now) = (&caller.tenant, tx.now());
        let evidence = handle.evidence();
        let Some(held) = customer.handles.iter_mut().find(|h| h.key == *handle) else {
            return Err(refused(
                "the customer no longer holds the handle that the code went to; ask for a new code",
            ));
        };
        if held.trust < Trust::Verified {
            held.trust = Trust::Verified;
            let row = HandleRow {
                tenant,
                held: held.clone(),
                linked_by: None,
            };
            if !store::put_handles(tx.conn(), &[row]).await? {
                return Err(crate::error::overtaken());
            }
        }
        // Beside a proof of the same person, not of somebody for whom they are taken.
        let by = Standing::of_handle(held, rules);
        let mut proofs = customer.proofs_for(&by);
        if let Some(interaction) = stored.interaction {
            let standing = self.standing(tx, tenant, &customer, interaction, rules).await?;
            let theirs = customer.proofs_for(&standing);
            proofs.retain(|p| theirs.contains(p));
        }
        let another = proofs
            .iter()
            .any(|v| v.expires_at > now && !customer.is_line(handle, v.evidence));
        let proven = Proven {
            method: ProofMethod::OneTimeCode,
            level: level_of_code(another),
            evidence,
            words: "read out the code",
            case_id: &stored.case_id,
            asked_in: stored.interaction,
        };
        Ok(prove(tx, caller, &mut customer, rules, proven).await?.to_wire())
    }

    pub(super) fn code(&self) -> Result<Code, Error> {
        loop {
            if let Some(code) = Code::from_random(u32::from_be_bytes(self.random::<4>()?)) {
                return Ok(code);
            }
        }
    }

    pub(super) fn random<const N: usize>(&self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.random
            .fill(&mut bytes)
            .map_err(|_| Error::internal("no randomness for a code"))?;
        Ok(bytes)
    }
}

/// The handle that the asker named.
fn held<'a>(customer: &'a Customer, key: &HandleKey) -> Result<&'a Held, Error> {
    customer
        .holds(key)
        .ok_or_else(|| Error::invalid("handle", "the customer does not hold this handle; link it first"))
}
