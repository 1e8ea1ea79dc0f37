//! What the micro-benchmarks in benches/ may call: a pacing thread's decisions, without its
//! clients, its clock and its sleeps. Behind the feature `benching`; no executable has it.

use std::hint::black_box;

use metronome_proto::{schedule::Schedule, v1::Phase};

use crate::load::{
    pacing::{NAP_NS_MAX, Wait, WaitPolicy, Waiting},
    volleys::{Place, Volleys, offset_ns},
};

/// The schedule of one pacing thread.
#[derive(Debug)]
pub struct Lane {
    volleys: Volleys,
    waiting: Waiting,
    /// Of each client, ns after the volley.
    offsets_ns: Vec<u64>,
    slot: u64,
}

impl Lane {
    /// So many staggered clients of 1 or more.
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
            volleys: Volleys::new(schedule),
            waiting: Waiting::new(WaitPolicy::Hybrid),
            offsets_ns: (0..clients).map(offset_ns).collect(),
            slot: 0,
        }
    }

    /// One volley in good time: which it is, when each client is due, and that this has come.
    /// Returns the packets that are due; `None` after the last.
    pub fn volley(&mut self) -> Option<u64> {
        let now_ns = self.volleys.next(self.slot, 0)?.due_ns;
        let volley = self.volleys.next(self.slot, now_ns)?;
        let mut due = 0;
        for offset_ns in &self.offsets_ns {
            let due_ns = volley.due_ns.saturating_add(*offset_ns);
            // Here the thread reads its clock; the compiler may not know that it reads just this.
            let now_ns = black_box(due_ns);
            due += u64::from(self.waiting.next(now_ns, due_ns, NAP_NS_MAX) == Wait::Over);
        }
        self.slot = volley.slot + 1;
        Some(due)
    }
}
