//! The packet handler of this worker, if its program has one, called between a commit and the next
//! read.
//!
//! Without a handler a batch costs one look at whether there is one, and a packet nothing.

use metronome_os::clock::now_ns;

use super::pulse::Pulse;
use crate::{
    handler::{self, Handling, NotHandled, PacketHandler},
    ledger::{ConnectionCounters, Ledger, ReleaseStore, Slot},
    model::ClientEnd,
};

pub(super) struct WorkerHandler {
    handling: Option<Handling>,
    pub(super) pulse: Pulse,
}

impl WorkerHandler {
    pub(super) fn new(pulse: Pulse, handler: Option<Box<dyn PacketHandler>>) -> Self {
        Self {
            handling: handler.map(Handling::new),
            pulse,
        }
    }

    /// Hands on what the worker before this one has left of a connection. An error is how the
    /// connection has to end.
    pub(super) fn adopt(
        &mut self,
        ledger: &Ledger,
        slot: &Slot,
        counters: &ConnectionCounters,
    ) -> Result<(), ClientEnd> {
        let Some(handling) = &mut self.handling else {
            handler::forget(slot, &ReleaseStore);
            return Ok(());
        };
        self.pulse.beat(ledger.worker(self.pulse.index), now_ns());
        let handled = handling.adopt(slot, counters, &ReleaseStore);
        handled.map_err(end)
    }

    /// Hands on the batch that was committed last. An error is how the connection has to end.
    #[inline]
    pub(super) fn handle(
        &mut self,
        ledger: &Ledger,
        slot: &Slot,
        counters: &ConnectionCounters,
    ) -> Result<(), ClientEnd> {
        let Some(handling) = &mut self.handling else {
            return Ok(());
        };
        // A call that never returns shows as a heartbeat that stands still since it began.
        self.pulse.beat(ledger.worker(self.pulse.index), now_ns());
        let handled = handling.handle(slot, counters, &ReleaseStore);
        handled.map_err(end)
    }
}

fn end(why: NotHandled) -> ClientEnd {
    match why {
        NotHandled::Failed => ClientEnd::HandlerFailed,
        NotHandled::Impossible => ClientEnd::Unrecoverable,
    }
}

#[cfg(test)]
impl WorkerHandler {
    /// That of the first worker, whose program has none.
    pub(super) fn none() -> Self {
        let pulse = Pulse::new(0, metronome_os::realtime::Realtime::none());
        Self::new(pulse, None)
    }
}
