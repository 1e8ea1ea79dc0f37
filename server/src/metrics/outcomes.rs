//! The metrics of how runs came out: sums over all that have ended, and each objective of the one
//! that ended last.
//!
//! The series of the last run are replaced when another ends, so that however many runs there are
//! and whatever their thresholds, there are only those of one: at most 64 thresholds and the
//! defaults. What is not known has no series: 0 would be a figure. The labels of a run are no
//! labels here, since they are the user's, and ever more.

use std::collections::BTreeMap;

use metronome_proto::{
    threshold::Threshold,
    v1::{
        self, Metric, Objective, ObjectiveSource, OutcomeStatus, objective::Observed,
        threshold::Limit,
    },
};

use super::{
    exemplar::CountExemplar,
    family::{
        Family, Kind, Sample,
        Unit::{self, Count, Seconds},
        Value, labelled,
    },
    figures::{ControlFigures, LastRun},
};

/// Every way in which an objective, or all of a run, may come out.
pub(crate) const OUTCOMES: [OutcomeStatus; 3] = [
    OutcomeStatus::Held,
    OutcomeStatus::NotHeld,
    OutcomeStatus::NotJudged,
];

type Labels = Vec<(&'static str, String)>;

/// The families of verdicts, outcomes and objectives.
pub(super) fn families(control: &ControlFigures) -> Vec<Family> {
    let last = control.last_run.as_ref();
    let mut families = sums(control);
    families.extend(last_run(last, &control.runs_ended));
    families.extend(objectives(last));
    families
}

fn sums(control: &ControlFigures) -> Vec<Family> {
    let traces = &control.run_exemplars;
    vec![
        counted(
            "metronome_runs_ended",
            Count("{run}"),
            "Runs that have ended, by verdict",
            "verdict",
            &control.runs_ended,
            &traces.verdicts,
        ),
        counted(
            "metronome_runs_judged",
            Count("{run}"),
            "Runs that have ended, by outcome",
            "outcome",
            &control.runs_judged,
            &traces.outcomes,
        ),
        counted(
            "metronome_objectives",
            Count("{objective}"),
            "Objectives of runs that have ended, by how they came out",
            "status",
            &control.objectives,
            &traces.objectives,
        ),
    ]
}

/// A counter for each word of a label, with the newest run that it counted and that has a trace.
fn counted(
    name: &'static str,
    unit: Unit,
    help: &'static str,
    label: &'static str,
    counts: &[(&'static str, u64)],
    exemplars: &BTreeMap<&'static str, CountExemplar>,
) -> Family {
    let samples = counts.iter().map(|(word, count)| Sample {
        labels: vec![(label, (*word).to_owned())],
        value: Value::Counted(*count as f64, exemplars.get(word).cloned()),
    });
    Family {
        name,
        help,
        unit,
        kind: Kind::Counter,
        samples: samples.collect(),
    }
}

/// Whether each state is the one that there is: 1 or 0.
fn states(
    label: &'static str,
    labels: &Labels,
    all: impl IntoIterator<Item = &'static str>,
    is: &str,
) -> Vec<(Labels, f64)> {
    let state = |word: &'static str| {
        let mut labels = labels.clone();
        labels.push((label, word.to_owned()));
        (labels, f64::from(u8::from(word == is)))
    };
    all.into_iter().map(state).collect()
}

fn last_run(last: Option<&LastRun>, verdicts: &[(&'static str, u64)]) -> Vec<Family> {
    let words = || verdicts.iter().map(|(word, _)| *word);
    let verdict = last.and_then(|of| of.verdict.word());
    let verdict = verdict.map(|is| states("verdict", &Vec::new(), words(), is));
    let outcome = last.and_then(|of| of.outcome.status().word());
    let outcome = outcome.map(|is| states("outcome", &Vec::new(), outcome_words(), is));
    let ended = last.map(|of| (Vec::new(), of.ended_unix_ms as f64 / 1e3));
    vec![
        labelled(
            Kind::Gauge,
            "metronome_last_run_ended_timestamp",
            Seconds,
            "When the run ended that ended last, since 1970",
            ended,
        ),
        labelled(
            Kind::Gauge,
            "metronome_last_run_verdict",
            Count("{run}"),
            "1 for the verdict of the run that ended last, 0 for the others",
            verdict.unwrap_or_default(),
        ),
        labelled(
            Kind::Gauge,
            "metronome_last_run_outcome",
            Count("{run}"),
            "1 for the outcome of the run that ended last, 0 for the others",
            outcome.unwrap_or_default(),
        ),
    ]
}

fn outcome_words() -> impl Iterator<Item = &'static str> {
    OUTCOMES.into_iter().filter_map(OutcomeStatus::word)
}

/// What objectives are in, each unit a metric of its own: seconds, packets, packets per second and
/// shares of 1 are not values of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Base {
    Seconds,
    Packets,
    PacketsPerSecond,
    Ratio,
}

fn objectives(last: Option<&LastRun>) -> Vec<Family> {
    let shown = shown(last);
    let statuses = shown.iter().flat_map(|(labels, of)| {
        let is = of.status().word().unwrap_or_default();
        states("status", labels, outcome_words(), is)
    });
    let mut families = vec![labelled(
        Kind::Gauge,
        "metronome_objective_status",
        Count("{objective}"),
        "1 for how an objective of the last run came out, 0 for the other ways",
        statuses,
    )];
    for (base, unit, limit_name, observed_name) in [
        (
            Base::Seconds,
            Seconds,
            "metronome_objective_limit",
            "metronome_objective_observed",
        ),
        (
            Base::Packets,
            Count("{packet}"),
            "metronome_objective_limit_packets",
            "metronome_objective_observed_packets",
        ),
        (
            Base::PacketsPerSecond,
            Count("{packet}/s"),
            "metronome_objective_limit_packets_per_second",
            "metronome_objective_observed_packets_per_second",
        ),
        (
            Base::Ratio,
            Count("1"),
            "metronome_objective_limit_ratio",
            "metronome_objective_observed_ratio",
        ),
    ] {
        let in_base = |figure: fn(&Objective) -> Option<(Base, f64)>| {
            let values = shown.iter().filter_map(move |(labels, of)| {
                let (of_base, value) = figure(of)?;
                (of_base == base).then(|| (labels.clone(), value))
            });
            values.collect::<Vec<_>>()
        };
        let help = "The limit of an objective of the run that ended last";
        let limits = in_base(limit);
        families.push(labelled(Kind::Gauge, limit_name, unit, help, limits));
        let help = "What the limit of an objective of the last run was compared with";
        let values = in_base(observed);
        families.push(labelled(Kind::Gauge, observed_name, unit, help, values));
    }
    families
}

fn limit(objective: &Objective) -> Option<(Base, f64)> {
    Some(match objective.threshold.as_ref()?.limit? {
        Limit::Ns(ns) => (Base::Seconds, ns as f64 / 1e9),
        Limit::Count(packets) => (base_of_count(objective), packets as f64),
        Limit::SharePpm(ppm) => (Base::Ratio, f64::from(ppm) / 1e6),
    })
}

/// What a whole number of packets is.
fn base_of_count(objective: &Objective) -> Base {
    let metric = objective.threshold.as_ref().map(v1::Threshold::metric);
    match metric {
        Some(Metric::Rate) => Base::PacketsPerSecond,
        _ => Base::Packets,
    }
}

/// `None` where it is not known.
fn observed(objective: &Objective) -> Option<(Base, f64)> {
    Some(match objective.observed? {
        Observed::ObservedNs(ns) => (Base::Seconds, ns as f64 / 1e9),
        Observed::ObservedCount(packets) => (base_of_count(objective), packets as f64),
        Observed::ObservedSharePpm(ppm) => (Base::Ratio, f64::from(ppm) / 1e6),
    })
}

/// The objectives of the last run with their labels, each set of labels once: of several that
/// differ in the limit alone, the one that came out worst, so that none of them hides another that
/// was missed.
fn shown(last: Option<&LastRun>) -> Vec<(Labels, &Objective)> {
    let objectives = last.map_or(&[][..], |last| &last.outcome.objectives);
    let mut shown: Vec<(Labels, &Objective)> = Vec::new();
    for objective in objectives {
        let Some(labels) = labels(objective) else {
            continue;
        };
        match shown.iter_mut().find(|(of, _)| *of == labels) {
            None => shown.push((labels, objective)),
            Some((_, kept)) if rank(objective) > rank(kept) => *kept = objective,
            Some(_) => {}
        }
    }
    shown
}

/// Higher is worse.
fn rank(objective: &Objective) -> u8 {
    match objective.status() {
        OutcomeStatus::Held => 0,
        OutcomeStatus::NotJudged | OutcomeStatus::Unspecified => 1,
        OutcomeStatus::NotHeld => 2,
    }
}

/// `None` of an objective that this version does not have.
fn labels(objective: &Objective) -> Option<Labels> {
    let threshold = Threshold::try_from(objective.threshold.as_ref()?).ok()?;
    let mut labels = vec![("metric", threshold.metric.word()?.to_owned())];
    if !objective.group.is_empty() {
        labels.push(("group", objective.group.clone()));
    }
    let quantile = threshold.quantile_ppm.map(|ppm| f64::from(ppm) / 1e6);
    let quantile = quantile.map(|of| of.to_string());
    let mean = threshold.is_mean().then(|| "mean".to_owned());
    labels.extend(quantile.or(mean).map(|of| ("quantile", of)));
    labels.push(("comparison", threshold.comparison.operator()?.to_owned()));
    labels.push(("source", source_word(objective.source())?.to_owned()));
    Some(labels)
}

fn source_word(source: ObjectiveSource) -> Option<&'static str> {
    match source {
        ObjectiveSource::Unspecified => None,
        ObjectiveSource::Default => Some("default"),
        ObjectiveSource::User => Some("user"),
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::{Outcome, VerdictStatus};
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::write;

    fn objective(text: &str, status: OutcomeStatus, observed: Option<Observed>) -> Objective {
        Objective {
            threshold: Some(text.parse::<Threshold>().unwrap().to_proto()),
            source: ObjectiveSource::User.into(),
            status: status.into(),
            observed,
            ..Objective::default()
        }
    }

    fn control(
        verdict: VerdictStatus,
        status: OutcomeStatus,
        of: Vec<Objective>,
    ) -> ControlFigures {
        ControlFigures {
            runs_ended: vec![("valid", 0), ("partial", 0), ("invalid", 0)],
            last_run: Some(LastRun {
                ended_unix_ms: 1_795_708_231_423,
                verdict,
                outcome: Outcome {
                    status: status.into(),
                    objectives: of,
                },
            }),
            ..ControlFigures::default()
        }
    }

    /// The lines of the last run.
    fn scraped(control: &ControlFigures) -> Vec<String> {
        let text = write(&families(control));
        let is_of_last = |line: &&str| {
            line.starts_with("metronome_objective_") || line.starts_with("metronome_last_run_")
        };
        text.lines().filter(is_of_last).map(str::to_owned).collect()
    }

    #[test]
    fn each_objective_has_its_states_and_its_figures_in_base_units() {
        let figures = control(
            VerdictStatus::Valid,
            OutcomeStatus::NotHeld,
            vec![
                objective(
                    "latency.p99.9<200us",
                    OutcomeStatus::NotHeld,
                    Some(Observed::ObservedNs(250_000)),
                ),
                objective(
                    "lost==0",
                    OutcomeStatus::Held,
                    Some(Observed::ObservedCount(0)),
                ),
                objective(
                    "kept_up>=99.9%",
                    OutcomeStatus::Held,
                    Some(Observed::ObservedSharePpm(1_000_000)),
                ),
            ],
        );
        let (latency, lost, kept_up) = (
            "metric=\"latency\",quantile=\"0.999\",comparison=\"<\",source=\"user\"",
            "metric=\"lost\",comparison=\"==\",source=\"user\"",
            "metric=\"kept_up\",comparison=\">=\",source=\"user\"",
        );
        let states = |of: &str, held, not_held| {
            [
                ("held", held),
                ("not_held", not_held),
                ("not_judged", "0.0"),
            ]
            .map(|(status, is)| {
                format!("metronome_objective_status{{{of},status=\"{status}\"}} {is}")
            })
        };
        let expected: Vec<_> = [
            "metronome_last_run_ended_timestamp_seconds 1795708231.423".to_owned(),
            "metronome_last_run_verdict{verdict=\"valid\"} 1.0".to_owned(),
            "metronome_last_run_verdict{verdict=\"partial\"} 0.0".to_owned(),
            "metronome_last_run_verdict{verdict=\"invalid\"} 0.0".to_owned(),
            "metronome_last_run_outcome{outcome=\"held\"} 0.0".to_owned(),
            "metronome_last_run_outcome{outcome=\"not_held\"} 1.0".to_owned(),
            "metronome_last_run_outcome{outcome=\"not_judged\"} 0.0".to_owned(),
        ]
        .into_iter()
        .chain(states(latency, "0.0", "1.0"))
        .chain(states(lost, "1.0", "0.0"))
        .chain(states(kept_up, "1.0", "0.0"))
        .chain([
            format!("metronome_objective_limit_seconds{{{latency}}} 0.0002"),
            format!("metronome_objective_observed_seconds{{{latency}}} 0.00025"),
            format!("metronome_objective_limit_packets{{{lost}}} 0.0"),
            format!("metronome_objective_observed_packets{{{lost}}} 0.0"),
            format!("metronome_objective_limit_ratio{{{kept_up}}} 0.999"),
            format!("metronome_objective_observed_ratio{{{kept_up}}} 1.0"),
        ])
        .collect();
        assert_eq!(scraped(&figures), expected);
    }

    #[test]
    fn what_is_not_known_has_no_series_and_is_not_0() {
        let figures = control(
            VerdictStatus::Invalid,
            OutcomeStatus::NotJudged,
            vec![objective("lost==0", OutcomeStatus::NotJudged, None)],
        );
        let lines = scraped(&figures);
        let has = |part: &str| lines.iter().any(|line| line.contains(part));
        assert!(
            has("status=\"not_judged\"} 1.0") && has("limit_packets"),
            "{lines:?}"
        );
        assert!(!has("observed"), "{lines:?}");
        assert_eq!(
            scraped(&ControlFigures::default()),
            [""; 0],
            "no run has ended"
        );
        // A report without verdict or outcome shows none of their words as the one that is.
        let unknown = control(
            VerdictStatus::Unspecified,
            OutcomeStatus::Unspecified,
            Vec::new(),
        );
        assert_eq!(scraped(&unknown).len(), 1, "{:?}", scraped(&unknown));
    }

    #[test]
    fn the_series_of_an_objective_that_the_next_run_does_not_have_end() {
        let with = |text| {
            let of = objective(text, OutcomeStatus::Held, None);
            scraped(&control(
                VerdictStatus::Valid,
                OutcomeStatus::Held,
                vec![of],
            ))
        };
        assert!(
            with("latency.p99<1ms")
                .iter()
                .any(|line| line.contains("latency"))
        );
        assert!(!with("lost==0").iter().any(|line| line.contains("latency")));
    }

    #[test]
    fn a_run_that_was_counted_names_its_trace() {
        let mut figures = ControlFigures {
            runs_ended: vec![("valid", 3), ("partial", 0), ("invalid", 1)],
            runs_judged: vec![("held", 2), ("not_held", 1), ("not_judged", 1)],
            objectives: vec![("held", 9), ("not_held", 2), ("not_judged", 4)],
            ..ControlFigures::default()
        };
        let exemplar = CountExemplar {
            count: 2,
            at_unix_ns: 1_795_708_231_423_999_999,
            trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
            span_id: "b7ad6b7169203331".into(),
        };
        let traces = &mut figures.run_exemplars;
        traces.objectives.insert("not_held", exemplar);
        let text = write(&families(&figures));
        for line in [
            "metronome_runs_ended_total{verdict=\"invalid\"} 1.0",
            "metronome_runs_judged_total{outcome=\"not_held\"} 1.0",
            "metronome_objectives_total{status=\"held\"} 9.0",
            "metronome_objectives_total{status=\"not_held\"} 2.0 \
             # {trace_id=\"0af7651916cd43dd8448eb211c80319c\",span_id=\"b7ad6b7169203331\"} \
             2.0 1795708231.423",
        ] {
            assert!(text.lines().any(|of| of == line), "{line} in {text}");
        }
    }

    fn status() -> impl Strategy<Value = OutcomeStatus> {
        prop::sample::select(OUTCOMES.to_vec())
    }

    proptest! {
        /// One series twice would cost the whole scrape.
        #[test]
        fn no_series_is_there_twice_and_what_was_missed_is_never_hidden(
            of in prop::collection::vec((0_usize..8, 0_u64..3, status()), 0..12),
        ) {
            // Of the whole run, and of a group.
            let names = ["lost==", "lost<=", "skipped==", "corrupt<="];
            let objectives = of.iter().map(|(name, limit, status)| Objective {
                group: ["", "g"][name / names.len()].into(),
                ..objective(&format!("{}{limit}", names[name % names.len()]), *status, None)
            });
            let figures = control(
                VerdictStatus::Valid,
                OutcomeStatus::NotHeld,
                objectives.collect(),
            );
            let lines = scraped(&figures);
            let series = |line: &String| line.rsplit_once(' ').map(|(of, _)| of.to_owned());
            let mut all: Vec<_> = lines.iter().map(series).collect();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), lines.len());
            let missed = |name: usize| {
                let mut of = of.iter();
                of.any(|(of, _, status)| *of == name && *status == OutcomeStatus::NotHeld)
            };
            let shown = lines.iter().filter(|line| {
                line.contains("objective_status") && line.ends_with("\"not_held\"} 1.0")
            });
            let named = (0..2 * names.len()).filter(|of| missed(*of));
            prop_assert_eq!(shown.count(), named.count());
        }
    }
}
