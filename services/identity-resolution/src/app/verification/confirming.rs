//! A tap in the company's app.

use chrono::Duration;
use trama_platform::{Command, Error};
use trama_proto::{identity_resolution::v1 as wire, ids::ChallengeId, resources::ProofMethod, time::to_wire};

use super::{Asked, Proven, count_failure, keep, method_policy, open, prove, unless_locked};
use crate::{
    app::{App, Caller},
    domain::{
        challenge::{Answer, Challenge},
        handle::{HandleKey, HandleKind, Trust},
    },
    error::refused,
    store::{challenges::Stored, proofs::Scopes},
};

impl App {
    /// Opens a challenge that the app answers.
    pub async fn start_confirmation(
        &self,
        caller: &Caller,
        asked: Asked,
        request: &wire::StartConfirmationRequest,
    ) -> Result<wire::StartConfirmationResponse, Error> {
        const METHOD: &str = "StartConfirmation";
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
        let customer = self.hold_asked(&mut tx, tenant, asked, &rules).await?;
        let level = method_policy(&rules, ProofMethod::InAppConfirm).max_level;
        if level < 1 {
            return Err(refused("the policy does not accept confirmation in the app"));
        }
        let in_the_books =
            |h: &&crate::domain::customer::Held| h.key.kind == HandleKind::Crm && h.trust > Trust::Claimed;
        if !customer.handles.iter().any(|h| in_the_books(&h)) {
            return Err(refused(
                "the customer has no account that the app could know them by",
            ));
        }
        let scopes = Scopes::of_customer(customer.id, &caller.subject);
        unless_locked(&mut tx, tenant, scopes, &rules).await?;
        let good_for = Duration::minutes(self.config.code_minutes);
        // The app says yes or no; there is nothing to guess.
        let state = Challenge::start(1, good_for, now);
        let (new_id, how) = (ChallengeId::new(tx.new_id()), (ProofMethod::InAppConfirm, level));
        let whence = (request.case_id.as_str(), asked.interaction);
        let stored = Stored::without_code(new_id, customer.id, how, whence, state);
        open(&mut tx, caller, &stored).await?;
        let response = wire::StartConfirmationResponse {
            challenge_id: stored.id.to_string(),
            expire_time: Some(to_wire(now + good_for)),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Takes the app's word: who is logged in there tapped yes or no.
    pub async fn confirm_challenge(
        &self,
        caller: &Caller,
        id: ChallengeId,
        account: &HandleKey,
        request: &wire::ConfirmChallengeRequest,
    ) -> Result<wire::ConfirmChallengeResponse, Error> {
        const METHOD: &str = "ConfirmChallenge";
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
        let (stored, mut customer) = self
            .hold_challenge(&mut tx, tenant, id, ProofMethod::InAppConfirm)
            .await?;
        if customer.holds(account).is_none_or(|h| h.trust == Trust::Claimed) {
            return Err(Error::invalid(
                "crm_id",
                "is not the account of the customer who is asked",
            ));
        }
        let said: &[u8] = if request.confirmed { b"yes" } else { b"no" };
        let (state, answer) = stored.state.answer(b"yes", said, now);
        keep(&mut tx, caller, &stored, state).await?;
        let verification = match answer {
            Answer::Right => {
                let proven = Proven {
                    method: ProofMethod::InAppConfirm,
                    level: stored.level,
                    evidence: account.evidence(),
                    words: "confirmed in the app",
                    case_id: &stored.case_id,
                    asked_in: stored.interaction,
                };
                Some(
                    prove(&mut tx, caller, &mut customer, &rules, proven)
                        .await?
                        .to_wire(),
                )
            }
            // The customer says that it was not them: that is an answer, and one to be counted.
            Answer::Locked if stored.state != state => {
                let scopes = Scopes {
                    customer: customer.id,
                    handle: account.evidence(),
                    source: caller.subject.as_str(),
                };
                count_failure(
                    &mut tx,
                    caller,
                    scopes,
                    ProofMethod::InAppConfirm,
                    &stored.case_id,
                )
                .await?;
                None
            }
            Answer::Locked | Answer::Wrong { .. } | Answer::Spent => {
                return Err(refused("this challenge was answered before; start another one"));
            }
            Answer::Expired => return Err(refused("this challenge is no longer open; start another one")),
        };
        let response = wire::ConfirmChallengeResponse { verification };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }
}
