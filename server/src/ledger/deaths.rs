//! Processes that die at any store, for tests: what is counted in spite of it is what is counted
//! without.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::AtomicU64,
};

use metronome_proto::packet::Frame;

use super::{
    commit_writer::{CommitWriter, ReleaseStore},
    counters::ConnectionCounters,
    world::World,
};
use crate::model::ClockLine;

/// A writer that dies (panics) after a number of stores.
struct Mortal(Cell<usize>);

impl CommitWriter for Mortal {
    fn store(&self, cell: &AtomicU64, value: u64) {
        let left = self
            .0
            .get()
            .checked_sub(1)
            .unwrap_or_else(|| std::panic::resume_unwind(Box::new("died")));
        self.0.set(left);
        ReleaseStore.store(cell, value);
    }
}

/// The second and the third process come a second later.
const LATER_NS: u64 = 1_000_000_000;

/// Two processes die in one of the batches, the first after so many stores, the second as well.
struct Deaths {
    batch: usize,
    stores: [usize; 2],
    /// What the agent's line is after the first death, where it is another one.
    line: Option<Option<ClockLine>>,
}

/// How the first of them died.
enum Death {
    /// What is processed after it depends on nothing that the first has read or stored.
    BeforeTheTime,
    /// The time of the read is stored, which then counts.
    AfterTheTime,
}

impl World {
    /// Does the same as [`World::batch`], but the process dies, and so does the one that replays; a
    /// third does what is left.
    pub(super) fn die_twice(
        &self,
        counters: &mut ConnectionCounters,
        bytes: &[u8],
        read_ns: u64,
        stores: [usize; 2],
    ) {
        let (batch, line) = (0, None);
        let deaths = Deaths {
            batch,
            stores,
            line,
        };
        self.die(counters, bytes, read_ns, &deaths);
    }

    /// The same. `None` when the first has not died.
    fn die(
        &self,
        counters: &mut ConnectionCounters,
        bytes: &[u8],
        read_ns: u64,
        deaths: &Deaths,
    ) -> Option<Death> {
        let before = counters.bytes;
        // What is stored counts, whatever the clock is by then.
        let is_stored = || self.slot().read_ns() == read_ns;
        let now_ns = || read_ns + if is_stored() { LATER_NS } else { 0 };
        let left = |counters: &ConnectionCounters| bytes.len() - (counters.bytes - before) as usize;
        let [first, second] = deaths.stores.map(|stores| Mortal(Cell::new(stores)));
        let mut dying = *counters;
        let died = catch_unwind(AssertUnwindSafe(|| {
            self.batch(&mut dying, bytes, read_ns, &first);
        }))
        .is_err();
        *counters = self.slot().counters().unwrap();
        assert!(died || left(counters) == 0);
        let death = match is_stored() {
            true => Death::AfterTheTime,
            false => Death::BeforeTheTime,
        };
        if let Some(line) = &deaths.line {
            self.set_line(line.as_ref());
        }
        if left(counters) > 0 {
            let mut dying = *counters;
            let _ = catch_unwind(AssertUnwindSafe(|| {
                self.replay(&mut dying, left(counters), now_ns(), &second);
            }));
            *counters = self.slot().counters().unwrap();
        }
        if left(counters) > 0 {
            self.replay(counters, left(counters), now_ns(), &ReleaseStore);
        }
        died.then_some(death)
    }
}

/// Receives batches, each read at a time.
pub(super) fn receive(world: &World, counters: &mut ConnectionCounters, batches: &[(u64, &[u8])]) {
    receive_with(world, counters, batches, &[], None);
}

/// The same where the agent's line is another one before each batch, and with deaths. Returns how
/// the first process died, if it did.
fn receive_with(
    world: &World,
    counters: &mut ConnectionCounters,
    batches: &[(u64, &[u8])],
    lines: &[Option<ClockLine>],
    deaths: Option<&Deaths>,
) -> Option<Death> {
    let mut death = None;
    for (index, (read_ns, batch)) in batches.iter().enumerate() {
        if let Some(line) = lines.get(index) {
            world.set_line(line.as_ref());
        }
        match deaths {
            Some(deaths) if deaths.batch == index => {
                death = world.die(counters, batch, *read_ns, deaths);
            }
            _ => world.batch(counters, batch, *read_ns, &ReleaseStore),
        }
    }
    death
}

/// What batches leave in a slot.
#[derive(Debug, PartialEq)]
struct Outcome {
    counters: ConnectionCounters,
    committed: Option<ConnectionCounters>,
    times: Vec<(usize, usize, u64)>,
    replies: Vec<Frame>,
}

impl Outcome {
    fn of(world: &World, counters: ConnectionCounters) -> Self {
        Self {
            counters,
            committed: world.slot().counters(),
            times: world.times(),
            replies: world.replies(&counters),
        }
    }
}

/// A death at every single store of every batch, twice in a row: what is counted is what is
/// counted without one. Returns the counters.
pub(super) fn die_at_every_store(
    new_world: impl Fn() -> World,
    begin: impl Fn(&World) -> ConnectionCounters,
    batches: &[(u64, &[u8])],
) -> ConnectionCounters {
    let (counters, deaths) = die_at_every_store_with(new_world, begin, batches, &[], None);
    assert!(deaths > 300, "only {deaths} deaths were tried");
    counters
}

/// The same where the agent's line is one of `lines` before each batch, and `later` after a death.
/// Times by the later one are those of a batch whose time of the read was not stored, and of no
/// other. Returns the counters, and how many deaths there were.
pub(super) fn die_at_every_store_with(
    new_world: impl Fn() -> World,
    begin: impl Fn(&World) -> ConnectionCounters,
    batches: &[(u64, &[u8])],
    lines: &[Option<ClockLine>],
    later: Option<ClockLine>,
) -> (ConnectionCounters, u32) {
    let without_death = |lines: &[Option<ClockLine>]| {
        let world = new_world();
        let mut counters = begin(&world);
        receive_with(&world, &mut counters, batches, lines, None);
        assert_eq!(world.sums(), counters.timed.0);
        assert!(counters.is_possible());
        Outcome::of(&world, counters)
    };
    let undisturbed = without_death(lines);
    let mut tried = 0;
    for batch in 0..batches.len() {
        let mut changed = lines.to_vec();
        if let Some(line) = changed.get_mut(batch) {
            *line = later;
        }
        let read_again = without_death(&changed);
        for first in 0.. {
            let mut has_died = false;
            for second in [usize::MAX, 1, 9, 30] {
                let deaths = Deaths {
                    batch,
                    stores: [first, second],
                    line: (!lines.is_empty()).then_some(later),
                };
                let world = new_world();
                let mut counters = begin(&world);
                let death = receive_with(&world, &mut counters, batches, lines, Some(&deaths));
                let expected = match death {
                    Some(Death::BeforeTheTime) => &read_again,
                    Some(Death::AfterTheTime) | None => &undisturbed,
                };
                let outcome = Outcome::of(&world, counters);
                let stores = deaths.stores;
                assert_eq!(
                    &outcome, expected,
                    "batch {batch}, deaths after {stores:?} stores"
                );
                has_died |= death.is_some();
                tried += u32::from(death.is_some());
            }
            if !has_died {
                break;
            }
        }
    }
    (undisturbed.counters, tried)
}
