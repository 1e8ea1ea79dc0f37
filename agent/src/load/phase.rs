//! How much later than the run each client of a group starts. Pure; times are ns.
//!
//! An offset is a function of the client's place in its group and of the room that the load leaves,
//! so every agent and every thread comes to the same one without asking another. Those of one
//! phase differ from client to client wherever there is room for that.
//!
//! ```text
//!  |c0|c1|c2|.........................   staggered: one wake-up a period, one after the other
//!  |c0.........|c1.........|c2........   spread: a wake-up for each client
//!  |c0|c1|.....|c4|c5|.....|c2|c3|....   auto: a wake-up for each set of clients
//! ```

use metronome_proto::v1::Phase;

/// Staggered clients follow each other at least this closely, ns a write: about what one send over
/// loopback costs, so that none waits for the one before it.
const STAGGER_NS_MIN: u64 = 5_000;

/// They are further apart where a quarter of the period has room for it, up to this, ns a write:
/// the first send after a long pause finds cold caches and a sleeping receiver. Of 10,000 clients
/// at 1 Hz one costs 17 µs: at half of that distance the last ones came more than 10 ms late.
const STAGGER_NS_MAX: u64 = 20_000;

/// Most writes of a set of clients that one wake-up serves: about 130 µs of them, beside which the
/// 20 µs of a wake-up are little, while none of the packets is late by more than that.
const SET_WRITES: u32 = 24;

/// How much later than the run a client may start, and how long its turn takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// A period, or less where the run would not last long enough
    /// ([`metronome_proto::schedule::Schedule::room_ns`]), ns.
    pub ns: u64,
    /// Writes of one client that are due together, at least 1.
    pub writes: u32,
}

/// Where a client stands among the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Position among the clients of its group in its thread, from 0.
    pub in_thread: u32,
    /// Clients of its group in its thread.
    pub of_thread: u32,
    /// Position in its group, the clients of other agents included, from 0.
    pub in_group: u32,
    /// Clients of its group.
    pub of_group: u32,
    /// The index in the run of the first client of its group.
    pub group_begins: u32,
}

#[cfg(any(test, feature = "testing"))]
impl Place {
    /// That of a client of a group that one thread has all of.
    pub(crate) fn of_one_thread(client: u32, clients: u32) -> Self {
        Self {
            in_thread: client,
            of_thread: clients,
            in_group: client,
            of_group: clients,
            group_begins: 0,
        }
    }
}

/// How much later than the run's start a client's schedule starts: less than the room, or 0.
pub(crate) fn offset_ns(phase: Phase, room: Room, place: Place) -> u64 {
    match phase {
        Phase::Aligned => 0,
        Phase::Spread => share(room.ns, place.in_group, place.of_group),
        Phase::Staggered => staggered_ns(room, place),
        Phase::Auto | Phase::Unspecified => auto_ns(room, place),
    }
}

/// How far apart so many clients are when they go one after the other, as they would like it.
fn wished_ns(room: Room, clients: u64) -> u64 {
    let writes = u64::from(room.writes.max(1));
    (room.ns / 4 / clients).clamp(STAGGER_NS_MIN * writes, STAGGER_NS_MAX * writes)
}

/// How far apart the clients of a group are when half of the room takes all of them one after the
/// other. `None` where it does not.
fn step_of_group_ns(room: Room, of_group: u64) -> Option<u64> {
    let each_ns = room.ns / 2 / of_group;
    let has_room = each_ns >= STAGGER_NS_MIN * u64::from(room.writes.max(1));
    has_room.then(|| wished_ns(room, of_group).min(each_ns))
}

/// No two clients of a group have the same offset, whatever agents and threads they are shared out
/// to, unless the room has fewer than four ns for each. At most half of the room is used, so that
/// the threads can sleep in the other half.
fn staggered_ns(room: Room, place: Place) -> u64 {
    let half_ns = room.ns / 2;
    let (in_group, of_group) = (u64::from(place.in_group), u64::from(place.of_group.max(1)));
    if let Some(step_ns) = step_of_group_ns(room, of_group) {
        return step_ns * in_group;
    }
    if half_ns < 2 * of_group {
        return share(half_ns, place.in_group, place.of_group);
    }
    // The clients of a thread go one after the other, those of different threads in between. The
    // remainder by the size of the group is the client's own: that makes the offset unique.
    let of_thread = u64::from(place.of_thread.max(1));
    let step_ns = wished_ns(room, of_thread).min((half_ns - of_group) / of_thread);
    let wish_ns =
        step_ns * u64::from(place.in_thread) + share(step_ns, place.in_group, place.of_group);
    wish_ns - wish_ns % of_group + in_group
}

