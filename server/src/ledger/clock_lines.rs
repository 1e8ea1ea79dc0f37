//! The lines by which times between two clocks are taken, in shared memory: the present one of each
//! agent of a run, stored by the master, beside the place of its probes, and in each slot the one
//! of the batch that is being processed.
//!
//! A worker takes the present line of its client's agent into the slot before it stores the time of
//! a read. So a process that replays that batch takes the same times, whatever the master has
//! stored since. Any words are a line or none, since a broken process may have written anything.

use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::FromBytes;

use super::commit_writer::{CommitWriter, ReleaseStore};
use crate::model::{ClockLine, Floor};

/// Words of a line.
const LINE_WORDS: usize = 7;

/// Bits of the last word.
const IS_LINE: u64 = 1;
const HAS_FLOOR: u64 = 2;

/// Tries to read a copy while its writer flips.
const READ_TRIES: usize = 16;

/// The present line of one agent in one run, or that it has none.
#[derive(Debug, FromBytes)]
#[repr(C, align(128))]
pub(crate) struct AgentLine {
    /// Lines so far; the low bit is the index of the copy that counts.
    version: AtomicU64,
    copies: [[AtomicU64; LINE_WORDS]; 2],
    /// The place of the connection that carries the agent's probes: as a client's in the table of
    /// the clients.
    pub(super) probes: AtomicU64,
}

impl AgentLine {
    /// Stores the present line. The master alone calls it.
    pub(super) fn set(&self, line: Option<&ClockLine>) {
        let version = self.version.load(Ordering::Relaxed);
        let idle = &self.copies[(!version & 1) as usize];
        for (cell, word) in idle.iter().zip(to_words(line)) {
            ReleaseStore.store(cell, word);
        }
        ReleaseStore.store(&self.version, version.wrapping_add(1));
    }

    /// Has no line any more, and no connection of probes.
    pub(super) fn forget(&self) {
        self.set(None);
        ReleaseStore.store(&self.probes, 0);
    }

    /// The present line unless its version is `known`; 0 is that of no line ever. `None` also while
    /// the writer flips too often to be read.
    fn newer(&self, known: u64) -> Option<(u64, [u64; LINE_WORDS])> {
        (0..READ_TRIES).find_map(|_| {
            let version = self.version.load(Ordering::Acquire);
            let copy = &self.copies[(version & 1) as usize];
            let words = std::array::from_fn(|index| copy[index].load(Ordering::Acquire));
            let is_whole = self.version.load(Ordering::Acquire) == version;
            is_whole.then(|| (version != known).then_some((version, words)))
        })?
    }
}

/// The line by which the batch in a slot's buffer is timed.
#[derive(Debug, FromBytes)]
#[repr(C, align(64))]
pub(super) struct BatchLine {
    /// That of the agent's; 0 while there is none, or one is half written.
    version: AtomicU64,
    words: [AtomicU64; LINE_WORDS],
}

impl BatchLine {
    /// Takes over the agent's present line if it is another one.
    #[inline]
    pub(super) fn update(&self, present: &AgentLine, writer: &impl CommitWriter) {
        let known = self.version.load(Ordering::Relaxed);
        if present.version.load(Ordering::Acquire) != known {
            self.take(present, known, writer);
        }
    }

    #[cold]
    fn take(&self, present: &AgentLine, known: u64, writer: &impl CommitWriter) {
        let Some((version, words)) = present.newer(known) else {
            return;
        };
        writer.store(&self.version, 0);
        for (cell, word) in self.words.iter().zip(words) {
            writer.store(cell, word);
        }
        writer.store(&self.version, version);
    }

    /// The line that the last batch has, or had.
    pub(super) fn get(&self) -> Option<ClockLine> {
        let is_whole = self.version.load(Ordering::Acquire) != 0;
        let word = |index: usize| self.words[index].load(Ordering::Acquire);
        is_whole.then(|| from_words(std::array::from_fn(word)))?
    }
}

