//! `benchctl server`: the server itself, and the restart of its workers.

use clap::Subcommand;

use super::Context;
use crate::{
    cli::Output,
    exit::{Exit, Failure},
    render::{json, tables},
    terminal,
};

/// Flags of `benchctl server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

/// What can be done to a server.
#[derive(Debug, Subcommand)]
enum Action {
    /// Restart the worker processes one by one, under load: nothing is refused, dropped or lost.
    RestartWorkers,
}

/// Shows the server, or does something to it.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let client = context.connect().await?;
    if let Some(Action::RestartWorkers) = args.action {
        let restarted = client.restart_workers().await?;
        terminal::print(&match context.output {
            Output::Json => json::lists::restarted(restarted),
            Output::Text => format!("{restarted} workers restarted\n"),
        })?;
        return Ok(Exit::Valid);
    }
    let server = client.server().await?;
    terminal::print(&match context.output {
        Output::Json => json::lists::server(&server),
        Output::Text => tables::server(&server),
    })?;
    Ok(Exit::Valid)
}
