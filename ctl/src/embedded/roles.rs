//! This executable started as something else: the embedded server or agent, a worker of that
//! server, or, through a link of that name, `metronome-server` or `metronome-agent`.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, Parser as _};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// What an embedded process is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
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

/// Runs as the embedded server or agent if benchctl has started this process as one:
/// `benchctl internal-server|internal-agent PARENT_PID FLAG…`.
pub(crate) fn run_as_embedded_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next()?;
    let role = Role::from_argument(&arguments.next()?)?;
    let parent = arguments
        .next()
        .and_then(|pid| pid.to_str()?.parse().ok())
        .and_then(Pid::from_raw);
    if !dies_with(parent) {
        return Some(ExitCode::FAILURE);
    }
    let flags = std::iter::once(program).chain(arguments);
    Some(match role {
        Role::Server => metronome_server::run(metronome_server::Args::parse_from(flags)),
        Role::Agent => metronome_agent::run(metronome_agent::Args::parse_from(flags)),
    })
}

/// Runs as the server or the agent if this executable was started by that name, through a link: an
/// image needs no more than one executable.
pub(crate) fn run_as_named() -> Option<ExitCode> {
    let program = PathBuf::from(std::env::args_os().next()?);
    match program.file_name()?.to_str()? {
        "metronome-server" => Some(metronome_server::run(metronome_server::Args::parse())),
        "metronome-agent" => Some(metronome_agent::run(metronome_agent::args_of_this_process())),
        _ => None,
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
