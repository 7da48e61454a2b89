//! `trama customers`

use std::{collections::BTreeMap, io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tonic::{Request, metadata::MetadataValue, transport::Channel};
use trama_proto::identity_resolution::v1::{
    ColumnMapping, ExportCustomersRequest, FinishImportRequest, GetImportRequest, GetImportResponse,
    ImportState, PutChunkRequest, RecordFormat, StartImportRequest,
    import_service_client::ImportServiceClient,
};
use trama_proto::time::to_wire;

/// Bytes in one call.
const CHUNK: usize = 256 * 1024;

/// Customers in bulk, in and out.
#[derive(Subcommand)]
pub enum CustomersCommand {
    /// Bring customers in from a file; prints what was wrong, line by line.
    Import(Import),
    /// Write customers to standard output.
    Export(Export),
}

/// Where Trama is, and who asks.
#[derive(Args)]
struct Door {
    /// The gRPC door, such as http://127.0.0.1:7080.
    #[arg(long, env = "TRAMA_ADDRESS")]
    address: String,
    /// A credential; `trama token` prints one for development.
    #[arg(long, env = "TRAMA_TOKEN", hide_env_values = true)]
    token: String,
}

/// How records are written.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Comma-separated values, the first line names the columns.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

impl Format {
    const fn to_wire(self) -> RecordFormat {
        match self {
            Format::Csv => RecordFormat::Csv,
            Format::Jsonl => RecordFormat::JsonLines,
        }
    }
}

/// Bring customers in from a file.
#[derive(Args)]
pub struct Import {
    /// The file.
    file: PathBuf,
    /// The system it comes from: the source of what it says.
    #[arg(long)]
    source: String,
    /// How it is written.
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// YAML file: column to target, such as `Mail: handle:email`.
    #[arg(long)]
    mapping: Option<PathBuf>,
    /// Between the values of a CSV line.
    #[arg(long, default_value = ",")]
    delimiter: String,
    /// Only check the lines, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// When the file was written, such as 2026-11-22T10:00:00Z. Lines about a person who was erased since are left out; all
    /// about erased people when absent.
    #[arg(long)]
    recorded_at: Option<DateTime<Utc>>,
    /// Carry on with this import after a broken line.
    #[arg(long)]
    resume: Option<String>,
    #[command(flatten)]
    door: Door,
}

/// Write customers to standard output.
#[derive(Args)]
pub struct Export {
    /// How to write them.
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// Only this segment.
    #[arg(long, default_value = "")]
    segment: String,
    /// Why: kept in the access log.
    #[arg(long)]
    reason: String,
    /// Carry on after this place, as printed when an export breaks.
    #[arg(long, default_value = "")]
    after: String,
    #[command(flatten)]
    door: Door,
}

impl CustomersCommand {
    /// Does it.
    pub async fn execute(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Import(import) => import.execute().await,
            Self::Export(export) => export.execute().await,
        }
    }
}

impl Door {
    async fn open(&self) -> anyhow::Result<ImportServiceClient<Channel>> {
        let channel = Channel::from_shared(self.address.clone())?
            .connect()
            .await
            .with_context(|| format!("nobody answers at {}; is `trama up` running?", self.address))?;
        Ok(ImportServiceClient::new(channel))
    }

