//! Identity documents: the integrator's hook leads the customer through the check and reports what came of it, signed.

use chrono::Duration;
use serde_json::{Value, json};
use trama_platform::{Command, Error, Kind, Tx};
use trama_proto::{
    identity_resolution::v1 as wire,
    ids::{ChallengeId, TenantId},
    resources::{DocumentHook, ProofMethod},
    time::to_wire,
};

use super::{Asked, Proven, count_failure, keep, method_policy, open, prove, unless_locked};
use crate::{
    app::{App, Caller, hooks::Outside},
    domain::{
        challenge::{Answer, Challenge},
        document::{Finding, Report},
        handle::{HandleKind, evidence_of_customer},
        rules::Rules,
    },
    error::refused,
    store::{self, challenges::Stored, proofs::Scopes},
};

/// Who stands in the log for what the hook reports.
const REPORTER: &str = "document-hook";
/// Longest link that is passed on.
const LONGEST_LINK: usize = 2_000;

fn hook(rules: &Rules) -> Result<&DocumentHook, Error> {
    let hook = rules.policy().verification.document_hook.as_ref();
    hook.ok_or_else(|| {
        refused("no hook for identity documents: set verification.documentHook of the MatchingPolicy")
    })
}

impl App {
    /// Has the hook begin a check. It is called between two transactions: neither waits for the other side. The check stays
    /// open when the hook does not answer: it may have begun all the same.
    pub async fn start_document_check(
        &self,
        caller: &Caller,
        asked: Asked,
        request: &wire::StartDocumentCheckRequest,
        outside: &Outside,
    ) -> Result<wire::StartDocumentCheckResponse, Error> {
        const METHOD: &str = "StartDocumentCheck";
        let tenant = &caller.tenant;
        let rules = self.rules(tenant);
        let hook = hook(&rules)?;
        let subject = caller.subject.as_str();
        let command = Command::new(tenant, subject, METHOD, &request.request_id, request);
        let (check, body, expires_at, now) = {
            let mut tx = self.db.tx(tenant).await?;
            if let Some(response) = tx.replay(&command).await? {
                return Ok(response);
            }
            let stored = self.open_check(&mut tx, caller, asked, request, hook).await?;
            let customer = self.read(&mut tx, tenant, stored.customer).await?;
            let Challenge::Pending { expires_at, .. } = stored.state else {
                return Err(refused("this check is over; start another one"));
            };
            let accounts = customer.handles.iter().filter(|h| h.key.kind == HandleKind::Crm);
            let language = match request.language.is_empty() {
                true => &customer.profile.language,
                false => &request.language,
            };
            let body = json!({
                "type": "document_check",
                "checkId": stored.id.to_string(),
                "customerId": customer.id.to_string(),
                "externalIds": accounts.map(|h| h.key.value.as_str()).collect::<Vec<_>>(),
                "language": language,
                "caseId": request.case_id,
                "level": stored.level,
                "expiresAt": expires_at.to_rfc3339(),
            });
            let now = tx.now();
            tx.commit().await?;
            (stored.id, body.to_string(), expires_at, now)
        };
        let answer = outside.post(tenant, &hook.hook(), body.into_bytes(), now).await?;
        let response = wire::StartDocumentCheckResponse {
            challenge_id: check.to_string(),
            link: link(&answer)?,
            expire_time: Some(to_wire(expires_at)),
        };
        let mut tx = self.db.tx(tenant).await?;
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        metrics::counter!("trama_identity_resolution_document_checks_total", "outcome" => "started")
            .increment(1);
        Ok(response)
    }

    /// A new check, or the one that an earlier try of the same request has opened.
    async fn open_check(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        asked: Asked,
        request: &wire::StartDocumentCheckRequest,
        hook: &DocumentHook,
    ) -> Result<Stored, Error> {
        let (tenant, now) = (&caller.tenant, tx.now());
        let rules = self.rules(tenant);
        let level = method_policy(&rules, ProofMethod::Document).max_level;
        if level < 1 {
            return Err(refused("the policy does not accept documents"));
        }
        let customer = self.hold_asked(tx, tenant, asked, &rules).await?;
        unless_locked(
            tx,
            tenant,
            Scopes::of_customer(customer.id, &caller.subject),
            &rules,
        )
        .await?;
        let check = if request.request_id.is_empty() {
            ChallengeId::new(tx.new_id())
        } else {
            ChallengeId::derived(&[
                b"document check",
                tenant.as_str().as_bytes(),
                caller.subject.as_str().as_bytes(),
                request.request_id.as_bytes(),
            ])
        };
        if let Some(stored) = store::challenges::find(tx.conn(), tenant, check).await? {
            return Ok(stored);
        }
        let good_for = Duration::minutes(i64::from(hook.minutes));
        // One result is reported; there is nothing to guess.
        let state = Challenge::start(1, good_for, now);
        let how = (ProofMethod::Document, level);
        let whence = (request.case_id.as_str(), asked.interaction);
        let stored = Stored::without_code(check, customer.id, how, whence, state);
        open(tx, caller, &stored).await?;
        Ok(stored)
    }

