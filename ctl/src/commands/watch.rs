//! `benchctl watch`: follows a run that somebody has started.

use super::{
    Context,
    follow::{OnInterrupt, Watched, follow},
    history,
    interrupts::Interrupts,
};
use crate::{
    exit::{Exit, Failure},
    terminal::Remarks,
};

/// Follow a run to its end, then print its summary and end with the exit code of its verdict.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, a prefix of it that no other has, or `last`.
    #[arg(value_name = "RUN", default_value = "last")]
    run: String,

    /// Print a row per client below the summary.
    #[arg(long)]
    clients_table: bool,
}

/// Watches a run to its end; Ctrl-C leaves it alone.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::listen()?;
    let finding = async {
        let client = context.connect().await?;
        let run_id = history::run_id(&client, &args.run).await?;
        Ok((client, run_id))
    };
    let (client, run_id) = interrupts
        .unless(1, "stopped before the run was found", finding)
        .await?;
    let mut remarks = Remarks::new(context.quiet);
    let watched = Watched {
        client: &client,
        run_id: &run_id,
        server_is_gone: &mut || false,
    };
    let run = follow(
        watched,
        OnInterrupt::LeaveTheRun,
        &mut interrupts,
        &mut remarks,
    )
    .await?;
    let clients = if context.shows_clients(args.clients_table) {
        client.clients(&run_id).await?
    } else {
        Vec::new()
    };
    context.print_run(&run, &clients, args.clients_table)?;
    Ok(Exit::of_run(&run))
}
