//! One row per client: what its agent reported beside what the workers counted.

use std::{collections::BTreeMap, ops::Range, rc::Rc};

use metronome_proto::{counters::CounterList as _, schedule::Schedule, v1};

use super::{
    bounds::Between,
    evidence::Evidence,
    groups::{GroupLoad, Planned, Walks},
};
use crate::model::{AgentRecords, ClientCounters, ClientStart, TimeKind};

/// One client of the plan, seen from both ends.
#[derive(Clone, Debug)]
pub(super) struct Row<'a> {
    pub(super) client: u32,
    /// What its group was asked to send.
    pub(super) group: Rc<GroupLoad>,
    /// How many packets it plans. `None` in a flood, which plans none.
    pub(super) planned: Option<Planned>,
    pub(super) agent: &'a AgentRecords,
    /// The agent's index among those of the run.
    pub(super) agent_index: usize,
    /// `None` when its agent never reported it.
    pub(super) reported: Option<&'a v1::ClientRecord>,
    /// `None` when no hello of this client was verified, or the workers' record is missing.
    pub(super) counted: Option<&'a ClientCounters>,
    /// `None` when the workers' record is missing. It has every client whose hello was verified, so
    /// of one that it does not have it is known that no packet was read.
    pub(super) receiver: Option<v1::ReceiverCounts>,
}

/// Pairs both ends' records for every client of the plan, by rising index.
pub(super) fn pair<'a>(evidence: &Evidence<'a>) -> Vec<Row<'a>> {
    let groups = GroupLoad::all(evidence.plan);
    let counted: Option<BTreeMap<u32, &ClientCounters>> = evidence.counters.map(|counters| {
        let clients = counters.clients.iter();
        clients.map(|count| (count.client, count)).collect()
    });
    let clients_of = |(index, agent): (usize, &'a AgentRecords)| {
        agent.clients().map(move |client| (client, index, agent))
    };
    let row = |(client, agent_index, agent): (u32, usize, &'a AgentRecords)| {
        let group = group_of(&groups, client)?;
        let found = counted
            .as_ref()
            .map(|counted| counted.get(&client).copied());
        Some(Row {
            client,
            receiver: found.map(|found| receiver(evidence, &group, found, agent)),
            group,
            planned: None,
            agent,
            agent_index,
            reported: agent.record(client),
            counted: found.flatten(),
        })
    };
    let agents = evidence.agents.iter().enumerate();
    let mut rows: Vec<_> = agents.flat_map(clients_of).filter_map(row).collect();
    rows.sort_by_key(|row| row.client);
    let mut walks = Walks::new();
    for row in &mut rows {
        row.planned = walks.planned(&row.group, row.client, row.counted);
    }
    rows
}

fn group_of(groups: &[(Range<u32>, Rc<GroupLoad>)], client: u32) -> Option<Rc<GroupLoad>> {
    let mut groups = groups.iter();
    let found = groups.find(|(clients, _)| clients.contains(&client));
    found.map(|(_, group)| Rc::clone(group))
}

/// The clients of each group of which there are some, in the order of the plan.
pub(super) fn by_group<'r, 'a>(rows: &'r [Row<'a>]) -> impl Iterator<Item = &'r [Row<'a>]> {
    rows.chunk_by(|one, next| one.group.index == next.group.index)
}

