//! Command lines, read alike in all three executables: flags, and the variables that set what flags
//! do not.
//!
//! Beyond what clap does: a variable that is set but empty counts as not set; what a variable has
//! wrong is reported by the name of the variable, also when it is found after clap; the text of a
//! user reaches a terminal escaped.

use std::{ffi::OsString, fmt, io, process, sync::OnceLock};

use clap::{
    Arg, ArgMatches, Command, Parser,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};
use metronome_os::{standard_error, standard_output};

use crate::sanitise::Escaped;

/// Help in wider lines is hard to read.
const HELP_COLUMNS_MAX: usize = 100;

/// The kinds of context that name flags.
const NAMES: [ContextKind; 2] = [ContextKind::InvalidArg, ContextKind::PriorArg];

/// The flags of this process that have their value from a variable. Not set before there is a
/// command line that clap takes.
static FROM_VARIABLES: OnceLock<Vec<FromVariable>> = OnceLock::new();

/// A flag that a variable has set.
#[derive(Debug, Eq, PartialEq)]
struct FromVariable {
    /// With its dashes.
    flag: String,
    variable: String,
}

/// The flags of a command line. One that is not allowed, and a request for help, end the process,
/// as clap does it.
pub fn parse<A: Parser>(arguments: impl IntoIterator<Item = OsString>) -> A {
    matches(A::command(), arguments)
        .and_then(|matches| A::from_arg_matches(&matches))
        .unwrap_or_else(|error| refuse(&error))
}

/// What a command line and the variables of `command` hold. From then on [`variable_of`] has the
/// variables of this process; there is one command line in it.
///
/// # Errors
/// One of them is not allowed, or help is asked for. What the error has of a user is escaped.
pub fn matches(
    command: Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<ArgMatches, clap::Error> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let width = standard_output::columns().min(HELP_COLUMNS_MAX);
    let command = with_each(command, &without_empty_variable).term_width(width);
    let matches = command
        .clone()
        .try_get_matches_from(&arguments)
        .map_err(|mut error| {
            for kind in NAMES {
                name_variables(&mut error, kind, &command, &arguments);
            }
            escape(&mut error);
            error
        })?;
    FROM_VARIABLES.get_or_init(|| from_variables(&command, &matches));
    Ok(matches)
}

/// The variable that has set `flag`, which has its dashes. `None` where none has.
#[must_use]
pub fn variable_of(flag: &str) -> Option<&'static str> {
    let mut all = FROM_VARIABLES.get()?.iter();
    all.find(|it| it.flag == flag).map(|it| &*it.variable)
}

/// Whether a command line that clap refuses asks for JSON.
pub fn asks_for_json(arguments: impl IntoIterator<Item = OsString>) -> bool {
    let mut arguments = arguments
        .into_iter()
        .skip(1)
        .map(|it| it.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            return false;
        }
        let form = match argument.strip_prefix("--output") {
            Some(form) => Some(form.to_owned()),
            // Short flags in one word: `-o`, behind any number of `-q`.
            None => argument
                .strip_prefix('-')
                .and_then(|flags| flags.trim_start_matches('q').strip_prefix('o'))
                .map(ToOwned::to_owned),
        };
        let form = match form.as_deref() {
            Some("") => arguments.next(),
            Some(form) => Some(form.trim_start_matches('=').to_owned()),
            None => None,
        };
        if form.as_deref() == Some("json") {
            return true;
        }
    }
    false
}

/// The flag, the variable or the argument that clap refuses; `COMMAND` where it is the command
/// itself.
#[must_use]
pub fn flag_of(error: &clap::Error) -> &str {
    let shown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(shown)) => shown.as_str(),
        Some(ContextValue::Strings(shown)) => shown.first().map_or("", String::as_str),
        _ => "",
    };
    // As in help: `--clients <N>`, `<RUN>`, `[RUN]`, `<RUN|--filter <FILTER>|--all>`.
    let mut names = shown.split(['<', '>', '[', ']', '|', ' ', '=']);
    names.find(|name| !name.is_empty()).unwrap_or("COMMAND")
}

