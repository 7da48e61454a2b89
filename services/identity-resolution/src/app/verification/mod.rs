//! Proofs by any method: what holds, what is recorded, what is revoked.

mod confirming;
mod documents;
mod questions;

use std::collections::BTreeSet;

use trama_platform::{Command, Error, Kind, Tx};
use trama_proto::{
    identity_resolution::v1::{self as wire, CustomerChanged},
    ids::{ChallengeId, CustomerId, InteractionId, TenantId},
    resources::{MethodPolicy, ProofMethod},
    time::to_wire,
};

use super::{
    App, Caller,
    auditing::{challenge_changed, proof_changed},
    publish_change,
};
use crate::{
    domain::{
        challenge::Challenge,
        customer::{Customer, Verification},
        handle::evidence_of_customer,
        proof::{self, Need},
        rules::Rules,
        standing::Standing,
    },
    error::{no_challenge, refused},
    store::{
        self,
        challenges::Stored,
        proofs::{LogEntry, Scopes},
    },
};

/// What a check was worth.
#[derive(Debug, Clone)]
pub(super) struct Proven<'a> {
    /// By which method.
    pub method: ProofMethod,
    /// As the check would have it; the policy may bound it.
    pub level: i32,
    /// The handle that it rests on, or the customer as such.
    pub evidence: i64,
    /// How it was checked, for the log.
    pub words: &'a str,
    /// For which case.
    pub case_id: &'a str,
    /// In which interaction, if the asker said so.
    pub asked_in: Option<InteractionId>,
}

/// Whom a challenge asks.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Taken for whom.
    pub customer: CustomerId,
    /// Whoever speaks in this interaction; the customer, whoever is there, when absent.
    pub interaction: Option<InteractionId>,
}

/// A check that was made elsewhere.
#[derive(Debug, Clone)]
pub struct Check {
    /// Of whom.
    pub customer: CustomerId,
    /// By which method.
    pub method: ProofMethod,
    /// How strong.
    pub level: i32,
    /// In which interaction.
    pub interaction: Option<InteractionId>,
}

/// What a method is worth here. Codes and logins hold as long as the policy's `verificationHours` says, unless it
/// says something else for the method.
pub(super) fn method_policy(rules: &Rules, method: ProofMethod) -> MethodPolicy {
    let policy = rules.policy();
    let mut found = policy.verification.method(method);
    let said = policy.verification.methods.contains_key(&method);
    if !said && matches!(method, ProofMethod::OneTimeCode | ProofMethod::Login) {
        found.hours = policy.verification_hours;
    }
    found
}

/// Refuses while too many wrong answers are in the window.
pub(super) async fn unless_locked(
    tx: &mut Tx,
    tenant: &TenantId,
    scopes: Scopes<'_>,
    rules: &Rules,
) -> Result<(), Error> {
    let (policy, now) = (rules.policy().verification.lock_out, tx.now());
    let failures = store::proofs::failures(tx.conn(), tenant, scopes, now - proof::window(policy)).await?;
    match failures.locked_until(policy, now) {
        None => Ok(()),
        Some(until) => {
            metrics::counter!("trama_identity_resolution_verifications_locked_total").increment(1);
            let minutes = ((until - now).num_seconds() + 59) / 60;
            Err(Error::new(
                Kind::Exhausted,
                format!("too many wrong answers; try again in {minutes} minutes"),
            ))
        }
    }
}

/// Counts a wrong answer, for the lock and for the log.
pub(super) async fn count_failure(
    tx: &mut Tx,
    caller: &Caller,
    scopes: Scopes<'_>,
    method: ProofMethod,
    case_id: &str,
) -> Result<(), Error> {
    let mark = (tx.new_id(), tx.now());
    store::proofs::add_failure(tx.conn(), &caller.tenant, scopes, mark).await?;
    let entry = LogEntry {
        outcome: "failed",
        method: method.as_str().to_owned(),
        level: 0,
        subject: caller.subject.to_string(),
        evidence: String::new(),
        case_id: case_id.to_owned(),
    };
    store::proofs::log(tx.conn(), &caller.tenant, scopes.customer, mark, &entry).await
}

