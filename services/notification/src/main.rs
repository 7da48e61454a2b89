//! The notification service as a process of its own.

fn main() -> std::process::ExitCode {
    trama_platform::main(trama_notification::service(), trama_kubernetes::open)
}
