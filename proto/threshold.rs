//! An objective of a run: what a metric has to be. The text of one is `latency.p99<200us`,
//! `lost==0`, `kept_up>=99.9%`.
//!
//! Absent: how a run came out (the server's verdict judges that).

use std::{fmt, ops::Range, str::FromStr};

use crate::{
    exact::scaled,
    limits::SPREAD_PROVED_NS,
    names::is_name,
    v1::{
        self, Comparison, Metric,
        threshold::{Limit, Statistic},
    },
};

/// The greatest share: all, in millionths. As a quantile it is the maximum.
pub const PPM: u32 = 1_000_000;

/// A threshold whose every field is within its range.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Threshold {
    /// What is judged, with the quantile of a time.
    pub metric: Metric,
    /// Millionths, 1 to [`PPM`], of which the last is the maximum. `Some` for a time alone.
    pub quantile_ppm: Option<u32>,
    /// How the observed value has to lie to the limit; never unspecified.
    pub comparison: Comparison,
    /// The limit: ns of a time, packets of a count, millionths of a share.
    pub limit: u64,
}

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

/// What a metric is measured in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricKind {
    /// A time of every packet, ns: a quantile is judged.
    Time,
    /// Packets.
    Count,
    /// A share of the scheduled packets, millionths.
    Share,
}

const METRICS: [Metric; 13] = [
    Metric::Lost,
    Metric::Skipped,
    Metric::Corrupt,
    Metric::KeptUp,
    Metric::Lateness,
    Metric::Transit,
    Metric::Latency,
    Metric::Spread,
    Metric::OneWay,
    Metric::Queueing,
    Metric::RttFromDue,
    Metric::RttFromWrite,
    Metric::ProbeRtt,
];

/// The short name of [`Metric::RttFromDue`].
const RTT: &str = "rtt";

const COMPARISONS: [(&str, Comparison); 6] = [
    // The longer ones first, so that each is found whole; `=` is read as `==`, which is written.
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

/// The units of times, the longer names first, each with the power of ten of its ns.
const UNITS_NS: [(&str, u32); 4] = [("ns", 0), ("us", 3), ("ms", 6), ("s", 9)];

impl Metric {
    /// What it is measured in. `None` when it is unspecified.
    #[must_use]
    pub fn kind(self) -> Option<MetricKind> {
        match self {
            Self::Unspecified => None,
            Self::Lost | Self::Skipped | Self::Corrupt => Some(MetricKind::Count),
            Self::KeptUp => Some(MetricKind::Share),
            Self::Lateness
            | Self::Transit
            | Self::Latency
            | Self::Spread
            | Self::OneWay
            | Self::Queueing
            | Self::RttFromDue
            | Self::RttFromWrite
            | Self::ProbeRtt => Some(MetricKind::Time),
        }
    }

    /// The name in lower case, without its prefix: `kept_up`. `None` when it is unspecified.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Lost => Some("lost"),
            Self::Skipped => Some("skipped"),
            Self::Corrupt => Some("corrupt"),
            Self::KeptUp => Some("kept_up"),
            Self::Lateness => Some("lateness"),
            Self::Transit => Some("transit"),
            Self::Latency => Some("latency"),
            Self::Spread => Some("spread"),
            Self::OneWay => Some("one_way"),
            Self::Queueing => Some("queueing"),
            Self::RttFromDue => Some("rtt_from_due"),
            Self::RttFromWrite => Some("rtt_from_write"),
            Self::ProbeRtt => Some("probe_rtt"),
        }
    }
}

impl Comparison {
    /// The operator: `<=`. `None` when it is unspecified.
    #[must_use]
    pub fn operator(self) -> Option<&'static str> {
        let mut known = COMPARISONS.iter();
        Some(known.find(|(_, comparison)| *comparison == self)?.0)
    }

    /// Whether `observed` lies to `limit` as it has to.
    #[must_use]
    pub fn holds<T: PartialOrd>(self, observed: T, limit: T) -> bool {
        match self {
            Self::Unspecified => false,
            Self::Less => observed < limit,
            Self::LessOrEqual => observed <= limit,
            Self::Greater => observed > limit,
            Self::GreaterOrEqual => observed >= limit,
            Self::Equal => observed == limit,
        }
    }
}

