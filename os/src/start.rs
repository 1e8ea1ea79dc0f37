//! The first thing that each executable does: it makes its environment one in which it can report
//! what goes wrong.

use std::{fmt, process::ExitCode};

use crate::{environment, needed_calls, signals, standard_error, threads};

/// To be called first in `main`, before another thread exists: variables that are set but empty and
/// whose names begin with METRONOME_ are unset, a write beyond the limit of the size of files is an
/// error instead of a signal, and what no executable can do without is tried. `threads` counts
/// those that the process starts besides its first one, whatever it does.
///
/// # Errors
/// The system refuses something indispensable. It is written to standard error; the process can
/// only end, with the code given.
pub fn prepare(threads: impl FnOnce() -> usize) -> Result<(), ExitCode> {
    signals::survive_file_size_limit();
    environment::remove_empty("METRONOME_");
    needed_calls::make().map_err(refuse)?;
    threads::check(threads()).map_err(refuse)
}

fn refuse(refused: impl fmt::Display) -> ExitCode {
    standard_error::write_line(&format!("error: {refused}"));
    ExitCode::FAILURE
}
