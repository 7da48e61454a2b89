//! Who is this?

fn main() -> std::process::ExitCode {
    trama_platform::main(trama_identity_resolution::service(), trama_kubernetes::open)
}
