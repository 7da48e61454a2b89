//! `trama resources check DIR`

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use trama_platform::resources::{Folder, Source as _};
use trama_proto::resources::Resources;

use super::detail;

/// Work on resources in a folder.
#[derive(Subcommand)]
pub enum ResourcesCommand {
    /// Say what is wrong with the resources of a folder, with the code that the services use.
    Check {
        /// The folder.
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Value for `${NAME}` in the files, as NAME=VALUE.
        #[arg(long = "set", value_name = "NAME=VALUE")]
        variables: Vec<String>,
    },
}

impl ResourcesCommand {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let Self::Check { dir, json, variables } = self;
        let variables = variables
            .iter()
            .filter_map(|v| v.split_once('='))
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        let documents = Folder { dir, variables }.read().map_err(detail)?;
        let (resources, problems) = Resources::build(&documents, &Resources::default());
        if json {
            let list: Vec<_> = problems
                .iter()
                .map(
                    |p| serde_json::json!({"origin": p.origin, "resource": p.resource, "problem": p.message}),
                )
                .collect();
            println!(
                "{}",
                serde_json::json!({"documents": documents.len(), "problems": list})
            );
        } else {
            for problem in &problems {
                println!("{problem}");
            }
            let tenants: Vec<String> = resources.tenants().map(|(t, _)| t.to_string()).collect();
            println!(
                "{} documents, {} problems; tenants: {}",
                documents.len(),
                problems.len(),
                tenants.join(", ")
            );
        }
        Ok(if problems.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
