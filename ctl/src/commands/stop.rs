//! `benchctl stop`: ends runs in good order.

use metronome_proto::{filter::Order, v1::stop_run_request::Runs};

use super::{
    context::Context,
    history::{self, Name, Selection},
};
use crate::{
    exit::{Exit, Failure},
    output::Output,
    render::{json, text},
    terminal,
};

/// Stop a run, those of a filter, or all, in good order: agents stop sending, packets in flight are
/// read, the report is made.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Args {
    /// Id of the run, a prefix of it that no other has, or `last`.
    #[arg(value_name = "RUN")]
    run: Option<Name>,

    /// Stop the runs that match and have not ended; `benchctl runs --help` has the grammar.
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,

    /// Stop every run that has not ended.
    #[arg(long)]
    all: bool,
}

/// Stops runs and prints their ids. To stop a run that has ended is no error: nothing is left to
/// do.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let selection = Selection::new(args.filter.as_deref(), Order::default())?;
    let client = context.connect().await?;
    let none = match args.all {
        true => "every run of the server has ended",
        false => "every run that matches has ended",
    };
    let runs = match args.run {
        Some(name) => Runs::RunId(history::run_id(&client, &name).await?),
        None => Runs::Filter(selection.text().to_owned()),
    };
    let stopped = client.stop_runs(runs).await;
    let stopped = stopped.map_err(|failure| selection.explain(failure))?;
    terminal::print(&match context.output {
        Output::Json => json::lists::stopped(&stopped),
        Output::Text if stopped.is_empty() => format!("{none}: nothing to stop\n"),
        Output::Text => text::tables::stopped(&stopped),
    })?;
    Ok(Exit::Done)
}
