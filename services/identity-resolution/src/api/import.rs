//! ImportService ↔ app.

use std::{pin::Pin, sync::Arc};

use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};
use trama_platform::{Error, page};
use trama_proto::{
    common::v1::Trust as WireTrust,
    identity_resolution::v1::{self as wire, RecordFormat, import_service_server::ImportService},
};
use uuid::Uuid;

use super::{caller, profile::source, read::id};
use crate::{
    app::{App, Export, LARGEST_CHUNK},
    domain::{
        handle::Trust,
        import::{Format, Mapping},
    },
    store::imports::{Import, State},
};

/// Columns that one import may name.
const MOST_COLUMNS: usize = 500;

/// The gRPC service.
pub struct ImportApi(Arc<App>);

impl ImportApi {
    /// Over the use cases.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

fn format(format: RecordFormat, delimiter: &str) -> Result<Format, Error> {
    match (format, delimiter.as_bytes()) {
        (RecordFormat::Unspecified, _) => Err(Error::invalid("format", "say CSV or JSON_LINES")),
        (RecordFormat::JsonLines, []) => Ok(Format::JsonLines),
        (RecordFormat::JsonLines, _) => Err(Error::invalid("delimiter", "is for CSV")),
        (RecordFormat::Csv, []) => Ok(Format::Csv { delimiter: b',' }),
        (RecordFormat::Csv, [delimiter @ (b',' | b';' | b'\t' | b'|')]) => Ok(Format::Csv {
            delimiter: *delimiter,
        }),
        (RecordFormat::Csv, _) => Err(Error::invalid(
            "delimiter",
            "must be a comma, a semicolon, a tab or |",
        )),
    }
}

#[tonic::async_trait]
impl ImportService for ImportApi {
    async fn start_import(
        &self,
        request: Request<wire::StartImportRequest>,
    ) -> Result<Response<wire::StartImportResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        if request.source.trim().is_empty() {
            return Err(Error::invalid("source", "say which system it comes from").into());
        }
        if request.mapping.len() > MOST_COLUMNS {
            return Err(Error::invalid("mapping", format!("at most {MOST_COLUMNS} columns")).into());
        }
        let mapping = Mapping(
            request
                .mapping
                .iter()
                .map(|m| (m.column.trim().to_owned(), m.target.clone()))
                .collect(),
        );
        mapping
            .check(&self.0.schema(&caller.tenant))
            .map_err(|wrong| Error::invalid(format!("mapping[{}]", wrong.column), wrong.message))?;
        let trust = match request.trust() {
            WireTrust::Verified => {
                return Err(Error::invalid("trust", "possession is proven to us, not to a file").into());
            }
            trust @ (WireTrust::Unspecified | WireTrust::Claimed | WireTrust::Observed) => {
                Trust::from_wire(trust, Trust::Observed)
            }
        };
        let import = Import {
            id: Uuid::nil(),
            format: format(request.format(), &request.delimiter)?,
            mapping,
            source: source("source", &request.source, &caller)?,
            trust,
            dry_run: request.dry_run,
            state: State::Receiving,
            received: 0,
            worked: 0,
            line: 1,
            header: None,
            records: 0,
            created: 0,
            updated: 0,
            unchanged: 0,
            failed: 0,
            failure: String::new(),
            started_by: caller.subject.to_string(),
            started_at: DateTime::<Utc>::UNIX_EPOCH,
            finished_at: None,
        };
        Ok(Response::new(
            self.0.start_import(&caller, import, request).await?,
        ))
    }

    async fn put_chunk(
        &self,
        request: Request<wire::PutChunkRequest>,
    ) -> Result<Response<wire::PutChunkResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        if request.offset < 0 {
            return Err(Error::invalid("offset", "must not be negative").into());
        }
        if request.data.len() > LARGEST_CHUNK {
            return Err(Error::invalid("data", "at most 1 MiB").into());
        }
        let import: Uuid = id("import_id", &request.import_id)?;
        Ok(Response::new(
            self.0
                .put_chunk(&caller.tenant, import, request.offset, &request.data)
                .await?,
        ))
    }

    async fn finish_import(
        &self,
        request: Request<wire::FinishImportRequest>,
    ) -> Result<Response<wire::FinishImportResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let import: Uuid = id("import_id", &request.import_id)?;
        self.0.finish_import(&caller.tenant, import, request.size).await?;
        Ok(Response::new(wire::FinishImportResponse {}))
    }

    async fn get_import(
        &self,
        request: Request<wire::GetImportRequest>,
    ) -> Result<Response<wire::GetImportResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let import: Uuid = id("import_id", &request.import_id)?;
        let size = page::size(request.page_size)?;
        Ok(Response::new(
            self.0
                .get_import(&caller.tenant, import, size, &request.page_token)
                .await?,
        ))
    }

    type ExportCustomersStream =
        Pin<Box<dyn Stream<Item = Result<wire::ExportCustomersResponse, Status>> + Send>>;

    async fn export_customers(
        &self,
        request: Request<wire::ExportCustomersRequest>,
    ) -> Result<Response<Self::ExportCustomersStream>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let reason = super::read::reason(&request.reason)?;
        if !request.segment.is_empty()
            && !self
                .0
                .schema(&caller.tenant)
                .spec()
                .segments
                .contains_key(&request.segment)
        {
            return Err(Error::invalid("segment", "no segment of the CustomerSchema has this name").into());
        }
        let export = Export {
            format: format(request.format(), "")?,
            segment: request.segment.clone(),
            reason,
        };
        let pieces = self.0.export(caller, export, &request.page_token)?;
        Ok(Response::new(Box::pin(
            pieces.map(|piece| piece.map_err(Status::from)),
        )))
    }
}
