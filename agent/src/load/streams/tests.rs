//! Streams of any loads, of a thread that is on time and of one that is held up.

use std::{collections::BTreeMap, time::Duration};

use metronome_proto::profile::{Profile, Step, Steps};
use proptest::prelude::*;

use super::*;

const START_NS: u64 = 1 << 40;
/// Rates up to 20 kHz in a run of 20 ms: some hundred packets each.
const DURATION: Duration = Duration::from_millis(20);

fn profiles() -> impl Strategy<Value = Profile> {
    let rate = || 100_000..=20_000_000_u64;
    let span = || 1_000_000..=10_000_000_u64;
    prop_oneof![
        rate().prop_map(Profile::constant),
        rate().prop_map(|rate_millihertz| Profile::Poisson { rate_millihertz }),
        (1..=100_u32, span()).prop_map(|(packets, every_ns)| Profile::Burst { packets, every_ns }),
        (rate(), 0..=20_000_000_u64).prop_map(|(from_millihertz, to_millihertz)| Profile::Ramp {
            from_millihertz,
            to_millihertz,
        }),
        (rate(), span(), rate()).prop_map(|(first, lasts_ns, second)| {
            let step = |rate_millihertz, lasts_ns| Step {
                rate_millihertz,
                lasts_ns,
            };
            Profile::Steps(Steps::new(&[step(first, lasts_ns), step(second, 0)]).unwrap())
        }),
        (rate(), span(), span()).prop_map(|(rate_millihertz, on_ns, off_ns)| Profile::OnOff {
            rate_millihertz,
            on_ns,
            off_ns,
        }),
    ]
}

/// A load, and the offsets of its clients.
fn shares() -> impl Strategy<Value = Vec<(Load, Vec<u64>)>> {
    let offsets = prop_oneof![
        prop::collection::vec(0..40_000_u64, 1..8),
        prop::collection::vec(0..4_000_000_u64, 1..8),
    ];
    let share = (profiles(), 1..=64_u32, any::<u64>(), offsets).prop_map(
        |(profile, batch, seed, offsets)| {
            let batch = match profile {
                Profile::Poisson { .. } => 1,
                _ => batch,
            };
            let load = Load {
                profile,
                duration: DURATION,
                batch,
                seed,
            };
            (load, offsets)
        },
    );
    prop::collection::vec(share, 1..4)
}

/// The streams of all of them, and the schedule of each client by its index.
fn thread(shares: &[(Load, Vec<u64>)]) -> (Streams, Vec<Schedule>) {
    let (mut streams, mut schedules) = (Streams::default(), Vec::new());
    for (load, offsets) in shares {
        let schedule_of = super::schedules(load, START_NS);
        let members: Vec<Member> = offsets
            .iter()
            .map(|offset_ns| {
                let index_in_thread = schedules.len();
                let client = index_in_thread as u32 + 100;
                schedules.push(load.schedule(START_NS + offset_ns, client).unwrap());
                Member {
                    index_in_thread,
                    schedule: schedule_of(client).unwrap(),
                    offset_ns: *offset_ns,
                }
            })
            .collect();
        streams.add(load.shortest_gap_ns(), members);
    }
    (streams, schedules)
}

/// Packets of a schedule, and when each is due, by its cursor.
fn due_ns(schedule: &Schedule) -> Vec<u64> {
    let (mut due_ns, mut cursor) = (Vec::new(), schedule.first());
    while !cursor.is_over(schedule) {
        due_ns.push(cursor.due_ns());
        cursor.advance(schedule);
    }
    due_ns
}

