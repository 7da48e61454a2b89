//! The case service by itself.

fn main() -> std::process::ExitCode {
    trama_platform::main(trama_case::service(), trama_kubernetes::open)
}
