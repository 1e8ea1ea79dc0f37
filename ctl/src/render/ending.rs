//! What is reported of a run to those that did not watch it, or of why there is none.

use metronome_proto::{
    json::values::{self, Word},
    v1,
};

/// A run, or why there is no result.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending<'a> {
    /// It has ended with a verdict and an outcome that do not contradict each other.
    Judged(&'a v1::Run),
    /// There is no verdict, or none that can be believed: no figure of it is shown.
    Unjudged(Option<&'a v1::Run>, &'a v1::Failure),
}

impl<'a> Ending<'a> {
    /// The run, which may be without a verdict. `None` where it is not known or was none.
    pub(super) fn run(self) -> Option<&'a v1::Run> {
        match self {
            Self::Judged(run) => Some(run),
            Self::Unjudged(run, _) => run,
        }
    }

    /// The report of a run that was judged.
    pub(super) fn report(self) -> Option<&'a v1::Report> {
        match self {
            Self::Judged(run) => run.report.as_ref(),
            Self::Unjudged(..) => None,
        }
    }

    /// What was asked of it, each as it came out.
    pub(super) fn objectives(self) -> &'a [v1::Objective] {
        let outcome = self.report().and_then(|report| report.outcome.as_ref());
        outcome.map_or(&[], |outcome| &outcome.objectives)
    }

    /// Whether its figures may be believed.
    pub(super) fn verdict(self) -> Option<&'a v1::Verdict> {
        self.report().and_then(|report| report.verdict.as_ref())
    }

    /// What stands against it, in order: of a run without a verdict the failure alone.
    pub(super) fn grounds(self) -> Vec<Ground<'a>> {
        match self {
            Self::Unjudged(_, failure) => vec![Ground {
                code: values::failure_code(failure.code),
                sentence: &failure.sentence,
                remedy: &failure.remedy,
            }],
            Self::Judged(_) => {
                let reasons = self.verdict().into_iter().flat_map(|of| &of.reasons);
                let ground = |reason: &'a v1::Reason| Ground {
                    code: values::reason_code(reason.code),
                    sentence: &reason.sentence,
                    remedy: &reason.remedy,
                };
                reasons.map(ground).collect()
            }
        }
    }
}

/// A reason of a verdict, or why there is none.
#[derive(Clone, Debug)]
pub(super) struct Ground<'a> {
    /// `None` where it is not known.
    pub(super) code: Option<Word>,
    /// For people.
    pub(super) sentence: &'a str,
    /// What to do about it; empty where there is nothing.
    pub(super) remedy: &'a str,
}
