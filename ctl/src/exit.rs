//! The exit codes that scripts may rely on, and the failures that lead to one.
//!
//! A failure is the API's ([`v1::Failure`]), also where benchctl itself found it. Its exit code
//! follows from its own code and from nothing else.

use std::process::ExitCode;

use metronome_proto::{
    failure::FailureKind,
    threshold::text::metrics_in_words,
    v1::{self, FailureCode},
};

use crate::flags;

pub(crate) use metronome_proto::v1::Failure;

/// The section of `benchctl --help`.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0    the run is valid, and held or was not judged (or the command did what
       was asked)
  1    it could not be done: no server, no agent, connection lost, a history
       that is locked or damaged; or the run failed before its first packet was
       due, was aborted, has not ended yet, or has a report that contradicts
       itself; or its file for CI could not be written (the result is printed)
  2    usage: a flag, a value or a field is not allowed
  3    the run is partial: someone is missing or it was stopped; what is shown
       is true, what is missing with them is unset
  4    the run is invalid: do not use its figures
  99   the run is valid, and did not hold: an objective was missed
  130  after Ctrl-C, SIGTERM or the end of the terminal (start: the summary is
       still printed; a second one aborts at once; watch: the run goes on);
       Ctrl-C ends benchctl by its signal, which a shell shows as 130";

/// How benchctl ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// The run is valid and held or was not judged, or the command did what was asked.
    Done,
    /// It could not be done, or no verdict was reached.
    Other,
    /// The user asked for what is not allowed.
    Usage,
    /// The verdict is partial.
    Partial,
    /// The verdict is invalid.
    Invalid,
    /// The verdict is valid, and the outcome is not held.
    NotHeld,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The exit of a run: its verdict's and its outcome's once it has ended. [`Exit::Other`] for
    /// one that has not, that lacks one of them, or has one that this version does not have.
    ///
    /// # Errors
    /// Verdict or outcome is contradicted by what stands beside it, so that none of it can be
    /// believed: [`FailureCode::Internal`].
    pub(crate) fn of_run(run: &v1::Run) -> Result<Self, Failure> {
        if run.state() != v1::RunState::Ended {
            return Ok(Self::Other);
        }
        let Some(report) = &run.report else {
            return Ok(Self::Other);
        };
        let (Some(verdict), Some(outcome)) = (&report.verdict, &report.outcome) else {
            return Ok(Self::Other);
        };
        let exit = match (verdict.status(), outcome.status()) {
            (v1::VerdictStatus::Unspecified, _) | (_, v1::OutcomeStatus::Unspecified) => {
                Self::Other
            }
            (v1::VerdictStatus::Invalid, _) => Self::Invalid,
            (v1::VerdictStatus::Partial, _) => Self::Partial,
            (v1::VerdictStatus::Valid, v1::OutcomeStatus::NotHeld) => Self::NotHeld,
            (v1::VerdictStatus::Valid, v1::OutcomeStatus::Held | v1::OutcomeStatus::NotJudged) => {
                Self::Done
            }
        };
        match contradiction(run, verdict, outcome) {
            None => Ok(exit),
            Some(contradiction) => {
                let run_id = run.run_id.as_str();
                let sentence =
                    format!("the report of run {run_id} contradicts itself: {contradiction}");
                let failure = Failure::new(FailureCode::Internal, sentence);
                Err(failure.with("run_id", run_id))
            }
        }
    }

    /// The exit of several things that were tried: that of the failure with the highest code.
    pub(crate) fn of_failures(failures: &[Failure]) -> Self {
        let exits = failures.iter().map(Self::of_failure);
        exits.max_by_key(|exit| exit.code()).unwrap_or(Self::Done)
    }

    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Other => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Invalid => 4,
            Self::NotHeld => 99,
            Self::Interrupted => 130,
        }
    }

    /// The exit of a failure, which follows from its code.
    pub(crate) fn of_failure(failure: &Failure) -> Self {
        match failure.code() {
            FailureCode::Interrupted => Self::Interrupted,
            code => match code.kind() {
                FailureKind::Usage => Self::Usage,
                FailureKind::Other => Self::Other,
            },
        }
    }
}

/// What stands beside verdict and outcome of an ended run and would have given another one.
fn contradiction(
    run: &v1::Run,
    verdict: &v1::Verdict,
    outcome: &v1::Outcome,
) -> Option<&'static str> {
    contradicts_verdict(run, verdict).or_else(|| contradicts_outcome(verdict, outcome))
}

