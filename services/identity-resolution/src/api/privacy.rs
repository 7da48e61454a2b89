//! PrivacyService ↔ app.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use futures::Stream;
use tonic::{Request, Response, Status};
use trama_platform::{Command, Error, page};
use trama_proto::{
    identity_resolution::v1::{self as wire, privacy_service_server::PrivacyService},
    privacy::v1::PrivacyAction,
};
use uuid::Uuid;

use super::{
    caller,
    read::{id, reason},
};
use crate::app::{App, privacy};

/// Bytes in one message of a download.
const PIECE: usize = 256 * 1024;

/// The gRPC service.
pub struct PrivacyApi(Arc<App>);

impl PrivacyApi {
    /// Over the use cases.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

#[tonic::async_trait]
impl PrivacyService for PrivacyApi {
    async fn request_export(
        &self,
        request: Request<wire::RequestExportRequest>,
    ) -> Result<Response<wire::RequestExportResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let demand = privacy::Demand {
            action: PrivacyAction::Export,
            person: request.person.as_ref(),
            reason: reason(&request.reason)?,
        };
        let command = Command::new(
            &caller.tenant,
            caller.subject.as_str(),
            "RequestExport",
            &request.request_id,
            request,
        );
        let answer = |request| wire::RequestExportResponse {
            request: Some(request),
        };
        Ok(Response::new(
            self.0.demand(&caller, &demand, command, answer).await?,
        ))
    }

    async fn request_erasure(
        &self,
        request: Request<wire::RequestErasureRequest>,
    ) -> Result<Response<wire::RequestErasureResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let demand = privacy::Demand {
            action: PrivacyAction::Erase,
            person: request.person.as_ref(),
            reason: reason(&request.reason)?,
        };
        let command = Command::new(
            &caller.tenant,
            caller.subject.as_str(),
            "RequestErasure",
            &request.request_id,
            request,
        );
        let answer = |request| wire::RequestErasureResponse {
            request: Some(request),
        };
        Ok(Response::new(
            self.0.demand(&caller, &demand, command, answer).await?,
        ))
    }

    async fn get_privacy_request(
        &self,
        request: Request<wire::GetPrivacyRequestRequest>,
    ) -> Result<Response<wire::GetPrivacyRequestResponse>, Status> {
        let caller = caller(&request)?;
        let wanted: Uuid = id("privacy_request_id", &request.get_ref().privacy_request_id)?;
        Ok(Response::new(wire::GetPrivacyRequestResponse {
            request: Some(self.0.privacy_request(&caller.tenant, wanted).await?),
        }))
    }

    async fn list_privacy_requests(
        &self,
        request: Request<wire::ListPrivacyRequestsRequest>,
    ) -> Result<Response<wire::ListPrivacyRequestsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let size = page::size(request.page_size)?;
        Ok(Response::new(
            self.0
                .privacy_requests(&caller.tenant, size, &request.page_token)
                .await?,
        ))
    }

    type DownloadExportStream =
        Pin<Box<dyn Stream<Item = Result<wire::DownloadExportResponse, Status>> + Send>>;

    async fn download_export(
        &self,
        request: Request<wire::DownloadExportRequest>,
    ) -> Result<Response<Self::DownloadExportStream>, Status> {
        let caller = caller(&request)?;
        let wanted: Uuid = id("privacy_request_id", &request.get_ref().privacy_request_id)?;
        let (at, files) = self.0.export_files(&caller, wanted).await?;
        let start = Download {
            app: Arc::clone(&self.0),
            files: files.into(),
            bytes: VecDeque::new(),
            manifest: privacy::Manifest::default(),
            ended: false,
        };
        let tenant = caller.tenant;
        let pieces = futures::stream::try_unfold((start, tenant), move |(mut download, tenant)| async move {
            while download.bytes.is_empty() {
                if let Some((name, key)) = download.files.pop_front() {
                    let (bytes, further) = download
                        .app
                        .export_file(&tenant, (&name, &key), &mut download.manifest, at)
                        .await?;
                    download.bytes.extend(bytes.chunks(PIECE).map(<[u8]>::to_vec));
                    download.files.extend(further);
                } else if download.ended {
                    return Ok::<_, Error>(None);
                } else {
                    download.ended = true;
                    let end = download.app.export_end(&tenant, wanted, &download.manifest, at)?;
                    download.bytes.push_back(end);
                }
            }
            let data = download.bytes.pop_front().unwrap_or_default();
            Ok(Some((wire::DownloadExportResponse { data }, (download, tenant))))
        });
        use futures::StreamExt as _;
        Ok(Response::new(Box::pin(
            pieces.map(|piece| piece.map_err(Status::from)),
        )))
    }
}

/// How far a download is.
struct Download {
    app: Arc<App>,
    files: VecDeque<(String, String)>,
    bytes: VecDeque<Vec<u8>>,
    manifest: privacy::Manifest,
    ended: bool,
}
