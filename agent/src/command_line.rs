//! The command line of this process, read by clap, whose refusals programs get as JSON where they
//! ask for that.

use std::ffi::OsString;

use clap::{
    CommandFactory as _, FromArgMatches as _,
    error::{ContextKind, ContextValue},
};
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
            if error.use_stderr() && asks_for_json(arguments.into_iter()) {
                let text = command_line::shown(&error);
                let line = text.lines().next().unwrap_or_default();
                let sentence = line.trim_start_matches("error: ");
                refusal::print(&refusal::usage(&flag_of(&error), sentence));
            }
            command_line::refuse(&error)
        })
}

/// Whether a command line that clap refuses asks for JSON.
fn asks_for_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let arguments = arguments
        .skip(1)
        .map(|it| it.to_string_lossy().into_owned());
    let arguments: Vec<_> = arguments.take_while(|argument| argument != "--").collect();
    let is_in_one = |argument: &String| {
        let form = argument
            .strip_prefix("--output=")
            .or_else(|| Some(argument.strip_prefix("-o")?.trim_start_matches('=')));
        form == Some("json")
    };
    let is_in_two = |pair: &[String]| ["-o", "--output"].contains(&&*pair[0]) && pair[1] == "json";
    arguments.iter().any(is_in_one) || arguments.windows(2).any(is_in_two)
}

/// The flag that clap refuses; `COMMAND` where it is the command itself.
fn flag_of(error: &clap::Error) -> String {
    let shown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(shown)) => shown.as_str(),
        Some(ContextValue::Strings(shown)) => shown.first().map_or("", String::as_str),
        _ => "",
    };
    // As in help: `--clients <N>`.
    let mut names = shown.split(['<', '>', '[', ']', '|', ' ', '=']);
    let name = names.find(|name| !name.is_empty());
    name.unwrap_or("COMMAND").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_errors_is_found_in_a_command_line_with_one() {
        for (line, is_json) in [
            ("metronome-agent run -o json --rate ten", true),
            ("metronome-agent run -ojson", true),
            ("metronome-agent run -o=json", true),
            ("metronome-agent run --output json", true),
            ("metronome-agent run --output=json", true),
            ("metronome-agent run -- -o json", false),
            ("metronome-agent run -o text", false),
            ("metronome-agent run --rate json", false),
        ] {
            let arguments = line.split(' ').map(OsString::from);
            assert_eq!(asks_for_json(arguments), is_json, "{line}");
        }
    }
}
