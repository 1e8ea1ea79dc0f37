//! The times of a run: a row per time and a column per quantile, or the other way round where the
//! screen is narrow.

use std::collections::BTreeMap;

use metronome_proto::{
    histogram::QUANTILES_PPM,
    json::times::quantile_ns,
    threshold::quantile_name,
    v1::{self, Metric},
};

use super::{
    explain::Label,
    figures::{self, known},
    rows::{LABEL_WIDTH, Rows},
    table::{Column, table},
};

/// What a row per time needs at least.
const WIDE: usize = 64;

type Shown<'a> = (Label, Option<&'a v1::Distribution>, &'static str);

/// The times that a summary shows. Those between clocks stand where transit and latency stand on
/// one clock. Spread is left out where latency is known, of which it has only the part that varies,
/// and no objective is about it.
fn shown(report: &v1::Report) -> Vec<Shown<'_>> {
    let times = report.times.as_ref();
    let of = |part: fn(&v1::Times) -> Option<&v1::Distribution>| times.and_then(part);
    let latency = of(|times| times.latency.as_ref());
    let transit = of(|times| times.transit.as_ref());
    let one_way = of(|times| times.one_way.as_ref());
    let queueing = of(|times| times.queueing.as_ref());
    let lateness = of(|times| times.lateness.as_ref());
    let is_between_clocks = one_way.or(queueing).is_some();
    let mut shown = vec![(Label::Lateness, lateness, "due → written")];
    if !is_between_clocks || transit.or(latency).is_some() {
        shown.push((Label::Transit, transit, "written → read"));
        shown.push((Label::Latency, latency, "due → read"));
    }
    if is_between_clocks {
        shown.push((Label::OneWay, one_way, "written → read"));
        shown.push((Label::Queueing, queueing, "above the floor"));
    }
    let outcome = report.outcome.iter();
    let mut objectives = outcome.flat_map(|outcome| &outcome.objectives);
    let is_asked = objectives.any(|objective| {
        let threshold = objective.threshold.as_ref();
        threshold.is_some_and(|threshold| threshold.metric() == Metric::Spread)
    });
    if latency.is_none() || is_asked {
        let spread = of(|times| times.spread.as_ref());
        shown.push((Label::Spread, spread, "above the best"));
    }
    let round_trips = [
        (
            Label::RttFromDue,
            of(|times| times.rtt_from_due.as_ref()),
            "due → reply",
        ),
        (
            Label::RttFromWrite,
            of(|times| times.rtt_from_write.as_ref()),
            "written → reply",
        ),
    ];
    // Both or neither: one alone is not known, which must be seen.
    if round_trips.iter().any(|(_, times, _)| times.is_some()) {
        shown.extend(round_trips);
    }
    if let Some(probe_rtt) = &report.probe_rtt {
        shown.push((Label::ProbeRtt, Some(probe_rtt), "probe → answer"));
    }
    shown
}

/// A time that is known: its name, from when to when it is, and of each quantile that is shown the
/// value, ns, where that is known.
pub(crate) type Known = (&'static str, &'static str, Vec<(String, Option<i64>)>);

/// The times of a summary that are known.
pub(crate) fn known_times(report: &v1::Report) -> Vec<Known> {
    let shown = shown(report).into_iter();
    let known = shown.filter_map(|(label, times, meaning)| Some((label, times?, meaning)));
    let each = known.map(|(label, times, meaning)| {
        let quantiles = quantiles().into_iter();
        let values = quantiles.map(|(name, of)| (name, of(times))).collect();
        (label.word(), meaning, values)
    });
    each.collect()
}

/// How far off the times between clocks can be, and the starts of the agents.
fn clocks(report: &v1::Report) -> Vec<String> {
    let times = report.times.as_ref();
    let one_way = times.and_then(|times| times.one_way.as_ref());
    let queueing = times.and_then(|times| times.queueing.as_ref());
    let bound = |name: &str, times: &v1::Distribution| {
        let word = match times.bound_is_claimed {
            true => "claimed",
            false => "proved",
        };
        format!("{name} ± {}, {word}", known(times.bound_ns, figures::time))
    };
    let mut parts = Vec::new();
    if let Some(times) = one_way {
        let bound = bound("one-way", times);
        parts.push(format!("{bound}; exact if the fastest path is symmetric"));
    }
    parts.extend(queueing.map(|times| {
        let bound = known(times.bound_ns, figures::time);
        format!("queueing ± {bound}, estimated")
    }));
    parts.extend(start_skew(&report.agents));
    parts
}