    fn request<T>(&self, message: T) -> anyhow::Result<Request<T>> {
        let mut request = Request::new(message);
        let value = MetadataValue::try_from(format!("Bearer {}", self.token))
            .context("the token is no header value")?;
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

impl Import {
    async fn execute(self) -> anyhow::Result<ExitCode> {
        let mut client = self.door.open().await?;
        let id = match &self.resume {
            Some(id) => id.clone(),
            None => {
                let request = self.start()?;
                client
                    .start_import(self.door.request(request)?)
                    .await?
                    .into_inner()
                    .import_id
            }
        };
        eprintln!("import {id}; carry on with --resume {id} if it breaks");
        let begun = self.get(&mut client, &id, "").await?;
        let mut file = tokio::fs::File::open(&self.file)
            .await
            .with_context(|| format!("{} cannot be read", self.file.display()))?;
        let size = i64::try_from(file.metadata().await?.len())?;
        let mut offset = begun.next_offset;
        ensure!(
            offset <= size,
            "the file is shorter than what arrived of it: is it the same one?"
        );
        file.seek(std::io::SeekFrom::Start(u64::try_from(offset)?))
            .await?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = file.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            let chunk = PutChunkRequest {
                import_id: id.clone(),
                offset,
                data: buffer[..read].to_vec(),
            };
            offset = client
                .put_chunk(self.door.request(chunk)?)
                .await?
                .into_inner()
                .next_offset;
            eprint!("\rsent {} %", offset * 100 / size.max(1));
        }
        let finish = FinishImportRequest {
            import_id: id.clone(),
            size,
        };
        client.finish_import(self.door.request(finish)?).await?;
        let done = loop {
            let now = self.get(&mut client, &id, "").await?;
            eprint!("\rworked in {} % ", now.worked_bytes * 100 / size.max(1));
            match now.state() {
                ImportState::Done | ImportState::Failed => break now,
                ImportState::Unspecified | ImportState::Receiving | ImportState::Running => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        };
        eprintln!();
        if done.state() == ImportState::Failed {
            bail!("the import cannot be read: {}", done.failure);
        }
        self.print_errors(&mut client, &id).await?;
        println!(
            "{} records: {} created, {} updated, {} unchanged, {} wrong",
            done.records, done.created, done.updated, done.unchanged, done.failed
        );
        Ok(if done.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(2)
        })
    }

    fn start(&self) -> anyhow::Result<StartImportRequest> {
        let mapping: BTreeMap<String, String> = match &self.mapping {
            None => BTreeMap::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("{} cannot be read", path.display()))?;
                serde_norway::from_str(&text).with_context(|| format!("{} is no mapping", path.display()))?
            }
        };
        Ok(StartImportRequest {
            format: self.format.to_wire() as i32,
            mapping: mapping
                .into_iter()
                .map(|(column, target)| ColumnMapping { column, target })
                .collect(),
            source: self.source.clone(),
            delimiter: match self.format {
                Format::Csv => self.delimiter.clone(),
                Format::Jsonl => String::new(),
            },
            recorded_at: self.recorded_at.map(to_wire),
            dry_run: self.dry_run,
            ..StartImportRequest::default()
        })
    }

    async fn get(
        &self,
        client: &mut ImportServiceClient<Channel>,
        id: &str,
        page_token: &str,
    ) -> anyhow::Result<GetImportResponse> {
        let request = GetImportRequest {
            import_id: id.to_owned(),
            page_size: 500,
            page_token: page_token.to_owned(),
        };
        Ok(client.get_import(self.door.request(request)?).await?.into_inner())
    }

    async fn print_errors(&self, client: &mut ImportServiceClient<Channel>, id: &str) -> anyhow::Result<()> {
        let mut token = String::new();
        loop {
            let page = self.get(client, id, &token).await?;
            for error in page.errors {
                match error.column.as_str() {
                    "" => println!("line {}: {}", error.line, error.message),
                    column => println!("line {}: {column}: {}", error.line, error.message),
                }
            }
            if page.next_page_token.is_empty() {
                return Ok(());
            }
            token = page.next_page_token;
        }
    }
}

impl Export {
    async fn execute(self) -> anyhow::Result<ExitCode> {
        let mut client = self.door.open().await?;
        let request = ExportCustomersRequest {
            format: self.format.to_wire() as i32,
            segment: self.segment.clone(),
            page_token: self.after.clone(),
            reason: self.reason.clone(),
        };
        let mut pieces = client
            .export_customers(self.door.request(request)?)
            .await?
            .into_inner();
        let (mut after, mut customers, mut out) = (self.after.clone(), 0_i64, std::io::stdout());
        loop {
            match pieces.message().await {
                Ok(Some(piece)) => {
                    out.write_all(&piece.data)?;
                    out.flush()?;
                    customers += i64::from(piece.customers);
                    after = piece.page_token;
                }
                Ok(None) => break,
                Err(status) => bail!(
                    "broken after {customers} customers ({}); carry on with --after {after}",
                    status.message()
                ),
            }
        }
        eprintln!("{customers} customers");
        Ok(ExitCode::SUCCESS)
    }
}
