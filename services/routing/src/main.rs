//! `trama-routing`.

fn main() -> std::process::ExitCode {
    trama_platform::main(trama_routing::service(), trama_kubernetes::open)
}
