//! How the runs of this server came out, and their objectives: sums since its start, and how the
//! run did that ended last.
//!
//! The last run and the runs that can be looked up in traces are those of this process: a server
//! that takes over begins without.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use metronome_proto::v1::{self, OutcomeStatus};
use metronome_telemetry::SampledSpan;

use crate::metrics::{CountExemplar, LastRun, OUTCOMES, RunExemplars};

/// The sums since the server's start, and the run that ended last.
#[derive(Debug, Default)]
pub(crate) struct OutcomeCounters(Mutex<Outcomes>);

#[derive(Debug, Default)]
struct Outcomes {
    sums: OutcomeSums,
    last_run: Option<LastRun>,
    exemplars: RunExemplars,
}

/// The sums as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct OutcomeSums {
    /// Runs that have ended, in the order of [`OUTCOMES`].
    pub(crate) runs: [u64; 3],
    /// Their objectives, in the same order.
    pub(crate) objectives: [u64; 3],
}

impl OutcomeCounters {
    /// A run has ended with this report, in the span `trace` where its trace is sampled.
    pub(super) fn run_ended(
        &self,
        report: &v1::Report,
        now_unix_ns: u64,
        trace: Option<&SampledSpan>,
    ) {
        let verdict = report.verdict.as_ref();
        let verdict = verdict.map(v1::Verdict::status).unwrap_or_default();
        let outcome = report.outcome.clone().unwrap_or_default();
        let of_run = OUTCOMES.map(|status| u64::from(outcome.status() == status));
        let of_objectives = OUTCOMES.map(|status| {
            let came_out = outcome.objectives.iter();
            came_out.filter(|of| of.status() == status).count() as u64
        });
        let mut outcomes = self.lock();
        add(&mut outcomes.sums.runs, of_run);
        add(&mut outcomes.sums.objectives, of_objectives);
        if let Some(span) = trace {
            let note = |into: &mut BTreeMap<_, _>, word, count| {
                let exemplar = CountExemplar {
                    count,
                    at_unix_ns: now_unix_ns,
                    trace_id: span.trace_id.clone(),
                    span_id: span.span_id.clone(),
                };
                into.insert(word, exemplar);
            };
            let exemplars = &mut outcomes.exemplars;
            if let Some(word) = verdict.word() {
                note(&mut exemplars.verdicts, word, 1);
            }
            for (count, into) in [
                (of_run, &mut exemplars.outcomes),
                (of_objectives, &mut exemplars.objectives),
            ] {
                let words = OUTCOMES.into_iter().filter_map(OutcomeStatus::word);
                for (word, count) in words.zip(count).filter(|(_, count)| *count > 0) {
                    note(into, word, count);
                }
            }
        }
        outcomes.last_run = Some(LastRun {
            ended_unix_ms: now_unix_ns / 1_000_000,
            verdict,
            outcome,
        });
    }

    /// A run is over that has no verdict: what an earlier one showed is not how the last one did.
    pub(super) fn ended_without_report(&self) {
        self.lock().last_run = None;
    }

    /// The sums as they stand.
    pub(crate) fn sums(&self) -> OutcomeSums {
        self.lock().sums
    }

    /// The run that ended last. `None` before one has, and after one without a report.
    pub(crate) fn last_run(&self) -> Option<LastRun> {
        self.lock().last_run.clone()
    }

    /// The newest runs that can be looked up in their traces.
    pub(crate) fn exemplars(&self) -> RunExemplars {
        self.lock().exemplars.clone()
    }

    /// Continues from the sums of another server.
    pub(crate) fn restore(&self, sums: OutcomeSums) {
        self.lock().sums = sums;
    }

    fn lock(&self) -> MutexGuard<'_, Outcomes> {
        // No code between lock and unlock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(sums: &mut [u64; 3], more: [u64; 3]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum = sum.saturating_add(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: v1::VerdictStatus, statuses: &[OutcomeStatus]) -> v1::Report {
        let objective = |status: &OutcomeStatus| v1::Objective {
            status: (*status).into(),
            ..v1::Objective::default()
        };
        v1::Report {
            verdict: Some(v1::Verdict {
                status: verdict.into(),
                ..v1::Verdict::default()
            }),
            outcome: Some(v1::Outcome {
                status: OutcomeStatus::NotHeld.into(),
                objectives: statuses.iter().map(objective).collect(),
            }),
            ..v1::Report::default()
        }
    }

    #[test]
    fn a_run_counts_once_and_each_of_its_objectives_as_it_came_out() {
        use OutcomeStatus::{Held, NotHeld, NotJudged};
        let counters = OutcomeCounters::default();
        let trace = SampledSpan {
            trace_id: "t".into(),
            span_id: "s".into(),
        };
        let first = report(v1::VerdictStatus::Valid, &[Held, NotHeld, NotHeld]);
        counters.run_ended(&first, 7_000_000, Some(&trace));
        let second = report(v1::VerdictStatus::Partial, &[NotJudged, NotHeld]);
        counters.run_ended(&second, 8_000_000, None);
        let sums = OutcomeSums {
            runs: [0, 2, 0],
            objectives: [1, 3, 1],
        };
        assert_eq!(counters.sums(), sums);
        let exemplars = counters.exemplars();
        let counts = |of: &BTreeMap<&'static str, CountExemplar>| -> Vec<_> {
            let counted = of.iter();
            counted.map(|(word, of)| (*word, of.count)).collect()
        };
        // The second one has no trace, and takes that of the first for none of its own.
        assert_eq!(counts(&exemplars.verdicts), [("valid", 1)]);
        assert_eq!(counts(&exemplars.outcomes), [("not_held", 1)]);
        assert_eq!(
            counts(&exemplars.objectives),
            [("held", 1), ("not_held", 2)]
        );
        let last = counters.last_run().unwrap();
        assert_eq!(
            (last.ended_unix_ms, last.verdict),
            (8, v1::VerdictStatus::Partial)
        );
    }

    #[test]
    fn after_a_run_without_a_report_the_last_one_is_not_the_one_before_it() {
        let counters = OutcomeCounters::default();
        let held = report(v1::VerdictStatus::Valid, &[OutcomeStatus::Held]);
        counters.run_ended(&held, 1, None);
        counters.ended_without_report();
        assert_eq!(counters.last_run(), None);
        assert_eq!(counters.sums().objectives, [1, 0, 0], "the sums stay");
    }
}
