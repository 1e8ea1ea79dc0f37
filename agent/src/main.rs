//! The executable `metronome-agent`; all of it is in the library, which benchctl carries too.

use std::process::ExitCode;

fn main() -> ExitCode {
    metronome_agent::Agent::new().main()
}
