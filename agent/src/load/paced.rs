//! A load with a schedule: wait until a client is due, write its packets, go on with the next
//! client.
//!
//! [`super::ticks`] decides when each client is due, [`super::pacing_thread`] waits for it. Per
//! packet this is one reading of the clock and one write, without a division, an allocation, a lock
//! or a log line. Times are ns of CLOCK_MONOTONIC.

use metronome_proto::schedule::Schedule;

use super::{pacing_thread::PacingThread, ticks::Ticks};

/// Serves tick after tick, until the last one or until a stop is requested. `schedule` is that of a
/// client of phase 0.
pub(super) fn serve(thread: &mut PacingThread<'_>, schedule: Schedule) {
    let mut ticks = Ticks::new(schedule);
    while let Some(tick) = ticks.next(thread.seen_ns()) {
        for place in 0..thread.clients.len() {
            let due_ns = tick.due_ns.saturating_add(thread.offsets_ns[place]);
            let Some(now_ns) = thread.wait_until(due_ns) else {
                return;
            };
            thread.send_due(place, tick.packets, now_ns);
        }
    }
}
