//! One row per client: what its agent reported beside what the workers counted.

use std::collections::BTreeMap;

use metronome_proto::{packet::FRAME_BYTES, v1};
use metronome_telemetry::sanitise;

use super::evidence::Evidence;
use crate::model::{AgentRecords, ClientCounters, ClientEnd};

/// One client of the plan, seen from both ends.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) client: u32,
    pub(super) agent: &'a AgentRecords,
    /// `None` when its agent never reported it.
    pub(super) reported: Option<&'a v1::ClientRecord>,
    /// `None` when no hello of this client was verified.
    pub(super) counted: Option<&'a ClientCounters>,
}

/// Pairs both ends' records for every client of the plan, by rising index.
pub(super) fn pair<'a>(evidence: &Evidence<'a>) -> Vec<Row<'a>> {
    let counted: BTreeMap<u32, &ClientCounters> = evidence
        .counters
        .iter()
        .flat_map(|counters| &counters.clients)
        .map(|count| (count.client, count))
        .collect();
    let of_agent = |agent: &'a AgentRecords| agent.clients().map(move |client| (client, agent));
    let row = |(client, agent): (u32, &'a AgentRecords)| Row {
        client,
        agent,
        reported: agent.record(client),
        counted: counted.get(&client).copied(),
    };
    evidence.agents.iter().flat_map(of_agent).map(row).collect()
}

/// Sum of one figure over clients; no claim of an agent can make it wrap.
pub(super) fn total<'a>(rows: &[Row<'a>], figure: impl Fn(&Row<'a>) -> u64) -> u128 {
    rows.iter().map(|row| u128::from(figure(row))).sum()
}

/// A sum as the API reports it.
pub(super) fn saturated(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}

impl Row<'_> {
    /// Packets sent. When the agent never reported the client, the packets received are what is
    /// known to have been sent.
    pub(super) fn sent(&self) -> u64 {
        self.reported
            .map_or(self.received(), |reported| reported.sent)
    }

    pub(super) fn scheduled(&self) -> u64 {
        self.reported
            .map_or(self.received(), |reported| reported.scheduled)
    }

    pub(super) fn skipped(&self) -> u64 {
        self.reported.map_or(0, |reported| reported.skipped)
    }

    /// Packets that had to wait for the path or the server, as the agent reports.
    pub(super) fn blocked(&self) -> u64 {
        self.reported.map_or(0, |reported| reported.blocked)
    }

    pub(super) fn received(&self) -> u64 {
        self.counted.map_or(0, |counted| counted.counts.received)
    }

    pub(super) fn lost(&self) -> u64 {
        self.sent().saturating_sub(self.received())
    }

    /// Packets that the server's kernel acknowledged, as the agent's kernel reported.
    pub(super) fn kernel_acknowledged(&self) -> Option<u64> {
        self.reported?
            .kernel_acknowledged_bytes
            .map(|bytes| bytes / FRAME_BYTES as u64)
    }

    /// Lost packets that the server's kernel never acknowledged. A packet that was read had
    /// arrived, even if its acknowledgement had not reached the agent's kernel by then.
    pub(super) fn lost_unacknowledged(&self) -> u64 {
        let arrived = self.kernel_acknowledged().unwrap_or(0).max(self.received());
        self.sent().saturating_sub(arrived)
    }

    /// Lost packets that the server's kernel acknowledged and no worker read.
    pub(super) fn lost_unread(&self) -> u64 {
        self.lost() - self.lost_unacknowledged()
    }

    /// Its end arrived and its end-ack did, whatever error either end reports: then nothing may be
    /// missing.
    pub(super) fn exchanged_ends(&self) -> bool {
        let reported = self
            .reported
            .is_some_and(|reported| reported.acknowledged.is_some());
        reported
            && self
                .counted
                .is_some_and(|counted| counted.reported_sent.is_some())
    }

    /// It exchanged ends and neither end reports an error.
    pub(super) fn ended_cleanly(&self) -> bool {
        self.error().is_empty()
    }

    /// Why it did not end cleanly; empty when it did.
    pub(super) fn error(&self) -> String {
        let Some(reported) = self.reported else {
            return match self.agent.missing() {
                Some(why) => {
                    sanitise::sentence(&format!("its agent {} is missing: {why}", self.agent.name))
                }
                None => format!("its agent {} gave no record of it", self.agent.name),
            };
        };
        if !reported.error.is_empty() {
            return reported.error.clone();
        }
        match self.counted {
            None => "no worker has a record of it".into(),
            Some(counted) if counted.end != ClientEnd::Clean => end_sentence(counted),
            Some(_) if reported.acknowledged.is_none() => "its end was not acknowledged".into(),
            Some(counted) if counted.reported_sent.is_none() => "no worker has seen its end".into(),
            Some(_) => String::new(),
        }
    }

    /// The row as the API reports it.
    pub(super) fn report(&self) -> v1::ClientReport {
        let counted = self.counted.cloned().unwrap_or_default();
        let one_way_us = |nanos: u64| {
            if self.agent.share.clock.is_same() {
                micros(nanos)
            } else {
                0.0
            }
        };
        v1::ClientReport {
            client: self.client,
            agent: self.agent.name.clone(),
            scheduled: self.scheduled(),
            sent: self.sent(),
            skipped: self.skipped(),
            received: self.received(),
            lost: self.lost(),
            duplicated: counted.counts.duplicated,
            reordered: counted.counts.reordered,
            corrupt: counted.counts.corrupt,
            lateness_p99_us: micros(counted.lateness_p99_ns),
            transit_p99_us: one_way_us(counted.transit_p99_ns),
            latency_p99_us: one_way_us(counted.latency_p99_ns),
            latency_max_us: one_way_us(counted.latency_max_ns),
            worker: counted.worker,
            error: self.error(),
            attempts: self.reported.map_or(0, |reported| reported.attempts),
        }
    }
}

