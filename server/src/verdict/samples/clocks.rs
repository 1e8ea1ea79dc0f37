//! Agents of a sample on other clocks than the server's.

use metronome_proto::histogram::{Histogram, bucket};

use super::{PACKETS, Sample, times};
use crate::model::{ClientCounters, ClockOffset, ClockRelation, PathFigures, TimeKind};

impl Sample {
    /// One agent's clock is not the server's: none of its one-way times are counted.
    pub(in crate::verdict) fn forget_clock(&mut self, agent: usize) {
        self.agents[agent].share.clock = ClockRelation::Unknown;
        for client in self.agents[agent].clients().collect::<Vec<_>>() {
            self.counted(client, |counted| counted.counts.read_before_written = None);
        }
        self.retime();
    }

    /// One agent's clock is another one, and its one-way times are known to this, its queueing to
    /// a tenth of that. It has sent 100 probes.
    pub(in crate::verdict) fn offset_clock(&mut self, agent: usize, bound_ns: u64) {
        self.forget_clock(agent);
        let agent = &mut self.agents[agent];
        agent.share.clock = ClockRelation::Offset;
        let mut probe_rtt = Histogram::default();
        probe_rtt.add_count(bucket(2 * bound_ns), PACKETS);
        agent.path = Some(PathFigures {
            probes_sent: PACKETS,
            probes_answered: PACKETS,
            probe_rtt,
            one_way_bound_ns: Some(bound_ns),
            queueing_bound_ns: Some(bound_ns / 10),
            clock: Some(ClockOffset {
                bound_ns,
                ..ClockOffset::default()
            }),
            ..PathFigures::default()
        });
        self.retime();
    }

    /// Changes what the probes of an agent have shown.
    pub(in crate::verdict) fn path(&mut self, agent: usize, change: impl FnOnce(&mut PathFigures)) {
        let path = &mut self.agents[agent].path;
        change(path.as_mut().expect("an agent that probes"));
    }

    /// So many packets of a client were read without a relation of the clocks, in a plan of one
    /// group.
    pub(in crate::verdict) fn without_relation(&mut self, client: u32, packets: u64) {
        self.counted(client, |counted| {
            let left = counted.timed[TimeKind::OneWay] - packets;
            set_between_clocks(counted, left);
        });
        let sums = &mut self.counters().times;
        let left = times(sums.one_way.count() - packets);
        (sums.one_way, sums.queueing) = (left.transit, left.latency);
    }
}

/// A client has so many times by lines between clocks.
pub(in crate::verdict) fn set_between_clocks(counted: &mut ClientCounters, count: u64) {
    for kind in [TimeKind::OneWay, TimeKind::Queueing] {
        (counted.timed[kind], counted.histogram_counts[kind]) = (count, count);
    }
}
