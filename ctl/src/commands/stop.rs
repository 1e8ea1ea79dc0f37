//! `benchctl stop`: ends runs in good order.

use super::{context::Context, history};
use crate::{
    exit::{Exit, Failure},
    output::Output,
    render::json,
    terminal,
};

/// Stop a run, or all, in good order: agents stop sending, packets in flight are read, the report
/// is made.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Args {
    /// Id of the run, a prefix of it that no other has, or `last`.
    #[arg(value_name = "RUN")]
    run: Option<String>,

    /// Stop every run that has not ended.
    #[arg(long)]
    all: bool,
}

/// Stops runs and prints their ids.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let client = context.connect().await?;
    let stopped = match args.run {
        Some(name) => vec![
            client
                .stop_run(&history::run_id(&client, &name).await?)
                .await?
                .run_id,
        ],
        None => client.stop_all().await?,
    };
    terminal::print(&match context.output {
        Output::Json => json::lists::stopped(&stopped),
        Output::Text => stopped.iter().map(|run_id| format!("{run_id}\n")).collect(),
    })?;
    Ok(Exit::Valid)
}
