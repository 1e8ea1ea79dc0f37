//! The door for the micro-benchmarks in benches/: the decisions of a pacing thread, without its
//! clients, its clock and its sleeps. Behind the feature `testing`; no executable has it.

use std::hint::black_box;

use metronome_proto::{schedule::Schedule, v1::Phase};

use crate::load::{
    pacing::{NAP_NS_MAX, Pacer, Wait, WaitPolicy},
    ticks::{Place, Ticks, offset_ns},
};

/// The ticks of one pacing thread.
#[derive(Debug)]
pub struct PacingThread {
    ticks: Ticks,
    pacer: Pacer,
    /// How long after the tick each client is due, ns.
    offsets_ns: Vec<u64>,
    now_ns: u64,
}

impl PacingThread {
    /// A thread with `clients` staggered clients, at least 1.
    #[must_use]
    pub fn new(clients: u32, schedule: Schedule) -> Self {
        let place = |client| Place {
            in_thread: client,
            of_thread: clients,
            in_run: client,
            of_run: clients,
        };
        let offset_ns = |client| offset_ns(Phase::Staggered, schedule.period_ns(), place(client));
        Self {
            ticks: Ticks::new(schedule),
            pacer: Pacer::new(WaitPolicy::Hybrid),
            offsets_ns: (0..clients).map(offset_ns).collect(),
            now_ns: schedule.start_ns,
        }
    }

    /// Serves one tick in time: finds the tick, the due time of each client, and that this has
    /// come. Returns how many packets are due; `None` after the last tick.
    pub fn tick(&mut self) -> Option<u64> {
        let tick = self.ticks.next(self.now_ns)?;
        let mut due = 0;
        for offset_ns in &self.offsets_ns {
            let due_ns = tick.due_ns.saturating_add(*offset_ns);
            // Here the thread reads its clock; the compiler must not see that it reads just this.
            let now_ns = black_box(due_ns);
            due += u64::from(self.pacer.next(now_ns, due_ns, NAP_NS_MAX) == Wait::Over);
        }
        self.now_ns = tick.due_ns;
        Some(due)
    }
}
