//! `benchctl show`: the summary of a run again.

use metronome_proto::v1;

use super::{
    context::{Context, Shown, warn_if_unstored},
    history::{History, Name},
    report_files::{ReportFiles, ReportFlags},
};
use crate::{
    exit::{Exit, Failure},
    flags,
};

/// Show the summary of a run again; the exit code is that of `start`, or 1 without a verdict.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, a prefix of it that no other has, or `last`.
    #[arg(value_name = "RUN", default_value = "last")]
    run: Name,

    /// The run that was started with this --request-id.
    #[arg(
        long,
        value_name = "ID",
        value_parser = flags::request_id,
        conflicts_with = "run"
    )]
    request_id: Option<String>,

    /// Show instead what the packets and the hosts did, second by second: a row for each stretch
    /// of time, at most 60; with -o json all points, at most 600.
    #[arg(
        long,
        conflicts_with_all = ["clients_table", "explain", "junit", "markdown", "report", "plots"]
    )]
    series: bool,

    #[command(flatten)]
    shown: Shown,

    #[command(flatten)]
    files: ReportFlags,
}

/// Shows a run.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let mut files = ReportFiles::open(&args.files)?;
    let result = show(context, &args, &mut files).await;
    files.finish(result)
}

async fn show(context: &Context, args: &Args, files: &mut ReportFiles) -> Result<Exit, Failure> {
    let history = History::open(context).await?;
    let run = match &args.request_id {
        Some(request_id) => history.run_of_request(request_id).await?,
        None => history.run(&args.run).await?,
    };
    files.keep(&run);
    if files.want_details() && run.report.is_some() {
        files.keep_details(history.details(&run.run_id).await);
    }
    let exit = Exit::of_run(&run)?;
    if args.series {
        let series = match run.report {
            Some(_) => history.series(&run.run_id).await?,
            None => v1::Series::default(),
        };
        context.print_series(&run, &series)?;
        return Ok(exit);
    }
    // The rows of the clients come with the report: a run that goes on has none yet.
    let has_clients = run.report.is_some() && context.shows_clients(args.shown);
    let clients = if has_clients {
        Some(history.clients(&run.run_id).await)
    } else {
        None
    };
    warn_if_unstored(&run);
    context.print_with_clients(&run, clients, args.shown, exit)
}
