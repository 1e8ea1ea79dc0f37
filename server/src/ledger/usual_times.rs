//! The memory of the times that a client usually has, allocated before its first packet.
//!
//! The first store to a page of a histogram allocates it, which takes several µs. Thousands of
//! clients that send their first packets in one period make that tens of ms, in which the packets
//! of the others wait; their times then lie in octaves that were empty before, so the next packets
//! allocate again. The worker that reads a connection allocates these pages while it does not send
//! yet: four of each histogram that it will use, so 64 KiB of a client with a schedule on the same
//! clock or on another whose offset is measured, 32 KiB of one in a flood.
//!
//! Nothing is counted by it, so a replay has nothing to do with it, and where the system cannot do
//! it a page is allocated at its first store. Absent on purpose: longer times, which are rare
//! unless the run has failed, and clients that send so rarely that their first stores never come
//! together.

use super::{
    counters::{ConnectionCounters, Stage},
    slot::Slot,
};
use crate::model::{PerTime, TimeKind};

/// Buckets of the times below 33.5 ms: four pages where a page has 4 KiB.
const USUAL_BUCKETS: usize = 2048;

/// A client that never sends as many packets per 1000 s as these, one a second, has none of its
/// memory allocated in advance.
const OFTEN_MILLIHERTZ: u64 = 1_000;

/// Allocates what a client that is admitted will use, and maps it into this process.
pub(crate) fn allocate_usual_times(slot: &Slot, counters: &ConnectionCounters) {
    if counters.stage != Stage::Packets || !sends_often(slot, counters) {
        return;
    }
    for kind in TimeKind::ALL.0 {
        // Where it fails, the first store allocates.
        if records(counters)[kind] && slot.populate(kind as usize, USUAL_BUCKETS).is_err() {
            return;
        }
    }
}

/// A flood does, and so may a client whose load the server does not have.
fn sends_often(slot: &Slot, counters: &ConnectionCounters) -> bool {
    let load = counters.has_load.then(|| slot.load()).flatten();
    let highest_millihertz = load.and_then(|load| load.load.profile.highest_millihertz());
    highest_millihertz.is_none_or(|highest| highest >= OFTEN_MILLIHERTZ)
}

/// The kinds of time that are recorded of the client.
fn records(counters: &ConnectionCounters) -> PerTime<bool> {
    let (is_paced, is_same) = (counters.pace.is_some(), counters.clock.is_same());
    let has_lines = counters.clock.has_lines();
    PerTime([is_paced, is_same, is_same, is_paced, has_lines, has_lines])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::{
        histogram::bucket, load::Load, packet::FRAME_BYTES, packet_size::PacketSize,
        profile::Profile,
    };

    use super::*;
    use crate::{
        ledger::{
            HISTOGRAMS, ReleaseStore,
            load_words::ClientLoad,
            world::{World, conversation, hello, key},
        },
        model::ClockRelation,
    };

    const USUAL_NS_MAX: u64 = 33_554_431;

    /// Pages of a connection that has sent its hello, or more than that.
    const PAGES_OF_HELLO: u64 = 2;
    const PAGES_OF_TIMES: u64 = 4;

    fn asked(profile: Profile) -> Option<ClientLoad> {
        let load = Load {
            profile,
            duration: Duration::from_secs(2_000),
            batch: 1,
            seed: 1,
        };
        Some(ClientLoad {
            load,
            warm_up_ns: 0,
            packet_size: PacketSize::MIN,
        })
    }

    fn admitted(world: &World) -> ConnectionCounters {
        let mut counters = ConnectionCounters::default();
        world.batch(&mut counters, &hello().encode(&key()), 1, &ReleaseStore);
        counters
    }

    #[test]
    fn the_usual_times_are_those_below_33_ms() {
        assert_eq!(bucket(USUAL_NS_MAX), USUAL_BUCKETS - 1);
        assert_eq!(bucket(USUAL_NS_MAX + 1), USUAL_BUCKETS);
    }

    #[test]
    fn a_client_gets_the_pages_of_the_times_that_its_clock_and_its_load_record() {
        use ClockRelation::{Offset, Same, Unknown};
        let often = asked(Profile::constant(1_000));
        let rarely = asked(Profile::constant(999));
        let flood = asked(Profile::Flood);
        for (clock, load, histograms) in [
            (Same, often, 4),
            (Unknown, often, 2),
            (Offset, often, 4),
            (Offset, flood, 2),
            (Same, flood, 2),
            (Unknown, flood, 0),
            (Same, None, 2),
            (Same, rarely, 0),
        ] {
            let world = World::with(clock, load);
            let counters = admitted(&world);
            allocate_usual_times(world.slot(), &counters);
            let pages = PAGES_OF_HELLO + histograms * PAGES_OF_TIMES;
            assert_eq!(world.slot_pages(), pages, "{clock:?}, {load:?}");
            assert_eq!(world.slot().counters(), Some(counters));
            // A reader looks at no bucket of it.
            let in_use = (0..HISTOGRAMS).map(|histogram| world.slot().counts(histogram).count());
            assert_eq!(in_use.sum::<usize>(), 0);
        }
    }

    #[test]
    fn packets_with_usual_times_allocate_nothing_and_are_counted_as_without() {
        let bytes = conversation(20);
        let (_, packets) = bytes.split_at(FRAME_BYTES);
        let run = |is_allocated: bool| {
            let world = World::new();
            let mut counters = admitted(&world);
            if is_allocated {
                allocate_usual_times(world.slot(), &counters);
            }
            let before = world.slot_pages();
            world.batch(&mut counters, packets, USUAL_NS_MAX, &ReleaseStore);
            // A worker that takes over asks again, of a client that has ended by now or goes on.
            allocate_usual_times(world.slot(), &counters);
            let allocated = world.slot_pages() - before;
            (counters, world.sums(), allocated)
        };
        let (with, without) = (run(true), run(false));
        assert_eq!((with.0, with.1), (without.0, without.1));
        assert_eq!(with.2, 0);
        assert!(without.2 >= 4, "{} pages", without.2);
    }

    #[test]
    fn a_connection_that_is_no_client_gets_none() {
        let world = World::new();
        for bytes in [&[b'x'; 70][..], &conversation(0)] {
            let mut counters = ConnectionCounters::default();
            world.batch(&mut counters, bytes, 1, &ReleaseStore);
            let before = world.slot_pages();
            assert_ne!(counters.stage, Stage::Packets);
            allocate_usual_times(world.slot(), &counters);
            assert_eq!(world.slot_pages(), before);
        }
    }
}
