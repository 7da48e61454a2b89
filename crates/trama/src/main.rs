//! `trama`: the whole platform in one binary, and the tools around it.

mod apart;
mod commands;
mod dev;
mod services;
mod story;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = commands::Cli::parse();
    match trama_platform::block_on(commands::execute(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("trama: {error:#}");
            ExitCode::FAILURE
        }
    }
}
