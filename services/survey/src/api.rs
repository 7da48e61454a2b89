//! gRPC ↔ app.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use tonic::{Request, Response, Status};
use trama_platform::{Command, Context, Db, Error, Kind, Principal, Tx, page, principal};
use trama_proto::{
    ids::{CustomerId, InvitationId, TenantId},
    survey::v1::{
        GetScoresRequest, GetScoresResponse, Invitation as InvitationMessage, InvitationStatus,
        ListInvitationsRequest, ListInvitationsResponse, QuestionKind, Score, SubmitResponseRequest,
        SubmitResponseResponse, survey_service_server::SurveyService,
    },
    time::{from_wire, to_wire},
};
use uuid::Uuid;

use crate::{
    app::{self, Given},
    config::Config,
    domain::{Invitation, State, Tally, score},
    error::no_such_invitation,
    store,
};

/// The service's door.
pub struct Api {
    db: Db,
    config: Config,
}

impl Api {
    /// Over the service's database.
    pub fn new(context: &Context, config: Config) -> Self {
        Self {
            db: context.db.clone(),
            config,
        }
    }
}

fn parse<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Error>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|e: T::Err| Error::invalid(field, e.to_string()))
}

#[tonic::async_trait]
impl SurveyService for Api {
    async fn get_scores(
        &self,
        request: Request<GetScoresRequest>,
    ) -> Result<Response<GetScoresResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        let since = match &request.since {
            None => None,
            Some(wire) => Some(from_wire(Some(wire)).ok_or_else(|| Error::invalid("since", "is no moment"))?),
        };
        let survey = Some(request.survey.as_str()).filter(|s| !s.is_empty());
        let mut tx = self.db.tx(&tenant).await?;
        let asked = store::asked_counts(tx.conn(), &tenant, survey, since).await?;
        let answers = store::answer_counts(tx.conn(), &tenant, survey, since).await?;
        Ok(Response::new(GetScoresResponse {
            scores: scores(&asked, &answers),
        }))
    }

    async fn list_invitations(
        &self,
        request: Request<ListInvitationsRequest>,
    ) -> Result<Response<ListInvitationsResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        let size = page::size(request.page_size)?;
        let start: Option<(DateTime<Utc>, Uuid)> = page::start(&request.page_token)?;
        let mut tx = self.db.tx(&tenant).await?;
        let customer = match request.customer_id.as_str() {
            "" => None,
            id => Some(current(&mut tx, &tenant, parse("customer_id", id)?).await?),
        };
        let mut found = store::list(&mut tx, &tenant, customer, start, size + 1).await?;
        let size = usize::try_from(size).unwrap_or(500);
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last().filter(|_| more) {
            Some(last) => page::token(&(last.created_at, last.id.uuid())),
            None => String::new(),
        };
        let invitations = with_scores(&mut tx, &tenant, found).await?;
        Ok(Response::new(ListInvitationsResponse {
            invitations,
            next_page_token,
        }))
    }

    async fn submit_response(
        &self,
        request: Request<SubmitResponseRequest>,
    ) -> Result<Response<SubmitResponseResponse>, Status> {
        let caller = principal(&request)?;
        let mut tx = self.db.tx(&caller.tenant).await?;
        let response = submit(&mut tx, caller, request.get_ref(), self.config).await?;
        tx.commit().await?;
        Ok(Response::new(response))
    }
}

/// The customer that an id stands for now.
async fn current(tx: &mut Tx, tenant: &TenantId, id: CustomerId) -> Result<CustomerId, Error> {
    let found = store::resolve(tx.conn(), &[(tenant, id)]).await?;
    Ok(found
        .get(&(tenant.as_str().to_owned(), id.uuid()))
        .copied()
        .unwrap_or(id))
}

