//! Objectives: what a plan asks a run to hold, and how each came out. A mark stands behind each:
//! ✓ met, ✗ missed, – not judged, with the cause in short where the figures have it.

use metronome_proto::{
    json::values,
    threshold::Threshold,
    v1::{self, objective::Observed, threshold::Limit},
};

use super::figures::{self, UNKNOWN, known};

/// What a plan is judged by beside the default objectives. `None` when those alone do.
pub(super) fn of_plan(plan: &v1::Plan) -> Option<String> {
    let text = |threshold| {
        let threshold = Threshold::try_from(threshold);
        // One that this version does not have.
        threshold.map_or_else(|_| UNKNOWN.into(), |threshold| threshold.to_string())
    };
    let of_groups = plan.groups.iter().flat_map(|group| {
        let name = figures::clean(&group.name);
        let thresholds = group.thresholds.iter();
        thresholds.map(move |threshold| format!("{name}:{}", text(threshold)))
    });
    let thresholds: Vec<String> = plan.thresholds.iter().map(text).chain(of_groups).collect();
    let ends = if plan.abort_on_fail {
        "; it ends once a threshold cannot hold"
    } else {
        ""
    };
    match (thresholds.is_empty(), plan.no_default_objectives) {
        (true, false) => None,
        (true, true) => Some("no objectives".into()),
        (false, true) => Some(format!("judged by {} alone{ends}", thresholds.join(", "))),
        (false, false) => Some(format!(
            "judged by {}, and defaults{ends}",
            thresholds.join(", ")
        )),
    }
}

