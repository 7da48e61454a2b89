//! What `trama` can be told to do.

mod customers;
mod dead_letters;
mod generate;
mod identity;
mod keys;
mod own;
mod privacy;
mod resources;
mod routing;
mod run;
mod token;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use trama_platform::{Clock, Config, Db, Options, Patience, bus::Bus, telemetry::Telemetry};

use crate::{dev, services};

pub use token::new_api_key;

/// Omnichannel customer engagement: one story per customer, whatever the channel.
#[derive(Parser)]
#[command(name = "trama", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all six services in this process until Ctrl-C or SIGTERM.
    Up(Up),
    /// Run everything on this machine with provider stand-ins, and play a story through the real doors.
    Run(run::Run),
    /// Play a story file once, or check it.
    #[command(subcommand)]
    Story(run::StoryCommand),
    /// Bring every schema up to date.
    Migrate(Migrate),
    /// Ask the `trama up` of this machine whether it is ready; exit code 1 when it is not.
    Healthcheck(Configured),
    /// Work on resources in a folder.
    #[command(subcommand)]
    Resources(resources::ResourcesCommand),
    /// Customers in bulk, in and out.
    #[command(subcommand)]
    Customers(customers::CustomersCommand),
    /// A person's data: handed out, or forgotten, by all services; reports checked.
    #[command(subcommand)]
    Privacy(privacy::PrivacyCommand),
    /// Keys of texts that are encrypted in the database.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Learn and try who is who.
    #[command(subcommand)]
    Identity(identity::IdentityCommand),
    /// Try the router on recorded or generated days.
    #[command(subcommand)]
    Routing(routing::RoutingCommand),
    /// Dead letters: what no stage could work in.
    #[command(subcommand)]
    Dlq(dead_letters::DlqCommand),
    /// Print a development credential.
    Token(token::Token),
    /// Run the provider stand-in alone: Graph, Twilio and an SMTP sink on loopback.
    Sandbox(run::SandboxArgs),
    /// Write what is generated from the code.
    #[command(subcommand)]
    Generate(generate::GenerateCommand),
}

/// Where the configuration comes from.
#[derive(Args, Clone)]
pub struct Configured {
    /// Configuration file (TOML); the environment (`TRAMA_…`) goes before it.
    #[arg(long, env = "TRAMA_CONFIG")]
    config: Option<PathBuf>,
}

impl Configured {
    /// The configuration.
    pub fn load(&self) -> anyhow::Result<Config> {
        Ok(Config::load(self.config.as_deref())?)
    }
}

#[derive(Args)]
struct Migrate {
    #[command(flatten)]
    configured: Configured,
    /// Seconds to wait for PostgreSQL and NATS before giving up.
    #[arg(long, default_value_t = 0)]
    wait: u64,
}

#[derive(Args)]
struct Up {
    #[command(flatten)]
    configured: Configured,
    /// Do not touch schemas; refuse one that is too old or too new.
    #[arg(long)]
    no_migrate: bool,
    /// Trust development credentials made in this folder (see `trama token`).
    #[arg(long)]
    dev_dir: Option<PathBuf>,
    /// Print the configuration, credentials blacked out, and exit.
    #[arg(long)]
    dump_config: bool,
}

/// Does it.
pub async fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    trama_platform::install_crypto();
    match cli.command {
        Command::Up(up) => up.execute().await,
        Command::Run(run) => run.execute().await,
        Command::Story(story) => story.execute().await,
        Command::Migrate(given) => given.execute().await,
        Command::Healthcheck(configured) => {
            trama_platform::is_ready(configured.load()?.listen.admin).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Resources(command) => command.execute(),
        Command::Identity(command) => command.execute(),
        Command::Routing(command) => command.execute(),
        Command::Customers(command) => command.execute().await,
        Command::Privacy(command) => command.execute().await,
        Command::Keys(command) => command.execute().await,
        Command::Dlq(command) => command.execute().await,
        Command::Token(token) => token.execute(),
        Command::Sandbox(args) => args.execute().await,
        Command::Generate(command) => command.execute(),
    }
}

impl Up {
    async fn execute(self) -> anyhow::Result<ExitCode> {
        let mut config = self.configured.load()?;
        if let Some(dir) = &self.dev_dir {
            dev::trust(&mut config, dir)?;
        }
        if self.dump_config {
            println!("{}", config.dump());
            return Ok(ExitCode::SUCCESS);
        }
        let telemetry = Telemetry::init(&config.telemetry, "all").map_err(detail)?;
        let options = Options {
            migrate: !self.no_migrate,
            cluster: Some(trama_kubernetes::open),
            ..Options::default()
        };
        let code = trama_platform::until_terminated(&services::all(), config, options).await;
        telemetry.shutdown();
        Ok(code)
    }
}

impl Migrate {
    async fn execute(&self) -> anyhow::Result<ExitCode> {
        let config = self.configured.load()?;
        let patience = Patience::of_seconds(self.wait);
        let bus = patience
            .for_others(|| Bus::connect(&config.nats_url, &config.bus))
            .await
            .map_err(detail)?;
        for service in services::all() {
            let connect = || {
                let (schema, sealed) = (service.schema(), service.sealed());
                Db::connect(&config, schema, sealed, bus.clone(), Clock::system())
            };
            let db = patience.for_others(connect).await.map_err(detail)?;
            db.migrate(service.migrations())
                .await
                .map_err(detail)
                .with_context(|| format!("schema {}", service.schema()))?;
            println!("{:<14} up to date", service.schema());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// An error of the platform with all its reasons, for a terminal.
pub fn detail(error: trama_platform::Error) -> anyhow::Error {
    anyhow::anyhow!(error.detail())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_two_options_of_a_command_have_one_name() {
        Cli::command().debug_assert();
    }
}
