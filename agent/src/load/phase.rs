//! How much later than the run each client of a group starts. Pure; times are ns.
//!
//! An offset is a function of the client's index in its group and of the room that the load leaves,
//! so every agent and every thread comes to the same one without asking another, and a run with
//! another number of agents has the same ones. Only the clients of a thread that has no room for
//! all of its own go by their order in the thread. Those of one phase differ from client to client
//! wherever there is room for that.
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
    /// The same at the highest rate that a client ever has, at most `ns`: clients that one wake-up
    /// is to serve lie within half of it.
    pub shortest_ns: u64,
    /// Writes of one client that are due together, at least 1.
    pub writes: u32,
}

/// Where a client stands among the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    /// Index among the clients of its group in its thread, from 0.
    pub in_thread: u32,
    /// Clients of its group in its thread.
    pub of_thread: u32,
    /// Index in its group, the clients of other agents included, from 0.
    pub in_group: u32,
    /// Clients of its group.
    pub of_group: u32,
    /// The index in the run of the first client of its group.
    pub group_begins: u32,
}

/// How much later than the run's start a client's schedule starts: less than the room, or 0.
pub(crate) fn offset_ns(phase: Phase, room: Room, position: Position) -> u64 {
    match phase {
        Phase::Aligned => 0,
        Phase::Spread => share(room.ns, position.in_group, position.of_group),
        Phase::Staggered => staggered_ns(room, position),
        Phase::Auto | Phase::Unspecified => auto_ns(room, position),
    }
}

impl Room {
    /// The least time that the turn of a client takes.
    fn turn_ns(self) -> u64 {
        STAGGER_NS_MIN * u64::from(self.writes.max(1))
    }

    /// Most clients of a set: at the highest rate it takes half of the period at most, so that
    /// threads that have one set each can sleep in the other half.
    fn set_max(self) -> u32 {
        let by_time = self.shortest_ns / 2 / self.turn_ns();
        let by_writes = (SET_WRITES / self.writes.max(1)).max(1);
        by_time.clamp(1, by_writes.into()) as u32
    }
}

/// How far apart so many clients are within `room_ns` when they go one after the other, as they
/// would like it.
fn wished_ns(room_ns: u64, room: Room, clients: u64) -> u64 {
    let writes = u64::from(room.writes.max(1));
    (room_ns / 4 / clients).clamp(room.turn_ns(), STAGGER_NS_MAX * writes)
}

/// How far apart so many clients are when half of `room_ns` takes all of them one after the other.
/// `None` where it does not.
fn step_ns(room_ns: u64, room: Room, clients: u32) -> Option<u64> {
    let clients = u64::from(clients.max(1));
    let each_ns = room_ns / 2 / clients;
    (each_ns >= room.turn_ns()).then(|| wished_ns(room_ns, room, clients).min(each_ns))
}

/// No two clients of a group have the same offset, whatever agents and threads they are shared out
/// to, unless the room has fewer than four ns for each. At most half of the room is used, so that
/// the threads can sleep in the other half.
fn staggered_ns(room: Room, position: Position) -> u64 {
    let half_ns = room.shortest_ns / 2;
    if let Some(step_ns) = step_ns(room.shortest_ns, room, position.of_group) {
        return step_ns * u64::from(position.in_group);
    }
    let of_group = u64::from(position.of_group.max(1));
    if half_ns < 2 * of_group {
        return share(half_ns, position.in_group, position.of_group);
    }
    // The clients of a thread go one after the other, those of different threads in between.
    let of_thread = u64::from(position.of_thread.max(1));
    let wished_ns = wished_ns(room.shortest_ns, room, of_thread);
    let step_ns = wished_ns.min((half_ns - of_group) / of_thread);
    let between_ns = share(step_ns, position.in_group, position.of_group);
    own_ns(
        step_ns * u64::from(position.in_thread) + between_ns,
        position,
    )
}

/// An offset that no other client of the group has, less than `of_group` ns from the wish: its
/// remainder by the size of the group is the client's own. It is below a multiple of that size
/// where the wish is.
fn own_ns(wish_ns: u64, position: Position) -> u64 {
    wish_ns - wish_ns % u64::from(position.of_group.max(1)) + u64::from(position.in_group)
}

