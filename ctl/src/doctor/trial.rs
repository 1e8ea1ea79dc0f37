//! What a real run on this host showed: its end, the generator's figures and the cores it took.
//! Pure.
//!
//! A figure that the run does not have is `None`. Times are ns; CPU is in cores: 0.74 is 74 % of
//! one core for as long as the packets took.

use std::cmp::Reverse;

use metronome_proto::{json::values, v1};

/// One run with a server and an agent of this executable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trial {
    pub(crate) clients: u32,
    /// Length of the schedule, as it was asked for.
    pub(crate) seconds: f64,
    pub(crate) end: End,
    /// Why it did not end as [`End::Held`], the worst first. Empty when it did.
    pub(crate) grounds: Vec<Ground>,
    /// The largest quantile of latency that stands, in millionths. `None`: all that are shown.
    pub(crate) valid_to_ppm: Option<u32>,
    pub(crate) lateness_p50_ns: Option<i64>,
    pub(crate) lateness_p99_ns: Option<i64>,
    /// CPU of the pacing thread.
    pub(crate) agent_cores: Option<f64>,
    /// CPU of the busiest worker.
    pub(crate) worker_cores: Option<f64>,
    /// CPU time of pacing thread and workers together.
    pub(crate) cpu_ns: Option<i64>,
}

/// How a run ended: verdict and outcome as the exit code of `start` has them.
///
/// The later ones are the worse.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum End {
    /// Valid, and every objective was met.
    Held,
    /// Valid, and an objective could not be judged.
    NotJudged,
    /// Valid, and an objective was missed.
    NotHeld,
    /// Someone is missing.
    Partial,
    /// Its figures may not be used.
    Invalid,
    /// No report.
    Failed,
}

/// One thing that kept a run from being held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ground {
    /// `LATENESS`; of an objective its metric, `kept_up`.
    pub(crate) code: String,
    pub(crate) sentence: String,
    /// `None` where an objective was missed.
    pub(crate) remedy: Option<String>,
}

impl Trial {
    /// What a run of `clients` for `seconds` that is over has shown.
    pub(crate) fn of_run(clients: u32, seconds: f64, run: &v1::Run) -> Self {
        let report = run.report.as_ref();
        let report = report.filter(|_| run.state() == v1::RunState::Ended);
        let verdict = report.and_then(|report| report.verdict.as_ref());
        let end = end_of(report);
        let lateness = report
            .and_then(|report| report.times.as_ref())
            .and_then(|times| times.lateness.as_ref());
        let quantile = |ppm| {
            let mut quantiles = lateness?.quantiles.iter();
            quantiles.find(|of| of.ppm == ppm).map(|of| of.ns)
        };
        let cpu = report.and_then(|report| report.cpu);
        let agent_ns = cpu.and_then(|cpu| cpu.generator_ns);
        let elapsed_s = report.and_then(|report| values::seconds(report.elapsed.as_ref()));
        let cores =
            |cpu_ns: i64| Some(values::seconds_of_ns(cpu_ns) / elapsed_s.filter(|s| *s > 0.0)?);
        Self {
            clients,
            seconds,
            end,
            grounds: grounds_of(run, report, end),
            valid_to_ppm: verdict.and_then(|verdict| verdict.valid_to_ppm),
            lateness_p50_ns: quantile(500_000),
            lateness_p99_ns: quantile(990_000),
            agent_cores: agent_ns.and_then(cores),
            worker_cores: report.and_then(busiest_worker_ns).and_then(cores),
            cpu_ns: agent_ns
                .zip(cpu.and_then(|cpu| cpu.receiver_ns))
                .map(|(agent_ns, workers_ns)| agent_ns.saturating_add(workers_ns)),
        }
    }

    /// Whether the load was held: nothing skipped, nothing lost, read in time, and the figures may
    /// be believed.
    pub(crate) fn is_held(&self) -> bool {
        self.end == End::Held
    }

    /// Greater for a run that ended worse; of those that ended alike, for one whose figures stand
    /// less far.
    pub(crate) fn badness(&self) -> (End, Reverse<u32>) {
        (self.end, Reverse(self.valid_to_ppm.unwrap_or(u32::MAX)))
    }

