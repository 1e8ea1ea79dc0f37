//! This executable started as something else: the embedded server or agent, a worker of that
//! server, or, through a link of that name, `metronome-server` or `metronome-agent`.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::ExitCode,
};

use clap::CommandFactory as _;
use metronome_telemetry::command_line;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// A thread of benchctl itself: it resolves names, or tries a priority for `doctor`.
const BENCHCTL_THREADS: usize = 1;

/// What an embedded process is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    Server,
    Agent,
}

impl Role {
    /// The hidden first argument.
    pub(super) fn argument(self) -> &'static str {
        match self {
            Self::Server => "internal-server",
            Self::Agent => "internal-agent",
        }
    }

    /// The threads that it starts besides its first one, those of runs and of workers left out.
    pub(super) fn threads(self) -> usize {
        match self {
            Self::Server => metronome_server::threads(0),
            Self::Agent => metronome_agent::threads(),
        }
    }

    fn from_argument(argument: &OsString) -> Option<Self> {
        [Self::Server, Self::Agent]
            .into_iter()
            .find(|role| argument.to_str() == Some(role.argument()))
    }

    /// The word for it in sentences.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
        }
    }
}

/// Runs as a worker of the embedded server if the master has started this process as one.
pub(crate) fn run_as_worker_if_asked() -> Option<ExitCode> {
    metronome_server::run_as_worker_if_asked()
}

/// What this executable was started as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StartedAs {
    Benchctl,
    /// By benchctl: `benchctl internal-server|internal-agent PARENT_PID FLAG…`.
    Embedded(Role),
    /// Through a link of that name: an image needs no more than one executable.
    Named(Role),
}

impl StartedAs {
    pub(crate) fn of_this_process() -> Self {
        let mut arguments = std::env::args_os();
        let program = arguments.next().map(PathBuf::from);
        let embedded = arguments.next().as_ref().and_then(Role::from_argument);
        if let Some(role) = embedded {
            return Self::Embedded(role);
        }
        let name = program.as_ref().and_then(|program| program.file_name());
        match name.and_then(OsStr::to_str) {
            Some("metronome-server") => Self::Named(Role::Server),
            Some("metronome-agent") => Self::Named(Role::Agent),
            _ => Self::Benchctl,
        }
    }

    /// The threads that it starts besides its first one, whatever its flags are.
    pub(crate) fn threads(self) -> usize {
        match self {
            Self::Benchctl => BENCHCTL_THREADS + metronome_telemetry::threads(),
            Self::Embedded(role) | Self::Named(role) => role.threads(),
        }
    }

    /// Runs as a server or an agent to its end. `None` for benchctl itself.
    pub(crate) fn run(self) -> Option<ExitCode> {
        match self {
            Self::Benchctl => None,
            Self::Embedded(role) => Some(run_embedded(role)),
            Self::Named(role) => Some(run_role(role, std::env::args_os())),
        }
    }
}

fn run_embedded(role: Role) -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    // After its own argument.
    let parent = arguments
        .nth(1)
        .and_then(|pid| pid.to_str()?.parse().ok())
        .and_then(Pid::from_raw);
    if !dies_with(parent) {
        return ExitCode::FAILURE;
    }
    let flags = std::iter::once(program).chain(arguments);
    run_role(role, flags)
}

fn run_role(role: Role, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match role {
        Role::Server => metronome_server::run(command_line::parse(arguments)),
        Role::Agent => metronome_agent::run(metronome_agent::args_of(arguments)),
    }
}

/// The server's command line.
pub(crate) fn server_command() -> clap::Command {
    metronome_server::Args::command()
}

/// The agent's command line.
pub(crate) fn agent_command() -> clap::Command {
    metronome_agent::Args::command()
}

/// Has the kernel kill this process when its parent ends. False when the parent is gone already: it
/// may have died before the signal was requested.
fn dies_with(parent: Option<Pid>) -> bool {
    set_parent_process_death_signal(Some(Signal::KILL)).is_ok()
        && parent.is_some()
        && getppid() == parent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_survives_its_argument() {
        for role in [Role::Server, Role::Agent] {
            assert_eq!(Role::from_argument(&role.argument().into()), Some(role));
        }
        assert_eq!(Role::from_argument(&"start".into()), None);
    }
}
