//! What is asked of a connection's client, as the process that reads the connection has it at hand.
//! It is made from the slot and the counters and never stored: what a batch changes of it is in the
//! counters at the end of the batch, so another process makes the same of them. That needs no
//! admission, also where the run is over.
//!
//! Times are ns. Where the memory is damaged, so that it holds no load or a place that the load
//! does not have, every packet is off the schedule.

use super::{
    due_times::{DueTimes, LeftOut, Reach, Taken},
    load_words::ClientLoad,
};
use crate::model::{ClientStart, allowance_ns};

/// The load of a client, with the cursor of its schedule and the end of the warm-up.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct LoadCheck {
    /// Absent in a flood, and where no plan has sent the client.
    due_times: Option<Box<DueTimes>>,
    /// How long after the last due time a packet is in time.
    allowance_ns: i64,
    warm_up_ns: u64,
    /// When the run starts, on the sender's clock.
    run_start_ns: u64,
    /// When the warm-up ends after the client's start.
    warm_up_end_ns: u64,
}

impl LoadCheck {
    /// That of a client whose next packet has such a place and due time.
    pub(super) fn at(load: &ClientLoad, client: u16, next: (u64, u64)) -> Self {
        Self::new(load, client, Some(next))
    }

    /// That of a client that is admitted.
    pub(super) fn admitted(load: &ClientLoad, client: u16) -> Self {
        Self::new(load, client, None)
    }

    /// The next packet has such a place and due time; the first ones without.
    fn new(load: &ClientLoad, client: u16, next: Option<(u64, u64)>) -> Self {
        let warm_up_ns = load.warm_up_ns;
        let Some(schedule) = load.load.schedule(0, client.into()) else {
            return Self {
                warm_up_ns,
                ..Self::default()
            };
        };
        let allowance_ns = allowance_ns(&schedule);
        let due_times = match next {
            Some((place, due_ns)) => DueTimes::at(schedule, place, due_ns),
            None => Some(DueTimes::first(schedule)),
        };
        Self {
            due_times: due_times.map(Box::new),
            // At most 1024 packets at a packet in 1000 s.
            allowance_ns: i64::try_from(allowance_ns).unwrap_or(i64::MAX),
            warm_up_ns,
            ..Self::default()
        }
    }

    /// The client has sent its start.
    pub(super) fn start(&mut self, start: ClientStart) {
        self.run_start_ns = start.start_ns.wrapping_sub(start.offset_ns);
        self.warm_up_end_ns = self.warm_up_ns.saturating_sub(start.offset_ns);
    }

    /// A batch begins that looks for places as far as this.
    #[inline]
    pub(super) fn begin_batch(&mut self, reach: Reach) {
        if let Some(due_times) = &mut self.due_times {
            due_times.begin_batch(reach);
        }
    }

    /// Place and due time of the next packet. `None` without a schedule.
    #[inline]
    pub(super) fn next(&self) -> Option<(u64, u64)> {
        self.due_times.as_ref().map(|due_times| due_times.next())
    }

    /// Whether a packet is one of the warm-up; `due_ns` is on the sender's clock.
    #[inline]
    pub(super) fn is_in_warm_up(&self, due_ns: u64) -> bool {
        due_ns.wrapping_sub(self.run_start_ns) < self.warm_up_ns
    }

    /// Whether a packet of a flood that is read then is one of the warm-up. Its sender chooses when
    /// it is due, and so cannot choose what is measured. On another clock it is not known when the
    /// run starts, so that the first read of the client has to do.
    #[inline]
    pub(super) fn is_read_in_warm_up(&self, read_ns: u64, first_on_another: Option<u64>) -> bool {
        let start_ns = first_on_another.unwrap_or(self.run_start_ns);
        read_ns.wrapping_sub(start_ns) < self.warm_up_ns
    }

    /// Takes the next packet, due so long after the client's start.
    #[inline]
    pub(super) fn take(&mut self, due_ns: u64) -> Taken {
        match &mut self.due_times {
            Some(due_times) => due_times.take(due_ns, self.warm_up_end_ns),
            None => Taken::Off(LeftOut::default()),
        }
    }

    /// When the last packet is due after the client's start, and how long after that one is in
    /// time. Of random arrivals the last instant at which a packet may be due.
    #[inline]
    pub(super) fn end_and_allowance_ns(&self) -> (u64, i64) {
        let end_ns = self.due_times.as_ref().map_or(0, |of| of.end_ns());
        (end_ns, self.allowance_ns)
    }
}