/// The error in one sentence: its first line, without the word that begins every error on a
/// terminal.
#[must_use]
pub fn sentence_of(error: &clap::Error) -> String {
    let text = shown(error);
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// The way out of an error whose sentence has none: a flag that is given several times and may be
/// given once.
#[must_use]
pub fn remedy_of(error: &clap::Error) -> Option<String> {
    let [named, prior] = NAMES.map(|kind| error.get(kind));
    let is_repeated = error.kind() == ErrorKind::ArgumentConflict && named.is_some();
    (is_repeated && named == prior).then(|| format!("give {} once", flag_of(error)))
}

/// Prints the error, or the help that was asked for, and ends the process with clap's exit code.
pub fn refuse(error: &clap::Error) -> ! {
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_help || !error.use_stderr() {
        // A reader that has gone has what it wanted.
        match error.print() {
            Err(full) if full.kind() != io::ErrorKind::BrokenPipe => {
                write_error(&format!("standard output takes no more: {full}"));
                process::exit(1);
            }
            _ => process::exit(error.exit_code()),
        }
    }
    standard_error::write_line(&shown(error));
    process::exit(error.exit_code())
}

/// The error as a terminal may have it, without colours and the last line end.
#[must_use]
pub fn shown(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines: Vec<_> = text
        .trim_end()
        .split('\n')
        .map(|line| Escaped(line).to_string())
        .collect();
    lines.join("\n")
}

/// Writes why a process cannot go on as one line on standard error, whatever is in it.
pub fn write_error(sentence: &dyn fmt::Display) {
    let sentence = sentence.to_string();
    standard_error::write_line(&format!("error: {}", Escaped(&sentence)));
}

/// Writes why a process cannot go on with its flags, and under it the variable that has set `flag`.
/// Where that is `None`, any flag may be meant: all that variables have set are listed.
pub fn write_error_with_variables(sentence: &dyn fmt::Display, flag: Option<&str>) {
    let all = FROM_VARIABLES.get().map_or(&[][..], Vec::as_slice);
    standard_error::write_line(&error_with_variables(&sentence.to_string(), flag, all));
}

fn error_with_variables(sentence: &str, flag: Option<&str>, all: &[FromVariable]) -> String {
    let is_meant = |it: &&FromVariable| flag.is_none_or(|flag| it.flag == flag);
    let set: Vec<_> = all
        .iter()
        .filter(is_meant)
        .map(|it| is_set_by(&it.flag, &it.variable))
        .collect();
    let mut lines = format!("error: {}", Escaped(sentence));
    if !set.is_empty() {
        lines.push_str(&format!("\n  {}", set.join(", ")));
    }
    lines
}

/// The words for a flag that a variable has set.
#[must_use]
pub fn is_set_by(flag: &str, variable: &str) -> String {
    format!("{flag} is set by {variable}")
}

/// The flags that variables have set, those of the subcommand as well; each once.
fn from_variables(command: &Command, matches: &ArgMatches) -> Vec<FromVariable> {
    let is_from_variable =
        |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::EnvVariable);
    let mut all: Vec<_> = matches
        .ids()
        .filter(is_from_variable)
        .filter_map(|id| {
            let flag = command.get_arguments().find(|flag| flag.get_id() == id)?;
            Some(FromVariable {
                flag: format!("--{}", flag.get_long()?),
                variable: flag.get_env()?.to_string_lossy().into_owned(),
            })
        })
        .collect();
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        all.extend(from_variables(command, matches));
    }
    all
}

/// `command` with all its flags, those of its subcommands as well, changed.
fn with_each(command: Command, change: &impl Fn(Arg) -> Arg) -> Command {
    command
        .mut_args(change)
        .mut_subcommands(|subcommand| with_each(subcommand, change))
}

