//! Knowledge questions: the integrator's hook knows the question and the answer, we only keep count.

use chrono::Duration;
use serde_json::{Value, json};
use trama_platform::{Error, Kind};
use trama_proto::{
    common::v1::Verification as WireVerification,
    identity_resolution::v1 as wire,
    ids::ChallengeId,
    resources::{Hook, ProofMethod},
    time::to_wire,
};

use super::{Asked, Proven, count_failure, keep, open, prove, unless_locked};
use crate::{
    app::{App, Caller, hooks::Outside},
    domain::{
        challenge::{Answer, Challenge},
        handle::{HandleKind, evidence_of_customer},
        rules::Rules,
    },
    error::{no_challenge, refused},
    store::{self, challenges::Stored, proofs::Scopes},
};

/// What a right answer is worth: who knows it is not yet who they say they are.
const LEVEL: i32 = 1;
/// Longest question and id of a question.
const LONGEST: usize = 1_000;

fn hook(rules: &Rules) -> Result<&Hook, Error> {
    let hook = rules.policy().verification.knowledge_hook.as_ref();
    hook.ok_or_else(|| {
        refused("no hook for knowledge questions: set verification.knowledgeHook of the MatchingPolicy")
    })
}

impl App {
    /// Fetches a question. The hook is called between two transactions: neither waits for the other side.
    pub async fn ask_question(
        &self,
        caller: &Caller,
        asked: Asked,
        request: &wire::AskQuestionRequest,
        outside: &Outside,
    ) -> Result<wire::AskQuestionResponse, Error> {
        let tenant = &caller.tenant;
        let rules = self.rules(tenant);
        let hook = hook(&rules)?;
        let (customer, now) = {
            let mut tx = self.db.tx(tenant).await?;
            let customer = self.read(&mut tx, tenant, asked.customer).await?;
            self.unless_elsewhere(&mut tx, tenant, &customer, asked, &rules)
                .await?;
            unless_locked(
                &mut tx,
                tenant,
                Scopes::of_customer(customer.id, &caller.subject),
                &rules,
            )
            .await?;
            let now = tx.now();
            (customer, now)
        };
        let language = if request.language.is_empty() {
            &customer.profile.language
        } else {
            &request.language
        };
        let accounts: Vec<&str> = customer
            .handles
            .iter()
            .filter(|h| h.key.kind == HandleKind::Crm)
            .map(|h| h.key.value.as_str())
            .collect();
        let body = json!({
            "type": "ask",
            "customerId": customer.id.to_string(),
            "externalIds": accounts,
            "language": language,
            "caseId": request.case_id,
        });
        let answer = outside
            .post(tenant, hook, body.to_string().into_bytes(), now)
            .await?;
        let text = |name: &str| {
            answer
                .get(name)
                .and_then(Value::as_str)
                .filter(|t| !t.is_empty() && t.len() <= LONGEST)
                .map(str::to_owned)
        };
        let (Some(question_id), Some(question)) = (text("questionId"), text("question")) else {
            return Err(Error::new(
                Kind::Unavailable,
                "the integrator's hook has no question for this customer",
            ));
        };
        let mut tx = self.db.tx(tenant).await?;
        let now = tx.now();
        let asked = Asked {
            customer: customer.id,
            ..asked
        };
        let customer = self.hold_asked(&mut tx, tenant, asked, &rules).await?;
        let good_for = Duration::minutes(self.config.code_minutes);
        let state = Challenge::start(rules.policy().verification_attempts, good_for, now);
        let (new_id, how) = (
            ChallengeId::new(tx.new_id()),
            (ProofMethod::KnowledgeQuestion, LEVEL),
        );
        let stored = Stored {
            question: question_id,
            ..Stored::without_code(
                new_id,
                customer.id,
                how,
                (&request.case_id, asked.interaction),
                state,
            )
        };
        open(&mut tx, caller, &stored).await?;
        tx.commit().await?;
        Ok(wire::AskQuestionResponse {
            challenge_id: stored.id.to_string(),
            question,
            expire_time: Some(to_wire(now + good_for)),
        })
    }

    /// Has the hook judge an answer. A wrong one is counted before the caller hears of it.
    pub async fn answer_question(
        &self,
        caller: &Caller,
        id: ChallengeId,
        given: &str,
        outside: &Outside,
    ) -> Result<WireVerification, Error> {
        let tenant = &caller.tenant;
        let rules = self.rules(tenant);
        let hook = hook(&rules)?;
        let (stored, now) = {
            let mut tx = self.db.tx(tenant).await?;
            let stored = self.open_question(&mut tx, tenant, id).await?;
            unless_locked(
                &mut tx,
                tenant,
                Scopes::of_customer(stored.customer, &caller.subject),
                &rules,
            )
            .await?;
            let now = tx.now();
            (stored, now)
        };
        let body = json!({
            "type": "answer",
            "customerId": stored.customer.to_string(),
            "questionId": stored.question,
            "answer": given,
        });
        let verdict = outside
            .post(tenant, hook, body.to_string().into_bytes(), now)
            .await?;
        let Some(right) = verdict.get("correct").and_then(Value::as_bool) else {
            return Err(Error::new(
                Kind::Unavailable,
                "the integrator's hook did not judge the answer",
            ));
        };
        let mut tx = self.db.tx(tenant).await?;
        let (stored, mut customer) = self
            .hold_challenge(&mut tx, tenant, id, ProofMethod::KnowledgeQuestion)
            .await?;
        let said: &[u8] = if right { b"right" } else { b"wrong" };
        let (state, answer) = stored.state.answer(b"right", said, tx.now());
        keep(&mut tx, caller, &stored, state).await?;
        let result = match answer {
            Answer::Right => {
                let proven = Proven {
                    method: ProofMethod::KnowledgeQuestion,
                    level: LEVEL,
                    evidence: evidence_of_customer(customer.id),
                    words: "answered a question",
                    case_id: &stored.case_id,
                    asked_in: stored.interaction,
                };
                Ok(prove(&mut tx, caller, &mut customer, &rules, proven)
                    .await?
                    .to_wire())
            }
            Answer::Wrong { left } => Err(Error::invalid("answer", format!("is wrong; {left} more tries"))),
            Answer::Locked => Err(refused("too many wrong answers; ask another question")),
            Answer::Expired => Err(refused("this question is no longer open; ask another one")),
            Answer::Spent => Err(refused("this question was answered before; ask another one")),
        };
        if matches!(answer, Answer::Wrong { .. } | Answer::Locked) {
            let scopes = Scopes::of_customer(customer.id, &caller.subject);
            count_failure(
                &mut tx,
                caller,
                scopes,
                ProofMethod::KnowledgeQuestion,
                &stored.case_id,
            )
            .await?;
        }
        tx.commit().await?;
        result
    }

    async fn open_question(
        &self,
        tx: &mut trama_platform::Tx,
        tenant: &trama_proto::ids::TenantId,
        id: ChallengeId,
    ) -> Result<Stored, Error> {
        store::challenges::find(tx.conn(), tenant, id)
            .await?
            .filter(|s| s.method == ProofMethod::KnowledgeQuestion)
            .ok_or_else(|| no_challenge(id))
    }
}
