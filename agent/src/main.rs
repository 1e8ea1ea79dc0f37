//! The executable `metronome-agent`; all of it is in the library, which benchctl carries too.

use std::process::ExitCode;

use metronome_telemetry::command_line;

fn main() -> ExitCode {
    if let Err(code) = metronome_os::start::prepare(metronome_agent::threads) {
        return code;
    }
    metronome_agent::run(command_line::parse(std::env::args_os()))
}
