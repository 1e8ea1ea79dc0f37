//! Thresholds as text: `latency.p99<200us`, `transit.mean<50us`, `lost==0`, `kept_up>=99.9%`,
//! `rate>=99%`, `rate>=99k/s`, with the name of a group and a colon before one of a group.

use std::{fmt, ops::Range, str::FromStr};

use super::{COMPARISONS, MEAN, METRICS, MetricKind, PPM, Threshold, quantile_name};
use crate::{exact::scaled, names::is_name, v1::Metric};

/// A threshold as a flag gives it: of the whole run, or of a group by its name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AskedThreshold {
    /// The name of the group, as it is written. `None`: the whole run.
    pub group: Option<String>,
    /// What is asked.
    pub threshold: Threshold,
}

/// A text that is no threshold, or one that cannot hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadThreshold {
    /// Where in the text the problem is: a byte, at most its length.
    pub byte: usize,
    /// A phrase to follow the text: what is wrong with it, and the way out.
    pub problem: String,
}

/// The short name of [`Metric::RttFromDue`].
const RTT: &str = "rtt";

/// The units of times, the longer names first, each with the power of ten of its ns.
const UNITS_NS: [(&str, u32); 4] = [("ns", 0), ("us", 3), ("ms", 6), ("s", 9)];

/// The units of rates, the longer names first, each with the power of ten of its packets/s.
const UNITS_PER_S: [(&str, u32); 4] = [("M/s", 6), ("k/s", 3), ("K/s", 3), ("/s", 0)];

fn quantile_of(name: &str) -> Option<u32> {
    if name == "max" {
        return Some(PPM);
    }
    let ppm = scaled(name.strip_prefix('p')?, 4)?;
    u32::try_from(ppm).ok().filter(|ppm| (1..PPM).contains(ppm))
}

/// `latency.p99<200us`, `lateness.max<=1ms`, `lost==0`, `kept_up>=99.9%`.
impl FromStr for Threshold {
    type Err = BadThreshold;

    fn from_str(text: &str) -> Result<Self, BadThreshold> {
        let found = COMPARISONS
            .iter()
            .filter_map(|&(operator, comparison)| {
                Some((text.find(operator)?, operator, comparison))
            })
            .min_by_key(|(at, operator, _)| (*at, std::cmp::Reverse(operator.len())));
        let Some((at, operator, comparison)) = found else {
            let problem = format!("a comparison is missing; {EXAMPLES}");
            return Err(BadThreshold::at(text.trim_end().len(), problem));
        };
        let name = trimmed(text, 0..at);
        let limit = trimmed(text, at + operator.len()..text.len());
        let (name, quantile) = match text[name.clone()].find('.') {
            Some(dot) => {
                let dot = name.start + dot;
                (name.start..dot, Some(dot + 1..name.end))
            }
            None => (name, None),
        };
        let metric = match metric_of(text, name.clone())? {
            Metric::Rate if text[limit.clone()].ends_with('%') => Metric::RateShare,
            metric => metric,
        };
        let kind = metric.kind().unwrap_or(MetricKind::Count);
        Self {
            metric,
            quantile_ppm: quantile_ppm_of(text, (name.clone(), quantile), kind)?,
            comparison,
            limit: limit_of(kind, &text[limit.clone()])
                .map_err(|problem| BadThreshold::at(limit.start, problem))?,
        }
        .checked()
        .map_err(|problem| BadThreshold::at(name.start, problem))
    }
}

/// A threshold, with the name of a group and a colon before it where it is of one:
/// `sensors:latency.p99<200us`.
impl FromStr for AskedThreshold {
    type Err = BadThreshold;

    fn from_str(text: &str) -> Result<Self, BadThreshold> {
        let Some((group, threshold)) = text.split_once(':') else {
            let threshold = text.parse()?;
            return Ok(Self {
                group: None,
                threshold,
            });
        };
        let name = group.trim();
        if !is_name(name) {
            let problem = format!(
                "{name:?} is no name of a group; 1 to 63 characters of a-z, 0-9 and - are, as in \
                 sensors:lost==0"
            );
            return Err(BadThreshold::at(
                trimmed(text, 0..group.len()).start,
                problem,
            ));
        }
        let moved = |bad: BadThreshold| BadThreshold::at(group.len() + 1 + bad.byte, bad.problem);
        Ok(Self {
            group: Some(name.into()),
            threshold: threshold.parse().map_err(moved)?,
        })
    }
}

impl BadThreshold {
    fn at(byte: usize, problem: String) -> Self {
        Self { byte, problem }
    }
}

impl fmt::Display for BadThreshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problem)
    }
}

impl std::error::Error for BadThreshold {}

/// Every metric with what it is, in a line for people who have written another one.
#[must_use]
pub fn metrics_in_words() -> String {
    let names = |kind| {
        let metrics = METRICS
            .iter()
            .filter(move |metric| metric.kind() == Some(kind));
        let names: Vec<_> = metrics.filter_map(|metric| metric.word()).collect();
        names.join(", ")
    };
    let share = Metric::KeptUp.word().unwrap_or_default();
    format!(
        "the metrics are {} (numbers of packets), {share} (a share), {} (a share of what was \
         offered, or packets/s), and the times {}, each with .mean or a quantile such as .p50, \
         .p99.9 or .max",
        names(MetricKind::Count),
        names(MetricKind::Rate),
        names(MetricKind::Time)
    )
}

