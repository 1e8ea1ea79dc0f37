//! `benchctl delete`: removes ended runs from the history.

use metronome_proto::v1::Failure;

use super::{
    context::Context,
    history::{self, Name},
};
use crate::{
    client::Client,
    exit::Exit,
    output::Output,
    render::{json, text},
    terminal,
};

/// The flags of `benchctl delete`; its help is in `cli`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, a prefix of it that no other has, or `last`; several are allowed.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<Name>,
}

/// Deletes runs and prints their ids.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let client = context.connect().await?;
    // Before any is deleted: then `last` and a prefix would mean another run.
    let mut found = Vec::new();
    for name in &args.runs {
        found.push(history::run_id(&client, name).await);
    }
    let mut deleted = Vec::new();
    let mut failures = Vec::new();
    for run_id in found {
        match delete(&client, run_id).await {
            Ok(run_id) => deleted.push(run_id),
            Err(failure) => failures.push(failure),
        }
    }
    terminal::print(&match context.output {
        Output::Json => json::lists::deleted(&deleted, &failures),
        Output::Text => text::tables::run_ids(&deleted),
    })?;
    failures.iter().for_each(terminal::print_failure);
    Ok(Exit::of_failures(&failures))
}

async fn delete(client: &Client, run_id: Result<String, Failure>) -> Result<String, Failure> {
    let run_id = run_id?;
    client.delete_run(&run_id).await?;
    Ok(run_id)
}