    /// Where a tenant's documents are checked, for whoever must know if a report is its.
    ///
    /// # Errors
    /// When the tenant has no such hook.
    pub fn document_hook(&self, tenant: &TenantId) -> Result<DocumentHook, Error> {
        hook(&self.rules(tenant)).cloned()
    }

    /// Works in what a hook reports. The same report once more changes nothing; another one is refused.
    ///
    /// # Errors
    /// When there is no such check, it is too late, or something else was reported before.
    pub async fn document_checked(&self, tenant: &TenantId, report: &Report) -> Result<(), Error> {
        let caller = Caller {
            tenant: tenant.clone(),
            subject: REPORTER.parse()?,
            origin: String::new(),
        };
        let rules = self.rules(tenant);
        let mut tx = self.db.tx(tenant).await?;
        let (stored, mut customer) = self
            .hold_challenge(&mut tx, tenant, report.check, ProofMethod::Document)
            .await?;
        let said: &[u8] = match report.finding {
            Finding::Passed { .. } => b"passed",
            Finding::Failed | Finding::Abandoned => b"",
        };
        let (state, answer) = match (report.finding, stored.state) {
            (Finding::Abandoned, Challenge::Pending { .. } | Challenge::Expired) => {
                (Challenge::Expired, Answer::Expired)
            }
            _ => stored.state.answer(b"passed", said, tx.now()),
        };
        keep(&mut tx, &caller, &stored, state).await?;
        let is_news = state != stored.state;
        let outcome = match (report.finding, answer) {
            (Finding::Passed { level }, Answer::Right) => {
                let proven = Proven {
                    method: ProofMethod::Document,
                    level: level.unwrap_or(stored.level),
                    evidence: evidence_of_customer(customer.id),
                    words: report.evidence_or("a document was checked"),
                    case_id: &stored.case_id,
                    asked_in: stored.interaction,
                };
                prove(&mut tx, &caller, &mut customer, &rules, proven).await?;
                "passed"
            }
            (Finding::Failed, Answer::Locked) if is_news => {
                let scopes = Scopes::of_customer(stored.customer, &caller.subject);
                count_failure(&mut tx, &caller, scopes, ProofMethod::Document, &stored.case_id).await?;
                "failed"
            }
            (Finding::Abandoned, Answer::Expired) if is_news => "abandoned",
            (Finding::Passed { .. }, Answer::Spent)
            | (Finding::Failed, Answer::Locked)
            | (Finding::Abandoned, Answer::Expired) => "repeated",
            (Finding::Passed { .. } | Finding::Failed, Answer::Expired) => {
                tx.commit().await?;
                return Err(refused("this check is no longer open; start another one"));
            }
            (_, Answer::Right | Answer::Wrong { .. } | Answer::Locked | Answer::Spent) => {
                return Err(Error::new(
                    Kind::Conflict,
                    "another result of this check was reported before",
                ));
            }
        };
        tx.commit().await?;
        metrics::counter!("trama_identity_resolution_document_checks_total", "outcome" => outcome)
            .increment(1);
        Ok(())
    }
}

/// Where the customer shows the document, as the hook says it.
fn link(answer: &Value) -> Result<String, Error> {
    let link = match answer.get("link") {
        None | Some(Value::Null) => return Ok(String::new()),
        Some(link) => link.as_str().unwrap_or_default(),
    };
    let is_one = link.starts_with("https://") || link.starts_with("http://");
    if is_one && link.len() <= LONGEST_LINK && link.chars().all(|c| c.is_ascii_graphic()) {
        Ok(link.to_owned())
    } else {
        Err(Error::new(
            Kind::Unavailable,
            "the integrator's hook gave a link that is no address of the web",
        ))
    }
}