/// A part of a text without the blanks around it.
fn trimmed(text: &str, part: Range<usize>) -> Range<usize> {
    let inner = &text[part.clone()];
    let start = part.start + (inner.len() - inner.trim_start().len());
    start..start + inner.trim().len()
}

fn metric_of(text: &str, name: Range<usize>) -> Result<Metric, BadThreshold> {
    let start = name.start;
    let name = &text[name];
    let mut metrics = METRICS.into_iter();
    metrics
        .find(|metric| metric.word() == Some(name))
        .or((name == RTT).then_some(Metric::RttFromDue))
        .ok_or_else(|| BadThreshold::at(start, format!("{name:?} is no metric")))
}

fn quantile_ppm_of(
    text: &str,
    (name, quantile): (Range<usize>, Option<Range<usize>>),
    kind: MetricKind,
) -> Result<Option<u32>, BadThreshold> {
    let end = name.end;
    let name = &text[name];
    match (kind, quantile) {
        (MetricKind::Time, Some(at)) if text[at.clone()] == *MEAN => Ok(None),
        (MetricKind::Time, Some(at)) => {
            let quantile = &text[at.clone()];
            let ppm = quantile_of(quantile).ok_or_else(|| {
                let problem = format!(
                    "{quantile:?} is no quantile; p50, p99, p99.9 and max are, for example, and \
                     mean is the mean"
                );
                BadThreshold::at(at.start, problem)
            });
            ppm.map(Some)
        }
        (MetricKind::Time, None) => {
            let problem = format!("{name} needs a quantile: {name}.p99, {name}.max or {name}.mean");
            Err(BadThreshold::at(end, problem))
        }
        (_, Some(at)) => {
            let problem = format!("{name} has no quantiles");
            Err(BadThreshold::at(at.start - 1, problem))
        }
        (_, None) => Ok(None),
    }
}

const EXAMPLES: &str = "a threshold is written as latency.p99<200us, lost==0 or kept_up>=99.9%";

/// A limit exactly as it is written, or why it is none.
fn limit_of(kind: MetricKind, text: &str) -> Result<u64, String> {
    match kind {
        MetricKind::Count => text.parse().map_err(|_| {
            format!("{text:?} is no number of packets; whole ones without a unit are")
        }),
        MetricKind::Rate => rate_of(text).ok_or_else(|| {
            format!(
                "{text:?} is no rate; whole packets per second such as 99000, 99k/s or 1.5M/s are, \
                 and a share of what was offered such as 99%"
            )
        }),
        MetricKind::Share => text
            .strip_suffix('%')
            .and_then(|percent| scaled(percent.trim(), 4))
            .filter(|ppm| *ppm <= u64::from(PPM))
            .ok_or_else(|| format!("{text:?} is no share; 0% to 100% in steps of 0.0001% are")),
        MetricKind::Time => UNITS_NS
            .iter()
            .find_map(|&(unit, decimals)| scaled(text.strip_suffix(unit)?.trim(), decimals))
            .filter(|ns| i64::try_from(*ns).is_ok())
            .ok_or_else(|| {
                format!("{text:?} is no time; whole ns with a unit are: ns, us, ms or s")
            }),
    }
}

/// Whole packets a second, with the unit or without it.
fn rate_of(text: &str) -> Option<u64> {
    let number = |&(unit, decimals): &(&str, u32)| {
        let bare = unit.trim_end_matches("/s");
        let digits = text.strip_suffix(unit);
        let digits = digits.or_else(|| text.strip_suffix(bare));
        scaled(digits?.trim(), decimals)
    };
    UNITS_PER_S.iter().find_map(number)
}

/// The form that [`FromStr`] reads.
impl fmt::Display for Threshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.metric.word().unwrap_or_default())?;
        match self.quantile_ppm {
            Some(ppm) => write!(formatter, ".{}", quantile_name(ppm))?,
            None if self.is_mean() => write!(formatter, ".{MEAN}")?,
            None => {}
        }
        formatter.write_str(self.comparison.operator().unwrap_or_default())?;
        match self.metric.kind() {
            Some(MetricKind::Share) => write!(formatter, "{}%", self.limit as f64 / 1e4),
            Some(MetricKind::Time) => {
                let ns_of = |decimals| 10_u64.pow(decimals);
                let (unit, decimals) = UNITS_NS
                    .into_iter()
                    .rev()
                    .find(|(_, decimals)| {
                        self.limit > 0 && self.limit.is_multiple_of(ns_of(*decimals))
                    })
                    .unwrap_or(UNITS_NS[0]);
                write!(formatter, "{}{unit}", self.limit / ns_of(decimals))
            }
            Some(MetricKind::Rate) => {
                let is_whole = |(_, decimals): &&(&str, u32)| {
                    self.limit > 0 && self.limit.is_multiple_of(10_u64.pow(*decimals))
                };
                let mut units = UNITS_PER_S.iter();
                let (unit, decimals) = units.find(is_whole).unwrap_or(&UNITS_PER_S[3]);
                write!(formatter, "{}{unit}", self.limit / 10_u64.pow(*decimals))
            }
            Some(MetricKind::Count) | None => write!(formatter, "{}", self.limit),
        }
    }
}
