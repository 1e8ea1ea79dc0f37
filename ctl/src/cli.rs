//! The command line: flags and help, declared. Text becomes values here or in [`crate::flags`].

use clap::{
    ArgMatches, CommandFactory as _, Parser, Subcommand,
    error::{ContextKind, ContextValue},
};
use metronome_proto::address::shown;
use metronome_telemetry::command_line;
use metronome_tls::DialFlags;

use crate::{
    client::Address,
    commands::{
        completions, config, delete, doctor, man, plan, report, rerun, runs, server, show, start,
        stop, watch,
    },
    exit::{EXIT_CODES_HELP, Failure, usage},
    output::{Colours, Form},
    render::json,
    terminal,
};

/// Metronome on the command line: does this host, network or server hold N clients that each send
/// small packets at a high, steady rate, with nothing lost and in time?
#[derive(Debug, Parser)]
#[command(
    name = "benchctl",
    version,
    after_help = after_help(),
)]
pub(crate) struct Cli {
    /// Server to talk to: HOST:PORT, http:// or https://HOST:PORT. Not given: 127.0.0.1:50051, and
    /// when none listens there, `start` runs its own, and `runs` and `show` read the database.
    #[arg(long, global = true, env = "METRONOME_SERVER", value_name = "ADDRESS")]
    pub(crate) server: Option<Address>,

    /// What results on standard output look like. Everything else goes to standard error.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t = Form::Text,
        value_name = "FORM"
    )]
    pub(crate) output: Form,

    /// No progress and no notes on standard error, only errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// No live view of a run on a terminal, but a line a second, as without a terminal.
    #[arg(long, global = true)]
    pub(crate) no_live: bool,

    /// When what people read has colours. NO_COLOR in the environment is `never` for auto.
    #[arg(
        long = "color",
        global = true,
        value_enum,
        default_value_t = Colours::Auto,
        value_name = "WHEN"
    )]
    pub(crate) colours: Colours,

    #[command(flatten)]
    pub(crate) tls: DialFlags,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command line of [`Cli`], with TLS flags that are also accepted after the subcommand, as the
/// other flags of the server are.
pub(crate) fn command() -> clap::Command {
    Cli::command().mut_args(|flag| {
        let is_tls_flag = flag.get_id().as_str().starts_with("tls_");
        if is_tls_flag { flag.global(true) } else { flag }
    })
}

/// What the command line of this process holds. One that is not allowed ends the process, as clap
/// does it; programs get the error in their form, too.
pub(crate) fn matches_of_this_process() -> ArgMatches {
    let arguments = || std::env::args_os();
    let matches = command_line::matches(command(), arguments());
    matches.map_err(without_password).unwrap_or_else(|error| {
        if error.use_stderr() && command_line::asks_for_json(arguments()) {
            let _ = terminal::print(&json::error::error(&failure_of(&error)));
        }
        command_line::refuse(&error)
    })
}

/// The error without the value that it would show, where that may be an address with a password.
fn without_password(mut error: clap::Error) -> clap::Error {
    let value = error.get(ContextKind::InvalidValue);
    if let Some(ContextValue::String(value)) =
        value.filter(|_| ["--server", "METRONOME_SERVER"].contains(&command_line::flag_of(&error)))
    {
        let value = shown(value).to_owned();
        error.insert(ContextKind::InvalidValue, ContextValue::String(value));
    }
    error
}

