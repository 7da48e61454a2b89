//! An answer came, or the question did not arrive.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx, stage::Envelope};
use trama_proto::{
    case::v1::{CaseKind, CaseRequested},
    common::v1::ChannelKind,
    ids::{InvitationId, MessageId, TenantId},
    resources::{Measure, SurveyQuestion},
    survey::v1::SurveyResponded,
    time::to_wire,
};
use uuid::Uuid;

use super::ask::{LAPSE, Thread, pose};
use crate::{
    config::Config,
    domain::{Answered, Invitation, Rejected, kind_of},
    error::no_such_invitation,
    store::{self, Asked, Response},
};

/// An answer as it came.
pub struct Given {
    /// Whose.
    pub tenant: TenantId,
    /// To which asking.
    pub invitation_id: InvitationId,
    /// To which question.
    pub question_id: String,
    /// The answer.
    pub score: i32,
    /// Where.
    pub channel_kind: ChannelKind,
    /// Provider's id of the message that said it.
    pub provider_id: String,
    /// Its subject.
    pub subject: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// What became of an asking.
pub struct Outcome {
    invitation: Invitation,
    asked: Option<Asked>,
    response: Response,
}

/// Works answers in; one that does not count changes nothing.
///
/// # Errors
/// `NotFound` when there is no such asking (it may be on its way), `Invalid` when the answer is outside the scale.
pub async fn answered(tx: &mut Tx, given: Vec<(&Envelope, Given)>, config: Config) -> Result<(), Error> {
    let keys: Vec<(&TenantId, InvitationId)> =
        given.iter().map(|(_, g)| (&g.tenant, g.invitation_id)).collect();
    let mut invitations: HashMap<(TenantId, InvitationId), Invitation> = store::lock(tx, &keys)
        .await?
        .into_iter()
        .map(|i| ((i.tenant.clone(), i.id), i))
        .collect();
    let (mut asked, mut responses, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for (envelope, given) in given {
        let key = (given.tenant.clone(), given.invitation_id);
        let invitation = invitations
            .get(&key)
            .cloned()
            .ok_or_else(|| no_such_invitation(given.invitation_id))?;
        tx.follow(envelope);
        match one(tx, invitation, &given, config) {
            Ok(outcome) => {
                asked.extend(outcome.asked);
                responses.push(outcome.response);
                if !changed.contains(&key) {
                    changed.push(key.clone());
                }
                invitations.insert(key, outcome.invitation);
            }
            Err(Refused::Rejected(Rejected::AlreadyAnswered | Rejected::Over | Rejected::TooLate)) => {
                metrics::counter!("trama_survey_ignored_answers_total").increment(1);
            }
            Err(refused) => return Err(refused.into()),
        }
    }
    let now = tx.now();
    let rows: Vec<&Invitation> = changed.iter().filter_map(|key| invitations.get(key)).collect();
    store::save(tx.conn(), &rows, now).await?;
    store::save_responses(tx.conn(), &responses).await?;
    store::save_asked(tx.conn(), &asked, now).await
}

/// Why an answer was not worked in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It does not count.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Something else.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Rejected(rejected) => rejected.into(),
            Refused::Failed(error) => error,
        }
    }
}

/// Works one answer in: the response, the next question, the follow-up. The caller saves.
///
/// # Errors
/// When it does not count.
pub fn one(tx: &mut Tx, invitation: Invitation, given: &Given, config: Config) -> Result<Outcome, Refused> {
    let now = tx.now();
    let position = invitation.position(&given.question_id)?;
    let (mut invitation, Answered { next, follow_up }) =
        invitation.answer(position, given.score, given.at, now)?;
    let question = invitation.question(position)?.clone();
    if given.channel_kind != ChannelKind::Unspecified {
        invitation.channel_kind = given.channel_kind;
    }
    let customer = invitation.customer_id.to_string();
    let kind = kind_of(question.measures);
    tx.publish(
        &invitation.tenant,
        &customer,
        &SurveyResponded {
            invitation_id: invitation.id.to_string(),
            question_id: question.id.clone(),
            kind: kind.into(),
            customer: Some(invitation.customer.clone()),
            case_id: invitation.case_id.to_string(),
            score: given.score,
            channel_kind: given.channel_kind.into(),
            responded_at: Some(to_wire(given.at)),
        },
    );
    metrics::counter!("trama_survey_responses_total", "kind" => kind.as_str_name()).increment(1);
    if let Some(case_id) = follow_up {
        let request = CaseRequested {
            case_id: case_id.to_string(),
            kind: CaseKind::Recovery.into(),
            customer: Some(invitation.customer.clone()),
            subject: subject(&invitation, &question, given.score),
            related_case_id: invitation.case_id.to_string(),
            channel_kind: invitation.channel_kind.into(),
            requested_at: Some(to_wire(now)),
        };
        tx.publish(&invitation.tenant, &customer, &request);
        metrics::counter!("trama_survey_follow_ups_total", "kind" => kind.as_str_name()).increment(1);
    }
    let asked = match next {
        Some(_) => {
            let thread = Thread {
                channel_kind: in_thread(given.channel_kind),
                in_reply_to: &given.provider_id,
                subject: &given.subject,
            };
            pose(tx, &invitation, thread, config)?
        }
        None => {
            tx.disarm(&invitation.tenant.clone(), LAPSE, invitation.id.to_string());
            None
        }
    };
    let response = Response {
        tenant: invitation.tenant.clone(),
        invitation_id: invitation.id,
        question_id: question.id,
        score: given.score,
        channel_kind: given.channel_kind,
        at: given.at,
    };
    Ok(Outcome {
        invitation,
        asked,
        response,
    })
}

