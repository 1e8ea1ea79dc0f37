//! Plots of one run as SVG, for documents that show pictures: the times over time, the percentile
//! curves, the rate, clients × time. They are readable on light and on dark ground, and have no
//! script.
//!
//! | module | subject |
//! |---|---|
//! | `heat` | clients × time: shades on one scale |
//! | `picture` | axes and lines as SVG: what is not known leaves a gap |
//! | `scale` | where a value lies, and which values are marked |
//!
//! Absent on purpose: colours as the only difference between lines.

mod heat;
mod picture;
mod scale;

use metronome_proto::{
    json::times::quantile_ns,
    profile::{Profile, hz},
    quantity::{few_digits, time_short},
    series,
    threshold::quantile_name,
    v1::{self, Distribution, Times},
};

use self::{
    picture::{Line, Picture},
    scale::Scale,
};

/// A plot: the name of its file, and the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plot {
    /// `times.svg`.
    pub name: &'static str,
    /// The document.
    pub svg: String,
}

/// The names of all plots that there can be.
pub const NAMES: [&str; 4] = [TIMES, PERCENTILES, RATE, CLIENTS];

const TIMES: &str = "times.svg";
const PERCENTILES: &str = "percentiles.svg";
const RATE: &str = "rate.svg";
const CLIENTS: &str = "clients.svg";

/// The quantiles over time, ppm.
const OVER_TIME_PPM: [u32; 3] = [500_000, 990_000, 999_000];
/// The quantiles of a curve, ppm.
const CURVE_PPM: [u32; 5] = [500_000, 900_000, 990_000, 999_000, 999_900];

type TimeOf = fn(&Times) -> Option<&Distribution>;

/// The times of a run: their names, and which they are. The first that is known is the main one.
const PARTS: [(&str, TimeOf); 7] = [
    ("latency", |times| times.latency.as_ref()),
    ("spread", |times| times.spread.as_ref()),
    ("one-way", |times| times.one_way.as_ref()),
    ("rtt from due", |times| times.rtt_from_due.as_ref()),
    ("rtt from write", |times| times.rtt_from_write.as_ref()),
    ("transit", |times| times.transit.as_ref()),
    ("lateness", |times| times.lateness.as_ref()),
];

/// The plots of a run that has a report: those for which something is known.
#[must_use]
pub fn of_run(run: &v1::Run, of: &v1::Series) -> Vec<Plot> {
    let Some(report) = &run.report else {
        return Vec::new();
    };
    let plots = [
        (TIMES, times_over_time(report, of)),
        (PERCENTILES, percentiles(report)),
        (RATE, rate(run, report, of)),
        (CLIENTS, heat::svg(&of.points)),
    ];
    let plots = plots.into_iter();
    plots
        .filter_map(|(name, svg)| Some(Plot { name, svg: svg? }))
        .collect()
}

fn times_over_time(report: &v1::Report, of: &v1::Series) -> Option<String> {
    let points: Vec<_> = of
        .points
        .iter()
        .map(|of| series::times(of, report))
        .collect();
    let is_known = |part: &TimeOf| points.iter().any(|times| part(times).is_some());
    let (name, part) = PARTS.into_iter().find(|(_, part)| is_known(part))?;
    let ns = |of: &dyn Fn(&Distribution) -> Option<i64>| {
        let values = points.iter().map(|times| part(times).and_then(of));
        values.map(|ns| ns.map(|ns| ns as f64)).collect::<Vec<_>>()
    };
    let mut lines: Vec<_> = OVER_TIME_PPM
        .into_iter()
        .map(|ppm| Line::new(quantile_name(ppm), ns(&|of| quantile_ns(of, ppm))))
        .collect();
    lines.push(Line::new("max".into(), ns(&|of| Some(of.max_ns))));
    let values = lines.iter().flat_map(|line| line.values.iter().flatten());
    Some(
        Picture {
            title: format!("{name} over time"),
            x: Scale::linear(0.0, end_s(of)),
            y: Scale::decades(values.copied()),
            x_text: |s| format!("{} s", few_digits(s)),
            y_text: |ns| time_short(ns as i64),
            xs: middles_s(of),
            lines,
        }
        .svg(),
    )
}

fn percentiles(report: &v1::Report) -> Option<String> {
    let times = report.times.as_ref()?;
    let lines: Vec<_> = PARTS
        .into_iter()
        .filter(|(name, _)| *name != "spread" || times.latency.is_none())
        .filter_map(|(name, part)| Some((name, part(times)?)))
        .map(|(name, of)| {
            let values = CURVE_PPM.map(|ppm| quantile_ns(of, ppm).map(|ns| ns as f64));
            Line::new(name.into(), values.to_vec())
        })
        .collect();
    let values = lines.iter().flat_map(|line| line.values.iter().flatten());
    let y = Scale::decades(values.copied());
    let xs: Vec<_> = (0..CURVE_PPM.len()).map(|index| index as f64).collect();
    (!lines.is_empty()).then(|| {
        Picture {
            title: "times by percentile".into(),
            x: Scale::marked(&xs),
            y,
            x_text: |at| {
                let ppm = CURVE_PPM.get(at.round() as usize);
                ppm.map_or_else(String::new, |ppm| quantile_name(*ppm))
            },
            y_text: |ns| time_short(ns as i64),
            xs,
            lines,
        }
        .svg()
    })
}