/// How it ended, in words.
fn end_sentence(counted: &ClientCounters) -> String {
    let text = match counted.end {
        ClientEnd::Clean => "it ended cleanly",
        ClientEnd::NotYet => "it had not ended when it was recorded",
        ClientEnd::Abrupt => "the client closed the connection without an end",
        ClientEnd::Broken => "the connection broke",
        ClientEnd::Cut => "the connection was still open when the run was closed",
        ClientEnd::Refused(_) => "the server refused it",
        ClientEnd::Unrecoverable => {
            "its worker died and what it left behind could not be recovered"
        }
    };
    match counted.partial_frame_bytes {
        0 => text.to_owned(),
        bytes => format!("{text}, {bytes} bytes into a packet"),
    }
}

pub(super) fn millis(nanos: u64) -> f64 {
    (nanos / 1_000) as f64 / 1e3
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::{super::samples::Sample, *};
    use crate::model::{AgentShare, ClockRelation};

    #[test]
    fn a_lost_packet_is_placed_where_the_kernels_counted_it_last() {
        for (sent, acknowledged_packets, received, unacknowledged, unread) in [
            (100, 100, 100, 0, 0),
            (100, 90, 80, 10, 10),
            // It was read, though the agent's kernel had not heard so when the connection broke.
            (100, 70, 80, 20, 0),
            (100, 100, 0, 0, 100),
            (0, 0, 0, 0, 0),
        ] {
            let mut sample = Sample::of(1, 1);
            sample.reported(0, |reported| {
                reported.sent = sent;
                reported.kernel_acknowledged_bytes = Some(acknowledged_packets * 32 + 31);
            });
            sample.counted(0, |counted| counted.counts.received = received);
            let evidence = sample.evidence();
            let row = &pair(&evidence)[0];
            assert_eq!(
                (row.lost_unacknowledged(), row.lost_unread()),
                (unacknowledged, unread)
            );
        }
    }

    #[test]
    fn of_a_client_without_a_record_only_what_was_received_is_known() {
        let mut sample = Sample::of(1, 1);
        sample.agents[0] =
            AgentRecords::new("agent-0".into(), AgentShare::new(0, 1, ClockRelation::Same));
        sample.counted(0, |counted| counted.counts.received = 55);
        let evidence = sample.evidence();
        let row = &pair(&evidence)[0];
        assert_eq!(
            (row.scheduled(), row.sent(), row.received(), row.lost()),
            (55, 55, 55, 0)
        );
        assert_eq!(
            row.error(),
            "its agent agent-0 is missing: it never gave its final report"
        );
    }
}
