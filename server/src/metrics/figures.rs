//! The figures that metrics are made from, gathered by the control plane.

use std::collections::BTreeMap;

use metronome_proto::{
    histogram::Histogram,
    v1::{self, ReceiverCounts},
};
use serde::{Deserialize, Serialize};

use super::exemplar::{Exemplars, PacketExemplars, RunExemplars};
use crate::model::{RoundTrips, ServerStatus, Times, TotalCounters};

/// Everything that is exported.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) server: ServerStatus,
    pub(crate) totals: TotalCounters,
    pub(crate) control: ControlFigures,
    pub(crate) process: ProcessFigures,
    pub(crate) max_clients: u32,
    pub(crate) is_draining: bool,
    pub(crate) spans_dropped: u64,
}

/// Counters of the control plane.
#[derive(Clone, Debug, Default)]
pub(crate) struct ControlFigures {
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    pub(crate) lost: u64,
    /// Segments that were sent again in runs that have ended and are not invalid: by the agents'
    /// kernels, and by the server's.
    pub(crate) retransmitted: [u64; 2],
    /// By verdict.
    pub(crate) runs_ended: Vec<(&'static str, u64)>,
    /// By outcome.
    pub(crate) runs_judged: Vec<(&'static str, u64)>,
    /// Objectives of these runs, by how they came out.
    pub(crate) objectives: Vec<(&'static str, u64)>,
    /// The run that ended last. `None` before one has, and after one that has no report.
    pub(crate) last_run: Option<LastRun>,
    /// Runs that can be looked up in their traces.
    pub(crate) run_exemplars: RunExemplars,
    pub(crate) runs_failed: u64,
    pub(crate) runs_active: u64,
    pub(crate) runs_unstored: u64,
    /// What the workers have counted in the runs that have not ended, by the name of the group.
    pub(crate) groups: BTreeMap<String, GroupFigures>,
    /// What the runs that have ended add up to, by the name of the group.
    pub(crate) groups_ended: Vec<(String, GroupSums)>,
    pub(crate) agents_lost: u64,
    /// The connected agents, by name.
    pub(crate) agents: Vec<(String, AgentFigures)>,
    /// Every kind of call.
    pub(crate) calls: Vec<CallFigures>,
    /// Those of the runs that have ended and are not invalid.
    pub(crate) round_trips: RoundTrips,
    pub(crate) replies_unexpected: u64,
    /// The round trips of the probes of connected agents, by name, in the last run of each.
    pub(crate) probes: Vec<(String, v1::Distribution)>,
    /// Packets that can be looked up in the traces of their runs.
    pub(crate) packets: PacketExemplars,
}

/// How the run came out that ended last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LastRun {
    pub(crate) ended_unix_ms: u64,
    pub(crate) verdict: v1::VerdictStatus,
    pub(crate) outcome: v1::Outcome,
}

/// What the workers have counted of the groups of one name.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupFigures {
    pub(crate) counts: ReceiverCounts,
    /// Times between clocks are those of runs that show them with a bound.
    pub(crate) times: Times,
    /// How far off these can be. `None` without one.
    pub(crate) one_way_bound: Option<BoundFigure>,
    pub(crate) queueing_bound: Option<BoundFigure>,
}

/// How far off times between clocks can be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct BoundFigure {
    pub(crate) ns: u64,
    /// It is claimed by a plan, and not proved.
    pub(crate) is_claimed: bool,
}

impl GroupFigures {
    /// Adds the times of a run, which shows all of its clients' like this: a time between clocks
    /// counts where that has a bound.
    pub(crate) fn add_times(&mut self, mut times: Times, shown: Option<&v1::Times>) {
        let one_way = shown.and_then(|shown| shown.one_way.as_ref());
        let queueing = shown.and_then(|shown| shown.queueing.as_ref());
        add_bound(&mut self.one_way_bound, &mut times.one_way, one_way);
        add_bound(&mut self.queueing_bound, &mut times.queueing, queueing);
        self.times.merge(&times);
    }
}

