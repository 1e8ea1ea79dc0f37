//! Figures of an agent that the other end's contradict: unset before they are shown. Pure.
//!
//! The laws of the verdict cover what is to add up. What is here adds up with nothing, so it would
//! stand in a valid run as if it were known.

use std::ops::RangeInclusive;

use metronome_proto::{
    handshake::ATTEMPTS_MAX,
    packet_size::PacketSize,
    v1::{ClientRecord, ClientReport},
};

use crate::model::{AgentRecords, ClientCounters, FinalCounters};

/// Connection attempts of a client that was connected: a hello has a byte for their number.
const ATTEMPTS: RangeInclusive<u32> = 1..=ATTEMPTS_MAX as u32;

/// Unsets the bytes that the kernel had acknowledged by the end of a client that exchanged ends,
/// where the server has read more packets: its end-ack comes after them, and with it the
/// acknowledgement of all. Of a connection that broke the agent's kernel may have missed the last
/// acknowledgements, so there the figure is only the least of what arrived, and stands.
///
/// It is unset, and no law is broken by it: a kernel that has no such figure may give 0, and then
/// the figures of the run are as good as without.
pub(super) fn unset_kernel_figures(agents: &mut [AgentRecords], counters: &FinalCounters) {
    let counted = |client: u32| {
        let place = counters
            .clients
            .binary_search_by_key(&client, |of| of.client);
        place.ok().map(|place| &counters.clients[place])
    };
    for agent in agents {
        let is_contradicted = |record: &ClientRecord| {
            let size = agent.share.packet_size_of(record.client);
            let counted = counted(record.client);
            counted.is_some_and(|it| contradicts(it, record, size))
        };
        if !agent.records().any(is_contradicted) {
            continue;
        }
        let records = agent.records().map(|record| ClientRecord {
            kernel_acknowledged_bytes: record
                .kernel_acknowledged_bytes
                .filter(|_| !is_contradicted(record)),
            ..record.clone()
        });
        let mut without = AgentRecords::new(agent.name.clone(), agent.share.clone());
        without.restore(
            records.collect(),
            agent.strays(),
            agent.finished().cloned(),
            agent.failure().cloned(),
            agent.is_clock_contradicted(),
            agent.payloads().to_vec(),
        );
        *agent = without;
    }
}

fn contradicts(counted: &ClientCounters, record: &ClientRecord, size: PacketSize) -> bool {
    let has_ends = record.acknowledged.is_some() && counted.reported_sent.is_some();
    let acknowledged = record.kernel_acknowledged_bytes;
    let is_less = |bytes: u64| bytes / (size.bytes() as u64) < counted.counts.received;
    has_ends && acknowledged.is_some_and(is_less)
}

/// Unsets a number of connection attempts that cannot be: none of a client that was connected, or
/// more than are ever made.
pub(super) fn unset_attempts(client: &mut ClientReport) {
    let counts = client.counts.unwrap_or_default();
    let was_connected = client.worker.is_some() || counts.generator.is_some();
    let is_possible =
        |attempts: &u32| ATTEMPTS.contains(attempts) || *attempts == 0 && !was_connected;
    client.attempts = client.attempts.filter(is_possible);
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::{ClientRecords, Counts, GeneratorCounts, ReceiverCounts};

    use super::*;
    use crate::model::{AgentShare, ClockRelation};

    /// What is left of the kernel's figure of a client of which 100 packets were received.
    fn kernel_figure_left(bytes: Option<u64>, has_ends: bool) -> Option<u64> {
        kernel_figure_of(PacketSize::MIN, bytes, has_ends)
    }

    fn kernel_figure_of(size: PacketSize, bytes: Option<u64>, has_ends: bool) -> Option<u64> {
        let mut share = AgentShare::of(2..4, ClockRelation::Same);
        share.shares[0].packet_size = size;
        let mut agent = AgentRecords::new("a".into(), share);
        let record = |client, kernel_acknowledged_bytes| ClientRecord {
            client,
            kernel_acknowledged_bytes,
            acknowledged: has_ends.then_some(100),
            ..ClientRecord::default()
        };
        agent.take(ClientRecords {
            run_id: String::new(),
            clients: vec![record(2, Some(0)), record(3, bytes), record(9, None)],
        });
        agent.contradict_clock();
        let counters = FinalCounters {
            clients: vec![ClientCounters {
                client: 3,
                counts: ReceiverCounts {
                    received: 100,
                    ..ReceiverCounts::default()
                },
                reported_sent: has_ends.then_some(100),
                ..ClientCounters::default()
            }],
            ..FinalCounters::default()
        };
        let mut agents = [agent];
        unset_kernel_figures(&mut agents, &counters);
        let [agent] = agents;
        assert_eq!((agent.strays(), agent.is_clock_contradicted()), (1, true));
        let left = |client| agent.record(client)?.kernel_acknowledged_bytes;
        assert_eq!(left(2), Some(0), "no packet of it was received");
        left(3)
    }

    #[test]
    fn a_kernels_figure_below_what_was_received_is_unset_on_a_clean_end() {
        for (bytes, has_ends, left) in [
            (Some(0), true, None),
            (Some(1), true, None),
            (Some(3_199), true, None),
            (Some(3_200), true, Some(3_200)),
            (Some(u64::MAX), true, Some(u64::MAX)),
            (None, true, None),
            (Some(1), false, Some(1)),
        ] {
            assert_eq!(
                kernel_figure_left(bytes, has_ends),
                left,
                "{bytes:?} {has_ends}"
            );
        }
        let of_large = |bytes| kernel_figure_of(PacketSize::MAX, Some(bytes), true);
        assert_eq!(of_large(147_199), None);
        assert_eq!(of_large(147_200), Some(147_200));
    }

    #[test]
    fn attempts_that_cannot_be_are_unset() {
        let connected = Some(Counts {
            generator: Some(GeneratorCounts::default()),
            ..Counts::default()
        });
        for (attempts, worker, counts, left) in [
            (Some(0), None, None, Some(0)),
            (Some(0), Some(1), None, None),
            (Some(0), None, connected, None),
            (Some(1), Some(1), connected, Some(1)),
            (Some(255), Some(1), connected, Some(255)),
            (Some(256), None, None, None),
            (Some(u32::MAX), Some(1), connected, None),
            (None, Some(1), connected, None),
        ] {
            let mut client = ClientReport {
                attempts,
                worker,
                counts,
                ..ClientReport::default()
            };
            unset_attempts(&mut client);
            assert_eq!(client.attempts, left, "{attempts:?} {worker:?}");
        }
    }
}
