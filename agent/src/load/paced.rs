//! A load with a schedule: wait until a client is due, write its packets, go on with the next
//! client.
//!
//! [`super::streams`] decides when each client is due, [`super::pacing_thread`] waits for it. Per
//! packet of a constant rate this is one reading of the clock and one write, without a division, an
//! allocation, a lock or a log line. Times are ns of CLOCK_MONOTONIC.

use super::{pacing_thread::PacingThread, streams::Streams};

/// Serves turn after turn, until the last one or until a stop is requested.
pub(super) fn serve(thread: &mut PacingThread<'_>, mut streams: Streams) {
    while let Some(turn) = streams.next(thread.seen_ns()) {
        let Some(now_ns) = thread.wait_until(turn.due_ns) else {
            return;
        };
        thread.send_due(turn.index_in_thread, turn.packets, now_ns);
    }
}
