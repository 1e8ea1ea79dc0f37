//! `benchctl watch`: watches a run that was started elsewhere.

use metronome_proto::v1;

use super::{
    context::{Context, Shown},
    history::{self, Name},
    interrupts::Interrupts,
    report_files::{ReportFiles, ReportFlags},
};
use crate::{
    exit::{Exit, Failure, interrupted},
    output::Output,
    render::json,
    terminal,
};

/// Follow a run to its end, then print its summary and end with its exit code, as `start` does.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, a prefix of it that no other has, or `last`.
    #[arg(value_name = "RUN", default_value = "last")]
    run: Name,

    #[command(flatten)]
    shown: Shown,

    #[command(flatten)]
    files: ReportFlags,
}

/// Watches a run to its end; Ctrl-C leaves it alone.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let mut files = ReportFiles::open(&args.files)?;
    let result = watch(context, &args, &mut files).await;
    files.finish(result)
}

async fn watch(context: &Context, args: &Args, files: &mut ReportFiles) -> Result<Exit, Failure> {
    let interrupts = Interrupts::listen()?;
    let finding = async {
        let client = context.connect().await?;
        let run_id = history::run_id(&client, &args.run).await?;
        // For its plan alone: what is wrong with the run itself is the watch's to report.
        let known = client.run(&run_id).await.unwrap_or_default();
        Ok((client, run_id, known))
    };
    let Some(found) = interrupts.first().run_until_cancelled(finding).await else {
        return leave(context, files, "stopped before the run was found");
    };
    let (client, run_id, known) = found?;
    let mut progress = context.progress("Ctrl-C leaves the run alone");
    progress.begin(&known);
    let show = |snapshot: &v1::Snapshot| progress.show(snapshot);
    let watching = client.watch_to_end(&run_id, || false, show);
    let ended = interrupts.first().run_until_cancelled(watching).await;
    progress.clear();
    let Some(run) = ended else {
        let sentence = format!("run {run_id} goes on; `benchctl watch {run_id}` watches it again");
        return leave(context, files, &sentence);
    };
    context.report(&client, &run?, args.shown, files).await
}

/// Ends as Ctrl-C asks for, which is no error: a person gets the sentence, a program the one object
/// that it reads.
fn leave(context: &Context, files: &mut ReportFiles, sentence: &str) -> Result<Exit, Failure> {
    files.left(sentence);
    if !context.quiet {
        terminal::warn(sentence);
    }
    if context.output == Output::Json {
        terminal::print(&json::error::error(&interrupted(sentence)))?;
    }
    Ok(Exit::Interrupted)
}
