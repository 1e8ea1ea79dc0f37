//! `--report` and `--plots`: a page in one file, and plots for documents.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use metronome_proto::{json::values, v1};
use metronome_web::{
    plots::{self, Plot},
    report::{self, Entry},
};

use super::output::{Output, open};
use crate::{
    exit::{Failure, bad_flag, host_failed},
    render::ending::Ending,
};

/// Pictures that are written beside the result.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Pictures")]
pub(super) struct PictureFlags {
    /// Write the run to FILE as a page as well: one HTML file that opens in a browser without a
    /// server and without a network.
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,

    /// Write plots of the run to the folder DIR as well, as SVG for Markdown: times.svg,
    /// percentiles.svg, rate.svg and clients.svg, a heat map. What is not known has no plot.
    #[arg(long, value_name = "DIR")]
    pub(super) plots: Option<PathBuf>,
}

/// The pictures of one command, and what they are made of.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    report: Option<Output>,
    plots: Option<PathBuf>,
    details: Option<Result<Details, Failure>>,
}

/// What a picture of a run has beside the run.
#[derive(Clone, Debug, Default)]
pub(in crate::commands) struct Details {
    pub(in crate::commands) series: v1::Series,
    pub(in crate::commands) clients: Vec<v1::ClientReport>,
}

impl Pictures {
    /// Opens the files that are asked for; the report is empty from now on, and the folder has no
    /// plots of an earlier run.
    pub(super) fn open(flags: &PictureFlags) -> Result<Self, Failure> {
        let mut new = OpenOptions::new();
        new.write(true).create(true).truncate(true);
        if let Some(folder) = &flags.plots {
            empty(folder)?;
        }
        Ok(Self {
            report: open("--report", flags.report.as_deref(), &new)?,
            plots: flags.plots.clone(),
            details: None,
        })
    }

    pub(super) fn are_asked_for(&self) -> bool {
        self.report.is_some() || self.plots.is_some()
    }

    pub(super) fn keep(&mut self, details: Result<Details, Failure>) {
        self.details = Some(details);
    }

    /// Writes them at the end of a command. A run that is not there leaves the report empty.
    pub(super) fn write(self, ending: Ending<'_>) -> Result<(), Failure> {
        let (Ending::Judged(run) | Ending::Unjudged(Some(run), _)) = ending else {
            return Ok(());
        };
        if !self.are_asked_for() || run.run_id.is_empty() {
            return Ok(());
        }
        let details = self.details.transpose()?.unwrap_or_default();
        if let Some(folder) = &self.plots {
            write_plots(folder, run, &details.series)?;
        }
        if let Some(output) = &self.report {
            let html = report_of(vec![entry(run.clone(), details)]);
            let written = output.write(&html);
            written.map_err(|error| output.failure(&error))?;
        }
        Ok(())
    }
}

/// The report of these runs, as one file.
///
/// # Errors
/// The file cannot be written.
pub(in crate::commands) fn write_report(
    path: &Path,
    runs: Vec<(v1::Run, Details)>,
) -> Result<(), Failure> {
    let runs = runs.into_iter();
    let html = report_of(runs.map(|(run, details)| entry(run, details)).collect());
    fs::write(path, html).map_err(|error| {
        let problem = format!("{} cannot be written: {error}", path.display());
        bad_flag("--file", problem + "; give the path of a file")
    })
}

/// The plots of a run in a folder, which is made where it is missing.
///
/// # Errors
/// The folder cannot be made, or a file not be written.
pub(in crate::commands) fn write_plots(
    folder: &Path,
    run: &v1::Run,
    series: &v1::Series,
) -> Result<(), Failure> {
    for Plot { name, svg } in plots::of_run(run, series) {
        let path = folder.join(name);
        fs::write(&path, svg).map_err(|error| {
            let sentence = format!("--plots: {} was not written: {error}", path.display());
            host_failed(sentence).with("flag", "--plots")
        })?;
    }
    Ok(())
}

fn entry(run: v1::Run, details: Details) -> Entry {
    Entry {
        run,
        series: details.series,
        clients: details.clients,
    }
}

fn report_of(entries: Vec<Entry>) -> String {
    let now = prost_types::Timestamp::from(SystemTime::now());
    let made_at = values::instant(Some(&now)).unwrap_or_default();
    report::html(&entries, &made_at, env!("CARGO_PKG_VERSION"))
}

/// A folder without plots: made where it is missing.
pub(in crate::commands) fn empty(folder: &Path) -> Result<(), Failure> {
    let problem = |error: io::Error| {
        let problem = format!("{} cannot be written: {error}", folder.display());
        bad_flag("--plots", problem + "; give the path of a folder")
    };
    fs::create_dir_all(folder).map_err(problem)?;
    for name in plots::NAMES {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(problem(error)),
            _ => {}
        }
    }
    Ok(())
}