    /// What kept it from being held: `LATENESS, kept_up`.
    pub(crate) fn codes(&self) -> String {
        let codes: Vec<&str> = self.grounds.iter().map(|of| of.code.as_str()).collect();
        codes.join(", ")
    }
}

fn end_of(report: Option<&v1::Report>) -> End {
    let Some(verdict) = report.and_then(|report| report.verdict.as_ref()) else {
        return End::Failed;
    };
    let outcome = report.and_then(|report| report.outcome.as_ref());
    match (verdict.status(), outcome.map(v1::Outcome::status)) {
        (v1::VerdictStatus::Unspecified, _) => End::Failed,
        (v1::VerdictStatus::Invalid, _) => End::Invalid,
        (v1::VerdictStatus::Partial, _) => End::Partial,
        (v1::VerdictStatus::Valid, Some(v1::OutcomeStatus::Held)) => End::Held,
        (v1::VerdictStatus::Valid, Some(v1::OutcomeStatus::NotHeld)) => End::NotHeld,
        (v1::VerdictStatus::Valid, _) => End::NotJudged,
    }
}

fn busiest_worker_ns(report: &v1::Report) -> Option<i64> {
    let workers = report.receivers.iter().flat_map(|of| &of.workers);
    // Unknown where that of one worker is.
    let each: Option<Vec<i64>> = workers.map(|worker| worker.cpu_ns).collect();
    each?.into_iter().max()
}

fn grounds_of(run: &v1::Run, report: Option<&v1::Report>, end: End) -> Vec<Ground> {
    let missed = |status| {
        let outcome = report.and_then(|report| report.outcome.as_ref());
        let objectives = outcome.into_iter().flat_map(|of| &of.objectives);
        let missed = objectives.filter(move |objective| objective.status() == status);
        missed.map(of_objective).collect()
    };
    match end {
        End::Held => Vec::new(),
        End::NotHeld => missed(v1::OutcomeStatus::NotHeld),
        End::NotJudged => missed(v1::OutcomeStatus::NotJudged),
        End::Partial | End::Invalid => {
            let verdict = report.and_then(|report| report.verdict.as_ref());
            let reasons = verdict.into_iter().flat_map(|of| &of.reasons);
            reasons.map(of_reason).collect()
        }
        End::Failed => run.failure.iter().map(of_failure).collect(),
    }
}

fn of_objective(objective: &v1::Objective) -> Ground {
    let metric = objective.threshold.map(|threshold| threshold.metric);
    let word = metric.and_then(values::metric);
    Ground {
        code: word.map_or_else(|| "objective".into(), |word| word.to_string()),
        sentence: objective.sentence.clone(),
        remedy: None,
    }
}

pub(super) fn of_reason(reason: &v1::Reason) -> Ground {
    Ground {
        code: reason.code().name().into(),
        sentence: reason.sentence.clone(),
        remedy: Some(reason.remedy.clone()),
    }
}

