//! `benchctl server`: the server itself, the restart of its workers, and its upgrade.

use clap::Subcommand;

use super::context::Context;
use crate::{
    exit::{Exit, Failure},
    output::Output,
    render::{json, text},
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
    /// Let a new process take over, under load: the executable that lies now where the server was
    /// started from. When it does not come up healthy, the old one goes on untouched.
    Upgrade,
}

/// Shows the server, or does something to it.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let client = context.connect().await?;
    let result = match (args.action, context.output) {
        (Some(Action::RestartWorkers), output) => {
            let restarted = client.restart_workers().await?;
            match output {
                Output::Json => json::lists::restarted(restarted),
                Output::Text => format!("{restarted} workers restarted\n"),
            }
        }
        (Some(Action::Upgrade), output) => {
            let pid = client.upgrade().await?;
            match output {
                Output::Json => json::lists::upgraded(pid),
                Output::Text => format!("process {pid} serves from now on\n"),
            }
        }
        (None, Output::Json) => json::server::server(&client.server().await?),
        (None, Output::Text) => {
            text::server::server(&client.server().await?, terminal::screen().width)
        }
    };
    terminal::print(&result)?;
    Ok(Exit::Done)
}