/// The name of a quantile: `p50`, `p99.9`, and `max` of all.
#[must_use]
pub fn quantile_name(ppm: u32) -> String {
    if ppm == PPM {
        return "max".into();
    }
    let (whole, fraction) = (ppm / 10_000, ppm % 10_000);
    if fraction == 0 {
        return format!("p{whole}");
    }
    let fraction = format!("{fraction:04}");
    format!("p{whole}.{}", fraction.trim_end_matches('0'))
}

fn quantile_of(name: &str) -> Option<u32> {
    if name == "max" {
        return Some(PPM);
    }
    let ppm = scaled(name.strip_prefix('p')?, 4)?;
    u32::try_from(ppm).ok().filter(|ppm| (1..PPM).contains(ppm))
}

impl v1::Threshold {
    /// The quantile of a time, millionths. `None` where another statistic or none is judged.
    #[must_use]
    pub fn quantile_ppm(&self) -> Option<u32> {
        let Statistic::QuantilePpm(ppm) = self.statistic?;
        Some(ppm)
    }
}

impl Threshold {
    /// An error when no value can lie to the limit as it has to, or none can be proved to.
    fn checked(self) -> Result<Self, String> {
        let is_share = self.metric.kind() == Some(MetricKind::Share);
        match self.comparison {
            Comparison::Less if self.limit == 0 => {
                Err(format!("{self} can never hold: no value is below 0"))
            }
            Comparison::Greater if is_share && self.limit == u64::from(PPM) => {
                Err(format!("{self} can never hold: no share is above 100%"))
            }
            Comparison::Greater if self.limit == u64::MAX => {
                Err(format!("{self} can never hold: no count is above that"))
            }
            Comparison::Less | Comparison::LessOrEqual
                if self.metric == Metric::Spread && self.limit <= SPREAD_PROVED_NS =>
            {
                Err(format!(
                    "{self} can never be found to hold: a spread is known to 10 ms; give a limit \
                     above 10ms, or judge latency, where the agents share the server's clock"
                ))
            }
            _ => Ok(self),
        }
    }

    /// The form of the API.
    #[must_use]
    pub fn to_proto(self) -> v1::Threshold {
        let limit = match self.metric.kind() {
            None => None,
            Some(MetricKind::Time) => {
                Some(Limit::Ns(i64::try_from(self.limit).unwrap_or(i64::MAX)))
            }
            Some(MetricKind::Count) => Some(Limit::Count(self.limit)),
            Some(MetricKind::Share) => Some(Limit::SharePpm(
                u32::try_from(self.limit).unwrap_or(u32::MAX),
            )),
        };
        v1::Threshold {
            metric: self.metric.into(),
            statistic: self.quantile_ppm.map(Statistic::QuantilePpm),
            comparison: self.comparison.into(),
            limit,
        }
    }
}

impl TryFrom<&v1::Threshold> for Threshold {
    type Error = String;