pub(super) fn of_failure(failure: &v1::Failure) -> Ground {
    Ground {
        code: failure.code().name().into(),
        sentence: failure.sentence.clone(),
        remedy: Some(failure.remedy.clone()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use metronome_proto::v1::{OutcomeStatus, ReasonCode, VerdictStatus};

    use super::*;

    /// A trial of 10 clients that was held.
    pub(crate) fn held() -> Trial {
        Trial {
            clients: 10,
            seconds: 2.0,
            end: End::Held,
            grounds: Vec::new(),
            valid_to_ppm: None,
            lateness_p50_ns: Some(8_000),
            lateness_p99_ns: Some(50_100),
            agent_cores: Some(0.74),
            worker_cores: Some(0.31),
            cpu_ns: Some(2_100_000_000),
        }
    }

    /// A trial of so many clients that was not, with the code of its ground.
    pub(crate) fn refused(clients: u32, end: End, code: &str) -> Trial {
        let ground = Ground {
            code: code.into(),
            sentence: "7 % of the packets were late.".into(),
            remedy: Some("give the agent's host more idle CPU".into()),
        };
        Trial {
            clients,
            end,
            grounds: vec![ground],
            ..held()
        }
    }

    fn run(verdict: VerdictStatus, outcome: OutcomeStatus) -> v1::Run {
        let reason = v1::Reason {
            code: ReasonCode::Lateness.into(),
            sentence: "late".into(),
            remedy: "more idle CPU".into(),
            ..v1::Reason::default()
        };
        let objective = |metric: v1::Metric, status: OutcomeStatus| v1::Objective {
            threshold: Some(v1::Threshold {
                metric: metric.into(),
                ..v1::Threshold::default()
            }),
            status: status.into(),
            sentence: "asked for and missed".into(),
            ..v1::Objective::default()
        };
        let invalid = verdict == VerdictStatus::Invalid;
        let report = v1::Report {
            verdict: Some(v1::Verdict {
                status: verdict.into(),
                reasons: invalid.then_some(reason).into_iter().collect(),
                valid_to_ppm: Some(990_000),
                ..v1::Verdict::default()
            }),
            outcome: Some(v1::Outcome {
                status: outcome.into(),
                objectives: vec![
                    objective(v1::Metric::Lost, OutcomeStatus::Held),
                    objective(v1::Metric::KeptUp, OutcomeStatus::NotHeld),
                ],
            }),
            cpu: Some(v1::Cpu {
                generator_ns: Some(1_500_000_000),
                receiver_ns: Some(500_000_000),
                ..v1::Cpu::default()
            }),
            elapsed: Some(prost_types::Duration {
                seconds: 2,
                nanos: 0,
            }),
            receivers: vec![v1::ReceiverReport {
                workers: [200_000_000, 300_000_000]
                    .map(|cpu_ns| v1::WorkerReport {
                        cpu_ns: Some(cpu_ns),
                        ..v1::WorkerReport::default()
                    })
                    .to_vec(),
                ..v1::ReceiverReport::default()
            }],
            ..v1::Report::default()
        };
        v1::Run {
            state: v1::RunState::Ended.into(),
            report: Some(report),
            ..v1::Run::default()
        }
    }

    #[test]
    fn verdict_and_outcome_give_the_end_and_its_grounds() {
        use End::{Held, Invalid, NotHeld, NotJudged, Partial};
        for (verdict, outcome, end, codes) in [
            (VerdictStatus::Valid, OutcomeStatus::Held, Held, ""),
            (
                VerdictStatus::Valid,
                OutcomeStatus::NotHeld,
                NotHeld,
                "kept_up",
            ),
            (
                VerdictStatus::Valid,
                OutcomeStatus::NotJudged,
                NotJudged,
                "",
            ),
            (VerdictStatus::Partial, OutcomeStatus::NotHeld, Partial, ""),
            (
                VerdictStatus::Invalid,
                OutcomeStatus::NotJudged,
                Invalid,
                "LATENESS",
            ),
        ] {
            let trial = Trial::of_run(10, 2.0, &run(verdict, outcome));
            assert_eq!((trial.end, trial.codes().as_str()), (end, codes));
            assert_eq!(trial.is_held(), end == Held);
        }
    }

    #[test]
    fn cpu_is_in_cores_for_as_long_as_the_packets_took() {
        let trial = Trial::of_run(10, 2.0, &run(VerdictStatus::Valid, OutcomeStatus::Held));
        assert_eq!(
            (trial.agent_cores, trial.worker_cores, trial.cpu_ns),
            (Some(0.75), Some(0.15), Some(2_000_000_000))
        );
    }

    #[test]
    fn a_run_that_failed_has_its_failure_and_no_figures() {
        let failure = v1::Failure::new(v1::FailureCode::AgentFilesFull, "no descriptor is left");
        let failed = v1::Run {
            state: v1::RunState::Failed.into(),
            failure: Some(failure),
            ..v1::Run::default()
        };
        let trial = Trial::of_run(10, 2.0, &failed);
        assert_eq!(
            (trial.end, trial.codes().as_str()),
            (End::Failed, "AGENT_FILES_FULL")
        );
        assert_eq!(
            (trial.lateness_p99_ns, trial.agent_cores, trial.cpu_ns),
            (None, None, None)
        );
    }
}
