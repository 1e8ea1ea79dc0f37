//! `benchctl completions`: what a shell needs to complete a command line of ours.

use clap_complete::Shell;

use crate::{
    exit::{Exit, Failure},
    manual::Executable,
    terminal,
};

/// Print the completions of an executable for a shell.
///
/// For bash, for example: `benchctl completions bash >
/// ~/.local/share/bash-completion/completions/benchctl`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,

    /// The executable whose command line is to be completed.
    #[arg(
        long = "for",
        value_enum,
        default_value_t = Executable::Benchctl,
        value_name = "EXECUTABLE"
    )]
    executable: Executable,
}

/// Prints the completions; `benchctl` is the command line of this executable.
pub(crate) fn run(args: &Args, benchctl: &clap::Command) -> Result<Exit, Failure> {
    let mut command = args.executable.command(benchctl);
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    terminal::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
