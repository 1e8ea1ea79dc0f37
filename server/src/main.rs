//! metronome-server.

use std::process::ExitCode;

fn main() -> ExitCode {
    metronome_server::Server::new().main()
}
