//! The law of due times: every packet's due time is a place of its client's schedule, behind the
//! place of the packet before. Pure; nothing that a packet can carry costs more than a constant
//! number of steps.
//!
//! The first packet's due time is the *anchor*: place 0 of the worker's cursor, since the client's
//! phase is the agent's to choose. Where the agent has skipped its first packets, the anchor is a
//! later place of the agent's own schedule, with a fraction of a nanosecond behind it that the
//! packet does not carry. A later place is then due at the formula from the anchor or 1 ns after
//! it: exactly these two are accepted. The nanosecond is never added up, since the cursor goes on
//! from the formula and not from what a packet carried. Places are 1,000 ns apart or more, so no
//! two are mistaken for each other.
//!
//! Packets of one write share a due time. Which of them were left out cannot be seen, so they take
//! the first places of their write, and the rest of it counts as left out once a packet of a later
//! write comes.

use metronome_proto::{
    limits::{BATCH_MAX, RATE_MILLIHERTZ_MAX, RATE_MILLIHERTZ_MIN},
    schedule::{Cursor, Schedule},
};

/// What a fraction of a nanosecond behind the anchor can shift a due time by, ns.
const ANCHOR_FRACTION_NS: u64 = 1;

/// The schedule of a client from its anchor on, and the place of its last packet that was on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct DueTimes {
    schedule: Schedule,
    cursor: Cursor,
}

/// Whether a schedule is one that a checked plan can have: the ledger and messages may hold others.
pub(crate) fn is_possible(schedule: &Schedule) -> bool {
    (RATE_MILLIHERTZ_MIN..=RATE_MILLIHERTZ_MAX).contains(&schedule.rate_millihertz)
        && (1..=BATCH_MAX).contains(&schedule.batch)
        && schedule.packets > 0
}

impl DueTimes {
    /// The last packet of a possible schedule, whose `start_ns` is the anchor, had this place.
    pub(super) fn at(schedule: Schedule, place: u64) -> Self {
        let cursor = schedule.cursor(place);
        Self { schedule, cursor }
    }

    /// The schedule from the anchor on.
    pub(super) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The place of the last packet that was on the schedule, counted from the anchor.
    pub(super) fn place(&self) -> u64 {
        self.cursor.place()
    }

    /// Takes the next packet, and returns how many places it leaves out. `None` when its due time
    /// is off the schedule: then the cursor stays where it is.
    #[inline]
    pub(super) fn take(&mut self, due_ns: u64) -> Option<u64> {
        if self.cursor.place() < self.schedule.packets - 1 {
            let mut next = self.cursor;
            next.advance();
            if is_due_at(due_ns, next.due_ns()) {
                self.cursor = next;
                return Some(0);
            }
        }
        self.take_later(due_ns)
    }

    /// The place is found by the closed form: a packet makes the worker walk over none.
    #[cold]
    fn take_later(&mut self, due_ns: u64) -> Option<u64> {
        let last_due = self.schedule.due_by(due_ns).checked_sub(1)?;
        let place = last_due - last_due % u64::from(self.schedule.batch);
        let left_out = place.checked_sub(self.cursor.place())?.checked_sub(1)?;
        if !is_due_at(due_ns, self.schedule.due_at(place)) {
            return None;
        }
        self.cursor = self.schedule.cursor(place);
        Some(left_out)
    }
}

#[inline]
fn is_due_at(due_ns: u64, place_ns: u64) -> bool {
    let behind = due_ns.checked_sub(place_ns);
    behind.is_some_and(|behind| behind <= ANCHOR_FRACTION_NS)
}