/// Opens a challenge.
pub(super) async fn open(tx: &mut Tx, caller: &Caller, challenge: &Stored) -> Result<(), Error> {
    let now = tx.now();
    store::challenges::add(tx.conn(), &caller.tenant, challenge, caller.subject.as_str(), now).await?;
    challenge_changed(tx, ("challenge", &challenge.id), None, challenge.state);
    Ok(())
}

/// Keeps where a challenge stands after an answer.
pub(super) async fn keep(
    tx: &mut Tx,
    caller: &Caller,
    challenge: &Stored,
    state: Challenge,
) -> Result<(), Error> {
    if state != challenge.state {
        store::challenges::save(tx.conn(), &caller.tenant, challenge.id, state).await?;
        challenge_changed(tx, ("challenge", &challenge.id), Some(challenge.state), state);
    }
    Ok(())
}

/// Keeps a proof, logs it and tells everybody.
pub(super) async fn prove(
    tx: &mut Tx,
    caller: &Caller,
    customer: &mut Customer,
    rules: &Rules,
    proven: Proven<'_>,
) -> Result<Verification, Error> {
    let (tenant, now) = (&caller.tenant, tx.now());
    let policy = method_policy(rules, proven.method);
    let level = proven.level.min(policy.max_level);
    if level < 1 {
        return Err(refused("the policy does not accept this method"));
    }
    let proof = Verification {
        level,
        method: proven.method.as_str().to_owned(),
        verified_by: caller.subject.to_string(),
        verified_at: now,
        expires_at: proof::holds_until(&policy, now, now),
        evidence: proven.evidence,
        asked_in: proven.asked_in,
    };
    store::save_verifications(tx.conn(), &[(tenant, customer.id, &proof)]).await?;
    proof_changed(tx, customer, &proof.method, Some(level));
    let entry = LogEntry {
        outcome: "proven",
        method: proof.method.clone(),
        level,
        subject: caller.subject.to_string(),
        evidence: proven.words.to_owned(),
        case_id: proven.case_id.to_owned(),
    };
    let mark = (tx.new_id(), now);
    store::proofs::log(tx.conn(), tenant, customer.id, mark, &entry).await?;
    customer.prove(proof.clone());
    let event = CustomerChanged {
        customer: Some(customer.context(rules, now, false)),
        changed_fields: ["verification", "handles"].map(str::to_owned).to_vec(),
        proof: proof.asked_in.map(|_| proof.to_wire()),
        interaction_id: proof.asked_in.map(|id| id.to_string()).unwrap_or_default(),
    };
    tx.publish(tenant, &customer.id.to_string(), &event);
    metrics::counter!("trama_identity_resolution_proofs_total", "method" => proven.method.as_str())
        .increment(1);
    Ok(proof)
}

/// Notes that a proof was relied upon: one that idles out holds on.
pub(super) async fn rely_on(
    tx: &mut Tx,
    tenant: &TenantId,
    customer: &mut Customer,
    proof: &Verification,
    rules: &Rules,
) -> Result<Verification, Error> {
    let now = tx.now();
    let mut proof = proof.clone();
    let Some(method) = ProofMethod::parse(&proof.method) else {
        return Ok(proof);
    };
    let policy = method_policy(rules, method);
    let until = proof::holds_until(&policy, proof.verified_at, now);
    if policy.idle_minutes.is_some() && until > proof.expires_at {
        store::proofs::prolong(
            tx.conn(),
            tenant,
            &[customer.id.uuid()],
            (&proof.method, proof.evidence),
            until,
        )
        .await?;
        proof.expires_at = until;
        customer.prove(proof.clone());
        publish_change(tx, tenant, customer, rules, &["verification"]);
    }
    Ok(proof)
}

impl App {
    /// What a need asks for: as the policy says, else the level that its Intent names.
    pub fn need(&self, tenant: &TenantId, name: &str) -> Option<Need> {
        if let Some(need) = self.rules(tenant).policy().verification.needs.get(name) {
            return Some(Need::of_policy(need));
        }
        let snapshot = self.resources.snapshot();
        let intent = snapshot.tenant(tenant)?.intents.get(name)?;
        Some(Need::of_level(intent.verification_level))
    }

