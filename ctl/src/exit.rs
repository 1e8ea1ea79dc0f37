//! The exit codes that scripts may rely on, and the failure that leads to one.

use std::process::ExitCode;

use metronome_proto::v1;

/// The section of `benchctl --help`.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0    the run is valid (or the command did what was asked)
  1    anything else went wrong: no server, no agent, connection lost, run aborted or not yet ended
  2    usage: a flag, a value or a field is not allowed
  3    the run is partial: its counts are exact, but someone went missing or it was stopped
  4    the run is invalid: do not use its figures
  130  after Ctrl-C or SIGTERM (start: the summary is still printed; a second one aborts at once)";

/// How benchctl ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// The verdict is valid, or there is no verdict to give and all went well.
    Valid,
    /// No verdict was reached.
    Other,
    /// The user asked for what is not allowed.
    Usage,
    /// The verdict is partial.
    Partial,
    /// The verdict is invalid.
    Invalid,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The code of a run: its verdict's, and [`Exit::Other`] for one that has none.
    pub(crate) fn of_run(run: &v1::Run) -> Self {
        let verdict = run
            .report
            .as_ref()
            .and_then(|report| report.verdict.as_ref());
        match verdict.map(v1::Verdict::status) {
            Some(v1::VerdictStatus::Valid) => Self::Valid,
            Some(v1::VerdictStatus::Partial) => Self::Partial,
            Some(v1::VerdictStatus::Invalid) => Self::Invalid,
            Some(v1::VerdictStatus::Unspecified) | None => Self::Other,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Valid => 0,
            Exit::Other => 1,
            Exit::Usage => 2,
            Exit::Partial => 3,
            Exit::Invalid => 4,
            Exit::Interrupted => 130,
        })
    }
}

/// Why a command could not do what was asked: what the user reads, and the code that follows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One sentence with the way out, without a full stop.
    pub(crate) sentence: String,
}

impl Failure {
    /// The user asked for what is not allowed.
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            sentence: sentence.into(),
        }
    }

    /// Anything else.
    pub(crate) fn other(sentence: impl Into<String>) -> Self {
        Self {
            exit: Exit::Other,
            sentence: sentence.into(),
        }
    }

    /// Ctrl-C before there was anything to sum up.
    pub(crate) fn interrupted(sentence: impl Into<String>) -> Self {
        Self {
            exit: Exit::Interrupted,
            sentence: sentence.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended_with(status: v1::VerdictStatus) -> v1::Run {
        let verdict = v1::Verdict {
            status: status.into(),
            ..v1::Verdict::default()
        };
        v1::Run {
            report: Some(v1::Report {
                verdict: Some(verdict),
                ..v1::Report::default()
            }),
            ..v1::Run::default()
        }
    }

    #[test]
    fn only_a_valid_run_is_a_success() {
        assert_eq!(
            Exit::of_run(&ended_with(v1::VerdictStatus::Valid)),
            Exit::Valid
        );
        assert_eq!(
            Exit::of_run(&ended_with(v1::VerdictStatus::Partial)),
            Exit::Partial
        );
        assert_eq!(
            Exit::of_run(&ended_with(v1::VerdictStatus::Invalid)),
            Exit::Invalid
        );
        assert_eq!(
            Exit::of_run(&ended_with(v1::VerdictStatus::Unspecified)),
            Exit::Other
        );
        assert_eq!(Exit::of_run(&v1::Run::default()), Exit::Other);
    }
}
