//! The executable `metronome-agent`; all of it is in the library, which benchctl carries too.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    metronome_os::environment::remove_empty("METRONOME_");
    metronome_agent::run(metronome_agent::Args::parse())
}
