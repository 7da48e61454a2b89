//! `trama privacy`

mod verify;

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use tonic::{Request, metadata::MetadataValue, transport::Channel};
use trama_platform::privacy::PrivacyKeys;
use trama_proto::{
    common::v1::Handle,
    identity_resolution::v1::{
        DownloadExportRequest, GetPrivacyRequestRequest, Person, PrivacyRequest, PrivacyState,
        RequestErasureRequest, RequestExportRequest, person, privacy_service_client::PrivacyServiceClient,
    },
};

use super::{Configured, detail};

/// A person's data: handed out, or forgotten, by all services.
#[derive(Subcommand)]
pub enum PrivacyCommand {
    /// Write all that is held of a person into a tar file.
    Export(Export),
    /// Forget a person everywhere, for good; prints the signed report.
    Erase(Erase),
    /// Print where a request stands, or its signed report when it is done.
    Status(Status),
    /// Check the signature of a report, or the files of an export; prints what was signed.
    Verify(verify::Verify),
    /// Print the key by which reports of this platform are checked.
    Key(Configured),
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

/// Who, and why.
#[derive(Args)]
struct About {
    /// A customer id, or an address such as `email:anna@example.com`.
    person: String,
    /// Why: kept in the access log and with the request. Do not name the person.
    #[arg(long)]
    reason: String,
    /// Makes a repeated call the same call.
    #[arg(long, default_value = "")]
    request_id: String,
    #[command(flatten)]
    door: Door,
}

/// Write all that is held of a person into a tar file.
#[derive(Args)]
pub struct Export {
    #[command(flatten)]
    about: About,
    /// The file; `-` is standard output, for whoever pipes it into a tool that encrypts it before it lies anywhere.
    #[arg(long, short)]
    output: PathBuf,
}

/// Forget a person everywhere.
#[derive(Args)]
pub struct Erase {
    #[command(flatten)]
    about: About,
    /// There is no way back: say that you know.
    #[arg(long)]
    for_good: bool,
}

/// Where a request stands.
#[derive(Args)]
pub struct Status {
    /// Its id.
    request: String,
    #[command(flatten)]
    door: Door,
}

impl PrivacyCommand {
    /// Does it.
    pub async fn execute(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Export(export) => export.execute().await,
            Self::Erase(erase) => erase.execute().await,
            Self::Status(status) => status.execute().await,
            Self::Verify(verify) => verify.execute(),
            Self::Key(configured) => {
                let keys = PrivacyKeys::new(&configured.load()?.privacy);
                println!("{}", keys.public_key().map_err(detail)?);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

type Client = PrivacyServiceClient<Channel>;

impl Door {
    async fn open(&self) -> anyhow::Result<Client> {
        let channel = Channel::from_shared(self.address.clone())?
            .connect()
            .await
            .with_context(|| format!("nobody answers at {}; is `trama up` running?", self.address))?;
        Ok(PrivacyServiceClient::new(channel))
    }

    fn request<T>(&self, message: T) -> anyhow::Result<Request<T>> {
        let mut request = Request::new(message);
        let value = MetadataValue::try_from(format!("Bearer {}", self.token)).context("the token")?;
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }

    async fn get(&self, client: &mut Client, id: &str) -> anyhow::Result<PrivacyRequest> {
        let wanted = GetPrivacyRequestRequest {
            privacy_request_id: id.to_owned(),
        };
        let answer = client.get_privacy_request(self.request(wanted)?).await;
        let answer = answer.map_err(|status| anyhow::anyhow!(status.message().to_owned()))?;
        answer.into_inner().request.context("an empty answer")
    }

    /// Waits until all services have answered.
    async fn done(
        &self,
        client: &mut Client,
        asked: Option<PrivacyRequest>,
    ) -> anyhow::Result<PrivacyRequest> {
        let mut request = asked.context("an empty answer")?;
        eprintln!("request {}", request.privacy_request_id);
        let mut waiting = Vec::new();
        while request.state() == PrivacyState::Running {
            if request.waiting_for != waiting {
                eprintln!("waiting for {}", request.waiting_for.join(", "));
                waiting.clone_from(&request.waiting_for);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
            request = self.get(client, &request.privacy_request_id).await?;
        }
        Ok(request)
    }
}

impl About {
    fn person(&self) -> Person {
        let person = match self.person.split_once(':') {
            Some((kind, value)) => person::Person::Handle(Handle {
                kind: kind.to_owned(),
                value: value.to_owned(),
                trust: 0,
            }),
            None => person::Person::CustomerId(self.person.clone()),
        };
        Person { person: Some(person) }
    }
}

impl Export {
    async fn execute(self) -> anyhow::Result<ExitCode> {
        let About {
            reason,
            request_id,
            door,
            ..
        } = &self.about;
        let mut client = door.open().await?;
        let request = RequestExportRequest {
            person: Some(self.about.person()),
            reason: reason.clone(),
            request_id: request_id.clone(),
        };
        let asked = client.request_export(door.request(request)?).await;
        let asked = asked.map_err(|status| anyhow::anyhow!(status.message().to_owned()))?;
        let done = door.done(&mut client, asked.into_inner().request).await?;
        let download = DownloadExportRequest {
            privacy_request_id: done.privacy_request_id.clone(),
        };
        let mut pieces = client
            .download_export(door.request(download)?)
            .await
            .map_err(|status| anyhow::anyhow!(status.message().to_owned()))?
            .into_inner();
        let mut file: Box<dyn Write + Send> = if self.output.as_os_str() == "-" {
            Box::new(std::io::stdout())
        } else {
            let created = std::fs::File::create(&self.output);
            Box::new(created.with_context(|| format!("{} cannot be written", self.output.display()))?)
        };
        let mut bytes = 0;
        while let Some(piece) = pieces.message().await? {
            bytes += piece.data.len();
            file.write_all(&piece.data)?;
        }
        file.flush()?;
        eprintln!("{bytes} bytes in {}", self.output.display());
        Ok(ExitCode::SUCCESS)
    }
}

impl Erase {
    async fn execute(self) -> anyhow::Result<ExitCode> {
        if !self.for_good {
            bail!("there is no way back: repeat it with --for-good");
        }
        let About {
            reason,
            request_id,
            door,
            ..
        } = &self.about;
        let mut client = door.open().await?;
        let request = RequestErasureRequest {
            person: Some(self.about.person()),
            reason: reason.clone(),
            request_id: request_id.clone(),
        };
        let asked = client.request_erasure(door.request(request)?).await;
        let asked = asked.map_err(|status| anyhow::anyhow!(status.message().to_owned()))?;
        let done = door.done(&mut client, asked.into_inner().request).await?;
        println!("{}", done.report);
        Ok(ExitCode::SUCCESS)
    }
}

impl Status {
    async fn execute(self) -> anyhow::Result<ExitCode> {
        let mut client = self.door.open().await?;
        let request = self.door.get(&mut client, &self.request).await?;
        if request.report.is_empty() {
            println!(
                "{}: waiting for {}",
                request.state().as_str_name(),
                request.waiting_for.join(", ")
            );
        } else {
            println!("{}", request.report);
        }
        Ok(ExitCode::SUCCESS)
    }
}