/// Sets of clients all over the room, those of a set one after the other as when staggered. A group
/// of one set is staggered as a whole, and so are the clients of a thread for which half of the
/// room is not enough. Groups begin at different instants; the first one begins with the run.
fn auto_ns(room: Room, position: Position) -> u64 {
    let has_sets = position.of_group > room.set_max();
    let in_set_ns = has_sets.then(|| in_set_ns(room, position)).flatten();
    let offset_ns = in_set_ns.unwrap_or_else(|| staggered_ns(room, position));
    let shifted_ns = offset_ns + golden_share(room.ns / 2, position.group_begins);
    // A turn of the whole period, below the room: no two offsets become one.
    shifted_ns.checked_sub(room.ns).unwrap_or(shifted_ns)
}

/// The offset of a client in one of several sets all over the room. Neighbours in the group are in
/// one set; the next set comes about 0.6 of the room later, so that the clients of an agent or a
/// thread, which are neighbours, lie all over the room however many they are. `None` where half of
/// the room does not take the clients of the thread one after the other.
fn in_set_ns(room: Room, position: Position) -> Option<u64> {
    let set_max = room.set_max();
    let sets = position.of_group.div_ceil(set_max);
    let (at, all, number) = (
        u64::from(position.in_group),
        u64::from(position.of_group),
        u64::from(sets),
    );
    let set = at * number / all;
    let in_set = at - (set * all).div_ceil(number);
    let most_ns = room.shortest_ns / 2 / u64::from(set_max);
    if let Some(step_ns) = step_ns(room.ns, room, position.of_group) {
        let slot = (set * stride(number) % number) as u32;
        return Some(share(room.ns, slot, sets) + step_ns.min(most_ns) * in_set);
    }
    // There are so many sets that those of different threads overlap. Those of one thread follow
    // each other, and the shares of the golden ratio of consecutive numbers are far apart, however
    // few or many there are. The room is cut to a multiple of the size of the group, so that each
    // client can have an offset of its own.
    step_ns(room.ns, room, position.of_thread)?;
    let turning_ns = room.ns - room.ns % all;
    if turning_ns / 4 < all {
        return None;
    }
    let wish_ns = golden_share(turning_ns, set as u32) + room.turn_ns().min(most_ns) * in_set;
    Some(own_ns(wish_ns % turning_ns, position))
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
        Room {
            ns,
            shortest_ns: ns,
            writes: 1,
        }
    }

    fn rooms() -> impl Strategy<Value = Room> {
        let writes = prop_oneof![Just(1_u32), 1..1_000_000_u32];
        (1..1_u64 << 50, 1..1_u64 << 50, writes).prop_map(|(ns, shortest_ns, writes)| Room {
            ns,
            shortest_ns: shortest_ns.min(ns),
            writes,
        })
    }

    fn positions() -> impl Strategy<Value = Position> {
        (1..=10_000_u32, 1..=10_000_u32, 0..10_000_u32).prop_flat_map(
            |(of_group, of_thread, group_begins)| {
                let of_thread = of_thread.min(of_group);
                (0..of_thread, 0..of_group).prop_map(move |(in_thread, in_group)| Position {
                    in_thread,
                    of_thread,
                    in_group,
                    of_group,
                    group_begins,
                })
            },
        )
    }

    /// A client of a group that one thread has all of.
    fn position(client: u32, clients: u32) -> Position {
        Position {
            in_thread: client,
            of_thread: clients,
            in_group: client,
            of_group: clients,
            group_begins: 0,
        }
    }

    /// The clients of one thread.
    fn thread(of_group: u32, begins: u32, of_thread: u32) -> Vec<Position> {
        let position = |in_thread| Position {
            in_thread,
            of_thread,
            ..position(begins + in_thread, of_group)
        };
        (0..of_thread).map(position).collect()
    }

    /// Most of these clients that begin within a window of this length, which may go over the end
    /// of the room: from there on the next period goes.
    fn most_within(window_ns: u64, room: Room, clients: Vec<Position>) -> usize {
        let offset_ns = |at: Position| offset_ns(Phase::Auto, room, at);
        let mut offsets: Vec<u64> = clients.into_iter().map(offset_ns).collect();
        offsets.sort_unstable();
        let next_period = offsets.clone().into_iter().map(|ns| ns + room.ns);
        let both: Vec<u64> = offsets.iter().copied().chain(next_period).collect();
        let within = |(index, from_ns): (usize, &u64)| {
            both.partition_point(|ns| *ns < from_ns + window_ns) - index
        };
        offsets.iter().enumerate().map(within).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn no_offset_reaches_the_end_of_the_room(position in positions(), room in rooms()) {
            for phase in PHASES {
                prop_assert!(offset_ns(phase, room, position) < room.ns);
                let none = Room { ns: 0, shortest_ns: 0, ..room };
                prop_assert_eq!(offset_ns(phase, none, position), 0);
            }
        }

        #[test]
        fn a_staggered_tick_leaves_half_of_the_period_to_sleep(
            position in positions(), room in rooms(),
        ) {
            prop_assert!(offset_ns(Phase::Staggered, room, position) <= room.ns / 2);
        }

        #[test]
        fn no_two_clients_of_a_group_start_at_one_instant_however_they_are_shared_out(
            cuts in prop::collection::btree_set(1..2_000_u32, 0..40),
            of_group in 1..2_000_u32,
            group_begins in 0..8_000_u32,
            ns_each in prop_oneof![4..30_000_u64, 4..1_u64 << 30],
            writes in prop_oneof![Just(1_u32), 1..100_u32],
        ) {
            // A thread of some agent has the clients between two cuts.
            let inner = cuts.into_iter().filter(|cut| *cut < of_group);
            let mut threads: Vec<_> = inner.collect();
            threads.insert(0, 0);
            threads.push(of_group);
            let ns = ns_each * u64::from(of_group);
            let room = Room { ns, shortest_ns: ns, writes };
            for phase in [Phase::Staggered, Phase::Auto] {
                let mut offsets = BTreeSet::new();
                for thread in threads.windows(2) {
                    for in_group in thread[0]..thread[1] {
                        let position = Position {
                            in_thread: in_group - thread[0],
                            of_thread: thread[1] - thread[0],
                            in_group,
                            of_group,
                            group_begins,
                        };
                        let offset_ns = offset_ns(phase, room, position);
                        prop_assert!(offsets.insert(offset_ns), "{position:?}");
                    }
                }
            }
        }

        #[test]
        fn later_clients_are_due_later_but_where_sets_are_laid_over_the_room(
            position in positions(), room in rooms(),
        ) {
            let next = Position {
                in_thread: position.in_thread + 1,
                in_group: position.in_group + 1,
                ..position
            };
            for phase in [Phase::Staggered, Phase::Spread, Phase::Aligned] {
                prop_assert!(offset_ns(phase, room, position) <= offset_ns(phase, room, next));
            }
        }

        #[test]
        fn auto_makes_small_sets_with_pauses_that_are_no_shorter(
            clients in 25..10_000_u32, us_each in 10..1_000_u64,
        ) {
            let room = room(us_each * 1_000 * u64::from(clients));
            let offset_ns = |client| offset_ns(Phase::Auto, room, position(client, clients));
            let mut offsets: Vec<u64> = (0..clients).map(offset_ns).collect();
            offsets.sort_unstable();
            let step_ns = wished_ns(room.ns, room, clients.into());
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
        fn a_thread_with_room_for_its_clients_never_has_more_than_two_sets_at_once(
            (of_group, begins, of_thread) in (25..5_000_u32).prop_flat_map(|of_group| {
                (Just(of_group), 0..of_group, 1..of_group)
            }),
            ns_each in prop_oneof![8..30_000_u64, 8..1_u64 << 20],
            writes in prop_oneof![4 => Just(1_u32), 1 => 1..30_u32],
        ) {
            let ns = ns_each * u64::from(of_group);
            let room = Room { writes, ..room(ns) };
            let of_thread = of_thread.min(of_group - begins);
            let fitting = (ns / 2 / room.turn_ns()).min(of_thread.into()) as u32;
            prop_assume!(fitting > 0);
            let window_ns = room.turn_ns() * u64::from(room.set_max());
            let most = most_within(window_ns, room, thread(of_group, begins, fitting));
            prop_assert!(most <= 2 * room.set_max() as usize, "{most} of {}", room.set_max());
        }

        #[test]
        fn offsets_do_not_depend_on_the_threads_that_have_room_for_their_clients(
            of_group in 1..5_000_u32, at in any::<prop::sample::Index>(),
            ns_each in prop_oneof![8..30_000_u64, 8..1_u64 << 20], cuts in (1..200_u32, 1..200_u32),
        ) {
            let ns = ns_each * u64::from(of_group);
            let room = room(ns);
            let in_group = at.index(of_group as usize) as u32;
            let offset_of = |of_thread: u32| {
                let of_thread = of_thread.min(of_group);
                let in_thread = in_group % of_thread;
                let fits = u64::from(of_thread) * STAGGER_NS_MIN <= ns / 2;
                let position = Position { in_thread, of_thread, ..position(in_group, of_group) };
                fits.then(|| offset_ns(Phase::Auto, room, position))
            };
            let (one, other) = (offset_of(cuts.0), offset_of(cuts.1));
            prop_assume!(one.is_some() && other.is_some());
            prop_assert_eq!(one, other);
        }

        #[test]
        fn a_set_is_short_at_the_highest_rate_and_sets_lie_all_over_the_room_of_the_lowest(
            clients in 25..2_000_u32, us_each in 10..1_000_u64, times in 2..1_000_u64,
        ) {
            let ns = us_each * 1_000 * u64::from(clients);
            let room = Room { shortest_ns: ns / times, ..room(ns) };
            let thread = thread(clients, 0, clients);
            let offset_ns = |at: &Position| offset_ns(Phase::Auto, room, *at);
            let offsets: Vec<u64> = thread.iter().map(offset_ns).collect();
            let sets = u64::from(clients.div_ceil(room.set_max()));
            prop_assert!(offsets.iter().any(|offset_ns| *offset_ns >= ns - ns.div_ceil(sets)));
            // Neighbours are in one set until the next one begins elsewhere.
            let mut begin_ns = offsets[0];
            for pair in offsets.windows(2) {
                if pair[1] <= pair[0] || pair[1] - pair[0] > room.shortest_ns / 2 {
                    begin_ns = pair[1];
                }
                prop_assert!(pair[1] - begin_ns <= room.shortest_ns / 2);
            }
        }

        #[test]
        fn one_set_of_clients_is_staggered(
            clients in 1..=SET_WRITES, client in 0..SET_WRITES, ns in 1..1_u64 << 40,
        ) {
            let position = position(client.min(clients - 1), clients);
            let of = |phase| offset_ns(phase, room(ns), position);
            prop_assert_eq!(of(Phase::Auto), of(Phase::Staggered));
        }
    }

    #[test]
    fn the_main_job_staggers_its_ten_clients_by_five_microseconds() {
        let second =
            |clients, period_ns| offset_ns(Phase::Staggered, room(period_ns), position(1, clients));
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
        let first_ns = |agent: u32| offset_ns(Phase::Auto, room, position(5 * agent, clients));
        let firsts: BTreeSet<u64> = (0..agents).map(first_ns).collect();
        assert_eq!(firsts.len(), agents as usize, "no two begin together");
        let tenths: BTreeSet<u64> = firsts.iter().map(|ns| ns / 1_000_000).collect();
        assert_eq!(tenths.len(), 10, "each tenth of the period has some");
    }

    #[test]
    fn groups_of_more_than_a_hundred_thousand_packets_a_second_lie_all_over_the_period() {
        for (agents, clients, ns) in [
            (60, 5, 10_000_000),
            (60, 17, 10_000_000),
            (100, 100, 50_000_000),
        ] {
            let (room, of_group) = (room(ns), agents * clients);
            let threads = (0..agents).flat_map(|agent| thread(of_group, agent * clients, clients));
            let all: Vec<Position> = threads.collect();
            let offsets = all.iter().map(|at| offset_ns(Phase::Auto, room, *at));
            let different: BTreeSet<u64> = offsets.collect();
            assert_eq!(different.len() as u32, of_group, "no two begin together");
            let hundredth = most_within(ns / 100, room, all);
            let even = of_group as usize / 100;
            assert!(
                hundredth <= even + 2 * SET_WRITES as usize,
                "{hundredth} of {even}"
            );
        }
    }

    #[test]
    fn ten_clients_at_ten_kilohertz_are_one_set_of_each_agent() {
        let room = room(100_000);
        for client in thread(10, 0, 10) {
            let of = |phase| offset_ns(phase, room, client);
            assert_eq!(of(Phase::Auto), of(Phase::Staggered));
            assert_eq!(of(Phase::Auto), 5_000 * u64::from(client.in_thread));
        }
        for agent in 0..4 {
            let most = most_within(5_000 - 40, room, thread(40, agent * 10, 10));
            assert_eq!(most, 1, "one after the other, as with one agent");
        }
    }

    #[test]
    fn groups_begin_at_instants_of_their_own() {
        let first_ns = |group_begins| {
            let position = Position {
                group_begins,
                ..position(0, 10)
            };
            offset_ns(Phase::Auto, room(100_000), position)
        };
        assert_eq!(first_ns(0), 0, "the first one with the run");
        let firsts: BTreeSet<u64> = (0..16).map(|group| first_ns(10 * group)).collect();
        assert_eq!(firsts.len(), 16);
    }

    #[test]
    fn clients_that_write_bursts_are_further_apart() {
        let room = Room {
            writes: 50,
            ..room(100_000_000)
        };
        assert_eq!(
            offset_ns(Phase::Staggered, room, position(1, 10)),
            1_000_000
        );
    }
}
