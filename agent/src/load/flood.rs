//! A flood: write follows write, as many packets as the connections take.
//!
//! There is no schedule, and no sleep while any connection takes packets: every client with room
//! gets one write a round, and each packet is due at the reading of the clock right before its
//! write. A connection that is full is left alone until the kernel reports room; when all are full,
//! the thread waits for the first. Times are ns of CLOCK_MONOTONIC.

use metronome_os::clock::timespec;
use rustix::event::{PollFd, PollFlags, poll};

use super::{client::FloodSend, pacing_thread::PacingThread};
use crate::stop_signal::CHECK_EVERY_NS;

/// Floods until `end_ns`, or until a stop is requested, with 1 to 1024 packets per write: `batches`
/// has those of each client.
pub(super) fn serve(thread: &mut PacingThread<'_>, batches: Vec<u32>, end_ns: u64) {
    let mut flood = Flood {
        is_full: vec![false; thread.clients.len()],
        batches,
        end_ns,
    };
    while flood.round(thread) && flood.find_room(thread) {}
}

/// The state of one thread's flood.
struct Flood {
    /// Which clients took less than they were given, and had no room since.
    is_full: Vec<bool>,
    /// Packets per write of each client.
    batches: Vec<u32>,
    end_ns: u64,
}

impl Flood {
    /// One write for each client that has room. Returns whether the flood goes on.
    fn round(&mut self, thread: &mut PacingThread<'_>) -> bool {
        for index in 0..thread.clients.len() {
            if self.is_full[index] {
                continue;
            }
            let Some(now_ns) = self.read_clock(thread, 0) else {
                return false;
            };
            let client = &mut thread.clients[index];
            let sent = client.flood_send(
                self.batches[index].into(),
                now_ns,
                &mut thread.outcome.send_buffer,
            );
            self.is_full[index] = sent == FloodSend::Full;
            thread.publish();
        }
        true
    }

    /// The time, ns; `None` when the flood is over. `waited_ns` is how long the thread has waited
    /// on purpose.
    #[inline]
    fn read_clock(&self, thread: &mut PacingThread<'_>, waited_ns: u64) -> Option<u64> {
        let now_ns = thread.read_clock(waited_ns);
        (now_ns < self.end_ns && thread.stop_signal.allows_load(now_ns)).then_some(now_ns)
    }

    /// Asks the kernel which of the full connections have room again: without a wait while others
    /// go on, else it waits for the first, but not for longer than the stop signal may go
    /// unchecked. Returns whether any connection is left.
    fn find_room(&mut self, thread: &mut PacingThread<'_>) -> bool {
        let (indices, mut waits): (Vec<usize>, Vec<PollFd<'_>>) = (thread.clients.iter())
            .enumerate()
            .filter(|(index, client)| self.is_full[*index] && !client.is_broken())
            .map(|(index, client)| (index, PollFd::new(&client.connection, PollFlags::OUT)))
            .unzip();
        let all_full = self.is_full.iter().all(|is_full| *is_full);
        if waits.is_empty() {
            return !all_full;
        }
        let left_ns = self.end_ns.saturating_sub(thread.seen_ns());
        let wait_ns = if all_full {
            left_ns.min(CHECK_EVERY_NS)
        } else {
            0
        };
        // An interrupted wait ends early, and the next look finds out.
        let _ = poll(&mut waits, Some(&timespec(wait_ns)));
        for (index, wait) in indices.iter().zip(&waits) {
            self.is_full[*index] = wait.revents().is_empty();
        }
        self.read_clock(thread, wait_ns).is_some()
    }
}
