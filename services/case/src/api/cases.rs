//! CaseService.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use trama_platform::{Command, Error, principal};
use trama_proto::{
    case::v1::{
        AddNoteRequest, AddNoteResponse, CaseStatus, GetCaseRequest, GetCaseResponse, GetJourneyRequest,
        GetJourneyResponse, GetSnapshotRequest, GetSnapshotResponse, ListCasesRequest, ListCasesResponse,
        ListTimelineRequest, ListTimelineResponse, ReplyToCaseRequest, ReplyToCaseResponse,
        ResolveCaseRequest, ResolveCaseResponse, case_service_server::CaseService,
    },
    common::v1::ChannelKind,
};

use super::{id, text};
use crate::{
    app::{App, Reply, parse_article_version},
    domain::{Case, Line},
};

/// Longest answer or note.
const LONGEST_TEXT: usize = 20_000;

/// The service.
pub struct Cases(pub Arc<App>);

#[tonic::async_trait]
impl CaseService for Cases {
    async fn get_case(&self, request: Request<GetCaseRequest>) -> Result<Response<GetCaseResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        let case = self.0.get_case(&tenant, id("case_id", &request.case_id)?).await?;
        Ok(Response::new(GetCaseResponse {
            case: Some(case.to_wire()),
        }))
    }

    async fn list_cases(
        &self,
        request: Request<ListCasesRequest>,
    ) -> Result<Response<ListCasesResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        let customer = match request.customer_id.as_str() {
            "" => None,
            customer => Some(id("customer_id", customer)?),
        };
        let status = CaseStatus::try_from(request.status)
            .map_err(|_| Error::invalid("status", "is no status of a case"))?;
        if request.reference.len() > 200 {
            return Err(Error::invalid("reference", "at most 200 characters").into());
        }
        let page = self
            .0
            .list_cases(
                &tenant,
                customer,
                &request.reference,
                status,
                (request.page_size, &request.page_token),
            )
            .await?;
        let cases = page.items.iter().map(Case::to_wire).collect();
        Ok(Response::new(ListCasesResponse {
            cases,
            next_page_token: page.next,
        }))
    }

    async fn list_timeline(
        &self,
        request: Request<ListTimelineRequest>,
    ) -> Result<Response<ListTimelineResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        let case = id("case_id", &request.case_id)?;
        let page = self
            .0
            .list_timeline(&tenant, case, (request.page_size, &request.page_token))
            .await?;
        let entries = page.items.iter().map(Line::to_wire).collect();
        Ok(Response::new(ListTimelineResponse {
            entries,
            next_page_token: page.next,
        }))
    }

    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        let snapshot = self
            .0
            .get_snapshot(&tenant, id("case_id", &request.case_id)?)
            .await?;
        Ok(Response::new(GetSnapshotResponse {
            snapshot: Some(snapshot),
        }))
    }

    async fn reply_to_case(
        &self,
        request: Request<ReplyToCaseRequest>,
    ) -> Result<Response<ReplyToCaseResponse>, Status> {
        let principal = principal(&request)?.clone();
        let request = request.into_inner();
        let reply = Reply {
            case: id("case_id", &request.case_id)?,
            author: &principal.subject,
            text: text("text", &request.text, LONGEST_TEXT)?,
            article: parse_article_version(&request.article_version)?,
            channel_kind: ChannelKind::try_from(request.channel_kind)
                .ok()
                .filter(|k| *k != ChannelKind::Internal)
                .ok_or_else(|| {
                    Error::invalid(
                        "channel_kind",
                        "is no kind of channel on which customers are reached",
                    )
                })?,
        };
        let mut tx = self.0.transaction(&principal.tenant).await?;
        let command = Command::new(
            &principal.tenant,
            &principal.subject,
            "ReplyToCase",
            &request.request_id,
            &request,
        );
        if let Some(before) = tx.replay(&command).await? {
            return Ok(Response::new(before));
        }
        let (message_id, case) = self.0.reply(&mut tx, &principal.tenant, &reply).await?;
        let response = ReplyToCaseResponse {
            message_id: message_id.to_string(),
            case: Some(case.to_wire()),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(Response::new(response))
    }

    async fn add_note(&self, request: Request<AddNoteRequest>) -> Result<Response<AddNoteResponse>, Status> {
        let principal = principal(&request)?.clone();
        let request = request.into_inner();
        let case = id("case_id", &request.case_id)?;
        let note = text("text", &request.text, LONGEST_TEXT)?;
        let mut tx = self.0.transaction(&principal.tenant).await?;
        let command = Command::new(
            &principal.tenant,
            &principal.subject,
            "AddNote",
            &request.request_id,
            &request,
        );
        if let Some(before) = tx.replay(&command).await? {
            return Ok(Response::new(before));
        }
        let line = self
            .0
            .note(&mut tx, &principal.tenant, case, &principal.subject, note)
            .await?;
        let response = AddNoteResponse {
            interaction_id: line.to_string(),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(Response::new(response))
    }

    async fn resolve_case(
        &self,
        request: Request<ResolveCaseRequest>,
    ) -> Result<Response<ResolveCaseResponse>, Status> {
        let principal = principal(&request)?.clone();
        let request = request.into_inner();
        let case = id("case_id", &request.case_id)?;
        let mut tx = self.0.transaction(&principal.tenant).await?;
        let command = Command::new(
            &principal.tenant,
            &principal.subject,
            "ResolveCase",
            &request.request_id,
            &request,
        );
        if let Some(before) = tx.replay(&command).await? {
            return Ok(Response::new(before));
        }
        let case = self
            .0
            .resolve(
                &mut tx,
                &principal.tenant,
                case,
                &request.etag,
                &principal.subject,
            )
            .await?;
        let response = ResolveCaseResponse {
            case: Some(case.to_wire()),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(Response::new(response))
    }

    async fn get_journey(
        &self,
        request: Request<GetJourneyRequest>,
    ) -> Result<Response<GetJourneyResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        let (steps, cases) = self
            .0
            .get_journey(&tenant, id("customer_id", &request.customer_id)?)
            .await?;
        Ok(Response::new(GetJourneyResponse {
            steps,
            cases: cases.iter().map(Case::to_wire).collect(),
        }))
    }
}
