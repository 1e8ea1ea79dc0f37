//! What one direction has done, for a test to compare with what the product shows. Pure.
//!
//! The path's own share of a packet's delay is its *lateness*: how long after its instant the
//! packet was handed on, and how long the path had waited for a core before it read.

use crate::conduct::Dropped;

/// Times that are kept; packets beyond these are counted alone.
const TIMES_MAX: usize = 8_000_000;

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

    /// A packet was handed on.
    pub(crate) fn count_passed(&mut self, lateness_ns: u64) {
        self.passed += 1;
        if self.lateness_ns.len() < TIMES_MAX {
            self.lateness_ns.push(lateness_ns);
        }
    }

    /// All of it as one object of JSON, times in µs; a record begins anew. A quantile of nothing is
    /// null.
    pub(crate) fn report(&mut self) -> String {
        let mut taken = std::mem::take(self);
        format!(
            r#"{{"passed":{},"lost":{},"queue":{},"failed":{},"lateness_us":{}}}"#,
            taken.passed,
            taken.lost,
            taken.queue,
            taken.failed,
            quantiles(&mut taken.lateness_ns),
        )
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
            record.count_passed(n);
        }
        record.count_dropped(Dropped::Lost);
        record.count_dropped(Dropped::Queue);
        record.count_failed();
        let expected = concat!(
            r#"{"passed":1000,"lost":1,"queue":1,"failed":1,"#,
            r#""lateness_us":{"p0":0.001,"p50":0.500,"p90":0.900,"p99":0.990,"#,
            r#""p99_9":0.999,"p100":1.000}}"#
        );
        assert_eq!(record.report(), expected);
        assert!(record.report().contains(r#""passed":0"#));
        assert!(record.report().contains(r#""p50":null"#));
    }
}
