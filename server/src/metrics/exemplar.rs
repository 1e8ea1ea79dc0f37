//! Single values that can be looked up in a trace: in each bucket of a distribution the newest one,
//! and of a counter of runs the newest run.

use std::collections::BTreeMap;

use super::bounds::index_of;

/// A value, and the span that it was measured in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Exemplar {
    pub(crate) value_ns: u64,
    /// When it was measured, ns since 1970.
    pub(crate) at_unix_ns: u64,
    /// 32 hexadecimal digits, of a trace that is sampled.
    pub(crate) trace_id: String,
    /// 16 hexadecimal digits.
    pub(crate) span_id: String,
}

/// What a counter has counted, and the span in which it did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CountExemplar {
    /// By how much the counter rose.
    pub(crate) count: u64,
    /// When it did, ns since 1970.
    pub(crate) at_unix_ns: u64,
    /// 32 hexadecimal digits, and 16, of a trace that is sampled.
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
}

/// The newest run with a trace that is sampled, by what it was counted as.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RunExemplars {
    pub(crate) verdicts: BTreeMap<&'static str, CountExemplar>,
    pub(crate) outcomes: BTreeMap<&'static str, CountExemplar>,
    /// By how objectives came out.
    pub(crate) objectives: BTreeMap<&'static str, CountExemplar>,
}

/// The newest value of each bucket, by the bucket's index.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Exemplars(BTreeMap<usize, Exemplar>);

impl Exemplars {
    /// Keeps a value unless its bucket has a newer one.
    pub(crate) fn note(&mut self, exemplar: Exemplar) {
        let bucket = index_of(exemplar.value_ns);
        let kept = self.0.entry(bucket).or_insert_with(|| exemplar.clone());
        if kept.at_unix_ns <= exemplar.at_unix_ns {
            *kept = exemplar;
        }
    }

    /// Those that there are, with the indices of their buckets.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Exemplar)> {
        self.0.iter().map(|(bucket, exemplar)| (*bucket, exemplar))
    }
}

/// The exemplars of the times of packets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PacketExemplars {
    pub(crate) lateness: Exemplars,
    pub(crate) transit: Exemplars,
    pub(crate) latency: Exemplars,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_keeps_its_newest_value() {
        let mut exemplars = Exemplars::default();
        let exemplar = |value_ns, at_unix_ns| Exemplar {
            value_ns,
            at_unix_ns,
            trace_id: "t".into(),
            span_id: "s".into(),
        };
        for (value_ns, at_unix_ns) in [(1_000, 5), (900, 4), (1_001, 1), (1_500, 2), (u64::MAX, 3)]
        {
            exemplars.note(exemplar(value_ns, at_unix_ns));
        }
        let kept: Vec<_> = exemplars
            .iter()
            .map(|(bucket, exemplar)| (bucket, exemplar.value_ns))
            .collect();
        assert_eq!(kept, [(0, 1_000), (1, 1_500), (22, u64::MAX)]);
    }
}
