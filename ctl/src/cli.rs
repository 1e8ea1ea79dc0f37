//! The flags and the help. Text becomes values here or in [`crate::flags`], once.

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use metronome_tls::DialFlags;

use crate::{client::Address, commands, exit::EXIT_CODES_HELP};

/// Metronome on the command line: does this host, network or server hold N clients that each send
/// small packets at a high, steady rate, with nothing lost and in time?
#[derive(Debug, Parser)]
#[command(
    name = "benchctl",
    version,
    after_help = after_help(),
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// Server to talk to: HOST:PORT, http:// or https://HOST:PORT. Not given: 127.0.0.1:50051, and
    /// when none listens there, `start` brings up its own, and `runs` and `show` read the database.
    #[arg(long, global = true, env = "METRONOME_SERVER", value_name = "ADDRESS")]
    pub(crate) server: Option<Address>,

    /// What results on standard output look like. Everything else goes to standard error.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORM")]
    pub(crate) output: Output,

    /// No progress and no remarks on standard error, only errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) tls: DialFlags,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command line: [`Cli`]'s, with TLS flags that may also stand behind the subcommand, as the
/// other flags of the server may.
pub(crate) fn command() -> clap::Command {
    Cli::command().mut_args(|flag| {
        let is_of_tls = flag.get_id().as_str().starts_with("tls_");
        if is_of_tls { flag.global(true) } else { flag }
    })
}

/// What results look like.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// Exactly one JSON object; docs/result.schema.json describes that of a run.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a run, follow it to its end and judge it.
    Start(commands::start::Args),
    /// Stop a run, or all, in good order: the report is still made.
    Stop(commands::stop::Args),
    /// Follow a run that somebody has started; Ctrl-C leaves it alone.
    Watch(commands::watch::Args),
    /// List runs, newest first.
    Runs(commands::runs::Args),
    /// Show the summary of a run again.
    Show(commands::show::Args),
    /// List the agents that are connected.
    Agents,
    /// Show the server: addresses, workers, connections, raw clients; or restart its workers, or
    /// upgrade it.
    Server(commands::server::Args),
    /// Look at this host and the system: what is wrong, the cure, and what can be promised.
    Doctor(commands::doctor::Args),
    /// Show the settings and where they come from.
    Config(commands::config::Args),
    /// Print completions for a shell.
    Completions(commands::completions::Args),
    /// Write the manual pages.
    Man(commands::man::Args),
}

impl Command {
    /// As typed.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Watch(_) => "watch",
            Self::Runs(_) => "runs",
            Self::Show(_) => "show",
            Self::Agents => "agents",
            Self::Doctor(_) => "doctor",
            Self::Config(_) => "config",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
            Self::Server(_) => "server",
        }
    }
}

fn after_help() -> String {
    format!("{EXIT_CODES_HELP}\n\n{MORE_HELP}")
}

const MORE_HELP: &str = "\
Environment:
  METRONOME_SERVER             as --server
  METRONOME_DATABASE           database of the server that start brings up, and that runs and show
                               read when no server is there
  METRONOME_LOG                what is logged on standard error: error, warn (default), info, debug
  NO_COLOR                     no colours
  OTEL_EXPORTER_OTLP_ENDPOINT  where traces go

Examples:
  benchctl start --clients 10                     10 clients x 10,000 packets/s for 10 s, here
  benchctl start --rate 20k --duration 1m -o json > result.json
  benchctl --server bench1:50051 start --detach   prints the run's id and leaves
  benchctl watch last

Only load systems that are yours or that you were asked to load.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        command().debug_assert();
    }

    #[test]
    fn the_help_tells_every_exit_code() {
        let help = command().render_long_help().to_string();
        for code in ["\n  0 ", "\n  1 ", "\n  2 ", "\n  3 ", "\n  4 ", "\n  130 "] {
            assert!(help.contains(code), "{code:?} in {help}");
        }
    }
}
