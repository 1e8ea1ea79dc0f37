//! What an agent's final report can say of its share of a run. A figure that cannot be true is not
//! known: it is unset before it enters a report or a sum. Times are ns.

use metronome_proto::v1;

use super::CLOCK_DRIFT_PARTS;

/// Readings of two clocks, the order to start and the last message are no further apart than this.
const SLACK_NS: u64 = 1_000_000_000;

/// Most packets of a write of a client that catches up, where its batch is smaller. Its load is
/// written in batches; after a delay an agent writes up to so many packets at once.
const CATCH_UP: u64 = 64;

/// The least CPU time of a write, ns: no host enters its kernel and sends on a connection in less.
const WRITE_NS_MIN: u64 = 100;

/// What bounds the figures of one agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportBounds {
    /// Threads whose CPU time it has, at the same time: the pacing threads, each with a client at
    /// least, and the reader of replies where some are asked for. The exchange of the ends comes
    /// behind the pacing threads, on one thread.
    pub(crate) threads: u32,
    /// Since the start instant. 0 without one.
    pub(crate) elapsed_ns: u64,
    /// Packets that its records have as sent, at most those that its share allows.
    pub(crate) sent: u64,
    pub(crate) writes_min: u64,
    pub(crate) writes_max: u64,
}

/// The fewest writes that so many packets of one client take.
pub(super) fn writes_min(sent: u64, batch: u32) -> u64 {
    sent.div_ceil(u64::from(batch).max(CATCH_UP))
}

/// The most writes of one client with so many packets sent. One that the path takes in parts needs
/// a write for its beginning and one for its rest, and counts as blocked then; the last one may
/// have stayed without its rest. A flood counts none as blocked, so there it may be each.
pub(super) fn writes_max(sent: u64, blocked: Option<u64>) -> u64 {
    let in_parts = blocked.map_or(sent, |blocked| blocked.min(sent));
    sent.saturating_add(in_parts).saturating_add(1)
}

impl ReportBounds {
    /// The report without the figures that cannot be true.
    pub(crate) fn apply(self, finished: v1::Finished) -> v1::Finished {
        // The agent's clock may run slower than ours.
        let drift_ns = self.elapsed_ns / CLOCK_DRIFT_PARTS;
        let longest_ns = (self.elapsed_ns.saturating_add(drift_ns)).saturating_add(SLACK_NS);
        let within = |min_ns: u64, max_ns: u64| {
            move |nanos: &i64| {
                u64::try_from(*nanos).is_ok_and(|nanos| (min_ns..=max_ns).contains(&nanos))
            }
        };
        let cpu_min_ns = self.writes_min.saturating_mul(WRITE_NS_MIN);
        let cpu_max_ns = longest_ns.saturating_mul(self.threads.into());
        let writes = self.writes_min..=self.writes_max;
        v1::Finished {
            cpu_ns: finished.cpu_ns.filter(within(cpu_min_ns, cpu_max_ns)),
            writes: finished.writes.filter(|of| writes.contains(of)),
            oversleep_max_ns: finished.oversleep_max_ns.filter(within(0, longest_ns)),
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
        sent: 100,
        writes_min: 4,
        writes_max: 203,
    };

    fn report(cpu_ns: i64, writes: u64, oversleep_max_ns: i64) -> v1::Finished {
        v1::Finished {
            round_trips: Vec::new(),
            run_id: "7".into(),
            cpu_ns: Some(cpu_ns),
            writes: Some(writes),
            oversleep_max_ns: Some(oversleep_max_ns),
            environment: None,
            probes_sent: None,
            probe_tcp: None,
            host_points: Vec::new(),
        }
    }

    #[test]
    fn figures_that_can_be_true_stay() {
        for possible in [
            report(400, 4, 0),
            report(20_018_000_000, 203, 10_009_000_000),
            v1::Finished::default(),
        ] {
            assert_eq!(BOUNDS.apply(possible.clone()), possible);
        }
    }

    #[test]
    fn figures_that_cannot_be_true_are_unset() {
        for impossible in [
            report(-1, 0, -1),
            report(399, 3, i64::MIN),
            report(20_018_000_001, 204, 10_009_000_001),
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
    fn a_short_run_has_no_more_cpu_time_than_its_threads_and_the_slack() {
        let bounds = ReportBounds {
            threads: 1,
            elapsed_ns: 250_000_000,
            ..BOUNDS
        };
        assert_eq!(bounds.apply(report(1 << 31, 4, 0)).cpu_ns, None);
        assert_eq!(bounds.apply(report(1, 4, 0)).cpu_ns, None);
        let most = Some(1_250_000_000);
        assert_eq!(bounds.apply(report(1_250_000_000, 4, 0)).cpu_ns, most);
    }

    #[test]
    fn a_write_takes_a_batch_or_what_catches_up() {
        for (sent, batch, least) in [
            (0, 10, 0),
            (1, 10, 1),
            (64, 10, 1),
            (65, 10, 2),
            (200, 10, 4),
            (200, 200, 1),
            (201, 200, 2),
        ] {
            assert_eq!(writes_min(sent, batch), least, "{sent} {batch}");
        }
    }

    #[test]
    fn only_a_packet_that_had_to_wait_takes_two_writes() {
        assert_eq!(writes_max(100, Some(0)), 101);
        assert_eq!(writes_max(100, Some(7)), 108);
        assert_eq!(writes_max(100, Some(u64::MAX)), 201);
        assert_eq!(writes_max(100, None), 201);
        assert_eq!(writes_max(u64::MAX, None), u64::MAX);
    }
}
