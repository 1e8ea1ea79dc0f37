//! How a refusal is printed: one sentence for people and, where a program asked `metronome-agent
//! run` for it, one JSON object.

use std::process::ExitCode;

use metronome_os::standard_output::write_result;
use metronome_proto::{
    json,
    v1::{Failure, FailureCode},
};
use metronome_telemetry::command_line;

/// Exit code of a command line that cannot be used.
const USAGE: u8 = 2;

/// Refuses a value of `flag`, on standard error, with the variable that has set it, and, where a
/// program asked for it, as JSON.
pub(crate) fn refuse(flag: &str, sentence: &str, is_json: bool) -> ExitCode {
    command_line::write_error_with_variables(&sentence, Some(flag));
    if is_json {
        print(&usage(flag, sentence));
    }
    ExitCode::from(USAGE)
}

/// Prints why there is no result, as one JSON object.
pub(crate) fn print(failure: &Failure) {
    // A closed standard output changes nothing about the failure.
    let _ = write_result(&json::error::error(failure));
}

/// The failure of a flag that cannot be used.
pub(crate) fn usage(flag: &str, sentence: &str) -> Failure {
    let failure = Failure::new(FailureCode::FieldOutOfRange, sentence)
        .with("field", flag)
        .with("flag", flag);
    match command_line::variable_of(flag) {
        Some(variable) => failure.with("variable", variable),
        None => failure,
    }
}