fn rate(run: &v1::Run, report: &v1::Report, of: &v1::Series) -> Option<String> {
    let received: Vec<_> = of
        .points
        .iter()
        .map(|point| {
            let packets = point.receiver?.received;
            (point.span_ns > 0).then(|| packets as f64 * 1e9 / point.span_ns as f64)
        })
        .collect();
    received.iter().flatten().next()?;
    let mut lines = vec![Line::new("received".into(), received)];
    if let Some(offered) = steady_hz(run, report) {
        let values = vec![Some(offered); of.points.len()];
        lines.insert(0, Line::new("offered".into(), values));
    }
    let values = lines.iter().flat_map(|line| line.values.iter().flatten());
    let most = values.copied().fold(0.0, f64::max);
    Some(
        Picture {
            title: "packets per second".into(),
            x: Scale::linear(0.0, end_s(of)),
            y: Scale::linear(0.0, most * 1.08),
            x_text: |s| format!("{} s", few_digits(s)),
            y_text: |hz| match hz {
                0.0..1e3 => format!("{}/s", few_digits(hz)),
                1e3..1e6 => format!("{} k/s", few_digits(hz / 1e3)),
                _ => format!("{} M/s", few_digits(hz / 1e6)),
            },
            xs: middles_s(of),
            lines,
        }
        .svg(),
    )
}

/// What a plan offers all the time. `None` for one whose rate changes.
fn steady_hz(run: &v1::Run, report: &v1::Report) -> Option<f64> {
    let is_steady = |group: &v1::Group| {
        let profile = group.profile.as_ref().map(Profile::try_from);
        matches!(
            profile,
            Some(Ok(Profile::Constant { .. } | Profile::Poisson { .. }))
        )
    };
    let groups = &run.plan.as_ref()?.groups;
    let offered = report.rate.as_ref()?.offered_millihertz?;
    groups.iter().all(is_steady).then(|| hz(offered))
}

/// The middle of each point, s.
fn middles_s(of: &v1::Series) -> Vec<f64> {
    let middle =
        |point: &v1::SeriesPoint| (point.from_ns as f64 + point.span_ns as f64 / 2.0) / 1e9;
    of.points.iter().map(middle).collect()
}

fn end_s(of: &v1::Series) -> f64 {
    let end = |point: &v1::SeriesPoint| (point.from_ns as f64 + point.span_ns as f64) / 1e9;
    of.points.last().map_or(1.0, end).max(1e-3)
}

#[cfg(test)]
mod tests {
    use metronome_proto::histogram::Histogram;

    use super::*;

    fn point(second: i64, ns: Option<u64>) -> v1::SeriesPoint {
        let mut histogram = Histogram::default();
        for _ in 0..1_000 {
            histogram.record(ns.unwrap_or_default());
        }
        v1::SeriesPoint {
            from_ns: second * 1_000_000_000,
            span_ns: 1_000_000_000,
            receiver: Some(v1::ReceiverCounts {
                received: 1_000,
                ..v1::ReceiverCounts::default()
            }),
            latency: ns.map(|_| histogram.to_buckets()),
            clients: Some(
                v1::ClientTimes::empty(v1::Metric::Latency, 1)
                    .with(ns.map(|ns| (0, ns as i64)).into_iter()),
            ),
            ..v1::SeriesPoint::default()
        }
    }

    fn run() -> v1::Run {
        let mut histogram = Histogram::default();
        for ns in 1..10_000 {
            histogram.record(ns);
        }
        let times = Times {
            latency: histogram.distribution(false),
            ..Times::default()
        };
        v1::Run {
            report: Some(v1::Report {
                times: Some(times),
                ..v1::Report::default()
            }),
            ..v1::Run::default()
        }
    }

    #[test]
    fn a_run_has_a_plot_of_whatever_is_known_and_each_is_a_document() {
        let points = [point(0, Some(4_000)), point(1, None), point(2, Some(9_000))];
        let series = v1::Series {
            points: points.to_vec(),
            ..v1::Series::default()
        };
        let plots = of_run(&run(), &series);
        assert_eq!(
            plots.iter().map(|plot| plot.name).collect::<Vec<_>>(),
            NAMES
        );
        for plot in plots {
            let document = roxmltree::Document::parse(&plot.svg).unwrap();
            let lines = document.descendants().filter(|it| it.has_tag_name("path"));
            assert!(lines.count() > 0, "{}", plot.name);
            assert!(
                !plot.svg.contains("<script") && !plot.svg.contains("NaN"),
                "{}",
                plot.svg
            );
        }
    }

    #[test]
    fn what_is_not_known_has_no_plot() {
        assert!(of_run(&v1::Run::default(), &v1::Series::default()).is_empty());
        let plots = of_run(&run(), &v1::Series::default());
        assert_eq!(
            plots.iter().map(|plot| plot.name).collect::<Vec<_>>(),
            [PERCENTILES]
        );
    }
}
