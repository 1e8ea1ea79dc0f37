//! Rows of the ledger for runs, and the runs that wait for their end.

use std::collections::BTreeMap;

use metronome_proto::run_id::RunId;

use super::{client_places::STATIC_ROW, request::Reply};
use crate::{ledger::RUNS_MAX, model::FinalCounters};

/// What the master has of the admitted runs besides their counters.
#[derive(Default)]
pub(super) struct RunTable {
    /// Runs that are to end, and where their records go. No server hands over before there is none.
    closing: BTreeMap<RunId, Closing>,
    /// When the run that had this row was closed, ns.
    row_closed_ns: [u64; RUNS_MAX],
    /// A connection was recorded or a run is to close: a run may be complete now.
    may_be_complete: bool,
}

/// A run that is to end.
struct Closing {
    reply: Reply<Option<FinalCounters>>,
    /// A slot that had a connection of it when that was last looked at.
    open_slot: u32,
}

impl RunTable {
    /// A row for a run, of those that are not taken. `None` when all are.
    pub(super) fn free_row(&self, taken: impl Iterator<Item = usize>) -> Option<usize> {
        let mut is_taken = [false; RUNS_MAX];
        taken
            .filter(|row| *row < RUNS_MAX)
            .for_each(|row| is_taken[row] = true);
        // The one that was left longest ago: a worker that is behind may still give a place to a
        // client of its last run there.
        (STATIC_ROW + 1..RUNS_MAX)
            .filter(|row| !is_taken[*row])
            .min_by_key(|row| self.row_closed_ns[*row])
    }

    /// A run is to end; `reply` gets its record then.
    pub(super) fn close(&mut self, run: RunId, reply: Reply<Option<FinalCounters>>) {
        let open_slot = 0;
        self.closing.insert(run, Closing { reply, open_slot });
        self.may_be_complete = true;
    }

    /// A connection was recorded, which may have been the last of its run.
    pub(super) fn connection_recorded(&mut self) {
        self.may_be_complete = true;
    }

    /// Runs that are to end, if any may be complete since the last call.
    pub(super) fn take_closing_if_changed(&mut self) -> Option<Vec<RunId>> {
        std::mem::take(&mut self.may_be_complete).then(|| self.closing.keys().copied().collect())
    }

    /// Where to begin to search for a connection of a run that is to end.
    pub(super) fn open_slot(&self, run: RunId) -> u32 {
        self.closing
            .get(&run)
            .map_or(0, |closing| closing.open_slot)
    }

    /// This slot has a connection of a run that is to end.
    pub(super) fn set_open_slot(&mut self, run: RunId, slot: u32) {
        if let Some(closing) = self.closing.get_mut(&run) {
            closing.open_slot = slot;
        }
    }

    /// Whether this run is to end.
    pub(super) fn is_closing(&self, run: RunId) -> bool {
        self.closing.contains_key(&run)
    }

    /// Whether a run is to end and has connections left.
    pub(super) fn has_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    /// The run has ended and leaves its row. Returns where its record goes.
    pub(super) fn end(
        &mut self,
        run: RunId,
        row: usize,
        now_ns: u64,
    ) -> Option<Reply<Option<FinalCounters>>> {
        self.row_closed_ns[row] = now_ns;
        self.closing.remove(&run).map(|closing| closing.reply)
    }

    /// When the run that had each row was closed, for a new server process.
    pub(super) fn row_closed_ns(&self) -> [u64; RUNS_MAX] {
        self.row_closed_ns
    }

    /// Goes on with the rows as another server had them.
    pub(super) fn restore(&mut self, row_closed_ns: [u64; RUNS_MAX]) {
        self.row_closed_ns = row_closed_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_gets_the_row_that_was_left_longest_ago() {
        let mut table = RunTable::default();
        let run = RunId::from_bits(1);
        assert_eq!(table.free_row([].into_iter()), Some(1));
        for (row, now_ns) in (1..RUNS_MAX).zip(10..) {
            let _ = table.end(run, row, now_ns);
        }
        assert_eq!(table.free_row([].into_iter()), Some(1));
        assert_eq!(table.free_row([2, 1, 99].into_iter()), Some(3));
        let _ = table.end(run, 1, 100);
        assert_eq!(table.free_row([].into_iter()), Some(2));
        assert_eq!(
            table.free_row(1..RUNS_MAX),
            None,
            "the static run's row is for no other"
        );
    }

    #[test]
    fn runs_are_looked_at_only_when_one_may_be_complete() {
        let mut table = RunTable::default();
        assert_eq!(table.take_closing_if_changed(), None);
        let run = RunId::from_bits(7);
        assert!(!table.is_closing(run));
        table.close(run, Box::new(|record| assert!(record.is_none())));
        assert!(table.is_closing(run) && !table.is_closing(RunId::from_bits(8)));
        assert_eq!(table.take_closing_if_changed(), Some(vec![run]));
        assert_eq!(
            table.take_closing_if_changed(),
            None,
            "nothing was recorded since"
        );
        table.connection_recorded();
        assert_eq!(table.take_closing_if_changed(), Some(vec![run]));
        let reply = table.end(run, 1, 5).unwrap();
        reply(None);
        assert!(!table.has_closing());
    }
}