    /// A challenge of a method and whose it is, both held alone until the transaction ends: the customer first, as who opens
    /// one does, else the two wait for each other.
    pub(super) async fn hold_challenge(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        id: ChallengeId,
        method: ProofMethod,
    ) -> Result<(Stored, Customer), Error> {
        let owner = store::challenges::customer_of(tx.conn(), tenant, id)
            .await?
            .ok_or_else(|| no_challenge(id))?;
        let customer = self.read_alone(tx, tenant, owner).await?;
        let stored = store::challenges::find(tx.conn(), tenant, id)
            .await?
            .filter(|s| s.method == method)
            .ok_or_else(|| no_challenge(id))?;
        Ok((stored, customer))
    }

    /// Who is asked, held alone until the transaction ends; nobody is by an interaction of somebody else.
    pub(super) async fn hold_asked(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        asked: Asked,
        rules: &Rules,
    ) -> Result<Customer, Error> {
        let customer = self.read_alone(tx, tenant, asked.customer).await?;
        self.unless_elsewhere(tx, tenant, &customer, asked, rules).await?;
        Ok(customer)
    }

    /// An error if the interaction is somebody else's.
    pub(super) async fn unless_elsewhere(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        customer: &Customer,
        asked: Asked,
        rules: &Rules,
    ) -> Result<(), Error> {
        if let Some(interaction) = asked.interaction {
            self.standing(tx, tenant, customer, interaction, rules).await?;
        }
        Ok(())
    }

    /// What leads from whoever spoke in an interaction to the customer.
    pub(super) async fn standing(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        customer: &Customer,
        interaction: InteractionId,
        rules: &Rules,
    ) -> Result<Standing, Error> {
        let owner = store::owner_of(tx.conn(), tenant, interaction)
            .await?
            .filter(|owner| customer.ids().contains(&owner.customer))
            .ok_or_else(|| Error::invalid("interaction_id", "is no interaction of this customer"))?;
        let held = customer
            .handles
            .iter()
            .find(|h| h.key.evidence() == owner.evidence);
        let mut standing = match held {
            _ if owner.weak => Standing::default(),
            Some(held) => Standing::of_handle(held, rules),
            None => Standing::default(),
        };
        if !owner.weak && owner.evidence == evidence_of_customer(owner.customer) {
            standing.under.insert(owner.customer);
        }
        standing.interaction = Some(interaction);
        Ok(standing)
    }

    /// Which proofs hold, and what each need would still ask for.
    pub async fn get_verification(
        &self,
        caller: &Caller,
        id: CustomerId,
    ) -> Result<wire::GetVerificationResponse, Error> {
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        let (rules, now) = (self.rules(tenant), tx.now());
        let customer = self.read(&mut tx, tenant, id).await?;
        let rows: Vec<_> = store::profiles::rows_of(tx.conn(), tenant, &[customer.id])
            .await?
            .into_iter()
            .map(|(row, _)| row)
            .collect();
        let history = store::proofs::history(tx.conn(), tenant, &rows).await?;
        let scopes = Scopes::of_customer(customer.id, &caller.subject);
        let policy = &rules.policy().verification;
        let since = now - proof::window(policy.lock_out);
        let failures = store::proofs::failures(tx.conn(), tenant, scopes, since).await?;
        let mut proofs: Vec<&Verification> = customer
            .verifications
            .iter()
            .filter(|v| v.expires_at > now)
            .collect();
        proofs.sort_by_key(|v| std::cmp::Reverse((v.level, v.expires_at)));
        let masked = |evidence: i64| {
            let held = customer.handles.iter().find(|h| h.key.evidence() == evidence);
            held.map(|h| h.key.masked()).unwrap_or_default()
        };
        Ok(wire::GetVerificationResponse {
            level: proofs.first().map_or(0, |v| v.level),
            proofs: proofs
                .iter()
                .map(|v| wire::Proof {
                    verification: Some(v.to_wire()),
                    masked_handle: masked(v.evidence),
                })
                .collect(),
            needs: policy
                .needs
                .iter()
                .map(|(name, need)| {
                    let asked = Need::of_policy(need);
                    let holds = asked.met_by(&customer.verifications, now).is_some();
                    wire::NeedStatus {
                        need: name.clone(),
                        level: need.level,
                        max_age_minutes: need
                            .max_age_minutes
                            .and_then(|m| i32::try_from(m).ok())
                            .unwrap_or(0),
                        holds,
                        methods: if holds {
                            Vec::new()
                        } else {
                            names(&asked.methods(policy))
                        },
                    }
                })
                .collect(),
            history: history
                .into_iter()
                .map(|h| wire::VerificationEntry {
                    outcome: h.outcome,
                    method: h.method,
                    level: h.level,
                    subject: h.subject,
                    evidence: h.evidence,
                    case_id: h.case_id,
                    create_time: Some(to_wire(h.at)),
                })
                .collect(),
            locked_until: failures.locked_until(policy.lock_out, now).map(to_wire),
        })
    }

