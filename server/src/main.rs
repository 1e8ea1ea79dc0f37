//! metronome-server.

use std::process::ExitCode;

use metronome_telemetry::command_line;

fn main() -> ExitCode {
    // A worker is this executable again, started by exec: a forked copy of threads and locks would
    // be unsound.
    if let Some(code) = metronome_server::run_as_worker_if_asked() {
        return code;
    }
    if let Err(code) = metronome_os::start::prepare(|| metronome_server::threads(0)) {
        return code;
    }
    metronome_server::run(command_line::parse(std::env::args_os()))
}
