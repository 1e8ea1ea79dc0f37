//! What a client reports at its end, as the API has it. Times are ns.

use metronome_proto::v1;

use super::Client;
use crate::net::tcp_figures::tcp_figures;

impl Client {
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