/// The counts of a client, none without a hello. Whether a packet is read before it was written is
/// known on this host's clock only, whether it was faster than the floor of its path where that has
/// a bound, how it lies to the schedule where there is one, and whether it is in time in a run that
/// was not stopped: the workers compare with the end of the whole schedule, which every packet of a
/// stopped run is before.
fn receiver(
    evidence: &Evidence<'_>,
    group: &GroupLoad,
    counted: Option<&ClientCounters>,
    agent: &AgentRecords,
) -> v1::ReceiverCounts {
    let of_schedule = (!group.is_flood()).then_some(0);
    let counts = counted.map_or_else(
        || v1::ReceiverCounts {
            off_schedule: of_schedule,
            left_out: of_schedule,
            in_time: of_schedule,
            spread_understated: of_schedule,
            spread_uncertain: of_schedule,
            warm_up_left_out: of_schedule,
            ..v1::ReceiverCounts::zero()
        },
        |counted| counted.counts,
    );
    let is_on_our_clock = agent.is_on_our_clock();
    v1::ReceiverCounts {
        read_before_written: counts.read_before_written.filter(|_| is_on_our_clock),
        below_floor: (counts.below_floor).filter(|_| Between::Queueing.bound_of(agent).is_some()),
        in_time: counts.in_time.filter(|_| evidence.stopped.is_none()),
        ..counts
    }
}

/// Sum of one figure over the clients of which it is known; no claim of an agent can make it wrap.
pub(super) fn total<'a>(rows: &[Row<'a>], figure: impl Fn(&Row<'a>) -> Option<u64>) -> u128 {
    rows.iter().filter_map(figure).map(u128::from).sum()
}