fn to_words(line: Option<&ClockLine>) -> [u64; LINE_WORDS] {
    let Some(line) = line else {
        return [0; LINE_WORDS];
    };
    let floor = line.floor.unwrap_or(Floor {
        offset_ns: 0,
        drift_ppb: 0,
    });
    let has_floor = u64::from(line.floor.is_some()) * HAS_FLOOR;
    [
        line.from_ns,
        line.until_ns,
        line.at_ns,
        line.offset_ns.cast_unsigned(),
        floor.offset_ns.cast_unsigned(),
        u64::from(line.drift_ppb.cast_unsigned())
            | u64::from(floor.drift_ppb.cast_unsigned()) << 32,
        IS_LINE | has_floor,
    ]
}

fn from_words(words: [u64; LINE_WORDS]) -> Option<ClockLine> {
    let [from_ns, until_ns, at_ns, offset_ns, floor_ns, drifts, bits] = words;
    let floor = Floor {
        offset_ns: floor_ns.cast_signed(),
        drift_ppb: ((drifts >> 32) as u32).cast_signed(),
    };
    let line = ClockLine {
        from_ns,
        until_ns,
        at_ns,
        offset_ns: offset_ns.cast_signed(),
        drift_ppb: (drifts as u32).cast_signed(),
        floor: (bits & HAS_FLOOR != 0).then_some(floor),
    };
    (bits & IS_LINE != 0).then_some(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zeroed<T: FromBytes>() -> T {
        T::read_from_bytes(&vec![0; size_of::<T>()]).unwrap()
    }

    #[test]
    fn an_agents_place_that_is_forgotten_has_no_line_for_any_slot_and_no_probes() {
        let (agent, slot): (AgentLine, BatchLine) = (zeroed(), zeroed());
        agent.set(from_words([0, u64::MAX, 1, 2, 3, 4, IS_LINE]).as_ref());
        agent.probes.store(7, Ordering::Release);
        slot.update(&agent, &ReleaseStore);
        assert!(slot.get().is_some());
        agent.forget();
        slot.update(&agent, &ReleaseStore);
        assert_eq!(slot.get(), None);
        assert_eq!(agent.probes.load(Ordering::Acquire), 0);
    }

    proptest! {
        #[test]
        fn a_line_survives_its_words_and_any_words_are_a_line_or_none(
            numbers: (u64, u64, u64, i64, i32, Option<(i64, i32)>), words: [u64; LINE_WORDS],
        ) {
            let (from_ns, until_ns, at_ns, offset_ns, drift_ppb, floor) = numbers;
            let floor = floor.map(|(offset_ns, drift_ppb)| Floor { offset_ns, drift_ppb });
            let line = ClockLine { from_ns, until_ns, at_ns, offset_ns, drift_ppb, floor };
            prop_assert_eq!(from_words(to_words(Some(&line))), Some(line));
            prop_assert_eq!(from_words(to_words(None)), None);
            let any = from_words(words);
            prop_assert_eq!(any.is_some(), words[6] & IS_LINE != 0);
        }

        #[test]
        fn a_slot_has_the_agents_line_of_when_it_last_looked(
            lines in prop::collection::vec((any::<Option<u64>>(), any::<bool>()), 0..9),
        ) {
            let (agent, slot): (AgentLine, BatchLine) = (zeroed(), zeroed());
            let mut expected = None;
            for (from_ns, looks) in lines {
                let line = from_ns.map(|from_ns| ClockLine {
                    from_ns,
                    until_ns: 0,
                    at_ns: 1,
                    offset_ns: -2,
                    drift_ppb: -3,
                    floor: None,
                });
                agent.set(line.as_ref());
                if looks {
                    slot.update(&agent, &ReleaseStore);
                    expected = line;
                }
                prop_assert_eq!(slot.get(), expected);
            }
        }
    }
}