fn without_empty_variable(flag: Arg) -> Arg {
    let variable = flag.get_env().map(std::env::var_os);
    match variable.flatten() {
        Some(value) if value.is_empty() => flag.env(Resettable::Reset),
        Some(value) => {
            // In help a terminal would get it as it is, and a log the password or the key that is
            // in the user or the query of an address.
            let value = value.to_string_lossy();
            let is_harmful = Escaped(&value).to_string() != value;
            let may_hold_secret = value.contains(['@', '?']) || value.contains("%40");
            if is_harmful || may_hold_secret {
                flag.hide_env_values(true)
            } else {
                flag
            }
        }
        None => flag,
    }
}

/// Has the error name the variable where that, and no flag, is at fault.
fn name_variables(
    error: &mut clap::Error,
    kind: ContextKind,
    command: &Command,
    arguments: &[OsString],
) {
    let named = |flag: &String| {
        variable_at_fault(error, kind, flag, command, arguments).unwrap_or_else(|| flag.clone())
    };
    let named = match error.get(kind) {
        Some(ContextValue::String(flag)) => ContextValue::String(named(flag)),
        Some(ContextValue::Strings(flags)) => {
            ContextValue::Strings(flags.iter().map(named).collect())
        }
        _ => return,
    };
    error.insert(kind, named);
}

/// The variable of a flag, when without it the error is another one or none.
fn variable_at_fault(
    error: &clap::Error,
    kind: ContextKind,
    flag: &str,
    command: &Command,
    arguments: &[OsString],
) -> Option<String> {
    let mut built = command.clone();
    built.build();
    let (id, variable) = find(&built, flag)?;
    let without = with_each(command.clone(), &|it: Arg| match *it.get_id() == id {
        true => it.env(Resettable::Reset),
        false => it,
    });
    let other = without.try_get_matches_from(arguments).err();
    let is_the_same = other
        .is_some_and(|other| other.kind() == error.kind() && other.get(kind) == error.get(kind));
    (!is_the_same).then_some(variable)
}

/// The id and the variable of a flag that is shown so and whose variable is set.
fn find(command: &Command, shown: &str) -> Option<(clap::Id, String)> {
    let here = command.get_arguments().find_map(|flag| {
        let variable = flag.get_env().filter(|_| flag.to_string() == shown)?;
        std::env::var_os(variable)?;
        Some((
            flag.get_id().clone(),
            variable.to_string_lossy().into_owned(),
        ))
    });
    here.or_else(|| {
        command
            .get_subcommands()
            .find_map(|subcommand| find(subcommand, shown))
    })
}

