//! `trama run`: everything on this machine, and a story through the real doors.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use trama_ingest::Ingest;
use trama_platform::{Config, Options, auth::DevIssuer, lifecycle::terminated, telemetry::Telemetry};
use trama_sandbox::{
    Accounts, Callbacks, ReceiptOrder, ReceiptPlan, Sandbox, TwilioAccount, WhatsAppAccount,
};

use super::{detail, own::Own};
use crate::{
    apart::{self, Apart, Ways},
    dev::{self, DevSecrets, Ports},
    services,
    story::{self, Doors, Manner, World},
};

/// The tenant of the examples.
const TENANT: &str = "acme";
/// Ids of the example channels at their providers.
const PHONE_NUMBER_ID: &str = "106540352242922";
const TWILIO_ACCOUNT: &str = "AC5ef872f6da5a21de157d80997a64bd33";

/// Run everything on this machine with provider stand-ins, and play a story through the real doors.
#[derive(Args)]
pub struct Run {
    /// Which story: a name in the examples, or `none` to serve only.
    #[arg(long, default_value = "anna")]
    story: String,
    /// Stop after the story; the exit code says whether every check held.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    manner: MannerArgs,
}

/// Play a story file once, or check it.
#[derive(Subcommand)]
pub enum StoryCommand {
    /// Play it against services started for it, check every `expect`, exit.
    Play {
        /// The file.
        file: PathBuf,
        /// Each service as a process of its own.
        #[arg(long)]
        apart: bool,
        /// Kill one of them after every step, and start it again.
        #[arg(long, requires = "apart")]
        crashes: bool,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        manner: MannerArgs,
    },
    /// Say whether the file can be understood.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// Where things lie.
#[derive(Args, Clone)]
pub struct Place {
    /// Folder with `resources/`, `stories/`, `knowledge/`.
    #[arg(long, default_value = "examples")]
    examples: PathBuf,
    /// Folder for keys, secrets and objects.
    #[arg(long, env = "TRAMA_DEV_DIR", default_value = ".dev")]
    dev_dir: PathBuf,
}

/// How providers behave.
#[derive(Args, Clone)]
pub struct MannerArgs {
    /// Send every delivery and every receipt this many times.
    #[arg(long, default_value_t = 1)]
    copies: u32,
    /// Call events and receipts come in reverse order.
    #[arg(long)]
    disorder: bool,
}

impl From<MannerArgs> for Manner {
    fn from(args: MannerArgs) -> Self {
        Self {
            copies: args.copies.max(1),
            disorder: args.disorder,
            patience: story::PATIENCE,
        }
    }
}

impl Run {
    pub async fn execute(self) -> anyhow::Result<ExitCode> {
        let file = (self.story != "none").then(|| {
            self.place
                .examples
                .join("stories")
                .join(format!("{}.yaml", self.story))
        });
        start(
            file,
            self.once,
            Ports::KnownIfFree,
            &self.place,
            self.manner.into(),
        )
        .await
    }
}

impl StoryCommand {
    pub async fn execute(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Play {
                file,
                apart: false,
                place,
                manner,
                ..
            } => start(Some(file), true, Ports::Any, &place, manner.into()).await,
            Self::Play {
                file,
                crashes,
                place,
                manner,
                ..
            } => start_apart(&file, &place, manner.into(), crashes).await,
            Self::Check { file } => {
                let script = story::Script::read(&file)?;
                println!(
                    "{}: {} steps, {} checks",
                    file.display(),
                    script.steps.len(),
                    script.checks()
                );
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// What a run needs, whoever serves it.
struct Stage {
    config: Config,
    telemetry: Telemetry,
    own: Option<Own>,
    secrets: DevSecrets,
    issuer: DevIssuer,
}

impl Stage {
    /// `fresh`: a story is told from its beginning, in a database and streams of its own, made anew each time.
    async fn set(place: &Place, fresh: bool) -> anyhow::Result<Self> {
        let mut config =
            Config::load(None).context("start with `make run`, which brings PostgreSQL and NATS up")?;
        if std::env::var_os("RUST_LOG").is_none() && config.telemetry.log_filter == "info" {
            config.telemetry.log_filter = "warn".into();
        }
        config.bus.monitor_url = config
            .bus
            .monitor_url
            .or_else(|| std::env::var("TRAMA_NATS_MONITOR_URL").ok());
        let telemetry = Telemetry::init(&config.telemetry, "all").map_err(detail)?;
        let own = if fresh {
            Some(Own::make(&mut config).await?)
        } else {
            None
        };
        config.objects.dir = place.dev_dir.join("objects");
        config
            .outbound
            .allow_addresses
            .push(std::net::IpAddr::from([127, 0, 0, 1]));
        config.resources.dir = Some(place.examples.join("resources"));
        let issuer = dev::trust(&mut config, &place.dev_dir)?;
        if config.listen.cors_origins.is_empty() {
            config
                .listen
                .cors_origins
                .push("https://shop.acme.example".into());
        }
        Ok(Self {
            config,
            telemetry,
            own,
            secrets: DevSecrets::of(&place.dev_dir, TENANT),
            issuer,
        })
    }

    /// The provider stand-in, which the channels of the examples are told of.
    async fn sandbox(
        &mut self,
        http: std::net::SocketAddr,
        manner: &Manner,
    ) -> anyhow::Result<SharedSandbox> {
        let sandbox = sandbox(&self.secrets, http, manner, 0, 0).await?;
        let variables = &mut self.config.resources.variables;
        variables.insert("SANDBOX_URL".into(), sandbox.base_url().into());
        variables.insert("SANDBOX_SMTP".into(), sandbox.smtp_addr().to_string());
        variables.insert("PUBLIC_URL".into(), format!("http://{http}"));
        Ok(sandbox)
    }

    /// The world of a story.
    fn world(
        &self,
        script: &story::Script,
        file: &Path,
        (grpc, http, smtp): (Ways, std::net::SocketAddr, std::net::SocketAddr),
        sandbox: &SharedSandbox,
        manner: Manner,
    ) -> anyhow::Result<World> {
        let doors = Doors {
            grpc,
            http,
            smtp,
            whatsapp_secret: self.secrets.get("whatsapp", "app-secret")?,
            phone_number_id: PHONE_NUMBER_ID.into(),
            twilio_account: TWILIO_ACCOUNT.into(),
            twilio_token: self.secrets.get("twilio", "auth-token")?,
            chat_secret: self.secrets.get("chat", "login-secret")?,
        };
        let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
        World::new(
            script,
            folder,
            doors,
            &self.issuer,
            sandbox.clone_handle(),
            manner,
        )
    }

    /// Whether all went well; what was made for it goes, if it is to.
    async fn clear(self, well: bool, remove: bool) -> ExitCode {
        if let (Some(own), true) = (self.own, remove) {
            own.remove().await;
        }
        self.telemetry.shutdown();
        if well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

async fn start(
    file: Option<PathBuf>,
    once: bool,
    ports: Ports,
    place: &Place,
    manner: Manner,
) -> anyhow::Result<ExitCode> {
    let script = file.as_deref().map(story::Script::read).transpose()?;
    let began = Instant::now();
    let mut stage = Stage::set(place, script.is_some()).await?;
    let (sockets, mail) = dev::listen(&mut stage.config, ports).await?;
    let http = sockets.addresses().map_err(detail)?.http;
    stage.config.services.insert(
        "ingest".into(),
        serde_json::json!({"smtp_listen": mail.to_string()}),
    );
    let sandbox = stage.sandbox(http, &manner).await?;

    let options = Options {
        migrate: true,
        sockets: Some(sockets),
        ..Options::default()
    };
    let ingest = Arc::new(Ingest::default());
    let services = services::with(Arc::clone(&ingest));
    let running = trama_platform::start(&services, stage.config.clone(), options)
        .await
        .map_err(detail)?;
    let smtp = ingest.smtp_address().context("ingest takes no mail")?;
    story::print::doors(&running.addresses, smtp, &sandbox, began.elapsed());

    let mut held = true;
    if let (Some(script), Some(file)) = (&script, &file) {
        let doors = (
            Ways::one(running.addresses.grpc).await?,
            running.addresses.http,
            smtp,
        );
        let mut world = stage.world(script, file, doors, &sandbox, manner)?;
        held = story::play(script, &mut world, None).await?;
    }
    if !once {
        println!("\nEverything stays up. Ctrl-C stops it.");
        let lifecycle = running.lifecycle.clone();
        tokio::select! {
            () = terminated() => println!("\nStopping …"),
            () = async { lifecycle.stopping().cancelled().await } => held = false,
        }
    }
    let clean = running.stop().await;
    sandbox.stop().await;
    Ok(stage.clear(held && clean, once).await)
}

/// The story once, with every service in a process of its own.
async fn start_apart(
    file: &Path,
    place: &Place,
    mut manner: Manner,
    crashes: bool,
) -> anyhow::Result<ExitCode> {
    if crashes {
        // What a killed process had in hand is delivered again after 30 s; a step may need that more than once.
        manner.patience = 5 * story::PATIENCE;
    }
    let script = story::Script::read(file)?;
    let began = Instant::now();
    let mut stage = Stage::set(place, true).await?;
    // Channels are told of the web door before anybody opens it.
    let http = apart::free_address()?;
    let sandbox = stage.sandbox(http, &manner).await?;
    let mut apart = Apart::start(&stage.config, http, &place.dev_dir).await?;
    println!(
        "Trama up in {:.1} s: six services, six processes.",
        began.elapsed().as_secs_f64()
    );
    let doors = apart.try_doors().await?;
    println!(
        "{doors} gRPC doors tried: each lets in a certificate of its CA, and nobody without one, with another's or without TLS."
    );
    let doors = (apart.ways()?, http, apart.smtp);
    let mut world = stage.world(&script, file, doors, &sandbox, manner)?;
    let held = story::play(&script, &mut world, crashes.then_some(&mut apart)).await?;
    // Lines to the services end before they do.
    drop(world);
    let clean = apart.stop().await?;
    sandbox.stop().await;
    Ok(stage.clear(held && clean, true).await)
}

/// A stand-in that calls us back, with the secrets that our channels have.
async fn sandbox(
    secrets: &DevSecrets,
    http: std::net::SocketAddr,
    manner: &Manner,
    port: u16,
    smtp_port: u16,
) -> anyhow::Result<SharedSandbox> {
    // Those that no stand-in needs are made all the same: the example channels name them.
    secrets.get("whatsapp", "verify-token")?;
    secrets.get("chat", "login-secret")?;
    let callbacks = Callbacks {
        whatsapp: Some(format!("http://{http}/webhooks/{TENANT}/whatsapp")),
        twilio: Some(format!("http://{http}/webhooks/{TENANT}/phone")),
    };
    let config = trama_sandbox::Config {
        listen: ([127, 0, 0, 1], port).into(),
        smtp_listen: ([127, 0, 0, 1], smtp_port).into(),
        accounts: Accounts {
            whatsapp: Some(WhatsAppAccount {
                phone_number_id: PHONE_NUMBER_ID.into(),
                display_phone_number: "390212345678".into(),
                waba_id: "102290129340398".into(),
                access_token: secrets.get("whatsapp", "access-token")?,
                app_secret: secrets.get("whatsapp", "app-secret")?,
                callback_url: String::new(),
            }),
            twilio: Some(TwilioAccount {
                account_sid: TWILIO_ACCOUNT.into(),
                auth_token: secrets.get("twilio", "auth-token")?,
                status_callback_url: None,
            }),
        },
        receipts: ReceiptPlan {
            copies: manner.copies,
            order: if manner.disorder {
                ReceiptOrder::Reversed
            } else {
                ReceiptOrder::InOrder
            },
            ..ReceiptPlan::default()
        },
    };
    let sandbox = Sandbox::start(config).await.context("the provider stand-in")?;
    sandbox.set_callbacks(callbacks);
    Ok(SharedSandbox(Arc::new(sandbox)))
}

/// The stand-in, held by the run and by the story's world.
struct SharedSandbox(Arc<Sandbox>);

impl std::ops::Deref for SharedSandbox {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.0
    }
}

impl SharedSandbox {
    fn clone_handle(&self) -> Arc<Sandbox> {
        Arc::clone(&self.0)
    }

    async fn stop(self) {
        if let Ok(sandbox) = Arc::try_unwrap(self.0) {
            sandbox.stop().await;
        }
    }
}

/// Run the provider stand-in alone: Graph, Twilio and an SMTP sink on loopback.
#[derive(Args)]
pub struct SandboxArgs {
    /// Port of the HTTP APIs.
    #[arg(long, default_value_t = 9090)]
    port: u16,
    /// Port of the SMTP sink.
    #[arg(long, default_value_t = 2526)]
    smtp_port: u16,
    /// Where the platform's HTTP door is, for receipts.
    #[arg(long, default_value = "127.0.0.1:8081")]
    callback: std::net::SocketAddr,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    manner: MannerArgs,
}

impl SandboxArgs {
    pub async fn execute(self) -> anyhow::Result<ExitCode> {
        let secrets = DevSecrets::of(&self.place.dev_dir, TENANT);
        let sandbox = sandbox(
            &secrets,
            self.callback,
            &self.manner.into(),
            self.port,
            self.smtp_port,
        )
        .await?;
        println!(
            "Graph and Twilio at {}, SMTP sink at {}; Ctrl-C stops.",
            sandbox.base_url(),
            sandbox.smtp_addr()
        );
        terminated().await;
        sandbox.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}
