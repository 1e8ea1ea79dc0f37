//! The command line of this process, read by clap, whose refusals programs get as JSON where they
//! ask for that.

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _};
use metronome_telemetry::command_line;

use crate::{config::Args, refusal};

/// What a command line holds. One that is not allowed ends the process, as clap does it; programs
/// get the error in their form, too.
#[must_use]
pub fn args_of(arguments: impl IntoIterator<Item = OsString>) -> Args {
    let arguments: Vec<_> = arguments.into_iter().collect();
    command_line::matches(Args::command(), arguments.iter().cloned())
        .and_then(|matches| Args::from_arg_matches(&matches))
        .unwrap_or_else(|error| {
            if error.use_stderr() && command_line::asks_for_json(arguments) {
                let sentence = command_line::sentence_of(&error);
                let mut failure = refusal::usage(command_line::flag_of(&error), &sentence);
                if let Some(remedy) = command_line::remedy_of(&error) {
                    failure.remedy = remedy;
                }
                refusal::print(&failure);
            }
            command_line::refuse(&error)
        })
}