fn failure_of(error: &clap::Error) -> Failure {
    let failure = usage(
        command_line::flag_of(error),
        command_line::sentence_of(error),
    );
    match command_line::remedy_of(error) {
        Some(remedy) => Failure { remedy, ..failure },
        None => failure,
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a run, follow it to its end and judge it.
    Start(Box<start::Args>),
    /// Start a run with the plan and the seed of another one: the same packets are due at the same
    /// times.
    ///
    /// Its label rerun_of has the id of that run, whose own labels are not taken over.
    Rerun(rerun::Args),
    /// Write the plan of a run as a file, check one, or print what one may have.
    Plan(plan::Args),
    /// Stop a run, those of a filter, or all, in good order: the report is still made.
    Stop(stop::Args),
    /// Delete runs that have ended from the history; nothing is asked.
    ///
    /// A run that has not ended is refused. Every run that is named is tried; where some could not
    /// be deleted, the exit code is the highest of theirs.
    Delete(delete::Args),
    /// Follow a run that was started elsewhere; Ctrl-C leaves it alone.
    Watch(watch::Args),
    /// List runs: all, or those of a filter.
    Runs(runs::Args),
    /// Show the summary of a run again.
    Show(show::Args),
    /// Write runs to one HTML file that opens in a browser without a server and without a network.
    ///
    /// Several runs are laid over each other.
    Report(report::Args),
    /// List the agents that are connected.
    Agents,
    /// Show the server: addresses, workers, connections, raw clients; or restart its workers, or
    /// upgrade it.
    Server(server::Args),
    /// Examine this host and the system: what load it holds, what is wrong, and the cure. With
    /// --agents: how far times between the server and its agents can be trusted.
    ///
    /// It makes real runs with a server and an agent of its own, on free ports and kept in no
    /// history: one of the load for 2 s, then a search for what one pacing thread holds, about 16 s
    /// in all. While a run of the server is going on it makes none, and one that begins ends the
    /// search; runs of servers that others have started for themselves, as `start` does, are not
    /// seen. The exit code is 0 when there is no problem (warnings are none), else 1.
    Doctor(Box<doctor::Args>),
    /// Show the settings and where they come from.
    Config(config::Args),
    /// Print completions for a shell.
    Completions(completions::Args),
    /// Write the manual pages.
    Man(man::Args),
}

fn after_help() -> String {
    format!("{EXIT_CODES_HELP}\n\n{MORE_HELP}")
}

const MORE_HELP: &str = "\
Environment:
  METRONOME_SERVER             as --server
  METRONOME_DATABASE           database of the server that start runs itself,
                               and that runs and show read without a server
  METRONOME_LOG                what is logged on standard error: error, warn
                               (default), info, debug
  NO_COLOR                     no colours, as with --color never
  TERM                         unset or dumb: progress in plain lines
  OTEL_EXPORTER_OTLP_ENDPOINT  where traces go

Examples:
  benchctl start --clients 10        10 clients x 10,000 packets/s for 10 s
  benchctl start --rate 20k --duration 1m -o json > result.json
  benchctl start --plan plan.yaml    groups and shapes of load from a file
  benchctl --server bench1:50051 start --detach      prints the run's id
  benchctl watch last

Only load systems that are yours or that you were asked to load.";

#[cfg(test)]
mod tests {
    use std::{any::TypeId, fs, path::Path, time::Duration};

    use metronome_proto::profile::Profile;

    use super::*;
    use crate::manual::Executable;

    const HEAD: &str = "# The command lines\n\n\
        Made from the flags themselves: \
        `METRONOME_BLESS=1 cargo test --release -p benchctl the_cli_reference` writes this\n\
        file anew. It is not edited by hand.\n";

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        command().debug_assert();
    }

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        for (address, way_out) in [
            ("user:secret@host:80", "host:80"),
            ("host:80/?token=secret", "host:80"),
            ("user:secret%40host", "HOST:PORT"),
        ] {
            let line = ["benchctl", "--server", address, "agents"];
            let error = without_password(command().try_get_matches_from(line).unwrap_err());
            let shown = error.render().to_string() + &failure_of(&error).sentence;
            assert!(shown.contains(way_out), "{shown}");
            assert!(!shown.contains("secret"), "{shown}");
        }
    }

    #[test]
    fn every_flag_that_takes_a_time_takes_seconds_as_a_number() {
        use clap::error::ErrorKind::{InvalidValue, ValueValidation};
        let mut times = Vec::new();
        for executable in Executable::ALL {
            let root = executable.command(&command());
            let mut paths = vec![vec![root.get_name().to_owned()]];
            let subcommands = root.get_subcommands().map(|it| it.get_name().to_owned());
            paths.extend(subcommands.map(|name| vec![root.get_name().to_owned(), name]));
            for path in paths {
                let of = match path.get(1) {
                    Some(name) => root.find_subcommand(name).expect("it is there"),
                    None => &root,
                };
                for flag in of.get_arguments().filter_map(clap::Arg::get_long) {
                    let takes = |value: &str| {
                        let flag = format!("--{flag}={value}");
                        let words = path.iter().cloned().chain([flag]);
                        let parsed = root.clone().try_get_matches_from(words);
                        let kind = parsed.err().map(|error| error.kind());
                        !matches!(kind, Some(InvalidValue | ValueValidation))
                    };
                    // A text or a number without units is no time.
                    if takes("30s") && !takes("30 potatoes") && !takes("s30") {
                        assert!(takes("30") && takes("0.5"), "{path:?} --{flag}");
                        times.push(flag.to_owned());
                    }
                }
            }
        }
        for known in [
            "duration",
            "wait",
            "drain-timeout",
            "upgrade-wait",
            "startup-delay",
        ] {
            assert!(
                times.iter().any(|flag| flag == known),
                "{known} in {times:?}"
            );
        }
    }

    #[test]
    fn no_refusal_of_a_flag_has_the_notation_of_a_range() {
        let mut refusals = 0;
        for executable in Executable::ALL {
            let root = executable.command(&command());
            refusals += refusals_in_words(&root, &root, &[root.get_name()]);
        }
        assert!(refusals > 100, "{refusals}");
    }

    /// Tries every flag of `of`, which is found by the words of `path`, and of what is below it.
    fn refusals_in_words(root: &clap::Command, of: &clap::Command, path: &[&str]) -> usize {
        let huge = "9".repeat(40);
        let numbers = [
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<Duration>(),
            TypeId::of::<Profile>(),
        ];
        let mut refusals = 0;
        let takes_values = |flag: &&clap::Arg| flag.get_action().takes_values();
        for flag in of.get_arguments().filter(takes_values) {
            let name = flag.get_long().map(|name| format!("--{name}"));
            for value in ["0", "-1", "1.5", "x", "", &huge] {
                let words = path.iter().copied();
                let words = words.chain(name.as_deref()).chain([value]);
                let Err(error) = root.clone().try_get_matches_from(words) else {
                    continue;
                };
                let text = error.to_string();
                let has_range = ["..=", " is not in "].iter().any(|it| text.contains(it));
                assert!(!has_range, "{path:?} {flag} {value:?}: {text}");
                let is_number = numbers
                    .iter()
                    .any(|it| flag.get_value_parser().type_id() == *it);
                assert!(
                    !(is_number && name.is_some() && text.contains("unexpected argument '-1'")),
                    "{path:?} {flag}: {text}"
                );
                refusals += 1;
            }
        }
        for subcommand in of.get_subcommands() {
            let path: Vec<&str> = path
                .iter()
                .copied()
                .chain([subcommand.get_name()])
                .collect();
            refusals += refusals_in_words(root, subcommand, &path);
        }
        refusals
    }

    #[test]
    fn the_help_has_every_exit_code() {
        let help = command().render_long_help().to_string();
        for code in ["0", "1", "2", "3", "4", "99", "130"] {
            assert!(help.contains(&format!("\n  {code} ")), "{code:?} in {help}");
        }
    }

    /// docs/cli.md as it has to be.
    fn reference() -> String {
        let mut sections = vec![HEAD.to_owned()];
        for executable in Executable::ALL {
            let mut command = executable.command(&command());
            command.build();
            add_sections(&mut command, 2, &mut sections);
        }
        sections.join("\n")
    }

    fn add_sections(command: &mut clap::Command, depth: usize, sections: &mut Vec<String>) {
        let name = command
            .get_bin_name()
            .unwrap_or(command.get_name())
            .to_owned();
        let help = command.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        sections.push(format!(
            "{} {name}\n\n```text\n{}\n```\n",
            "#".repeat(depth),
            lines.join("\n").trim_end()
        ));
        for subcommand in command
            .get_subcommands_mut()
            .filter(|subcommand| subcommand.get_name() != "help")
        {
            if !subcommand.is_hide_set() {
                add_sections(subcommand, depth + 1, sections);
            }
        }
    }

    #[test]
    fn the_cli_reference_is_what_the_flags_state() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
        let reference = reference();
        if std::env::var_os("METRONOME_BLESS").is_some() {
            fs::write(&path, &reference).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == reference,
            "docs/cli.md is out of date: its first lines say how to write it anew"
        );
    }
}
