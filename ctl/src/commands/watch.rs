//! `benchctl watch`: watches a run that was started elsewhere, or what happens in a server.

use metronome_proto::{
    filter::Order,
    v1::{self, watch_events_request::Runs},
};
use metronome_telemetry::whole_number;

use super::{
    context::{Context, Shown},
    history::{self, Name, Selection},
    interrupts::Interrupts,
    report_files::{ReportFiles, ReportFlags},
    watch_events,
};
use crate::{
    client::Client,
    exit::{Exit, Failure, interrupted, usage},
    output::Output,
    render::json,
    terminal,
};

/// Follow a run to its end, then print its summary and end with its exit code, as `start` does.
/// With -o ndjson print its events instead, a JSON object a line.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, a prefix of it that no other has, or `last`.
    #[arg(value_name = "RUN", default_value = "last")]
    run: Name,

    /// Watch every run, agent and worker of the server instead, a line for each event, until
    /// Ctrl-C.
    #[arg(long, conflicts_with_all = ["run", "clients_table", "explain", "junit", "markdown"])]
    all: bool,

    /// Watch the runs that match instead, as in `runs`.
    #[arg(
        long,
        value_name = "FILTER",
        conflicts_with_all = ["run", "all", "clients_table", "explain", "junit", "markdown"]
    )]
    filter: Option<String>,

    /// Begin after the event of this number: what came after it follows, or the present state where
    /// that is not kept any more. With --all, --filter or -o ndjson.
    #[arg(
        long,
        value_name = "NUMBER",
        allow_hyphen_values = true,
        value_parser = whole_number(0..=u64::MAX)
    )]
    after: Option<u64>,

    #[command(flatten)]
    shown: Shown,

    #[command(flatten)]
    files: ReportFlags,
}

/// Watches a run to its end; Ctrl-C leaves it alone.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    if args.all || args.filter.is_some() || context.lines {
        return events(context, args).await;
    }
    if args.after.is_some() {
        let sentence = "--after is for events: give --all, --filter or -o ndjson as well";
        return Err(usage("--after", sentence));
    }
    let mut files = ReportFiles::open(&args.files)?;
    let result = watch(context, &args, &mut files).await;
    files.finish(result)
}

/// Watches events, as they come.
async fn events(context: &Context, args: Args) -> Result<Exit, Failure> {
    if context.output == Output::Json && !context.lines {
        let sentence = "json is one object, and events have no end: ndjson is one a line";
        return Err(usage("--output", sentence));
    }
    // Before a server is dialled: what is no filter needs none.
    Selection::new(args.filter.as_deref(), Order::default())?;
    let wanted = async |client: &Client| {
        Ok(match (args.all, args.filter) {
            (true, _) => Runs::All(true),
            (false, Some(filter)) => Runs::Filter(filter),
            (false, None) => Runs::RunId(history::run_id(client, &args.run).await?),
        })
    };
    watch_events::watch(context, wanted, args.after).await
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
