//! The record of one client: its counters as the API has them, and what the kernel has of its
//! connection, which only an open socket can report.

use metronome_proto::v1;

use super::Client;
use crate::net::tcp_figures::tcp_figures;

impl Client {
    /// Reads what the receiver's kernel has acknowledged, which only an open socket can report.
    pub(crate) fn read_kernel_acknowledged(&mut self) {
        let info = self.connection.tcp_info();
        self.tcp = info.map(|info| info.path).or(self.tcp);
        let now = info.map(|info| info.bytes_acked);
        self.kernel_acknowledged.update(now, self.sent_bytes());
    }

    /// Whether the receiver's kernel has acknowledged every packet and the end, as far as ours has
    /// that figure.
    pub(crate) fn has_arrived(&mut self) -> bool {
        self.read_kernel_acknowledged();
        self.kernel_acknowledged.is_all() != Some(false)
    }

    /// Whether the receiver's kernel has acknowledged every packet, as far as ours has that figure.
    pub(crate) fn packets_have_arrived(&mut self) -> bool {
        self.read_kernel_acknowledged();
        let arrived = self.kernel_acknowledged.packet_bytes();
        arrived.is_none_or(|bytes| bytes >= self.sent_bytes())
    }

    /// Bytes of the packets that were written whole.
    fn sent_bytes(&self) -> u64 {
        self.counters.sent() * self.packets.size().bytes() as u64
    }

    /// The counters of this client as the API has them.
    pub(crate) fn record(&self) -> v1::ClientRecord {
        let replies = self.echo.replies();
        let signed = |ns: u64| i64::try_from(ns).ok();
        v1::ClientRecord {
            round_trips: self.asks_for_replies().then_some(replies.round_trips),
            rtt_from_due_p99_ns: replies.from_due_p99_ns.and_then(signed),
            rtt_from_write_p99_ns: replies.from_write_p99_ns.and_then(signed),
            client: self.index,
            counts: Some(v1::GeneratorCounts {
                replies_read: Some(replies.read),
                replies_requested: Some(self.replies_requested()),
                replies_unexpected: Some(replies.unexpected(self.counters.sent())),
                scheduled: self.counters.scheduled(),
                sent: self.counters.sent(),
                // A packet of which only a part was written was not sent either.
                skipped: self.counters.skipped() + self.unfinished(),
                blocked: self.counters.blocked(),
            }),
            digest: self.counters.digest(),
            acknowledged: self.acknowledged,
            kernel_acknowledged_bytes: self.kernel_acknowledged.packet_bytes(),
            attempts: self.attempts,
            tcp: self.tcp.map(tcp_figures),
            // The first of both is the cause.
            failure: (self.source_failure.as_deref())
                .or(self.failure.as_deref())
                .cloned(),
        }
    }
}