/// The greatest difference of the starts of two agents, and how far off it can be at most.
fn start_skew(agents: &[v1::AgentReport]) -> Option<String> {
    let skews = agents.iter().filter_map(|of| of.start_skew_ns);
    let bounds = agents.iter().filter_map(|of| of.start_skew_bound_ns);
    let (least, most) = (skews.clone().min()?, skews.max()?);
    let apart = figures::time(most.saturating_sub(least));
    let bound = known(bounds.max(), figures::time);
    Some(format!("starts within {apart} ± {bound}"))
}

/// The times, and how many packets have none.
pub(super) fn times(rows: &mut Rows, report: &v1::Report) {
    let shown = shown(report);
    let text = match rows.width >= WIDE {
        true => by_time(&shown, rows.width),
        false => {
            // Their names are long: they have a table of their own.
            let (others, round_trips): (Vec<Shown<'_>>, Vec<_>) = shown
                .iter()
                .partition(|(label, ..)| !label.is_of_round_trips());
            let tables = [others, round_trips]
                .into_iter()
                .filter(|of| !of.is_empty());
            tables.map(|of| by_quantile(&of, rows.width)).collect()
        }
    };
    rows.text.push_str(&text);
    rows.labels.push(Label::Quantiles);
    rows.labels.extend(shown.iter().map(|(label, ..)| *label));
    let counts = report.counts.and_then(|counts| counts.generator);
    let scheduled = counts.map(|counts| counts.scheduled);
    let (round_trips, others): (Vec<_>, Vec<_>) = shown
        .into_iter()
        .partition(|(label, ..)| label.is_of_round_trips());
    let requested = counts.and_then(|counts| counts.replies_requested);
    let mut missing = no_time(&others, scheduled, "packets");
    missing.extend(no_time(&round_trips, requested, "asked for"));
    let clocks = clocks(report);
    if !clocks.is_empty() {
        rows.labelled(Label::Clocks, clocks);
    }
    if !missing.is_empty() {
        rows.labelled(Label::NoTime, missing);
    }
}

fn by_time(shown: &[Shown<'_>], width: usize) -> String {
    let label_width = LABEL_WIDTH - 2;
    let mut columns = vec![Column::text("", shown, |(label, ..)| {
        format!("{:<label_width$}", label.word())
    })];
    columns.extend(
        quantiles()
            .into_iter()
            .zip([3, 5, 2, 1, 4, 0])
            .map(|((name, of), rank)| {
                Column::number(&name, shown, |(_, times, _)| {
                    known(times.and_then(&of), figures::time)
                })
                .rank(rank)
            }),
    );
    columns.push(Column::text("", shown, |(.., meaning)| (*meaning).into()).rank(6));
    table(columns, width)
}

fn by_quantile(shown: &[Shown<'_>], width: usize) -> String {
    let rows = quantiles();
    let mut columns = vec![Column::text("", &rows, |(name, _)| name.clone())];
    // Transit and latency are known both or neither.
    let shown = shown
        .iter()
        .filter(|(label, times, _)| times.is_some() || *label != Label::Transit);
    columns.extend(shown.map(|(label, times, _)| {
        Column::number(label.word(), &rows, |(_, of)| {
            known(times.and_then(of), figures::time)
        })
    }));
    table(columns, width)
}

type Quantile = Box<dyn Fn(&v1::Distribution) -> Option<i64>>;

/// Each quantile that is shown, by its name.
fn quantiles() -> Vec<(String, Quantile)> {
    let quantile = |ppm| -> (String, Quantile) {
        (
            quantile_name(ppm),
            Box::new(move |times| quantile_ns(times, ppm)),
        )
    };
    let max: (String, Quantile) = ("max".into(), Box::new(|times| Some(times.max_ns)));
    QUANTILES_PPM
        .into_iter()
        .map(quantile)
        .chain([max])
        .collect()
}

/// How many of the `scheduled` packets have no time because they were skipped or lost, so that they
/// are in none of the quantiles. Of spread the first packet of each client has none either. Of
/// round trips it is those that asked for a reply.
fn no_time(shown: &[Shown<'_>], scheduled: Option<u64>, what: &str) -> Vec<String> {
    let mut names: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for (label, times, _) in shown {
        let Some(times) = times.filter(|times| times.missing != Some(0)) else {
            continue;
        };
        let missing = match label {
            Label::Spread => scheduled.and_then(|scheduled| scheduled.checked_sub(times.count)),
            _ => times.missing,
        };
        names.entry(missing).or_default().push(label.word());
    }
    let line = |(missing, names): (_, Vec<&str>)| {
        format!(
            "{} of {} {what} in {}",
            known(missing, figures::count),
            known(scheduled, figures::count),
            names.join(", ")
        )
    };
    names.into_iter().map(line).collect()
}
