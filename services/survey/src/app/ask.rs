//! Asking, when the moment has come, and closing what nobody answered.

use std::collections::HashSet;

use bytes::Bytes;
use trama_platform::{
    Error, Tx,
    stage::Envelope,
    timers::{Timer, TimerSpec},
};
use trama_proto::{
    common::v1::ChannelKind,
    events::Event as _,
    identity_resolution::v1::Purpose,
    ids::{InvitationId, TenantId},
    notification::v1::MessageRequested,
    resources::localized,
    survey::v1::SurveyQuestionAsked,
    time::to_wire,
};
use uuid::Uuid;

use crate::{
    config::Config,
    domain::{Invitation, State, kind_of},
    store::{self, Asked},
};

/// Timer: the moment to ask has come.
pub const ASK: &str = "ask";
/// Timer: the time to answer is over.
pub const LAPSE: &str = "lapse";

/// Where the customer just spoke, so that the next question comes there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Thread<'a> {
    /// On which kind of channel.
    pub channel_kind: Option<ChannelKind>,
    /// Provider's id of what they said.
    pub in_reply_to: &'a str,
    /// Its subject.
    pub subject: &'a str,
}

/// Askings whose moment has come.
///
/// # Errors
/// When the database is away.
pub async fn ask_due(tx: &mut Tx, due: &[&Timer], config: Config) -> Result<(), Error> {
    let keys = keys(due)?;
    let waiting = store::lock(tx, &keys).await?;
    let mut busy: HashSet<Uuid> = store::others_open(tx.conn(), &waiting)
        .await?
        .into_iter()
        .collect();
    let mut asked_now = HashSet::new();
    let mut changed = Vec::new();
    let mut asked = Vec::new();
    let now = tx.now();
    for invitation in waiting {
        // Two askings of one person, due together since a merge: one of them.
        if !asked_now.insert((invitation.tenant.clone(), invitation.customer_id)) {
            busy.insert(invitation.id.uuid());
        }
        if busy.contains(&invitation.id.uuid()) {
            if let Ok(invitation) = invitation.suppress("another survey is open") {
                changed.push(invitation);
            }
            continue;
        }
        // A timer that fires again finds it asked.
        let Ok(invitation) = invitation.ask(now) else {
            continue;
        };
        follow(tx, due, &invitation);
        asked.extend(pose(tx, &invitation, Thread::default(), config)?);
        changed.push(invitation);
    }
    let rows: Vec<&Invitation> = changed.iter().collect();
    store::save(tx.conn(), &rows, now).await?;
    store::save_asked(tx.conn(), &asked, now).await
}

/// Askings whose time to answer is over.
///
/// # Errors
/// When the database is away.
pub async fn lapse_due(tx: &mut Tx, due: &[&Timer]) -> Result<(), Error> {
    let keys = keys(due)?;
    let now = tx.now();
    let lapsed: Vec<Invitation> = store::lock(tx, &keys)
        .await?
        .into_iter()
        .filter_map(|i| i.lapse(now).ok())
        .collect();
    metrics::counter!("trama_survey_lapsed_total").increment(lapsed.len() as u64);
    let rows: Vec<&Invitation> = lapsed.iter().collect();
    store::save(tx.conn(), &rows, now).await
}

fn keys<'a>(due: &[&'a Timer]) -> Result<Vec<(&'a TenantId, InvitationId)>, Error> {
    due.iter().map(|t| Ok((&t.tenant, t.key.parse()?))).collect()
}

/// The question belongs to the trace of the case.
fn follow(tx: &mut Tx, due: &[&Timer], invitation: &Invitation) {
    let key = invitation.id.to_string();
    let trace = due
        .iter()
        .find(|t| t.key == key && t.tenant == invitation.tenant)
        .and_then(|t| t.payload.get("trace")?.as_str().map(str::to_owned));
    tx.follow(&Envelope {
        id: invitation.id.uuid(),
        name: SurveyQuestionAsked::NAME.to_owned(),
        tenant: invitation.tenant.clone(),
        payload: Bytes::new(),
        trace,
        subject: String::new(),
    });
}

/// Publishes the open question of an asking, first to those who must know its answer, then to the customer.
/// `None` when no question is open.
pub fn pose(
    tx: &mut Tx,
    invitation: &Invitation,
    thread: Thread<'_>,
    config: Config,
) -> Result<Option<Asked>, Error> {
    let State::Asked {
        question: position,
        closes_at,
    } = invitation.state
    else {
        return Ok(None);
    };
    let question = invitation.question(position)?;
    let message_id = invitation.message_id(question);
    let (min_score, max_score) = question.measures.scale();
    let customer = invitation.customer_id.to_string();
    let kind = kind_of(question.measures);
    tx.publish(
        &invitation.tenant,
        &customer,
        &SurveyQuestionAsked {
            invitation_id: invitation.id.to_string(),
            question_id: question.id.clone(),
            kind: kind.into(),
            customer_id: customer.clone(),
            case_id: invitation.case_id.to_string(),
            min_score,
            max_score,
            closes_at: Some(to_wire(closes_at)),
            message_id: message_id.to_string(),
        },
    );
    let request = MessageRequested {
        message_id: message_id.to_string(),
        customer_id: customer.clone(),
        case_id: invitation.case_id.to_string(),
        need: invitation.need.clone(),
        purpose: Purpose::Survey.into(),
        author: "survey".into(),
        text: localized(&question.text, &invitation.language)
            .unwrap_or_default()
            .to_owned(),
        language: invitation.language.clone(),
        channel_kind: thread.channel_kind.unwrap_or_default().into(),
        fallback: invitation.channel_kind.into(),
        in_reply_to: thread.in_reply_to.to_owned(),
        interaction_id: invitation
            .interaction_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        brand: invitation.spec.brand.clone(),
        subject: thread.subject.to_owned(),
        requested_at: Some(to_wire(tx.now())),
        ..MessageRequested::default()
    };
    tx.publish(&invitation.tenant, &customer, &request);
    tx.arm(TimerSpec {
        tenant: invitation.tenant.clone(),
        kind: LAPSE,
        key: invitation.id.to_string(),
        due_at: closes_at + config.lapse_grace(),
        payload: serde_json::json!({}),
    });
    metrics::counter!("trama_survey_asked_total", "kind" => kind.as_str_name()).increment(1);
    Ok(Some(Asked {
        tenant: invitation.tenant.clone(),
        invitation_id: invitation.id,
        question_id: question.id.clone(),
        survey: invitation.survey.clone(),
        kind,
        message_id,
    }))
}