/// Escapes what the error has of a user. Its rendering would swallow whole sequences of a terminal.
fn escape(error: &mut clap::Error) {
    let escaped = |text: &String| Escaped(text).to_string();
    let texts: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, ContextValue::String(escaped(text)))),
            ContextValue::Strings(texts) => Some((
                kind,
                ContextValue::Strings(texts.iter().map(escaped).collect()),
            )),
            _ => None,
        })
        .collect();
    for (kind, value) in texts {
        error.insert(kind, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        // A variable that every test process has.
        let number = clap::value_parser!(u32);
        Command::new("test")
            .arg(
                Arg::new("many")
                    .long("many")
                    .env("CARGO_MANIFEST_DIR")
                    .value_parser(number),
            )
            .subcommand(Command::new("run").arg(Arg::new("what")))
    }

    fn refused(arguments: &[&str]) -> String {
        let arguments = ["test"].iter().chain(arguments).map(OsString::from);
        let error = matches(command(), arguments).expect_err("not allowed");
        shown(&error)
    }

    #[test]
    fn what_is_wrong_is_named_by_the_flag_or_the_variable_that_it_came_from() {
        let of_variable = refused(&[]);
        assert!(
            of_variable.contains("'CARGO_MANIFEST_DIR'"),
            "{of_variable}"
        );
        assert!(!of_variable.contains("--many"), "{of_variable}");
        let of_flag = refused(&["--many", "x"]);
        assert!(of_flag.contains("'--many <many>'"), "{of_flag}");
        assert!(!of_flag.contains("CARGO"), "{of_flag}");
    }

    #[test]
    fn the_flags_that_variables_have_set_are_listed_also_those_of_a_subcommand() {
        // Variables that every test process has.
        let flag = |long: &'static str, variable: &'static str| {
            Arg::new(long)
                .long(long)
                .env(variable)
                .global(long == "all")
        };
        let command = Command::new("test")
            .arg(flag("all", "CARGO_PKG_NAME"))
            .arg(flag("unset", "NO_SUCH_VARIABLE").default_value("1"))
            .subcommand(Command::new("run").arg(flag("rate", "CARGO_MANIFEST_DIR")));
        for (line, expected) in [
            ("test", "--all is set by CARGO_PKG_NAME"),
            ("test --all a", ""),
            (
                "test run",
                "--all is set by CARGO_PKG_NAME, --rate is set by CARGO_MANIFEST_DIR",
            ),
            ("test run --all a", "--rate is set by CARGO_MANIFEST_DIR"),
            ("test run --rate a", "--all is set by CARGO_PKG_NAME"),
        ] {
            let matches = command.clone().get_matches_from(line.split(' '));
            let set = from_variables(&command, &matches);
            let lines = error_with_variables("no", None, &set);
            let second = lines.strip_prefix("error: no").expect("the sentence first");
            assert_eq!(second.trim_start(), expected, "{line}");
            let of_rate = error_with_variables("no", Some("--rate"), &set);
            assert_eq!(of_rate.contains("--rate"), expected.contains("--rate"));
            assert!(!of_rate.contains("--all"), "{of_rate}");
        }
    }

    #[test]
    fn the_form_of_errors_is_found_in_a_command_line_with_one() {
        for (line, is_json) in [
            ("benchctl -o json start --rate ten", true),
            ("benchctl start --rate ten --output=json", true),
            ("benchctl strat -qo json", true),
            ("benchctl strat -qojson", true),
            ("benchctl strat -o=json", true),
            ("benchctl strat -ojson", true),
            ("benchctl strat -- -o json", false),
            ("benchctl start --rate ten", false),
            ("benchctl start --rate json", false),
            ("metronome-agent run --output json", true),
            ("metronome-agent run -o text", false),
        ] {
            let arguments = line.split(' ').map(OsString::from);
            assert_eq!(asks_for_json(arguments), is_json, "{line}");
        }
    }

    #[test]
    fn the_text_of_a_user_is_shown_escaped() {
        let harmful = "\x1b]0;t\x07\u{202e}\u{200b}\n";
        let escaped = Escaped(harmful).to_string();
        for arguments in [
            &["--many", harmful][..],
            &["--many=1", "run", "what", harmful],
            &["--many=1", harmful],
            &[harmful],
        ] {
            let text = refused(arguments);
            let is_clean = |line: &str| Escaped(line).to_string() == line;
            assert!(text.lines().all(is_clean), "{text:?}");
            if arguments.len() > 1 {
                assert!(text.contains(&escaped), "{text:?}");
            }
        }
    }

    #[test]
    fn help_shows_no_variable_that_may_hold_a_password() {
        const VARIABLE: &str = "METRONOME_TEST_ADDRESS";
        if std::env::var_os(VARIABLE).is_some() {
            let address = Arg::new("address").long("address").env(VARIABLE);
            let command = Command::new("test").arg(address);
            let arguments = ["test", "--help"].map(OsString::from);
            println!("{}", matches(command, arguments).expect_err("help"));
            return;
        }
        let help = |value| {
            let name = "command_line::tests::help_shows_no_variable_that_may_hold_a_password";
            let output = process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(VARIABLE, value)
                .output()
                .unwrap();
            let help = String::from_utf8(output.stdout).unwrap();
            assert!(help.contains(VARIABLE), "{help}");
            help
        };
        assert!(help("host:80").contains("host:80"));
        for value in [
            "user:secret@host:80",
            "host:1/?token=secret",
            "u:secret%40h",
        ] {
            assert!(!help(value).contains("secret"), "{value}");
        }
    }
}
