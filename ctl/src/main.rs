//! benchctl: Metronome on the command line. This file is the table of contents.
//!
//! | module | subject |
//! |---|---|
//! | [`cli`] | the command line, declared |
//! | [`flags`] | what the text of a flag means, and which flag a field of the API came from |
//! | [`commands`] | one subcommand each |
//! | [`plans`] | a load as flags, a file or a group's text give it |
//! | [`measure`] | a plan goes in, a measured run comes out |
//! | [`client`] | the server: address, calls, deadlines, its errors as failures |
//! | [`embedded`] | the server and the agent that this executable carries |
//! | [`doctor`] | what this host allows, measured and judged |
//! | [`manual`] | the command lines of all three executables as text |
//! | [`render`] | one form of output each: pure, data in, text out |
//! | [`output`], [`settings`] | the form of results; a setting and its origin |
//! | [`terminal`] | standard output and standard error |
//! | [`live`] | the live view of a run on a terminal |
//! | [`exit`] | the documented exit codes, and the failures that lead to them |

mod cli;
mod client;
mod commands;
mod doctor;
mod embedded;
mod exit;
mod flags;
mod live;
mod manual;
mod measure;
mod output;
mod plans;
mod render;
mod settings;
mod terminal;

use std::{process::ExitCode, time::Duration};

use clap::{ArgMatches, FromArgMatches as _, parser::ValueSource};
use metronome_os::signals::die_of_interrupt;
use metronome_proto::failure::FailureKind;
use metronome_telemetry::{Logs, Telemetry, command_line, retroactive_span};
use tracing::Instrument as _;

use crate::{
    cli::{Cli, Command},
    commands::{
        agents, completions,
        config::{self, Origins},
        context::Context,
        delete, doctor as doctor_command,
        interrupts::by_ctrl_c,
        man, plan, report, rerun, runs, server, show, start, stop, watch,
    },
    exit::{Exit, Failure, host_failed, usage},
    output::Form,
    render::json,
};

fn main() -> ExitCode {
    // The embedded server's workers and the embedded server and agent are this executable again.
    if let Some(code) = embedded::run_as_worker_if_asked() {
        return code;
    }
    let started_as = embedded::StartedAs::of_this_process();
    if let Err(code) = metronome_os::start::prepare(|| started_as.threads()) {
        return code;
    }
    if let Some(code) = started_as.run() {
        return code;
    }
    let matches = cli::matches_of_this_process();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| command_line::refuse(&error));
    let output = cli.output;
    let telemetry = match Telemetry::start(
        "benchctl",
        &Logs {
            filter: "warn",
            ..Logs::default()
        },
    ) {
        Ok(telemetry) => telemetry,
        Err(sentence) => return report(usage("METRONOME_LOG", sentence), output).into(),
    };
    let exit = run(cli, &matches).unwrap_or_else(|failure| report(failure, output));
    telemetry.finish();
    if exit == Exit::Interrupted && by_ctrl_c() {
        // A shell goes on with its loop after a command that caught Ctrl-C and exited.
        die_of_interrupt();
    }
    exit.into()
}

/// Writes why there is no result, for people and in the form that programs asked for.
fn report(failure: Failure, form: Form) -> Exit {
    let failure = &with_variable(failure);
    terminal::print_failure(failure);
    // A reader that is gone takes no error either.
    let _ = match form {
        Form::Text => Ok(()),
        Form::Json => terminal::print(&json::error::error(failure)),
        Form::Ndjson => terminal::print(&(json::error::line(failure) + "\n")),
    };
    Exit::of_failure(failure)
}

/// A failure of usage with the variable that has set its flag, where one has.
fn with_variable(failure: Failure) -> Failure {
    let flag = failure.figures.get("flag").map(ToString::to_string);
    let is_usage = failure.code().kind() == FailureKind::Usage;
    let flag = flag.filter(|_| is_usage);
    match flag.and_then(|flag| command_line::variable_of(&flag)) {
        Some(variable) => failure.with("variable", variable),
        None => failure,
    }
}

/// Everything async stays on this thread: the death signal of the embedded processes is bound to
/// the thread that starts them.
fn run(cli: Cli, matches: &ArgMatches) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // A thread that was started while there was one to have is there at the end, too.
        .thread_keep_alive(Duration::MAX)
        .build()
        .map_err(|error| host_failed(format!("the event loop cannot be started: {error}")))?;
    let name = matches.subcommand_name().unwrap_or_default();
    let span = tracing::info_span!("benchctl", otel.name = format!("benchctl {name}"));
    let result = runtime.block_on(dispatch(cli, matches).instrument(span.clone()));
    if let Err(failure) = &result {
        retroactive_span::fail(&span, failure.code().name(), &failure.sentence);
    }
    runtime.shutdown_background();
    result
}

/// Runs the command of the command line.
async fn dispatch(cli: Cli, matches: &ArgMatches) -> Result<Exit, Failure> {
    let context = Context {
        server: cli.server,
        has_server_flag: matches.value_source("server") == Some(ValueSource::CommandLine),
        tls: cli.tls,
        output: cli.output.output(),
        lines: cli.output.is_lines(),
        quiet: cli.quiet,
        no_live: cli.no_live,
        colours: cli.colours,
    };
    terminal::set_colours(cli.colours);
    if context.lines && !matches!(cli.command, Command::Watch(_)) {
        let sentence = "ndjson is a form of `watch` alone; json is one object";
        return Err(usage("--output", sentence));
    }
    let dials = !matches!(
        cli.command,
        Command::Config(_) | Command::Completions(_) | Command::Man(_)
    ) && !matches!(&cli.command, Command::Plan(args) if !args.dials());
    if dials {
        context.check()?;
    }
    match cli.command {
        Command::Start(args) => start::run(&context, *args).await,
        Command::Rerun(args) => rerun::run(&context, args).await,
        Command::Plan(args) => plan::run(&context, args).await,
        Command::Stop(args) => stop::run(&context, args).await,
        Command::Watch(args) => watch::run(&context, args).await,
        Command::Delete(args) => delete::run(&context, args).await,
        Command::Runs(args) => runs::run(&context, args).await,
        Command::Show(args) => show::run(&context, args).await,
        Command::Report(args) => report::run(&context, args).await,
        Command::Agents => agents::run(&context).await,
        Command::Server(args) => server::run(&context, args).await,
        Command::Doctor(args) => doctor_command::run(&context, *args).await,
        Command::Config(args) => {
            config::run(&context, &args, Origins::of(matches), &cli::command())
        }
        Command::Completions(args) => completions::run(&args, &cli::command()),
        Command::Man(args) => man::run(&args, &cli::command()),
    }
}