/// One objective with its mark: `latency p99.9 1.84 ms ≤ 100 ms ✓`.
pub(super) fn part(objective: &v1::Objective) -> String {
    let threshold = objective.threshold.unwrap_or_default();
    let metric = figures::word(values::metric(threshold.metric));
    let quantile = threshold.statistic_name();
    let limit = known(threshold.limit, |limit| limit_in_words(limit, &threshold));
    let observed = observed(objective);
    let is_equal = threshold.comparison() == v1::Comparison::Equal;
    let asked = condition(&threshold);
    let condition = match (objective.status(), observed) {
        (v1::OutcomeStatus::NotHeld, observed) => {
            // What is not so must not read as an equation.
            let asked = if is_equal { limit } else { asked };
            format!("{}, asked for {asked}", known(observed, |text| text))
        }
        (_, Some(observed)) if is_equal && observed == limit => observed,
        // What was not judged was not observed, which its mark has already.
        (v1::OutcomeStatus::NotJudged, None) => asked,
        (_, observed) => format!("{} {asked}", known(observed, |text| text)),
    };
    let mark = match objective.status() {
        v1::OutcomeStatus::Held => "✓".into(),
        v1::OutcomeStatus::NotHeld => "✗".into(),
        v1::OutcomeStatus::NotJudged => not_judged(objective),
        v1::OutcomeStatus::Unspecified => figures::word(values::outcome(objective.status)),
    };
    let is_of_some = objective.figures.contains_key("group_names");
    let whose = is_of_some.then(|| "of the groups with a schedule".to_owned());
    let of_group = !objective.group.is_empty();
    let group = of_group.then(|| format!("{}:", figures::clean(&objective.group)));
    let parts = [
        group,
        Some(metric),
        quantile,
        whose.filter(|_| !of_group),
        Some(condition),
        Some(mark),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The threshold as `--threshold` takes it, with its group. `None` for one that this version does
/// not have.
pub(crate) fn spelt(objective: &v1::Objective) -> Option<String> {
    let threshold = Threshold::try_from(objective.threshold.as_ref()?).ok()?;
    Some(match &objective.group[..] {
        "" => threshold.to_string(),
        group => format!("{group}:{threshold}"),
    })
}

/// What it is about and what was asked for: `latency p99.9 ≤ 100 ms`.
pub(crate) fn asked_for(objective: &v1::Objective) -> String {
    let threshold = objective.threshold.unwrap_or_default();
    let metric = figures::word(values::metric(threshold.metric));
    let quantile = threshold.statistic_name();
    let parts = [Some(metric), quantile, Some(condition(&threshold))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What the limit was compared with. `None` where it is not known.
pub(crate) fn observed(objective: &v1::Objective) -> Option<String> {
    let threshold = objective.threshold.unwrap_or_default();
    objective.observed.map(|observed| match observed {
        Observed::ObservedNs(ns) => observed_time(ns, &threshold),
        Observed::ObservedCount(packets) => amount(packets, &threshold),
        Observed::ObservedSharePpm(ppm) => figures::share(ppm),
    })
}

/// The limit with its operator: `≤ 100 ms`.
fn condition(threshold: &v1::Threshold) -> String {
    let comparison = known(values::comparison(threshold.comparison), operator);
    let limit = known(threshold.limit, |limit| limit_in_words(limit, threshold));
    format!("{comparison} {limit}")
}

fn limit_in_words(limit: Limit, threshold: &v1::Threshold) -> String {
    match limit {
        Limit::Ns(ns) => figures::time_exact(ns),
        Limit::Count(packets) => amount(packets, threshold),
        Limit::SharePpm(ppm) => figures::share(ppm),
    }
}

/// Packets, or packets a second.
fn amount(packets: u64, threshold: &v1::Threshold) -> String {
    let unit = match threshold.metric() {
        v1::Metric::Rate => " packets/s",
        _ => "",
    };
    figures::count(packets) + unit
}

/// The mark of what was not judged, and why in short.
fn not_judged(objective: &v1::Objective) -> String {
    cause(objective).map_or_else(|| UNKNOWN.into(), |cause| format!("{UNKNOWN} ({cause})"))
}

/// Why it was not judged, in short: each cause has a figure of its own. `None` without one.
pub(crate) fn cause(objective: &v1::Objective) -> Option<&'static str> {
    let causes = [
        ("scheduled_min", "too few packets"),
        ("late", "generator late"),
        ("uncertain", "spread uncertain"),
    ];
    let mut causes = causes.into_iter();
    let found = causes.find(|(figure, _)| objective.figures.contains_key(*figure));
    found.map(|(_, cause)| cause)
}

/// Three digits, but all of them where three would make it the limit itself.
fn observed_time(ns: i64, threshold: &v1::Threshold) -> String {
    match threshold.limit {
        Some(Limit::Ns(limit)) if limit != ns && figures::time(limit) == figures::time(ns) => {
            figures::time_exact(ns)
        }
        _ => figures::time(ns),
    }
}

fn operator(operator: values::Word) -> String {
    match operator.as_ref() {
        "<=" => "≤".into(),
        ">=" => "≥".into(),
        "==" => "=".into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(
        threshold: &str,
        status: v1::OutcomeStatus,
        observed: Option<Observed>,
    ) -> v1::Objective {
        let threshold: Threshold = threshold.parse().expect("a threshold");
        v1::Objective {
            threshold: Some(threshold.to_proto()),
            status: status.into(),
            observed,
            ..v1::Objective::default()
        }
    }

    #[test]
    fn an_objective_has_its_figures_and_its_mark() {
        use Observed::{ObservedCount as Packets, ObservedNs as Ns, ObservedSharePpm as Ppm};
        use v1::OutcomeStatus::{Held, NotHeld, NotJudged};
        for (threshold, status, observed, text) in [
            ("lost==0", Held, Some(Packets(0)), "lost 0 ✓"),
            (
                "lost==0",
                NotHeld,
                Some(Packets(1_234)),
                "lost 1,234, asked for 0 ✗",
            ),
            ("lost==0", NotHeld, None, "lost –, asked for 0 ✗"),
            (
                "kept_up>=99.9%",
                Held,
                Some(Ppm(1_000_000)),
                "kept up 100 % ≥ 99.9 % ✓",
            ),
            (
                "kept_up>=99.9%",
                NotHeld,
                Some(Ppm(998_999)),
                "kept up 99.8999 %, asked for ≥ 99.9 % ✗",
            ),
            (
                "latency.p99.9<=100ms",
                Held,
                Some(Ns(1_840_500)),
                "latency p99.9 1.84 ms ≤ 100 ms ✓",
            ),
            (
                "latency.p99<200us",
                NotHeld,
                Some(Ns(200_004)),
                "latency p99 200.004 µs, asked for < 200 µs ✗",
            ),
            (
                "latency.max<1s",
                NotHeld,
                None,
                "latency max –, asked for < 1 s ✗",
            ),
            (
                "spread.p99.9<=100ms",
                NotJudged,
                None,
                "spread p99.9 ≤ 100 ms –",
            ),
        ] {
            assert_eq!(part(&objective(threshold, status, observed)), text);
        }
        assert_eq!(part(&v1::Objective::default()), "– – – – –");
        let mut of_some = objective("latency.p99<50ms", Held, Some(Ns(16_300_000)));
        let names = ("group_names".to_owned(), "paced".into());
        of_some.figures.extend([names]);
        assert_eq!(
            part(&of_some),
            "latency p99 of the groups with a schedule 16.3 ms < 50 ms ✓"
        );
        let later = v1::Objective {
            threshold: Some(v1::Threshold {
                metric: 77,
                comparison: 8,
                ..v1::Threshold::default()
            }),
            status: 9,
            ..v1::Objective::default()
        };
        assert_eq!(part(&later), "77 – 8 – 9");
    }

    #[test]
    fn what_was_not_judged_has_its_cause_in_short() {
        for (threshold, observed, figures, text) in [
            (
                "latency.p99.9<=100ms",
                None,
                &["above", "scheduled_min"][..],
                "latency p99.9 ≤ 100 ms – (too few packets)",
            ),
            (
                "kept_up>=99.9%",
                Some(Observed::ObservedSharePpm(998_000)),
                &["behind", "late"],
                "kept up 99.8 % ≥ 99.9 % – (generator late)",
            ),
            (
                "spread.p99.9<=200ms",
                None,
                &["uncertain"],
                "spread p99.9 ≤ 200 ms – (spread uncertain)",
            ),
            ("lost=0", None, &[], "lost = 0 –"),
        ] {
            let figures = figures.iter().map(|name| ((*name).into(), 1_u32.into()));
            let objective = v1::Objective {
                figures: figures.collect(),
                ..objective(threshold, v1::OutcomeStatus::NotJudged, observed)
            };
            assert_eq!(part(&objective), text);
        }
    }

    #[test]
    fn a_plan_has_its_thresholds_as_flags_spell_them() {
        let threshold = |text: &str| {
            let threshold: Threshold = text.parse().expect("a threshold");
            threshold.to_proto()
        };
        let plan = |thresholds: &[&str], no_default_objectives| v1::Plan {
            thresholds: thresholds.iter().map(|text| threshold(text)).collect(),
            no_default_objectives,
            ..v1::Plan::default()
        };
        assert_eq!(of_plan(&plan(&[], false)), None);
        assert_eq!(of_plan(&plan(&[], true)).as_deref(), Some("no objectives"));
        let mut of_group = v1::Plan {
            abort_on_fail: true,
            ..plan(&["lost<=3"], true)
        };
        of_group.groups.push(v1::Group {
            name: "a".into(),
            thresholds: vec![threshold("lost==0")],
            ..v1::Group::default()
        });
        assert_eq!(
            of_plan(&of_group).as_deref(),
            Some("judged by lost<=3, a:lost==0 alone; it ends once a threshold cannot hold")
        );
        let two = ["latency.p99<200us", "lost<=3"];
        assert_eq!(
            of_plan(&plan(&two, false)).as_deref(),
            Some("judged by latency.p99<200us, lost<=3, and defaults")
        );
        let mut alone = plan(&two, true);
        alone.thresholds[0].metric = 77;
        assert_eq!(
            of_plan(&alone).as_deref(),
            Some("judged by –, lost<=3 alone")
        );
    }
}
