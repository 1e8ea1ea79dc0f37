//! `benchctl man`: the manual pages of all three executables, from the same flags as their help.

use std::{fs, path::PathBuf};

use crate::{
    exit::{Exit, Failure, host_failed},
    manual::{self, Executable},
    terminal,
};

/// Write the manual pages of all three executables, one a subcommand.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder to write them to, made when missing. Not given: benchctl's own page, on standard
    /// output.
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Writes the pages; `benchctl` is the command line of this executable.
pub(crate) fn run(args: &Args, benchctl: &clap::Command) -> Result<Exit, Failure> {
    let Some(folder) = &args.folder else {
        terminal::print(&manual::page(Executable::Benchctl.command(benchctl))?)?;
        return Ok(Exit::Done);
    };
    let in_words = |error| {
        host_failed(format!(
            "no manual pages can be written to {}: {error}",
            folder.display()
        ))
    };
    fs::create_dir_all(folder).map_err(in_words)?;
    for executable in Executable::ALL {
        clap_mangen::generate_to(executable.command(benchctl), folder).map_err(in_words)?;
    }
    Ok(Exit::Done)
}
