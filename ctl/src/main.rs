//! benchctl: Metronome on the command line. This file is the table of contents.
//!
//! | module | subject |
//! |---|---|
//! | [`cli`] | the flags and the help |
//! | [`flags`] | what the text of a flag means, and which flag a field of the API came from |
//! | [`commands`] | one subcommand each |
//! | [`client`] | the server: address, deadlines, its errors as sentences |
//! | [`doctor`] | what this host allows, measured and judged |
//! | [`manual`] | manual pages and the reference of the command lines |
//! | [`embedded`] | the server and the agent that this executable carries |
//! | [`render`] | one form of output each: pure, data in, text out |
//! | [`terminal`] | standard output and standard error |
//! | [`exit`] | the documented exit codes |
//!
//! tokio and tonic appear only here, in `commands` and in `client`.

mod cli;
mod client;
mod commands;
mod doctor;
mod embedded;
mod exit;
mod flags;
mod manual;
mod measure;
mod render;
mod terminal;

use std::process::ExitCode;

use clap::FromArgMatches as _;
use metronome_telemetry::{Logs, Telemetry, past};
use tracing::Instrument as _;

use crate::{
    cli::Cli,
    commands::config::Origins,
    exit::{Exit, Failure},
};

fn main() -> ExitCode {
    // The embedded server's workers, then the embedded server and agent, are this executable again.
    if let Some(code) = embedded::run_as_worker_if_asked() {
        return code;
    }
    if let Some(code) = embedded::run_as_embedded_if_asked() {
        return code;
    }
    if let Some(code) = embedded::run_as_named() {
        return code;
    }
    let matches = cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let origins = Origins::of(&matches);
    let telemetry = match Telemetry::start(
        "benchctl",
        &Logs {
            filter: "warn",
            ..Logs::default()
        },
    ) {
        Ok(telemetry) => telemetry,
        Err(sentence) => {
            terminal::print_error(&sentence);
            return Exit::Usage.into();
        }
    };
    let exit = run(cli, origins).unwrap_or_else(|failure| {
        terminal::print_error(&failure.sentence);
        failure.exit
    });
    telemetry.finish();
    exit.into()
}

/// Everything async stays on this thread: the death signal of the embedded processes is bound to
/// the thread that starts them.
fn run(cli: Cli, origins: Origins) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("the system gives no event loop: {error}")))?;
    let span = tracing::info_span!(
        "benchctl",
        otel.name = format!("benchctl {}", cli.command.name())
    );
    let result = runtime.block_on(commands::dispatch(cli, origins).instrument(span.clone()));
    if let Err(failure) = &result {
        past::fail(&span, &failure.sentence);
    }
    runtime.shutdown_background();
    result
}
