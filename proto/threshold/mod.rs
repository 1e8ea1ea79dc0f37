//! An objective of a run: what a metric has to be. Its text is `latency.p99<200us`, `lost==0`,
//! `kept_up>=99.9%`, `rate>=99k/s` or `transit.mean<50us`.
//!
//! Absent: how a run came out (the server's verdict judges that).

pub mod text;

use crate::{
    limits::SPREAD_PROVED_NS,
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
    /// Millionths, 1 to [`PPM`], of which the last is the maximum. `None` for the mean of a time,
    /// and for what is no time.
    pub quantile_ppm: Option<u32>,
    /// How the observed value has to lie to the limit; never unspecified.
    pub comparison: Comparison,
    /// The limit: ns of a time, packets of a count, packets/s of a rate, millionths of a share.
    pub limit: u64,
}

/// What a metric is measured in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricKind {
    /// A time of every packet, ns: a quantile or the mean is judged.
    Time,
    /// Packets.
    Count,
    /// Packets a second.
    Rate,
    /// A share of the scheduled packets, millionths.
    Share,
}

/// The name of the statistic that is no quantile.
const MEAN: &str = "mean";

const METRICS: [Metric; 15] = [
    Metric::Lost,
    Metric::Skipped,
    Metric::Corrupt,
    Metric::KeptUp,
    Metric::Rate,
    Metric::RateShare,
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

const COMPARISONS: [(&str, Comparison); 6] = [
    // The longer ones first, so that each is found whole; `=` is read as `==`, which is written.
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

impl Metric {
    /// What it is measured in. `None` when it is unspecified.
    #[must_use]
    pub fn kind(self) -> Option<MetricKind> {
        match self {
            Self::Unspecified => None,
            Self::Lost | Self::Skipped | Self::Corrupt => Some(MetricKind::Count),
            Self::KeptUp | Self::RateShare => Some(MetricKind::Share),
            Self::Rate => Some(MetricKind::Rate),
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

    /// The name in lower case, without its prefix: `kept_up`. A rate has one name, whether it is
    /// in packets/s or a share. `None` when it is unspecified.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Lost => Some("lost"),
            Self::Skipped => Some("skipped"),
            Self::Corrupt => Some("corrupt"),
            Self::KeptUp => Some("kept_up"),
            Self::Rate | Self::RateShare => Some("rate"),
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

impl v1::Threshold {
    /// The quantile of a time, millionths. `None` where another statistic or none is judged.
    #[must_use]
    pub fn quantile_ppm(&self) -> Option<u32> {
        match self.statistic? {
            Statistic::QuantilePpm(ppm) => Some(ppm),
            Statistic::Mean(_) => None,
        }
    }

    /// The name of what is judged of a time: `p99.9`, `max`, `mean`. `None` of another metric.
    #[must_use]
    pub fn statistic_name(&self) -> Option<String> {
        Some(match self.statistic? {
            Statistic::QuantilePpm(ppm) => quantile_name(ppm),
            Statistic::Mean(_) => MEAN.into(),
        })
    }
}

impl Threshold {
    /// Whether the mean of a time is judged.
    #[must_use]
    pub fn is_mean(&self) -> bool {
        self.metric.kind() == Some(MetricKind::Time) && self.quantile_ppm.is_none()
    }

    /// The name of what is judged of a time: `p99.9`, `max`, `mean`. `None` of another metric.
    #[must_use]
    pub fn statistic_name(&self) -> Option<String> {
        self.to_proto().statistic_name()
    }

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
            Some(MetricKind::Count | MetricKind::Rate) => Some(Limit::Count(self.limit)),
            Some(MetricKind::Share) => Some(Limit::SharePpm(
                u32::try_from(self.limit).unwrap_or(u32::MAX),
            )),
        };
        v1::Threshold {
            metric: self.metric.into(),
            statistic: match self.quantile_ppm {
                Some(ppm) => Some(Statistic::QuantilePpm(ppm)),
                None => self.is_mean().then_some(Statistic::Mean(true)),
            },
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
            (MetricKind::Count | MetricKind::Rate, Some(Limit::Count(count))) => count,
            (MetricKind::Share, Some(Limit::SharePpm(ppm))) if ppm <= PPM => u64::from(ppm),
            (MetricKind::Time, _) => return Err("the limit of a time is `ns`".into()),
            (MetricKind::Count | MetricKind::Rate, _) => {
                return Err("the limit of a count and of a rate is `count`".into());
            }
            (MetricKind::Share, _) => {
                return Err("the limit of a share is `share_ppm`, 0 to 1000000".into());
            }
        };
        match (kind, threshold.statistic) {
            (MetricKind::Time, Some(Statistic::QuantilePpm(1..=PPM) | Statistic::Mean(true))) => {}
            (MetricKind::Time, _) => {
                return Err("a time needs a `quantile_ppm` of 1 to 1000000, or `mean`".into());
            }
            (_, None) => {}
            (_, Some(_)) => return Err("`quantile_ppm` and `mean` are for times alone".into()),
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

#[cfg(test)]
mod tests;
