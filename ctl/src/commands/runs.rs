//! `benchctl runs`: the history, newest first.

use super::{context::Context, history::History};
use crate::{
    exit::{Exit, Failure},
    output::Output,
    render::{json, text},
    terminal,
};

/// List runs, newest first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// At most this many: 1 to 10000.
    #[arg(
        long,
        default_value_t = 20,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    limit: u32,
}

/// Lists runs.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let runs = History::open(context).await?.runs(args.limit).await?;
    terminal::print(&match context.output {
        Output::Json => json::lists::runs(&runs),
        Output::Text => text::tables::runs(&runs),
    })?;
    Ok(Exit::Valid)
}