    fn try_from(threshold: &v1::Threshold) -> Result<Self, String> {
        let (metric, comparison) = (threshold.metric(), threshold.comparison());
        let (Some(kind), Some(_)) = (metric.kind(), comparison.operator()) else {
            return Err("a metric and a comparison that this version has are needed".into());
        };
        let limit = match (kind, threshold.limit) {
            (MetricKind::Time, Some(Limit::Ns(ns))) => u64::try_from(ns)
                .map_err(|_| format!("a limit of {ns} ns is out of range; 0 ns and more are"))?,
            (MetricKind::Count, Some(Limit::Count(count))) => count,
            (MetricKind::Share, Some(Limit::SharePpm(ppm))) if ppm <= PPM => u64::from(ppm),
            (MetricKind::Time, _) => return Err("the limit of a time is `ns`".into()),
            (MetricKind::Count, _) => return Err("the limit of a count is `count`".into()),
            (MetricKind::Share, _) => {
                return Err("the limit of a share is `share_ppm`, 0 to 1000000".into());
            }
        };
        match (kind, threshold.quantile_ppm()) {
            (MetricKind::Time, Some(1..=PPM)) | (MetricKind::Count | MetricKind::Share, None) => {}
            (MetricKind::Time, _) => {
                return Err("a time needs a `quantile_ppm` of 1 to 1000000".into());
            }
            (_, Some(_)) => return Err("`quantile_ppm` is for times alone".into()),
        }
        Self {
            metric,
            quantile_ppm: threshold.quantile_ppm(),
            comparison,
            limit,
        }
        .checked()
    }
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
        let metric = metric_of(text, name.clone())?;
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
    format!(
        "the metrics are {} (numbers of packets), {} (a share), and the times {}, each with a \
         quantile such as .p50, .p99.9 or .max",
        names(MetricKind::Count),
        names(MetricKind::Share),
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
        (MetricKind::Time, Some(at)) => {
            let quantile = &text[at.clone()];
            let ppm = quantile_of(quantile).ok_or_else(|| {
                let problem = format!(
                    "{quantile:?} is no quantile; p50, p99, p99.9 and max are, for example"
                );
                BadThreshold::at(at.start, problem)
            });
            ppm.map(Some)
        }
        (MetricKind::Time, None) => {
            let problem = format!("{name} needs a quantile: {name}.p99 or {name}.max");
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

/// The form that [`FromStr`] reads.
impl fmt::Display for Threshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.metric.word().unwrap_or_default())?;
        if let Some(ppm) = self.quantile_ppm {
            write!(formatter, ".{}", quantile_name(ppm))?;
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
            Some(MetricKind::Count) | None => write!(formatter, "{}", self.limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Those that no value reaches are among them.
    fn any_thresholds() -> impl Strategy<Value = Threshold> {
        let limits = prop_oneof![Just(0), Just(u64::from(PPM)), 0..1_u64 << 50];
        (
            prop::sample::select(METRICS.to_vec()),
            1..=PPM,
            prop::sample::select(COMPARISONS.map(|(_, comparison)| comparison).to_vec()),
            limits,
        )
            .prop_map(|(metric, ppm, comparison, limit)| {
                let kind = metric.kind().unwrap();
                Threshold {
                    metric,
                    quantile_ppm: (kind == MetricKind::Time).then_some(ppm),
                    comparison,
                    limit: match kind {
                        MetricKind::Share => limit % u64::from(PPM + 1),
                        MetricKind::Time | MetricKind::Count => limit,
                    },
                }
            })
    }

    fn thresholds() -> impl Strategy<Value = Threshold> {
        any_thresholds().prop_filter("it can hold", |threshold| threshold.checked().is_ok())
    }

    proptest! {
        #[test]
        fn a_threshold_is_refused_when_no_value_can_be_found_to_lie_as_it_asks(
            threshold in any_thresholds(),
        ) {
            let max = match threshold.metric.kind().unwrap() {
                MetricKind::Share => u64::from(PPM),
                MetricKind::Time | MetricKind::Count => u64::MAX,
            };
            let can_hold = [0, threshold.limit, max]
                .into_iter()
                .any(|observed| threshold.comparison.holds(observed, threshold.limit));
            let is_upper = matches!(
                threshold.comparison,
                Comparison::Less | Comparison::LessOrEqual
            );
            let is_proved = threshold.metric != Metric::Spread
                || !is_upper
                || threshold.limit > SPREAD_PROVED_NS;
            let can_hold = can_hold && is_proved;
            prop_assert_eq!(threshold.checked().is_ok(), can_hold);
            prop_assert_eq!(Threshold::try_from(&threshold.to_proto()).is_ok(), can_hold);
            prop_assert_eq!(threshold.to_string().parse::<Threshold>().is_ok(), can_hold);
        }

        #[test]
        fn a_threshold_survives_its_text_and_the_api(threshold in thresholds()) {
            prop_assert_eq!(threshold.to_string().parse(), Ok(threshold));
            prop_assert_eq!(Threshold::try_from(&threshold.to_proto()), Ok(threshold));
        }

        #[test]
        fn any_text_is_a_threshold_or_is_refused_at_a_place_in_it(
            text in prop_oneof![any::<String>(), "[a-z:. _=<>0-9%é]{0,20}"],
        ) {
            for bad in [
                text.parse::<Threshold>().err(),
                text.parse::<AskedThreshold>().err(),
            ].into_iter().flatten() {
                prop_assert!(text.is_char_boundary(bad.byte), "{bad:?}");
            }
        }

        #[test]
        fn a_threshold_of_a_group_has_its_name_before_it(threshold in thresholds()) {
            let asked: AskedThreshold = format!("front-1:{threshold}").parse().unwrap();
            prop_assert_eq!(asked.group.as_deref(), Some("front-1"));
            prop_assert_eq!(asked.threshold, threshold);
            let asked: AskedThreshold = threshold.to_string().parse().unwrap();
            prop_assert_eq!((asked.group, asked.threshold), (None, threshold));
        }
    }

    #[test]
    fn rtt_is_short_for_the_round_trip_from_due() {
        let long: Threshold = "rtt_from_due.p99<1ms".parse().unwrap();
        assert_eq!("rtt.p99<1ms".parse(), Ok(long));
        assert_eq!(long.to_string(), "rtt_from_due.p99<1ms");
        let problem = "rtt<1ms".parse::<Threshold>().unwrap_err().problem;
        assert!(problem.contains("rtt.p99"), "{problem}");
    }

    #[test]
    fn thresholds_are_written_as_users_write_them() {
        let time = |metric, ppm, comparison, limit| Threshold {
            metric,
            quantile_ppm: Some(ppm),
            comparison,
            limit,
        };
        for (text, expected) in [
            (
                "latency.p99<200us",
                time(Metric::Latency, 990_000, Comparison::Less, 200_000),
            ),
            (
                " spread.p99.99 <= 15.5 ms ",
                time(Metric::Spread, 999_900, Comparison::LessOrEqual, 15_500_000),
            ),
            (
                "lateness.max<1s",
                time(Metric::Lateness, PPM, Comparison::Less, 1_000_000_000),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for (text, part) in [
            ("latency.p99", "comparison is missing"),
            ("latency<1ms", "needs a quantile"),
            ("latency.p99<200", "with a unit"),
            ("latency.p100<1ms", "no quantile"),
            ("latency.p0<1ms", "no quantile"),
            ("lost.p99==0", "no quantiles"),
            ("lots==0", "no metric"),
            ("lost=-1", "no number"),
            ("kept_up>=101%", "no share"),
            ("kept_up>=99.9", "no share"),
            ("latency.p99<NaNms", "no time"),
            ("latency.p99<=0.4ns", "no time"),
            ("latency.p99<=-0.4ns", "no time"),
            ("kept_up>=0.00001%", "no share"),
            ("kept_up>=99.99999%", "steps of 0.0001%"),
            ("latency.p99<=1.6ns", "whole ns"),
            ("latency.p99<1.0000001ms", "whole ns"),
            ("latency.p99<1e3ms", "no time"),
            ("latency.p99<10000000000s", "no time"),
            ("latency.p99.00001<1ms", "no quantile"),
            ("latency.p50.00000000001<1ms", "no quantile"),
            ("latency.p99<0ns", "never hold"),
            ("lost<0", "never hold"),
            ("kept_up>100%", "never hold"),
            ("lost>18446744073709551615", "never hold"),
            ("spread.p99<10ms", "known to 10 ms"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err().problem;
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_threshold_has_its_place_in_the_text() {
        for (text, byte, part) in [
            ("latncy.p99<200us", 0, "no metric"),
            (" latency.q99 < 200us", 9, "no quantile"),
            ("latency<200us", 7, "needs a quantile"),
            ("lost.p99==0", 4, "no quantiles"),
            ("latency.p99<200", 12, "with a unit"),
            ("latency.p99 < 200 ", 14, "with a unit"),
            ("lost<=5ms", 6, "whole ones without a unit"),
            ("kept_up>=1s", 9, "no share"),
            ("latency.p99 ", 11, "comparison is missing"),
            ("spread.p99<10ms", 0, "known to 10 ms"),
            ("sensors:latency.q99<200us", 16, "no quantile"),
            ("sensors: lots==0", 9, "no metric"),
            (" Sensors:lost==0", 1, "no name of a group"),
            (":lost==0", 0, "no name of a group"),
        ] {
            let bad = text.parse::<AskedThreshold>().unwrap_err();
            assert_eq!(bad.byte, byte, "{text}: {bad}");
            assert!(bad.problem.contains(part), "{text}: {bad}");
        }
        let metrics = metrics_in_words();
        for metric in METRICS {
            assert!(metrics.contains(metric.word().unwrap()), "{metrics}");
        }
    }

    #[test]
    fn a_time_is_written_in_the_largest_unit_that_it_is_whole_in() {
        for text in [
            "latency.p99<200us",
            "latency.p99<1500us",
            "spread.p99.9<=20ms",
            "transit.max<3s",
            "lateness.max<=999ns",
            "lateness.max<=0ns",
            "kept_up>=99.9%",
        ] {
            let threshold: Threshold = text.parse().unwrap();
            assert_eq!(threshold.to_string(), text);
        }
    }

    #[test]
    fn a_limit_is_kept_exactly_as_it_is_written() {
        for (text, limit) in [
            ("kept_up>=99.9999%", 999_999),
            ("kept_up>=99.90000000 %", 999_000),
            ("latency.p99<1.000001ms", 1_000_001),
            ("latency.p99<9223372036.854775807s", i64::MAX as u64),
            ("lost<18446744073709551615", u64::MAX),
        ] {
            let threshold: Threshold = text.parse().unwrap();
            assert_eq!(threshold.limit, limit, "{text}");
        }
    }

    #[test]
    fn the_examples_in_an_error_are_thresholds() {
        let error = "latency.p99".parse::<Threshold>().unwrap_err().problem;
        let words = error.split([' ', ',']);
        let examples = words.filter(|word| word.parse::<Threshold>().is_ok());
        assert_eq!(examples.count(), 3, "{error}");
    }

    #[test]
    fn equality_is_written_in_one_way_and_read_in_two() {
        for text in ["lost=0", "lost==0", "lost = 0"] {
            let threshold: Threshold = text.parse().unwrap();
            assert_eq!(threshold.to_string(), "lost==0");
        }
    }

    #[test]
    fn a_quantile_has_the_name_of_its_percentile() {
        for (ppm, name) in [
            (500_000, "p50"),
            (999_000, "p99.9"),
            (999_900, "p99.99"),
            (50_000, "p5"),
            (1, "p0.0001"),
            (PPM, "max"),
        ] {
            assert_eq!(quantile_name(ppm), name);
        }
    }

    #[test]
    fn what_no_threshold_can_be_is_refused() {
        let good: Threshold = "latency.p99<200us".parse().unwrap();
        let good = good.to_proto();
        for spoil in [
            |threshold: &mut v1::Threshold| threshold.metric = 99,
            |threshold: &mut v1::Threshold| threshold.comparison = 0,
            |threshold: &mut v1::Threshold| threshold.statistic = None,
            |threshold: &mut v1::Threshold| threshold.statistic = Some(Statistic::QuantilePpm(0)),
            |threshold: &mut v1::Threshold| {
                threshold.statistic = Some(Statistic::QuantilePpm(PPM + 1));
            },
            |threshold: &mut v1::Threshold| threshold.limit = None,
            |threshold: &mut v1::Threshold| threshold.limit = Some(Limit::Count(1)),
            |threshold: &mut v1::Threshold| threshold.limit = Some(Limit::Ns(-1)),
            |threshold: &mut v1::Threshold| threshold.limit = Some(Limit::Ns(0)),
        ] {
            let mut threshold = good;
            spoil(&mut threshold);
            assert!(Threshold::try_from(&threshold).is_err(), "{threshold:?}");
        }
        let mut share = "kept_up<=100%".parse::<Threshold>().unwrap().to_proto();
        assert!(Threshold::try_from(&share).is_ok());
        share.limit = Some(Limit::SharePpm(PPM + 1));
        assert!(Threshold::try_from(&share).is_err());
    }

    #[test]
    fn each_comparison_holds_on_its_side_of_the_limit() {
        for (comparison, expected) in [
            (Comparison::Less, [true, false, false]),
            (Comparison::LessOrEqual, [true, true, false]),
            (Comparison::Equal, [false, true, false]),
            (Comparison::GreaterOrEqual, [false, true, true]),
            (Comparison::Greater, [false, false, true]),
        ] {
            assert_eq!([4, 5, 6].map(|of| comparison.holds(of, 5)), expected);
        }
    }
}
