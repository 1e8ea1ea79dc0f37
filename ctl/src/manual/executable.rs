//! The executables and their command lines.

use clap::{Command, ValueEnum};

use crate::embedded;

/// The executables of Metronome.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Executable {
    /// This one.
    Benchctl,
    /// The master and its workers.
    MetronomeServer,
    /// The load generator.
    MetronomeAgent,
}

impl Executable {
    /// All of them, in the order of the manual.
    pub(crate) const ALL: [Self; 3] = [Self::Benchctl, Self::MetronomeServer, Self::MetronomeAgent];

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Benchctl => "benchctl",
            Self::MetronomeServer => "metronome-server",
            Self::MetronomeAgent => "metronome-agent",
        }
    }

    /// Its command line, the same wherever it is printed: neither this environment nor this
    /// terminal has a part in it. `benchctl` is the command line of this executable.
    pub(crate) fn command(self, benchctl: &Command) -> Command {
        let command = match self {
            Self::Benchctl => benchctl.clone(),
            Self::MetronomeServer => embedded::server_command(),
            Self::MetronomeAgent => embedded::agent_command(),
        };
        without_environment(command).term_width(LINE_WIDTH)
    }
}

const LINE_WIDTH: usize = 100;

fn without_environment(command: Command) -> Command {
    command
        .mut_args(|argument| argument.hide_env_values(true))
        .mut_subcommands(without_environment)
}
