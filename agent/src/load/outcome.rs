//! What comes back from the pacing threads when the load is over.

use metronome_proto::histogram::Histogram;

use crate::load::{client::Client, send_buffer::SendBuffer};

/// What the pacing threads have measured of themselves.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// CPU of the threads from the start instant on, ns.
    pub cpu_ns: u64,
    /// Writes that took data.
    pub writes: u64,
    /// Longest that a sleep ended late, ns.
    pub oversleep_ns_max: u64,
    /// From due to the write, of every packet.
    pub lateness: Histogram,
    /// Threads that were real-time threads at the end.
    pub real_time_threads: u32,
}

impl Measured {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.cpu_ns += outcome.cpu_ns;
        self.writes += outcome.send_buffer.writes;
        self.oversleep_ns_max = self.oversleep_ns_max.max(outcome.oversleep_ns_max);
        self.lateness.merge(&outcome.send_buffer.lateness);
        self.real_time_threads += u32::from(outcome.is_real_time);
    }
}

/// What came of one thread's share of a run.
pub(crate) struct Outcome {
    pub(crate) clients: Vec<Client>,
    pub(crate) send_buffer: SendBuffer,
    pub(crate) cpu_ns: u64,
    pub(crate) oversleep_ns_max: u64,
    pub(crate) is_real_time: bool,
}

impl Outcome {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            clients: Vec::new(),
            send_buffer: SendBuffer::new(),
            cpu_ns: 0,
            oversleep_ns_max: 0,
            is_real_time: false,
        }
    }
}