/// Sets of clients all over the room, those of a set one after the other as when staggered. A group
/// of one set, or without room for a pause between sets, is staggered as a whole. Groups begin at
/// different instants; the first one begins with the run.
fn auto_ns(room: Room, place: Place) -> u64 {
    let of_group = place.of_group.max(1);
    let set_max = (SET_WRITES / room.writes.max(1)).max(1);
    let offset_ns = match step_of_group_ns(room, of_group.into()) {
        Some(step_ns) if of_group > set_max => {
            let sets = of_group.div_ceil(set_max);
            in_set_ns(room.ns, step_ns, place.in_group, (sets, of_group))
        }
        _ => staggered_ns(room, place),
    };
    let shifted_ns = offset_ns + golden_share(room.ns / 2, place.group_begins);
    // A turn of the whole period, below the room: no two offsets become one.
    shifted_ns.checked_sub(room.ns).unwrap_or(shifted_ns)
}

/// The offset of a client in one of several sets that divide the room evenly. Neighbours in the
/// group are in one set; the next set comes about 0.6 of the room later, so that the clients of an
/// agent or a thread, which are neighbours, lie all over the room however many they are.
fn in_set_ns(room_ns: u64, step_ns: u64, in_group: u32, (sets, of_group): (u32, u32)) -> u64 {
    let (at, all, number) = (u64::from(in_group), u64::from(of_group), u64::from(sets));
    let set = at * number / all;
    let in_set = at - (set * all).div_ceil(number);
    let slot = (set * stride(number) % number) as u32;
    share(room_ns, slot, sets) + step_ns * in_set
}