/// What would have given a worse verdict.
fn contradicts_verdict(run: &v1::Run, verdict: &v1::Verdict) -> Option<&'static str> {
    use v1::VerdictStatus::{Invalid, Partial, Valid};
    let status = verdict.status();
    let is_broken = |law: &v1::Law| law.status() == v1::LawStatus::Broken;
    let is_invalid = |reason: &v1::Reason| reason.status() == Invalid;
    match status {
        Valid | Partial if run.failure.is_some() => Some("it has ended, and has a failure"),
        Valid | Partial if verdict.laws.iter().any(is_broken) => {
            Some("a law is broken, and it is not invalid")
        }
        Valid if !verdict.reasons.is_empty() => Some("it is valid, and has reasons not to be"),
        Partial if verdict.reasons.iter().any(is_invalid) => {
            Some("it is partial, and has a reason to be invalid")
        }
        _ => None,
    }
}

/// What would have given another outcome.
fn contradicts_outcome(verdict: &v1::Verdict, outcome: &v1::Outcome) -> Option<&'static str> {
    use v1::OutcomeStatus::{Held, NotHeld, NotJudged};
    let has = |status| {
        let mut objectives = outcome.objectives.iter();
        objectives.any(|objective| objective.status() == status)
    };
    if verdict.status() == v1::VerdictStatus::Invalid {
        let is_judged = matches!(outcome.status(), Held | NotHeld);
        return is_judged.then_some("it is invalid, and was judged all the same");
    }
    // Of a default, few packets are an excuse.
    let has_open = outcome.objectives.iter().any(|objective| {
        objective.status() == NotJudged && objective.source() == v1::ObjectiveSource::User
    });
    let is_partial = verdict.status() == v1::VerdictStatus::Partial;
    match outcome.status() {
        Held if is_partial => Some("it is partial, and held all the same"),
        Held if has(NotHeld) => Some("it held, and an objective was missed"),
        Held if has_open => Some("it held, and what was asked for could not be judged"),
        Held if !has(Held) => Some("it held, and no objective was met"),
        NotHeld if !has(NotHeld) => Some("it did not hold, and no objective was missed"),
        NotJudged if has(NotHeld) => Some("it was not judged, and an objective was missed"),
        NotJudged if has(Held) && !has(NotJudged) && !is_partial => {
            Some("it was not judged, and every objective was")
        }
        _ => None,
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The user asked for what is not allowed, by a flag or an argument. The sentence has the way out;
/// that of the code fits only what is beyond a limit.
pub(crate) fn usage(flag: &str, sentence: impl Into<String>) -> Failure {
    let failure = Failure {
        remedy: String::new(),
        ..Failure::new(FailureCode::FieldOutOfRange, sentence)
    };
    failure
        .with("field", flags::field_of(flag))
        .with("flag", flag)
}

/// A flag or an argument with a value that is not allowed; the sentence begins with its name.
pub(crate) fn bad_flag(flag: &str, problem: impl std::fmt::Display) -> Failure {
    usage(flag, format!("{flag}: {problem}"))
}

/// A failure about a threshold that is none, with the byte of its text where that is, and with the
/// metrics that there are.
pub(crate) fn marked(failure: Failure, threshold: &str, byte: usize) -> Failure {
    let failure = Failure {
        remedy: metrics_in_words(),
        ..failure
    };
    failure
        .with("threshold", threshold)
        .with("byte", byte as u64)
}

/// Ctrl-C before there was anything to sum up.
pub(crate) fn interrupted(sentence: impl Into<String>) -> Failure {
    Failure::new(FailureCode::Interrupted, sentence)
}

/// This host does not give what the command needs.
pub(crate) fn host_failed(sentence: impl Into<String>) -> Failure {
    Failure::new(FailureCode::HostFailed, sentence)
}

/// Why a run has no report and never will have one. `None` for one that has it or may get it.
pub(crate) fn failure_of_run(run: &v1::Run) -> Option<Failure> {
    let (code, what) = match run.state() {
        v1::RunState::Failed => (FailureCode::Internal, "failed"),
        v1::RunState::Aborted => (FailureCode::ServerDied, "was aborted"),
        _ => return None,
    };
    let unknown_cause = || Failure::new(code, format!("run {} {what}", run.run_id));
    Some(run.failure.clone().unwrap_or_else(unknown_cause))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ended_with(status: v1::VerdictStatus) -> v1::Run {
        run_with(v1::RunState::Ended.into(), status.into())
    }

    /// An outcome, and one objective that came out the same way.
    fn outcome_of(status: i32) -> v1::Outcome {
        v1::Outcome {
            status,
            objectives: vec![v1::Objective {
                status,
                ..v1::Objective::default()
            }],
        }
    }

    fn run_with(state: i32, status: i32) -> v1::Run {
        let verdict = v1::Verdict {
            status,
            ..v1::Verdict::default()
        };
        v1::Run {
            state,
            report: Some(v1::Report {
                verdict: Some(verdict),
                outcome: Some(outcome_of(v1::OutcomeStatus::NotJudged.into())),
                ..v1::Report::default()
            }),
            ..v1::Run::default()
        }
    }

    fn verdict_of(run: &mut v1::Run) -> &mut v1::Verdict {
        let report = run.report.as_mut().expect("a report");
        report.verdict.as_mut().expect("a verdict")
    }

    #[test]
    fn only_a_valid_run_is_a_success() {
        use v1::VerdictStatus::{Invalid, Partial, Unspecified, Valid};
        for (status, exit) in [
            (Valid, Exit::Done),
            (Partial, Exit::Partial),
            (Invalid, Exit::Invalid),
            (Unspecified, Exit::Other),
        ] {
            assert_eq!(Exit::of_run(&ended_with(status)), Ok(exit));
        }
        assert_eq!(Exit::of_run(&v1::Run::default()), Ok(Exit::Other));
        let without_report = v1::Run {
            state: v1::RunState::Ended.into(),
            ..v1::Run::default()
        };
        assert_eq!(Exit::of_run(&without_report), Ok(Exit::Other));
    }

    #[test]
    fn the_outcome_decides_where_the_verdict_is_valid_and_nowhere_else() {
        use v1::{
            OutcomeStatus::{Held, NotHeld, NotJudged, Unspecified},
            VerdictStatus::{Invalid, Partial, Valid},
        };
        for (verdict, outcome, exit) in [
            (Valid, Held, Exit::Done),
            (Valid, NotHeld, Exit::NotHeld),
            (Valid, NotJudged, Exit::Done),
            (Partial, NotHeld, Exit::Partial),
            (Partial, NotJudged, Exit::Partial),
            (Invalid, NotJudged, Exit::Invalid),
            (Valid, Unspecified, Exit::Other),
            (Invalid, Unspecified, Exit::Other),
        ] {
            let mut run = ended_with(verdict);
            let report = run.report.as_mut().expect("a report");
            report.outcome = Some(outcome_of(outcome.into()));
            assert_eq!(Exit::of_run(&run), Ok(exit), "{verdict:?} {outcome:?}");
        }
        let mut without = ended_with(Valid);
        without.report.as_mut().expect("a report").outcome = None;
        assert_eq!(Exit::of_run(&without), Ok(Exit::Other));
    }

    fn states() -> impl Strategy<Value = i32> {
        prop_oneof![(0..10).prop_map(|tens| tens * 10), Just(60), any::<i32>()]
    }

    fn statuses() -> impl Strategy<Value = i32> {
        prop_oneof![0..4, any::<i32>()]
    }

    proptest! {
        #[test]
        fn a_state_that_is_not_ended_has_no_verdict(state in states(), status in statuses()) {
            let exit = Exit::of_run(&run_with(state, status));
            if state == 60 {
                let expected = match status {
                    1 => Exit::Done,
                    2 => Exit::Partial,
                    3 => Exit::Invalid,
                    _ => Exit::Other,
                };
                prop_assert_eq!(exit, Ok(expected));
            } else {
                prop_assert_eq!(exit, Ok(Exit::Other));
            }
        }

        #[test]
        fn nothing_stands_beside_a_verdict_that_would_have_given_a_worse_one(
            state in states(),
            status in statuses(),
            reasons in prop::collection::vec(statuses(), 0..3),
            laws in prop::collection::vec(0..5_i32, 0..3),
            has_failure: bool,
        ) {
            let mut run = run_with(state, status);
            run.failure = has_failure.then(Failure::default);
            let of_reason = |status: &i32| v1::Reason { status: *status, ..v1::Reason::default() };
            let of_law = |status: &i32| v1::Law { status: *status, ..v1::Law::default() };
            verdict_of(&mut run).reasons = reasons.iter().map(of_reason).collect();
            verdict_of(&mut run).laws = laws.iter().map(of_law).collect();
            let is_sound = !has_failure && !laws.contains(&2);
            match Exit::of_run(&run) {
                Ok(Exit::Done) => {
                    prop_assert!((state, status) == (60, 1) && is_sound && reasons.is_empty());
                }
                Ok(Exit::Partial) => {
                    prop_assert!((state, status) == (60, 2) && is_sound && !reasons.contains(&3));
                }
                Ok(Exit::Invalid) => prop_assert_eq!((state, status), (60, 3)),
                Ok(exit) => prop_assert_eq!(exit, Exit::Other),
                Err(failure) => {
                    prop_assert_eq!(failure.code(), FailureCode::Internal);
                    prop_assert_eq!(Exit::of_failure(&failure), Exit::Other);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn an_outcome_is_that_of_its_objectives(
            verdict in 1..4_i32,
            status in prop_oneof![0..4, any::<i32>()],
            objectives in prop::collection::vec(0..5_i32, 0..4),
            is_users: bool,
        ) {
            let mut run = run_with(60, verdict);
            let source = if is_users {
                v1::ObjectiveSource::User
            } else {
                v1::ObjectiveSource::Default
            };
            let of = |status: &i32| v1::Objective {
                status: *status,
                source: source.into(),
                ..v1::Objective::default()
            };
            run.report.as_mut().expect("a report").outcome = Some(v1::Outcome {
                status,
                objectives: objectives.iter().map(of).collect(),
            });
            let (held, missed) = (objectives.contains(&1), objectives.contains(&2));
            let open = objectives.contains(&3);
            let is_sound = match (verdict, status) {
                (3, 1 | 2) => false,
                (3, _) => true,
                (1, 1) => held && !missed && !(is_users && open),
                (2, 1) => false,
                (_, 2) => missed,
                (1, 3) => (!held || open) && !missed,
                (2, 3) => !missed,
                _ => true,
            };
            let exit = Exit::of_run(&run);
            prop_assert_eq!(exit.is_ok(), is_sound, "{:?}", exit);
            prop_assert_eq!(exit == Ok(Exit::NotHeld), is_sound && (verdict, status) == (1, 2));
        }
    }

    #[test]
    fn the_exit_of_a_failure_follows_from_its_code_alone() {
        for (failure, exit) in [
            (bad_flag("--rate", "too high"), Exit::Usage),
            (interrupted("stopped"), Exit::Interrupted),
            (host_failed("no process"), Exit::Other),
            (Failure::new(FailureCode::NoAgent, "none"), Exit::Other),
        ] {
            assert_eq!(Exit::of_failure(&failure), exit);
            let renamed = Failure {
                sentence: "qwertz".into(),
                ..failure
            };
            assert_eq!(Exit::of_failure(&renamed), exit);
        }
        // A code of a later version.
        let newer = Failure {
            code: 9_999,
            ..Failure::default()
        };
        assert_eq!(Exit::of_failure(&newer), Exit::Other);
    }

    #[test]
    fn several_failures_exit_with_the_highest_of_their_codes() {
        let unknown = Failure::new(FailureCode::RunUnknown, "none");
        let usage = bad_flag("RUN", "names no run");
        assert_eq!(Exit::of_failures(&[]), Exit::Done);
        assert_eq!(
            Exit::of_failures(std::slice::from_ref(&unknown)),
            Exit::Other
        );
        let both = [usage.clone(), unknown.clone()];
        assert_eq!(Exit::of_failures(&both), Exit::Usage);
        assert_eq!(Exit::of_failures(&[unknown, usage]), Exit::Usage);
    }

    #[test]
    fn a_run_that_failed_or_was_aborted_has_a_failure_and_no_other_has() {
        let failure = Failure::new(FailureCode::NoRoute, "no route");
        let run = |state: v1::RunState, failure| v1::Run {
            state: state.into(),
            failure,
            ..v1::Run::default()
        };
        let failed = run(v1::RunState::Failed, Some(failure.clone()));
        assert_eq!(failure_of_run(&failed), Some(failure));
        let aborted = failure_of_run(&run(v1::RunState::Aborted, None)).expect("it is over");
        assert_eq!(aborted.code(), FailureCode::ServerDied);
        assert_eq!(failure_of_run(&run(v1::RunState::Running, None)), None);
        assert_eq!(failure_of_run(&ended_with(v1::VerdictStatus::Valid)), None);
    }
}
