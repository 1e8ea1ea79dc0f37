//! `benchctl report`: runs as one file that opens in a browser.

use std::path::PathBuf;

use super::{
    context::Context,
    history::{History, Name},
    report_files::{empty_plots, write_plots, write_report},
};
use crate::exit::{Exit, Failure, bad_flag};

/// More lines over each other cannot be read.
const RUNS_MAX: usize = 6;

/// Write runs to one HTML file that opens in a browser without a server and without a network.
/// Several runs are laid over each other.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Ids of runs that have ended, prefixes of them that no other has, or `last`: 1 to 6.
    #[arg(value_name = "RUN", default_value = "last")]
    runs: Vec<Name>,

    /// The file: it is replaced.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,

    /// Write plots of the run to the folder DIR as well, as SVG for Markdown: times.svg,
    /// percentiles.svg, rate.svg and clients.svg. What is not known has no plot. Of several runs,
    /// each has a folder of its own there, by its id.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

/// Writes the report.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    if args.runs.len() > RUNS_MAX {
        let problem = format!(
            "{} are too many; at most {RUNS_MAX} are laid over each other",
            args.runs.len()
        );
        return Err(bad_flag("RUN", problem));
    }
    let history = History::open(context).await?;
    let mut runs = Vec::new();
    for name in &args.runs {
        let run = history.run(name).await?;
        if !run.state().is_final() {
            let problem = format!("run {} has not ended; wait for its end", run.run_id);
            return Err(bad_flag("RUN", problem));
        }
        let details = match run.report {
            Some(_) => history.details(&run.run_id).await?,
            None => Default::default(),
        };
        runs.push((run, details));
    }
    if let Some(folder) = &args.plots {
        for (run, details) in &runs {
            let folder = match runs.len() {
                1 => folder.clone(),
                _ => folder.join(&run.run_id),
            };
            empty_plots(&folder)?;
            write_plots(&folder, run, &details.series)?;
        }
    }
    write_report(&args.file, runs)?;
    Ok(Exit::Done)
}
