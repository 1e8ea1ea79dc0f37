//! What one direction has done, for a test to compare with what the product shows. Pure.
//!
//! The delays are those of packets with payload to or from the watched port, from when they were
//! read to when they were handed on. The path's own share of them is its *lateness*: how long after
//! its instant a packet was handed on, and how long the path had waited for a core before it read.

use std::fmt::Write as _;

use crate::conduct::Dropped;

/// Delays that are kept; packets beyond these are counted alone.
const DELAYS_MAX: usize = 8_000_000;

/// Shown of each distribution.
const QUANTILES: [(&str, f64); 6] = [
    ("p0", 0.0),
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99_9", 0.999),
    ("p100", 1.0),
];

/// Counts and times since the last report.
#[derive(Debug, Default)]
pub(crate) struct Record {
    passed: u64,
    lost: u64,
    queue: u64,
    /// Dropped since the path itself could not hold them, or the network did not take them.
    failed: u64,
    delays_ns: Vec<u64>,
    lateness_ns: Vec<u64>,
}

impl Record {
    pub(crate) fn count_dropped(&mut self, dropped: Dropped) {
        match dropped {
            Dropped::Lost => self.lost += 1,
            Dropped::Queue => self.queue += 1,
        }
    }

    pub(crate) fn count_failed(&mut self) {
        self.failed += 1;
    }

    /// A packet was handed on; `delay_ns` where it is watched.
    pub(crate) fn count_passed(&mut self, lateness_ns: u64, delay_ns: Option<u64>) {
        self.passed += 1;
        if self.lateness_ns.len() < DELAYS_MAX {
            self.lateness_ns.push(lateness_ns);
        }
        if let Some(delay_ns) = delay_ns.filter(|_| self.delays_ns.len() < DELAYS_MAX) {
            self.delays_ns.push(delay_ns);
        }
    }

    /// All of it as one object of JSON, times in µs; a record begins anew. A quantile of nothing is
    /// null.
    pub(crate) fn report(&mut self) -> String {
        let mut taken = std::mem::take(self);
        let mut text = format!(
            r#"{{"passed":{},"lost":{},"queue":{},"failed":{},"watched":{}"#,
            taken.passed,
            taken.lost,
            taken.queue,
            taken.failed,
            taken.delays_ns.len(),
        );
        for (name, times) in [
            ("delay_us", &mut taken.delays_ns),
            ("lateness_us", &mut taken.lateness_ns),
        ] {
            let _ = write!(text, r#","{name}":{}"#, quantiles(times));
        }
        text.push('}');
        text
    }
}

/// The times at the quantiles: as many packets have it or less.
fn quantiles(times_ns: &mut [u64]) -> String {
    times_ns.sort_unstable();
    let quantiles = QUANTILES.map(|(name, share)| {
        let rank = (share * times_ns.len() as f64).ceil() as usize;
        match times_ns.get(rank.saturating_sub(1)) {
            Some(ns) => format!(r#""{name}":{:.3}"#, *ns as f64 / 1_000.0),
            None => format!(r#""{name}":null"#),
        }
    });
    format!("{{{}}}", quantiles.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_counts_and_quantiles_and_begins_anew() {
        let mut record = Record::default();
        for n in 1..=1_000 {
            record.count_passed(n, (n % 2 == 0).then_some(n * 1_000));
        }
        record.count_dropped(Dropped::Lost);
        record.count_dropped(Dropped::Queue);
        record.count_failed();
        let expected = concat!(
            r#"{"passed":1000,"lost":1,"queue":1,"failed":1,"watched":500,"#,
            r#""delay_us":{"p0":2.000,"p50":500.000,"p90":900.000,"p99":990.000,"#,
            r#""p99_9":1000.000,"p100":1000.000},"#,
            r#""lateness_us":{"p0":0.001,"p50":0.500,"p90":0.900,"p99":0.990,"#,
            r#""p99_9":0.999,"p100":1.000}}"#
        );
        assert_eq!(record.report(), expected);
        assert!(record.report().contains(r#""passed":0"#));
        assert!(record.report().contains(r#""p50":null"#));
    }
}
