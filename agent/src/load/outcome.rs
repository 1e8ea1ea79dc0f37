//! What comes back from the pacing threads when the load is over.

use metronome_proto::{histogram::Histogram, v1::ThreadPriority};

use crate::load::{client::Client, send_buffer::SendBuffer};

/// What the pacing threads have measured about themselves.
#[derive(Debug, Default)]
pub(crate) struct GeneratorStats {
    /// CPU time of the threads from the start instant on, ns.
    pub cpu_ns: u64,
    /// Writes that took data.
    pub writes: u64,
    /// Longest that a sleep ended late, ns.
    pub oversleep_ns_max: u64,
    /// Packets written whole.
    pub packets: u64,
    /// Time from due to the write of every packet that has a schedule, ns: none of a flood.
    pub lateness: Histogram,
    /// Threads that were real-time threads at the end.
    pub real_time_threads: u32,
    /// What the scheduler granted to the threads of the load, all of them together.
    pub priority: ThreadPriority,
}

impl GeneratorStats {
    /// Adds what one thread has measured.
    pub(crate) fn add(&mut self, outcome: &ThreadOutcome) {
        self.cpu_ns += outcome.cpu_ns;
        self.writes += outcome.send_buffer.writes;
        self.oversleep_ns_max = self.oversleep_ns_max.max(outcome.oversleep_ns_max);
        self.packets += outcome.send_buffer.sent;
        if !outcome.is_flood {
            self.lateness.merge(&outcome.send_buffer.lateness);
        }
        self.real_time_threads += u32::from(outcome.is_real_time);
        self.priority = self.priority.with(outcome.priority);
    }
}

/// The result of one thread.
pub(crate) struct ThreadOutcome {
    pub clients: Vec<Client>,
    /// With the counters of the thread.
    pub send_buffer: SendBuffer,
    /// Whether its packets are due when they are written.
    pub is_flood: bool,
    /// CPU time from the start instant on, ns.
    pub cpu_ns: u64,
    /// Longest that a sleep ended late, ns.
    pub oversleep_ns_max: u64,
    /// Whether it was a real-time thread at the end.
    pub is_real_time: bool,
    /// What the scheduler granted to it while it had its load.
    pub priority: ThreadPriority,
}

impl ThreadOutcome {
    /// The result of a thread that has not begun.
    pub(crate) fn new(is_flood: bool) -> Self {
        Self {
            clients: Vec::new(),
            send_buffer: SendBuffer::new(),
            is_flood,
            cpu_ns: 0,
            oversleep_ns_max: 0,
            is_real_time: false,
            priority: ThreadPriority::Unspecified,
        }
    }
}