/// About 0.6 of a number, and without a common divisor with it: its multiples come to every
/// remainder.
fn stride(number: u64) -> u64 {
    let from = (number * 618 / 1000).max(1);
    // The number plus 1 is such a one.
    (from..=number + 1)
        .find(|stride| gcd(*stride, number) == 1)
        .unwrap_or(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A share of `ns` that differs from number to number: 0 for 0, and multiples of the golden ratio
/// without their whole part.
fn golden_share(ns: u64, number: u32) -> u64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let part = u64::from(number).wrapping_mul(GOLDEN);
    ((u128::from(ns) * u128::from(part)) >> 64) as u64
}

fn share(room_ns: u64, part: u32, parts: u32) -> u64 {
    // Less than room_ns because part < parts.
    (u128::from(room_ns) * u128::from(part) / u128::from(parts.max(1))) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PHASES: [Phase; 4] = [Phase::Staggered, Phase::Spread, Phase::Aligned, Phase::Auto];

    fn room(ns: u64) -> Room {
        Room { ns, writes: 1 }
    }

    fn rooms() -> impl Strategy<Value = Room> {
        let writes = prop_oneof![Just(1_u32), 1..1_000_000_u32];
        (1..1_u64 << 50, writes).prop_map(|(ns, writes)| Room { ns, writes })
    }

    fn places() -> impl Strategy<Value = Place> {
        (1..=10_000_u32, 1..=10_000_u32, 0..10_000_u32).prop_flat_map(
            |(of_group, of_thread, group_begins)| {
                let of_thread = of_thread.min(of_group);
                (0..of_thread, 0..of_group).prop_map(move |(in_thread, in_group)| Place {
                    in_thread,
                    of_thread,
                    in_group,
                    of_group,
                    group_begins,
                })
            },
        )
    }

    proptest! {
        #[test]
        fn no_offset_reaches_the_end_of_the_room(place in places(), room in rooms()) {
            for phase in PHASES {
                prop_assert!(offset_ns(phase, room, place) < room.ns);
                prop_assert_eq!(offset_ns(phase, Room { ns: 0, ..room }, place), 0);
            }
        }

        #[test]
        fn a_staggered_tick_leaves_half_of_the_period_to_sleep(
            place in places(), room in rooms(),
        ) {
            prop_assert!(offset_ns(Phase::Staggered, room, place) <= room.ns / 2);
        }

        #[test]
        fn no_two_clients_of_a_group_start_at_one_instant_however_they_are_shared_out(
            cuts in prop::collection::btree_set(1..2_000_u32, 0..40),
            of_group in 1..2_000_u32,
            group_begins in 0..8_000_u32,
            ns_each in 4..1_u64 << 30,
            writes in prop_oneof![Just(1_u32), 1..100_u32],
        ) {
            // A thread of some agent has the clients between two cuts.
            let inner = cuts.into_iter().filter(|cut| *cut < of_group);
            let mut threads: Vec<_> = inner.collect();
            threads.insert(0, 0);
            threads.push(of_group);
            let room = Room { ns: ns_each * u64::from(of_group), writes };
            for phase in [Phase::Staggered, Phase::Auto] {
                let mut offsets = BTreeSet::new();
                for thread in threads.windows(2) {
                    for in_group in thread[0]..thread[1] {
                        let place = Place {
                            in_thread: in_group - thread[0],
                            of_thread: thread[1] - thread[0],
                            in_group,
                            of_group,
                            group_begins,
                        };
                        let offset_ns = offset_ns(phase, room, place);
                        prop_assert!(offsets.insert(offset_ns), "{place:?}");
                    }
                }
            }
        }

        #[test]
        fn later_clients_are_due_later_but_where_sets_are_laid_over_the_room(
            place in places(), room in rooms(),
        ) {
            let next = Place {
                in_thread: place.in_thread + 1,
                in_group: place.in_group + 1,
                ..place
            };
            for phase in [Phase::Staggered, Phase::Spread, Phase::Aligned] {
                prop_assert!(offset_ns(phase, room, place) <= offset_ns(phase, room, next));
            }
        }

        #[test]
        fn auto_makes_small_sets_with_pauses_that_are_no_shorter(
            clients in 25..10_000_u32, us_each in 10..1_000_u64,
        ) {
            let room = room(us_each * 1_000 * u64::from(clients));
            let place = |client| Place::of_one_thread(client, clients);
            let offset_ns = |client| offset_ns(Phase::Auto, room, place(client));
            let mut offsets: Vec<u64> = (0..clients).map(offset_ns).collect();
            offsets.sort_unstable();
            let step_ns = wished_ns(room, clients.into());
            let sets: Vec<&[u64]> = offsets.chunk_by(|a, b| b - a <= step_ns).collect();
            prop_assert_eq!(sets.len() as u32, clients.div_ceil(SET_WRITES));
            for set in &sets {
                prop_assert!(set.len() as u32 <= SET_WRITES);
            }
            let each_ns = room.ns / u64::from(clients.div_ceil(SET_WRITES));
            for pair in sets.windows(2) {
                prop_assert!(pair[1][0] - pair[0][0] >= each_ns);
                prop_assert!(pair[0][pair[0].len() - 1] - pair[0][0] <= each_ns / 2);
            }
        }

        #[test]
        fn one_set_of_clients_is_staggered(
            clients in 1..=SET_WRITES, client in 0..SET_WRITES, ns in 1..1_u64 << 40,
        ) {
            let place = Place::of_one_thread(client.min(clients - 1), clients);
            let of = |phase| offset_ns(phase, room(ns), place);
            prop_assert_eq!(of(Phase::Auto), of(Phase::Staggered));
        }
    }

    #[test]
    fn the_main_job_staggers_its_ten_clients_by_five_microseconds() {
        let second = |clients, period_ns| {
            offset_ns(
                Phase::Staggered,
                room(period_ns),
                Place::of_one_thread(1, clients),
            )
        };
        assert_eq!(second(10, 100_000), 5_000);
        assert_eq!(
            second(20, 100_000),
            2_621,
            "no tick takes more than half of its period"
        );
        assert_eq!(
            second(10_000, 500_000_000),
            12_500,
            "slow clients are further apart"
        );
        assert_eq!(second(10, 500_000_000), 20_000, "but not much");
    }

    #[test]
    fn sixty_agents_of_five_clients_lie_all_over_the_period() {
        let (agents, clients) = (60, 300);
        let room = room(10_000_000);
        let first_ns =
            |agent: u32| offset_ns(Phase::Auto, room, Place::of_one_thread(5 * agent, clients));
        let firsts: BTreeSet<u64> = (0..agents).map(first_ns).collect();
        assert_eq!(firsts.len(), agents as usize, "no two begin together");
        let tenths: BTreeSet<u64> = firsts.iter().map(|ns| ns / 1_000_000).collect();
        assert_eq!(tenths.len(), 10, "each tenth of the period has some");
    }

    #[test]
    fn groups_begin_at_instants_of_their_own() {
        let first_ns = |group_begins| {
            let place = Place {
                group_begins,
                ..Place::of_one_thread(0, 10)
            };
            offset_ns(Phase::Auto, room(100_000), place)
        };
        assert_eq!(first_ns(0), 0, "the first one with the run");
        let firsts: BTreeSet<u64> = (0..16).map(|group| first_ns(10 * group)).collect();
        assert_eq!(firsts.len(), 16);
    }

    #[test]
    fn clients_that_write_bursts_are_further_apart() {
        let room = Room {
            ns: 100_000_000,
            writes: 50,
        };
        assert_eq!(
            offset_ns(Phase::Staggered, room, Place::of_one_thread(1, 10)),
            1_000_000
        );
    }
}