/// Both hold of the sum. Times without a bound are none.
fn add_bound(
    sum: &mut Option<BoundFigure>,
    times: &mut Histogram,
    shown: Option<&v1::Distribution>,
) {
    let bound_ns = shown.and_then(|of| u64::try_from(of.bound_ns?).ok());
    let Some((ns, shown)) = bound_ns.zip(shown) else {
        *times = Histogram::default();
        return;
    };
    if times.count() > 0 {
        let so_far = sum.unwrap_or_default();
        *sum = Some(BoundFigure {
            ns: so_far.ns.max(ns),
            is_claimed: so_far.is_claimed || shown.bound_is_claimed,
        });
    }
}

/// Packets of the groups of one name in runs that have ended, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct GroupSums {
    pub(crate) scheduled: u64,
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    pub(crate) lost: u64,
}

impl GroupSums {
    /// Adds others.
    pub(crate) fn add(&mut self, other: &Self) {
        self.scheduled = self.scheduled.saturating_add(other.scheduled);
        self.sent = self.sent.saturating_add(other.sent);
        self.skipped = self.skipped.saturating_add(other.skipped);
        self.lost = self.lost.saturating_add(other.lost);
    }
}

/// How long the calls of one method took that were answered with one status.
#[derive(Clone, Debug)]
pub(crate) struct CallFigures {
    /// `package.Service/Method`.
    pub(crate) method: String,
    pub(crate) status: &'static str,
    /// Whether the status is a fault of the server.
    pub(crate) is_error: bool,
    pub(crate) times: Histogram,
    pub(crate) exemplars: Exemplars,
}

/// What an agent has reported of itself in all its runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct AgentFigures {
    pub(crate) sent: u64,
    pub(crate) skipped: u64,
    /// In the runs of which this is known …
    pub(crate) cpu_ns: u64,
    /// … and the packets that it has sent there.
    pub(crate) cpu_packets: u64,
    /// The same of its writes.
    pub(crate) writes: u64,
    pub(crate) writes_packets: u64,
}

/// The kernel's figures of the master's process. `None` where the kernel does not report one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessFigures {
    pub(crate) cpu_s: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) descriptors: Option<u64>,
    pub(crate) started_unix_s: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(ns: u64) -> Times {
        let mut times = Times::default();
        for times in [&mut times.lateness, &mut times.one_way, &mut times.queueing] {
            times.record(ns);
        }
        times
    }

    fn shown(bound_ns: Option<i64>, bound_is_claimed: bool) -> v1::Times {
        let one_way = v1::Distribution {
            bound_ns,
            bound_is_claimed,
            ..v1::Distribution::default()
        };
        v1::Times {
            one_way: Some(one_way),
            ..v1::Times::default()
        }
    }

    #[test]
    fn times_between_clocks_are_those_of_runs_that_show_them_with_a_bound() {
        let mut figures = GroupFigures::default();
        let bound = |ns, is_claimed| Some(BoundFigure { ns, is_claimed });
        for (run, count, expected) in [
            (None, 0, None),
            (Some(shown(None, true)), 0, None),
            (Some(shown(Some(-1), true)), 0, None),
            (Some(shown(Some(7), false)), 1, bound(7, false)),
            (Some(shown(Some(5), true)), 2, bound(7, true)),
            (None, 2, bound(7, true)),
        ] {
            figures.add_times(times(9), run.as_ref());
            assert_eq!(figures.times.one_way.count(), count);
            assert_eq!(figures.one_way_bound, expected);
        }
        assert_eq!(figures.times.lateness.count(), 6);
        assert_eq!(figures.times.queueing.count(), 0);
        assert_eq!(figures.queueing_bound, None);
        // A group without such a packet has no bound either.
        let mut figures = GroupFigures::default();
        figures.add_times(Times::default(), Some(&shown(Some(7), false)));
        assert_eq!(figures.one_way_bound, None);
    }
}
