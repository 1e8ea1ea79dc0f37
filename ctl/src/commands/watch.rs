//! `benchctl watch`: watches a run that was started elsewhere.

use metronome_proto::v1;

use super::{
    context::{Context, Shown},
    history::{self, Name},
    interrupts::Interrupts,
};
use crate::{
    exit::{Exit, Failure, interrupted},
    terminal::Progress,
};

/// Follow a run to its end, then print its summary and end with its exit code, as `start` does.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, a prefix of it that no other has, or `last`.
    #[arg(value_name = "RUN", default_value = "last")]
    run: Name,

    #[command(flatten)]
    shown: Shown,
}

/// Watches a run to its end; Ctrl-C leaves it alone.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let interrupts = Interrupts::listen()?;
    let finding = async {
        let client = context.connect().await?;
        let run_id = history::run_id(&client, &args.run).await?;
        Ok((client, run_id))
    };
    let found = interrupts.first().run_until_cancelled(finding).await;
    let (client, run_id) =
        found.unwrap_or_else(|| Err(interrupted("stopped before the run was found")))?;
    let mut progress = Progress::new(context.quiet);
    let show = |snapshot: &v1::Snapshot| progress.show(snapshot);
    let watching = client.watch_to_end(&run_id, || false, show);
    let ended = interrupts.first().run_until_cancelled(watching).await;
    progress.clear();
    let run = ended.unwrap_or_else(|| {
        Err(interrupted(format!(
            "run {run_id} goes on; `benchctl watch {run_id}` watches it again"
        )))
    })?;
    context.report(&client, &run, args.shown).await
}
