//! Files that are written beside what is printed: `--junit` and `--markdown` for CI, `--report` and
//! `--plots` for people.
//!
//! They are opened before anything is started, so that a run is not measured for a file that cannot
//! be, and that no file of an earlier run passes for this one's. They are written at the end
//! whatever it was: a run that held, one that did not, or why there is none.

mod output;
mod pictures;

use std::{collections::BTreeMap, fs::OpenOptions, io, path::PathBuf};

use metronome_proto::v1::{self, FailureCode};

pub(super) use self::pictures::{Details, empty as empty_plots, write_plots, write_report};
use self::{
    output::{Output, open},
    pictures::{PictureFlags, Pictures},
};
use crate::{
    exit::{Exit, Failure, bad_flag, failure_of_run, interrupted},
    render::{ending::Ending, junit, markdown},
    terminal,
};

/// Files that are written beside the result.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Files for CI")]
pub(super) struct ReportFlags {
    /// Write the result to FILE in the XML of JUnit as well: a test case for the verdict and one
    /// for each objective. Missed is a failure, not judged is skipped; a run that is not valid, or
    /// was none, is an error.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Add a summary in Markdown to the end of FILE as well, as "$GITHUB_STEP_SUMMARY" takes it.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    #[command(flatten)]
    pictures: PictureFlags,
}

/// The files of one command, open, and what is to stand in them.
#[derive(Debug)]
pub(super) struct ReportFiles {
    junit: Option<Output>,
    markdown: Option<Output>,
    pictures: Pictures,
    /// What the files are about; one that is not known has its labels alone.
    run: Option<Box<v1::Run>>,
    /// Why the user left it, which is no failure of the command.
    left: Option<String>,
}

impl ReportFiles {
    /// Opens the files that are asked for; that of JUnit is empty from now on.
    ///
    /// # Errors
    /// One cannot be written: with its flag, before anything was started.
    pub(super) fn open(flags: &ReportFlags) -> Result<Self, Failure> {
        let files = [
            ("--junit", &flags.junit),
            ("--markdown", &flags.markdown),
            ("--report", &flags.pictures.report),
        ];
        for (index, (flag, path)) in files.into_iter().enumerate() {
            let mut before = files[..index].iter();
            let same = before.find(|(_, other)| path.is_some() && *other == path);
            if let Some((other, _)) = same {
                let problem = format!("that is the file of {other}; give each one of its own");
                return Err(bad_flag(flag, problem));
            }
        }
        let mut new = OpenOptions::new();
        new.write(true).create(true).truncate(true);
        let mut longer = OpenOptions::new();
        longer.append(true).create(true);
        Ok(Self {
            junit: open("--junit", flags.junit.as_deref(), &new)?,
            markdown: open("--markdown", flags.markdown.as_deref(), &longer)?,
            pictures: Pictures::open(&flags.pictures)?,
            run: None,
            left: None,
        })
    }

    /// The labels of a run that is asked for: where there will be none, CI finds the failure where
    /// it has the other runs.
    pub(super) fn ask(&mut self, labels: &BTreeMap<String, String>) {
        let labels = labels.clone();
        self.run = Some(Box::new(v1::Run {
            labels,
            ..v1::Run::default()
        }));
    }

    /// The run that the files will be about, as it is printed.
    pub(super) fn keep(&mut self, run: &v1::Run) {
        let is_asked_for = self.junit.is_some() || self.markdown.is_some();
        if is_asked_for || self.pictures.are_asked_for() {
            self.run = Some(Box::new(run.clone()));
        }
    }

    /// Whether the series and the client rows of the run are asked for.
    pub(super) fn want_details(&self) -> bool {
        self.pictures.are_asked_for()
    }

    /// The details of the run, or why there are none.
    pub(super) fn keep_details(&mut self, details: Result<Details, Failure>) {
        self.pictures.keep(details);
    }

    /// There is no run to report, since the user left: why.
    pub(super) fn left(&mut self, sentence: &str) {
        self.left = Some(sentence.to_owned());
    }

    /// Writes the files at the end of a command that came to `result`, and returns it. Where one
    /// cannot be written, what was printed stays, and the exit is that of the failure, but for
    /// Ctrl-C.
    pub(super) fn finish(self, result: Result<Exit, Failure>) -> Result<Exit, Failure> {
        let run = self.run.as_deref();
        let failure = match (&self.left, &result) {
            (Some(sentence), _) => Some(interrupted(sentence)),
            (_, Err(failure)) => Some(failure.clone()),
            (_, Ok(_)) => run.and_then(without_verdict),
        };
        let ending = match (run, &failure) {
            (Some(run), None) => Ending::Judged(run),
            (run, Some(failure)) => Ending::Unjudged(run, failure),
            // The command has printed no run: nothing that a file could be about.
            (None, None) => return result,
        };
        let mut exit = result;
        for (output, text) in [
            (
                &self.junit,
                junit::file as fn(Ending<'_>) -> io::Result<String>,
            ),
            (&self.markdown, |ending| Ok(markdown::section(ending))),
        ] {
            let Some(output) = output else { continue };
            let written = text(ending).and_then(|text| output.write(&text));
            if let Err(error) = written {
                exit = spoilt(exit, &output.failure(&error));
            }
        }
        match self.pictures.write(ending) {
            Ok(()) => exit,
            Err(failure) => spoilt(exit, &failure),
        }
    }
}

/// The result of a command of which a file was not written.
fn spoilt(exit: Result<Exit, Failure>, failure: &Failure) -> Result<Exit, Failure> {
    terminal::print_failure(failure);
    exit.map(|exit| match exit {
        Exit::Interrupted => exit,
        _ => Exit::of_failure(failure),
    })
}

/// Why a run has no verdict that could be shown. `None` for one that has.
fn without_verdict(run: &v1::Run) -> Option<Failure> {
    match Exit::of_run(run) {
        Err(contradiction) => Some(contradiction),
        Ok(Exit::Other) => Some(failure_of_run(run).unwrap_or_else(|| not_judged(run))),
        Ok(_) => None,
    }
}

fn not_judged(run: &v1::Run) -> Failure {
    let run_id = run.run_id.as_str();
    let (code, what) = match run.state() {
        v1::RunState::Ended => (
            FailureCode::Unsupported,
            "has ended without a verdict and an outcome of this version",
        ),
        _ => (FailureCode::RunNotEnded, "has not ended"),
    };
    Failure::new(code, format!("run {run_id} {what}")).with("run_id", run_id)
}

#[cfg(test)]
mod tests;
