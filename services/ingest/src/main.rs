//! The ingest service on its own.

fn main() -> std::process::ExitCode {
    trama_platform::main(trama_ingest::service(), trama_kubernetes::open)
}
