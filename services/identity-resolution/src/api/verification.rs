//! VerificationService ↔ app.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use trama_platform::Error;
use trama_proto::{
    identity_resolution::v1::{self as wire, verification_service_server::VerificationService},
    ids::{ChallengeId, CustomerId, InteractionId},
    resources::{ProofMethod, STRONGEST_LEVEL},
};

use super::{
    caller,
    read::{id, reason},
};
use crate::{
    app::{App, Asked, Caller, Check, Requirement, hooks::Outside},
    domain::{handle::HandleKey, proof::Need},
};

/// Longest answer to a question.
const LONGEST_ANSWER: usize = 200;

/// The gRPC service.
pub struct VerificationApi {
    app: Arc<App>,
    outside: Outside,
}

impl VerificationApi {
    /// Over the use cases and the way to the integrator's hooks.
    pub fn new(app: Arc<App>, outside: Outside) -> Self {
        Self { app, outside }
    }
}

/// A case's id, or nothing.
pub(super) fn case_id(text: &str) -> Result<(), Error> {
    if text.len() > 64 {
        return Err(Error::invalid("case_id", "must be a case's id"));
    }
    Ok(())
}

/// A language, or nothing.
fn language(text: &str) -> Result<(), Error> {
    if text.len() > 35 {
        return Err(Error::invalid("language", "must be a BCP 47 language"));
    }
    Ok(())
}

/// An interaction's id, or nothing.
fn interaction(text: &str) -> Result<Option<InteractionId>, Error> {
    (!text.is_empty()).then(|| id("interaction_id", text)).transpose()
}

/// Whom a challenge asks.
fn asked(customer: &str, interaction_id: &str) -> Result<Asked, Error> {
    Ok(Asked {
        customer: id("customer_id", customer)?,
        interaction: interaction(interaction_id)?,
    })
}

/// What RequireVerification asks for: a level, a need of the policy, or both.
pub(super) fn requirement(
    app: &App,
    caller: &Caller,
    request: &wire::RequireVerificationRequest,
    handle: Option<HandleKey>,
) -> Result<Requirement, Error> {
    let least = if request.need.is_empty() { 1 } else { 0 };
    if !(least..=STRONGEST_LEVEL).contains(&request.level) {
        return Err(Error::invalid("level", "must be from 1 to 3"));
    }
    case_id(&request.case_id)?;
    let need = if request.need.is_empty() {
        Need::of_level(request.level)
    } else {
        let known = app.need(&caller.tenant, &request.need).ok_or_else(|| {
            Error::invalid(
                "need",
                "neither the MatchingPolicy's `verification.needs` nor an Intent has this name",
            )
        })?;
        known.at_least(request.level)
    };
    Ok(Requirement {
        customer: id("customer_id", &request.customer_id)?,
        need,
        intent: request.need.clone(),
        handle,
        case_id: request.case_id.clone(),
        interaction: interaction(&request.interaction_id)?,
    })
}

#[tonic::async_trait]
impl VerificationService for VerificationApi {
    async fn get_verification(
        &self,
        request: Request<wire::GetVerificationRequest>,
    ) -> Result<Response<wire::GetVerificationResponse>, Status> {
        let caller = caller(&request)?;
        let customer: CustomerId = id("customer_id", &request.get_ref().customer_id)?;
        Ok(Response::new(self.app.get_verification(&caller, customer).await?))
    }

    async fn start_confirmation(
        &self,
        request: Request<wire::StartConfirmationRequest>,
    ) -> Result<Response<wire::StartConfirmationResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        case_id(&request.case_id)?;
        let of = asked(&request.customer_id, &request.interaction_id)?;
        Ok(Response::new(
            self.app.start_confirmation(&caller, of, request).await?,
        ))
    }

    async fn confirm_challenge(
        &self,
        request: Request<wire::ConfirmChallengeRequest>,
    ) -> Result<Response<wire::ConfirmChallengeResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let challenge: ChallengeId = id("challenge_id", &request.challenge_id)?;
        let rules = self.app.rules(&caller.tenant);
        let account = rules
            .handle("crm", &request.crm_id)
            .map_err(|e| Error::invalid("crm_id", e.to_string()))?;
        Ok(Response::new(
            self.app
                .confirm_challenge(&caller, challenge, &account, request)
                .await?,
        ))
    }

    async fn ask_question(
        &self,
        request: Request<wire::AskQuestionRequest>,
    ) -> Result<Response<wire::AskQuestionResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        case_id(&request.case_id)?;
        language(&request.language)?;
        let of = asked(&request.customer_id, &request.interaction_id)?;
        Ok(Response::new(
            self.app.ask_question(&caller, of, request, &self.outside).await?,
        ))
    }

    async fn answer_question(
        &self,
        request: Request<wire::AnswerQuestionRequest>,
    ) -> Result<Response<wire::AnswerQuestionResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let challenge: ChallengeId = id("challenge_id", &request.challenge_id)?;
        let answer = request.answer.trim();
        if answer.is_empty() || answer.chars().count() > LONGEST_ANSWER {
            return Err(Error::invalid("answer", "must be of 1 to 200 characters").into());
        }
        let proof = self
            .app
            .answer_question(&caller, challenge, answer, &self.outside)
            .await?;
        Ok(Response::new(wire::AnswerQuestionResponse {
            verification: Some(proof),
        }))
    }

    async fn start_document_check(
        &self,
        request: Request<wire::StartDocumentCheckRequest>,
    ) -> Result<Response<wire::StartDocumentCheckResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        case_id(&request.case_id)?;
        language(&request.language)?;
        let of = asked(&request.customer_id, &request.interaction_id)?;
        Ok(Response::new(
            self.app
                .start_document_check(&caller, of, request, &self.outside)
                .await?,
        ))
    }

    async fn record_verification(
        &self,
        request: Request<wire::RecordVerificationRequest>,
    ) -> Result<Response<wire::RecordVerificationResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        case_id(&request.case_id)?;
        let method = ProofMethod::parse(&request.method)
            .filter(|m| matches!(m, ProofMethod::AgentCheck | ProofMethod::Document))
            .ok_or_else(|| Error::invalid("method", "must be agent_check or document"))?;
        if !(1..=STRONGEST_LEVEL).contains(&request.level) {
            return Err(Error::invalid("level", "must be from 1 to 3").into());
        }
        if request.evidence.trim().is_empty() || request.evidence.chars().count() > 500 {
            return Err(Error::invalid("evidence", "say in 1 to 500 characters how it was checked").into());
        }
        let check = Check {
            customer: id("customer_id", &request.customer_id)?,
            method,
            level: request.level,
            interaction: interaction(&request.interaction_id)?,
        };
        Ok(Response::new(
            self.app.record_verification(&caller, check, request).await?,
        ))
    }

    async fn revoke_verification(
        &self,
        request: Request<wire::RevokeVerificationRequest>,
    ) -> Result<Response<wire::RevokeVerificationResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        reason(&request.reason)?;
        if !request.method.is_empty() && ProofMethod::parse(&request.method).is_none() {
            return Err(Error::invalid("method", "is no method; leave it empty for all").into());
        }
        let customer: CustomerId = id("customer_id", &request.customer_id)?;
        Ok(Response::new(
            self.app.revoke_verification(&caller, customer, request).await?,
        ))
    }
}