proptest! {
    #[test]
    fn a_punctual_thread_serves_each_write_of_each_client_once_in_the_order_of_due_times(
        shares in shares(),
    ) {
        let (mut streams, schedules) = thread(&shares);
        let due: Vec<Vec<u64>> = schedules.iter().map(due_ns).collect();
        let mut served = vec![0_usize; schedules.len()];
        let mut now_ns = 0;
        // A thread is never earlier than a turn, and here no later.
        while let Some(turn) = streams.next(now_ns) {
            prop_assert!(turn.due_ns >= now_ns, "due times rise");
            let packets = served[turn.index_in_thread]..turn.packets as usize;
            prop_assert!(!packets.is_empty() && packets.end <= due[turn.index_in_thread].len());
            let batch = u64::from(schedules[turn.index_in_thread].batch());
            prop_assert!(packets.len() as u64 <= batch);
            let of_turn = &due[turn.index_in_thread][packets.clone()];
            prop_assert!(of_turn.iter().all(|due_ns| *due_ns == turn.due_ns), "{turn:?}");
            served[turn.index_in_thread] = packets.end;
            now_ns = turn.due_ns;
        }
        let all: Vec<usize> = due.iter().map(Vec::len).collect();
        prop_assert_eq!(served, all);
    }

    #[test]
    fn a_thread_held_up_serves_each_client_all_that_is_due_and_none_early(
        shares in shares(),
        stalls in prop::collection::vec(prop_oneof![
            4 => Just(0_u64), 2 => 0..100_000_u64, 1 => 0..5_000_000_u64,
        ], 1..400),
    ) {
        let (mut streams, schedules) = thread(&shares);
        let due: Vec<Vec<u64>> = schedules.iter().map(due_ns).collect();
        let mut served = vec![0_u64; schedules.len()];
        // Turns that a client has had since the thread was held up last.
        let mut turns = BTreeMap::<usize, u64>::new();
        let (mut now_ns, mut held_up_ns) = (START_NS, START_NS);
        let mut stalls = stalls.into_iter();
        while let Some(turn) = streams.next(now_ns) {
            // Never early: the thread waits for the turn, and may be held up after that.
            now_ns = now_ns.max(turn.due_ns);
            let before = served[turn.index_in_thread];
            let due_by = |ns: u64| {
                due[turn.index_in_thread].partition_point(|due_ns| *due_ns <= ns) as u64
            };
            prop_assert!(turn.packets > before, "each turn has packets");
            prop_assert!(turn.packets <= due_by(turn.due_ns), "none is early");
            served[turn.index_in_thread] = turn.packets;
            let had = turns.entry(turn.index_in_thread).or_default();
            *had += 1;
            // The tick that it was held up in is served to its end, at most a burst of writes; then
            // the client is where the schedule is, but for the rest of the newest tick.
            let together = u64::from(schedules[turn.index_in_thread].due_together());
            let writes = together.div_ceil(schedules[turn.index_in_thread].batch().into());
            if *had > writes {
                prop_assert!(turn.packets + together > due_by(held_up_ns), "{turn:?}");
            }
            if let Some(stall_ns @ 1..) = stalls.next() {
                now_ns += stall_ns;
                held_up_ns = now_ns;
                turns.clear();
            }
        }
        let all: Vec<u64> = due.iter().map(|due| due.len() as u64).collect();
        prop_assert_eq!(served, all, "in the end everything was due");
    }

    #[test]
    fn clients_of_one_load_are_one_stream_as_far_as_no_offset_reaches_the_next_tick(
        shares in shares(),
    ) {
        let (load, offsets) = &shares[0];
        let (streams, _) = thread(&shares[..1]);
        let mut offsets = offsets.clone();
        offsets.sort_unstable();
        // Between clients at one offset there is no gap; random arrivals are a stream each.
        let gap_ns = load.shortest_gap_ns();
        let (mut count, mut end_ns) = (0, 0);
        for offset_ns in offsets {
            if offset_ns >= end_ns || gap_ns == 0 {
                count += 1;
                end_ns = offset_ns + gap_ns;
            }
        }
        prop_assert_eq!(streams.streams.len(), count);
    }
}

#[test]
fn clients_share_a_schedule_unless_it_is_drawn_for_each() {
    let rate_millihertz = 1_000_000;
    for (profile, is_shared) in [
        (Profile::constant(rate_millihertz), true),
        (Profile::Poisson { rate_millihertz }, false),
    ] {
        let load = Load {
            profile,
            duration: DURATION,
            batch: 1,
            seed: 1,
        };
        let schedule_of = super::schedules(&load, START_NS);
        let (one, other) = (schedule_of(0).unwrap(), schedule_of(1).unwrap());
        assert_eq!(Arc::ptr_eq(&one, &other), is_shared);
    }
}

#[test]
fn a_burst_of_one_client_is_written_whole_before_the_next_client_begins() {
    let load = Load {
        profile: Profile::Burst {
            packets: 3,
            every_ns: 5_000_000,
        },
        duration: DURATION,
        batch: 1,
        seed: 1,
    };
    let (mut streams, _) = thread(&[(load, vec![0, 5_000])]);
    let turns = std::iter::from_fn(|| streams.next(START_NS)).take(7);
    let turns: Vec<_> = turns
        .map(|turn| (turn.index_in_thread, turn.packets, turn.due_ns - START_NS))
        .collect();
    let (first, second) = ([(0, 1, 0), (0, 2, 0), (0, 3, 0)], 5_000);
    assert_eq!(turns[..3], first);
    assert_eq!(
        turns[3..6],
        [(1, 1, second), (1, 2, second), (1, 3, second)]
    );
    assert_eq!(turns[6], (0, 4, 5_000_000));
}