impl Outcome {
    /// Saves what one answer changed.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn save(self, tx: &mut Tx) -> Result<Invitation, Error> {
        let now = tx.now();
        store::save(tx.conn(), &[&self.invitation], now).await?;
        store::save_responses(tx.conn(), &[self.response]).await?;
        let asked: Vec<Asked> = self.asked.into_iter().collect();
        store::save_asked(tx.conn(), &asked, now).await?;
        Ok(self.invitation)
    }
}

/// The next question comes where the last one was answered, if a text can come there.
fn in_thread(kind: ChannelKind) -> Option<ChannelKind> {
    match kind {
        ChannelKind::Email | ChannelKind::Whatsapp | ChannelKind::WebChat | ChannelKind::Sms => Some(kind),
        ChannelKind::Unspecified | ChannelKind::Voice | ChannelKind::Api | ChannelKind::Internal => None,
    }
}

/// Subject of the follow-up, for people.
fn subject(invitation: &Invitation, question: &SurveyQuestion, score: i32) -> String {
    let (name, top) = match question.measures {
        Measure::Nps => ("NPS", 10),
        Measure::Csat => ("CSAT", 5),
        Measure::Ces => ("CES", 7),
    };
    let what = if invitation.language.starts_with("it") {
        "Da ricontattare"
    } else {
        "Call back"
    };
    if invitation.case_subject.is_empty() {
        format!("{what}: {name} {score}/{top}")
    } else {
        format!("{what}: {name} {score}/{top} · {}", invitation.case_subject)
    }
}

/// A message with a question that will not arrive.
pub struct Undelivered {
    /// Whose.
    pub tenant: TenantId,
    /// The message.
    pub message_id: MessageId,
    /// Why.
    pub reason: String,
}

/// Ends askings whose question did not arrive: it was not asked.
///
/// # Errors
/// When the database is away.
pub async fn undelivered(tx: &mut Tx, failed: &[Undelivered]) -> Result<(), Error> {
    let messages: Vec<(&TenantId, MessageId)> = failed.iter().map(|f| (&f.tenant, f.message_id)).collect();
    let questions = store::by_messages(tx.conn(), &messages).await?;
    let tenants: Vec<TenantId> = questions
        .iter()
        .map(|(t, ..)| t.parse())
        .collect::<Result<_, _>>()?;
    let keys: Vec<(&TenantId, InvitationId)> = tenants
        .iter()
        .zip(&questions)
        .map(|(t, (_, id, ..))| (t, InvitationId::new(*id)))
        .collect();
    let mut invitations: HashMap<(TenantId, Uuid), Invitation> = store::lock(tx, &keys)
        .await?
        .into_iter()
        .map(|i| ((i.tenant.clone(), i.id.uuid()), i))
        .collect();
    let now = tx.now();
    for (tenant, (_, id, question_id, message_id)) in tenants.iter().zip(&questions) {
        let Some(why) = failed
            .iter()
            .find(|f| f.tenant == *tenant && f.message_id.uuid() == *message_id)
        else {
            continue;
        };
        let Some(invitation) = invitations.remove(&(tenant.clone(), *id)) else {
            continue;
        };
        let position = invitation.position(question_id)?;
        // Answered or closed meanwhile: then it did arrive, or does not matter any more.
        let Ok(invitation) = invitation.undeliverable(position, &why.reason) else {
            continue;
        };
        store::unask(tx.conn(), tenant, invitation.id, question_id).await?;
        store::save(tx.conn(), &[&invitation], now).await?;
        tx.disarm(tenant, LAPSE, invitation.id.to_string());
        metrics::counter!("trama_survey_undelivered_total").increment(1);
    }
    Ok(())
}
