//! What an agent's final report can say of its share of a run. A figure that cannot be true is not
//! known: it is unset before it enters a report or a sum. Times are ns.

use metronome_proto::v1;

/// Readings of two clocks, the order to start and the last message are no further apart than this.
const SLACK_NS: u64 = 1_000_000_000;

/// What bounds the figures of one agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportBounds {
    /// Pacing threads; the drain takes one thread beside them.
    pub(crate) threads: u32,
    /// Since the start instant. 0 without one.
    pub(crate) elapsed_ns: u64,
    pub(crate) clients: u32,
    /// Packets that its records have as sent, at most those that its share allows.
    pub(crate) sent: u64,
}

impl ReportBounds {
    /// The report without the figures that cannot be true.
    pub(crate) fn apply(self, finished: v1::Finished) -> v1::Finished {
        let longest_ns = self.elapsed_ns.saturating_add(SLACK_NS);
        let within = |max_ns: u64| {
            move |nanos: &i64| u64::try_from(*nanos).is_ok_and(|nanos| nanos <= max_ns)
        };
        let cpu_max_ns = longest_ns.saturating_mul(u64::from(self.threads) + 1);
        // A packet that the path takes in parts needs a write for its beginning and one for its
        // rest; of each client one may have stayed without the rest.
        let writes_max = self.sent.saturating_mul(2);
        let writes_max = writes_max.saturating_add(self.clients.into());
        let writes_min = u64::from(self.sent > 0);
        v1::Finished {
            cpu_ns: finished.cpu_ns.filter(within(cpu_max_ns)),
            writes: finished
                .writes
                .filter(|writes| (writes_min..=writes_max).contains(writes)),
            oversleep_max_ns: finished.oversleep_max_ns.filter(within(longest_ns)),
            ..finished
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: ReportBounds = ReportBounds {
        threads: 2,
        elapsed_ns: 9_000_000_000,
        clients: 3,
        sent: 100,
    };

    fn report(cpu_ns: i64, writes: u64, oversleep_max_ns: i64) -> v1::Finished {
        v1::Finished {
            run_id: "7".into(),
            cpu_ns: Some(cpu_ns),
            writes: Some(writes),
            oversleep_max_ns: Some(oversleep_max_ns),
        }
    }

    #[test]
    fn figures_that_can_be_true_stay() {
        for possible in [
            report(0, 1, 0),
            report(30_000_000_000, 203, 10_000_000_000),
            v1::Finished::default(),
        ] {
            assert_eq!(BOUNDS.apply(possible.clone()), possible);
        }
    }

    #[test]
    fn figures_that_cannot_be_true_are_unset() {
        for impossible in [
            report(-1, 0, -1),
            report(30_000_000_001, 204, 10_000_000_001),
            report(i64::MAX, u64::MAX, i64::MAX),
        ] {
            let left = v1::Finished {
                run_id: "7".into(),
                ..v1::Finished::default()
            };
            assert_eq!(BOUNDS.apply(impossible), left);
        }
    }

    #[test]
    fn without_a_packet_no_write_is_needed() {
        let bounds = ReportBounds { sent: 0, ..BOUNDS };
        assert_eq!(bounds.apply(report(0, 0, 0)).writes, Some(0));
        assert_eq!(bounds.apply(report(0, 4, 0)).writes, None);
    }
}