async fn submit(
    tx: &mut Tx,
    caller: &Principal,
    request: &SubmitResponseRequest,
    config: Config,
) -> Result<SubmitResponseResponse, Error> {
    let (tenant, subject) = (&caller.tenant, caller.subject.as_str());
    let id: InvitationId = parse("invitation_id", &request.invitation_id)?;
    if request.question_id.is_empty() {
        return Err(Error::invalid("question_id", "must not be empty"));
    }
    let command = Command::new(tenant, subject, "SubmitResponse", &request.request_id, request);
    if let Some(response) = tx.replay(&command).await? {
        return Ok(response);
    }
    let invitation = store::find(tx, tenant, id)
        .await?
        .ok_or_else(|| no_such_invitation(id))?;
    let given = Given {
        tenant: tenant.clone(),
        invitation_id: id,
        question_id: request.question_id.clone(),
        score: request.score,
        channel_kind: request.channel_kind(),
        provider_id: String::new(),
        subject: String::new(),
        at: tx.now(),
    };
    let before = invitation.state;
    let outcome = app::one(tx, invitation, &given, config).map_err(|refused| {
        let error: Error = refused.into();
        if error.kind() == Kind::Invalid {
            Error::invalid("score", error.to_string())
        } else {
            error
        }
    })?;
    let invitation = outcome.save(tx).await?;
    let (was, is) = (told(&before), told(&invitation.state));
    for ((field, was), (_, is)) in was.into_iter().zip(is) {
        tx.changed(("invitation", &id), field, &was, &is);
    }
    let invitation = with_scores(tx, tenant, vec![invitation]).await?.pop();
    let response = SubmitResponseResponse { invitation };
    tx.remember(&command, &response).await?;
    Ok(response)
}

async fn with_scores(
    tx: &mut Tx,
    tenant: &TenantId,
    found: Vec<Invitation>,
) -> Result<Vec<InvitationMessage>, Error> {
    let ids: Vec<Uuid> = found.iter().map(|i| i.id.uuid()).collect();
    let mut scores: HashMap<Uuid, HashMap<String, i32>> = HashMap::new();
    for (id, question, score) in store::scores_of(tx.conn(), tenant, &ids).await? {
        scores.entry(id).or_default().insert(question, score);
    }
    Ok(found
        .into_iter()
        .map(|i| message(&i, scores.remove(&i.id.uuid()).unwrap_or_default()))
        .collect())
}

/// What the audit log is told of where an asking stands; never an answer.
fn told(state: &State) -> [(&'static str, String); 2] {
    let open = match state {
        State::Asked { question, .. } => question.to_string(),
        State::Scheduled { .. } | State::Completed | State::Suppressed | State::Lapsed => String::new(),
    };
    [
        ("status", status(state).as_str_name().to_owned()),
        ("open_question", open),
    ]
}

const fn status(state: &State) -> InvitationStatus {
    match state {
        State::Scheduled { .. } => InvitationStatus::Scheduled,
        State::Asked { .. } => InvitationStatus::Asked,
        State::Completed => InvitationStatus::Completed,
        State::Suppressed => InvitationStatus::Suppressed,
        State::Lapsed => InvitationStatus::Lapsed,
    }
}

fn message(invitation: &Invitation, scores: HashMap<String, i32>) -> InvitationMessage {
    InvitationMessage {
        invitation_id: invitation.id.to_string(),
        survey: invitation.survey.clone(),
        customer_id: invitation.customer_id.to_string(),
        case_id: invitation.case_id.to_string(),
        status: status(&invitation.state).into(),
        reason: invitation.reason.clone(),
        scores,
        create_time: Some(to_wire(invitation.created_at)),
    }
}

fn scores(asked: &[(i32, i64)], answers: &[(i32, i32, i64)]) -> Vec<Score> {
    let mut tallies: BTreeMap<i32, Tally> = BTreeMap::new();
    for (kind, answer, times) in answers {
        tallies
            .entry(*kind)
            .or_default()
            .add(*answer, u64::try_from(*times).unwrap_or(0));
    }
    let none = Tally::default();
    asked
        .iter()
        .filter_map(|(kind, times)| {
            let tally = tallies.get(kind).unwrap_or(&none);
            let interval = score(QuestionKind::try_from(*kind).ok()?, tally)?;
            Some(Score {
                kind: *kind,
                value: interval.value,
                interval_low: interval.low,
                interval_high: interval.high,
                responses: i64::try_from(tally.responses()).unwrap_or(i64::MAX),
                asked: *times,
            })
        })
        .collect()
}
