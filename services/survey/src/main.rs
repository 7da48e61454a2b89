//! The survey service as a process of its own.

fn main() -> std::process::ExitCode {
    trama_platform::main(trama_survey::service(), trama_kubernetes::open)
}
