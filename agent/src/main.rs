//! The executable `metronome-agent`; all of it is in the library, which benchctl carries too.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(code) = metronome_os::start::prepare(metronome_agent::threads) {
        return code;
    }
    metronome_agent::run(metronome_agent::args_of(std::env::args_os()))
}