    /// Records a check that was made elsewhere.
    pub async fn record_verification(
        &self,
        caller: &Caller,
        check: Check,
        request: &wire::RecordVerificationRequest,
    ) -> Result<wire::RecordVerificationResponse, Error> {
        const METHOD: &str = "RecordVerification";
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
        let rules = self.rules(tenant);
        let most = method_policy(&rules, check.method).max_level;
        if check.level > most {
            return Err(Error::invalid(
                "level",
                format!("the policy accepts at most {most} for {}", check.method.as_str()),
            ));
        }
        let asked = Asked {
            customer: check.customer,
            interaction: check.interaction,
        };
        let mut customer = self.hold_asked(&mut tx, tenant, asked, &rules).await?;
        let proven = Proven {
            method: check.method,
            level: check.level,
            evidence: evidence_of_customer(customer.id),
            words: &request.evidence,
            case_id: &request.case_id,
            asked_in: check.interaction,
        };
        let proof = prove(&mut tx, caller, &mut customer, &rules, proven).await?;
        let response = wire::RecordVerificationResponse {
            verification: Some(proof.to_wire()),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Ends proofs at once.
    pub async fn revoke_verification(
        &self,
        caller: &Caller,
        id: CustomerId,
        request: &wire::RevokeVerificationRequest,
    ) -> Result<wire::RevokeVerificationResponse, Error> {
        const METHOD: &str = "RevokeVerification";
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
        let customer = self.read_alone(&mut tx, tenant, id).await?;
        let rows: Vec<_> = store::profiles::rows_of(tx.conn(), tenant, &[customer.id])
            .await?
            .into_iter()
            .map(|(row, _)| row)
            .collect();
        let revoked = store::proofs::revoke(tx.conn(), tenant, &rows, &request.method).await?;
        if revoked > 0 {
            let held = customer.verifications.iter().map(|v| v.method.as_str());
            let gone = held.filter(|method| request.method.is_empty() || *method == request.method);
            for method in gone.collect::<BTreeSet<_>>() {
                proof_changed(&tx, &customer, method, None);
            }
            let entry = LogEntry {
                outcome: "revoked",
                method: request.method.clone(),
                level: 0,
                subject: caller.subject.to_string(),
                evidence: request.reason.clone(),
                case_id: String::new(),
            };
            let mark = (tx.new_id(), tx.now());
            store::proofs::log(tx.conn(), tenant, customer.id, mark, &entry).await?;
            let customer = self.read(&mut tx, tenant, customer.id).await?;
            let rules = self.rules(tenant);
            publish_change(
                &mut tx,
                tenant,
                &customer,
                &rules,
                &["verification", "verification_revoked"],
            );
        }
        let response = wire::RevokeVerificationResponse {
            revoked: i32::try_from(revoked).unwrap_or(i32::MAX),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }
}

/// Names of methods, for the wire.
pub(super) fn names(methods: &[ProofMethod]) -> Vec<String> {
    methods.iter().map(|m| m.as_str().to_owned()).collect()
}