/// Sum of one figure over all clients. `None` unless it is known of every one.
pub(super) fn sum_of_all<'a>(
    rows: &[Row<'a>],
    figure: impl Fn(&Row<'a>) -> Option<u64>,
) -> Option<u64> {
    rows.iter()
        .map(figure)
        .try_fold(0, |sum: u64, figure| Some(sum.saturating_add(figure?)))
}

/// Scheduled packets that were skipped or lost, without those that are known to have been due in
/// the warm-up. That the first packet of a client has no spread does not make it one of them.
pub(super) fn missing(rows: &[Row<'_>]) -> Option<u64> {
    let scheduled = sum_of_all(rows, Row::measured_scheduled)?;
    scheduled.checked_sub(sum_of_all(rows, Row::measured_received)?)
}

impl<'a> Row<'a> {
    /// Whether its packets have a schedule.
    pub(super) fn is_paced(&self) -> bool {
        !self.group.is_flood()
    }

    /// Its schedule, from 0 on. `None` in a flood.
    pub(super) fn schedule(&self) -> Option<Schedule> {
        self.group.schedule_of(self.client)
    }

    /// From where its schedule counts on its own clock, as it sent that.
    pub(super) fn start(&self) -> Option<ClientStart> {
        self.counted?.start
    }

    /// Packets as its agent counts them. `None` when it has not reported them.
    pub(super) fn generator(&self) -> Option<v1::GeneratorCounts> {
        self.reported?.counts
    }

    pub(super) fn scheduled(&self) -> Option<u64> {
        Some(self.generator()?.scheduled)
    }

    pub(super) fn sent(&self) -> Option<u64> {
        Some(self.generator()?.sent)
    }

    /// Packets that had to wait for the path or the receiver, as the agent reports.
    pub(super) fn blocked(&self) -> Option<u64> {
        Some(self.generator()?.blocked)
    }

    pub(super) fn skipped(&self) -> Option<u64> {
        Some(self.generator()?.skipped)
    }

    pub(super) fn received(&self) -> Option<u64> {
        Some(self.receiver?.received)
    }

    /// Places that are known to have been due in the warm-up and for which no packet came.
    fn warm_up_left_out(&self) -> u64 {
        let left_out = self.receiver.and_then(|counts| counts.warm_up_left_out);
        left_out.unwrap_or(0)
    }

    /// Packets that the distributions are to cover: those that were scheduled, without those that
    /// are known to have been due in the warm-up.
    pub(super) fn measured_scheduled(&self) -> Option<u64> {
        Some(self.measured_of(self.scheduled()?))
    }

    /// So many packets of its schedule, without those that are known to have been due in the
    /// warm-up.
    pub(super) fn measured_of(&self, packets: u64) -> u64 {
        let warm_up = self.receiver.and_then(|counts| counts.warm_up).unwrap_or(0);
        packets
            .saturating_sub(warm_up)
            .saturating_sub(self.warm_up_left_out())
    }

    /// Packets received that were due after the warm-up.
    pub(super) fn measured_received(&self) -> Option<u64> {
        let counts = self.receiver?;
        Some(counts.received.saturating_sub(counts.warm_up.unwrap_or(0)))
    }

    /// Packets skipped, without those that are known to have been due in the warm-up: a place that
    /// was left out there was skipped, unless its packet is absent.
    pub(super) fn measured_skipped(&self) -> Option<u64> {
        let in_warm_up = self.warm_up_left_out();
        let skipped_there = in_warm_up.saturating_sub(self.absent().unwrap_or(0));
        Some(self.skipped()?.saturating_sub(skipped_there))
    }

    /// Packets received that were compared with no other, so that nothing is known of how far they
    /// were above the least. A client's first packet has no spread, and neither has one after 10 s
    /// of silence. Where the first of several alone has none, the next one came before its window
    /// was forgotten: had the least fallen by more than 10 ms, the first would be uncertain. `None`
    /// in a flood, where no packet is compared.
    pub(super) fn unmeasured(&self) -> Option<u64> {
        let counted = self.counted?;
        let received = self.measured_received()?;
        let unmeasured = received.saturating_sub(counted.timed[TimeKind::Spread]);
        let is_compared = unmeasured == 1 && received > 1;
        counted.counts.spread_uncertain?;
        Some(if is_compared { 0 } else { unmeasured })
    }

    /// Packets that the workers found not to have been received: those that came corrupt, of which
    /// each in the middle is a gap, or the gaps where there are more.
    pub(super) fn absent(&self) -> Option<u64> {
        let counts = self.receiver?;
        Some(counts.corrupt.max(counts.gaps))
    }

    pub(super) fn lost(&self) -> Option<u64> {
        Some(self.sent()?.saturating_sub(self.received()?))
    }

    /// Bytes of each of its packets.
    pub(super) fn packet_bytes(&self) -> u64 {
        self.group.packet_size.bytes() as u64
    }

    /// Packets that the receiver's kernel acknowledged whole, as the generator's kernel reported.
    pub(super) fn kernel_acknowledged(&self) -> Option<u64> {
        self.reported?
            .kernel_acknowledged_bytes
            .map(|bytes| bytes / self.packet_bytes())
    }

    /// Lost packets that the receiver's kernel never acknowledged. A packet that was read had
    /// arrived, even if its acknowledgement had not reached the generator's kernel by then. `None`
    /// when packets were lost and the kernel's figure is not known.
    pub(super) fn lost_unacknowledged(&self) -> Option<u64> {
        if self.lost()? == 0 {
            return Some(0);
        }
        let arrived = self.kernel_acknowledged()?.max(self.received()?);
        Some(self.sent()?.saturating_sub(arrived))
    }

    /// Lost packets that the receiver's kernel acknowledged and no worker read.
    pub(super) fn lost_unread(&self) -> Option<u64> {
        Some(self.lost()? - self.lost_unacknowledged()?)
    }

    /// The workers' figures, when a packet of it was read.
    pub(super) fn with_packets(&self) -> Option<&'a ClientCounters> {
        self.counted.filter(|counted| counted.counts.received > 0)
    }

    /// Its agent reads the same clock as the workers, so times of both may be compared.
    pub(super) fn is_on_our_clock(&self) -> bool {
        self.agent.is_on_our_clock()
    }

    /// Its workers recorded one-way times, also when its clock turned out to be another one.
    pub(super) fn is_recorded_on_our_clock(&self) -> bool {
        self.agent.is_recorded_on_our_clock()
    }

    /// Its workers recorded times by lines between its agent's clock and ours.
    pub(super) fn is_recorded_by_lines(&self) -> bool {
        self.agent.share.clock.has_lines()
    }

    /// Its end arrived and its end-ack did, whatever failure either end reports: then nothing may
    /// be missing.
    pub(super) fn exchanged_ends(&self) -> bool {
        let has_end_ack = self.reported.and_then(|reported| reported.acknowledged);
        let has_end = self.counted.and_then(|counted| counted.reported_sent);
        has_end_ack.is_some() && has_end.is_some()
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::packet_size::PacketSize;

    use super::{super::samples::Sample, *};

    #[test]
    fn a_lost_packet_is_placed_where_the_kernels_counted_it_last() {
        for (sent, acknowledged_packets, received, placed) in [
            (100, Some(100), 100, Some((0, 0))),
            (100, Some(90), 80, Some((10, 10))),
            // It was read, though the agent's kernel had not heard so when the connection broke.
            (100, Some(70), 80, Some((20, 0))),
            (100, Some(100), 0, Some((0, 100))),
            (0, Some(0), 0, Some((0, 0))),
            (100, None, 100, Some((0, 0))),
            (100, None, 80, None),
        ] {
            let mut sample = Sample::of(1, 1);
            sample.reported_counts(0, |counts| counts.sent = sent);
            sample.counted(0, |counted| counted.counts.received = received);
            for packet_bytes in [32, 1472] {
                let size = PacketSize::new(packet_bytes).unwrap();
                sample.plan.groups[0].packet_size = size;
                sample.reported(0, |reported| {
                    reported.kernel_acknowledged_bytes = acknowledged_packets
                        .map(|packets: u64| (packets + 1) * u64::from(packet_bytes) - 1);
                });
                let evidence = sample.evidence();
                let row = &pair(&evidence)[0];
                assert_eq!(
                    row.lost_unacknowledged().zip(row.lost_unread()),
                    placed,
                    "{row:?}"
                );
            }
        }
    }

    #[test]
    fn what_one_end_has_not_reported_is_not_known() {
        let mut sample = Sample::of(1, 1);
        sample.forget_agent(0);
        let evidence = sample.evidence();
        let row = &pair(&evidence)[0];
        assert_eq!((row.sent(), row.lost()), (None, None));
        assert_eq!(row.received(), Some(super::super::samples::PACKETS));
        let mut sample = Sample::of(1, 1);
        sample.counters().clients.clear();
        let evidence = sample.evidence();
        assert_eq!(
            pair(&evidence)[0].received(),
            Some(0),
            "no hello, no packet"
        );
        sample.counters = None;
        let evidence = sample.evidence();
        assert_eq!(pair(&evidence)[0].received(), None);
    }

    #[test]
    fn a_client_without_a_connection_has_the_counts_of_none_where_they_can_be_known() {
        let counts = |sample: &Sample| {
            let groups = GroupLoad::all(&sample.plan);
            receiver(&sample.evidence(), &groups[0].1, None, &sample.agents[0])
        };
        let mut sample = Sample::of(1, 1);
        let on_our_clock = v1::ReceiverCounts {
            below_floor: None,
            ..v1::ReceiverCounts::zero()
        };
        assert_eq!(counts(&sample), on_our_clock);
        sample.forget_clock(0);
        let on_another_clock = v1::ReceiverCounts {
            read_before_written: None,
            ..on_our_clock
        };
        assert_eq!(counts(&sample), on_another_clock);
        sample.offset_clock(0, 50_000);
        let with_a_floor = v1::ReceiverCounts {
            below_floor: Some(0),
            ..on_another_clock
        };
        assert_eq!(counts(&sample), with_a_floor);
        sample.path(0, |path| path.queueing_bound_ns = None);
        assert_eq!(counts(&sample), on_another_clock);
        sample.flood();
        let of_a_flood = v1::ReceiverCounts {
            warm_up: Some(0),
            replies_wanted: Some(0),
            replies_dropped: Some(0),
            ..v1::ReceiverCounts::default()
        };
        assert_eq!(counts(&sample), of_a_flood);
    }
}
