//! Every shape keeps its formula, to the nanosecond, and its cursor can begin at any place.

mod laws;
mod vectors;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    load::Load,
    profile::{Profile, Step, Steps},
};

fn profiles() -> impl Strategy<Value = Profile> {
    let rate = || 1..=1_000_000_000_u64;
    let span = || 1..=20_000_000_000_u64;
    prop_oneof![
        rate().prop_map(Profile::constant),
        (1..=100_000_000_u64).prop_map(|rate_millihertz| Profile::Poisson { rate_millihertz }),
        (1..=2_000_u32, 1_u64..=50_000_000).prop_map(|(packets, more_ns)| Profile::Burst {
            packets,
            every_ns: u64::from(packets) * 1_000 + more_ns,
        }),
        (0..=1_000_000_000_u64, 0..=1_000_000_000_u64).prop_filter_map("no load", |(from, to)| {
            (from + to > 0).then_some(Profile::Ramp {
                from_millihertz: from,
                to_millihertz: to,
            })
        }),
        prop::collection::vec((prop_oneof![Just(0), rate()], span()), 1..6).prop_filter_map(
            "no load",
            |steps| {
                let steps: Vec<_> = steps
                    .into_iter()
                    .map(|(rate_millihertz, lasts_ns)| Step {
                        rate_millihertz,
                        lasts_ns,
                    })
                    .collect();
                let has_load = steps.iter().any(|step| step.rate_millihertz > 0);
                Steps::new(&steps).filter(|_| has_load).map(Profile::Steps)
            }
        ),
        (rate(), span(), span()).prop_map(|(rate_millihertz, on_ns, off_ns)| Profile::OnOff {
            rate_millihertz,
            on_ns,
            off_ns,
        }),
    ]
}

fn schedules() -> impl Strategy<Value = Schedule> {
    (
        profiles(),
        0..1_u64 << 50,
        1..=100_000_000_000_u64,
        prop_oneof![Just(1), 1..=1024_u32],
        any::<u64>(),
        0..10_000_u32,
    )
        .prop_map(|(profile, start_ns, duration_ns, batch, seed, client)| {
            let is_random = matches!(profile, Profile::Poisson { .. });
            let load = Load {
                profile,
                duration: Duration::from_nanos(duration_ns),
                batch: if is_random { 1 } else { batch },
                seed,
            };
            load.schedule(start_ns, client).unwrap()
        })
}

proptest! {
    #[test]
    fn places_are_due_in_order_within_the_duration_and_a_cursor_resumes_anywhere(
        schedule in schedules(), skipped in 0..5_000_u64, steps in 1..2_000_u64,
    ) {
        let mut cursor = schedule.first();
        if schedule.packets().is_some() {
            cursor = schedule.resume(skipped, 0);
        }
        let mut last_ns = cursor.due_ns();
        for _ in 0..steps {
            if cursor.is_over(&schedule) {
                break;
            }
            let (place, due_ns) = (cursor.place(), cursor.due_ns());
            prop_assert!(due_ns >= last_ns.max(schedule.start_ns()));
            prop_assert!(due_ns <= schedule.end_ns());
            prop_assert!(due_ns < schedule.over_ns() || place == 0, "{}", due_ns);
            if let Some(formula_ns) = schedule.due_at(place) {
                prop_assert_eq!(due_ns, formula_ns);
            }
            // Within a write the position is not part of what is kept.
            prop_assert_eq!(schedule.resume(place, due_ns), cursor);
            last_ns = due_ns;
            cursor.advance(&schedule);
            prop_assert_eq!(cursor.place(), place + 1);
        }
    }

    #[test]
    fn due_by_counts_exactly_the_packets_whose_time_has_come(
        schedule in schedules(), elapsed_ns in 0..1_u64 << 40,
    ) {
        let now_ns = schedule.start_ns() + elapsed_ns;
        if let (Some(due), Some(packets)) = (schedule.due_by(now_ns), schedule.packets()) {
            prop_assert!(due <= packets);
            if due > 0 {
                prop_assert!(schedule.due_at(due - 1).unwrap() <= now_ns);
            }
            if due < packets {
                prop_assert!(schedule.due_at(due).unwrap() > now_ns);
            }
        }
        if let Some(before_ns) = schedule.start_ns().checked_sub(1) {
            prop_assert!(schedule.due_by(before_ns).is_none_or(|due| due == 0));
        }
    }

    #[test]
    fn a_cursor_goes_beyond_a_time_as_it_would_step_by_step(
        schedule in schedules(), skipped in 0..1_000_u64, beyond in 0..2_000_u64,
    ) {
        let mut slow = schedule.first();
        for _ in 0..skipped {
            slow.advance(&schedule);
        }
        let mut fast = slow;
        for _ in 0..beyond {
            if slow.is_over(&schedule) {
                break;
            }
            slow.advance(&schedule);
        }
        let Some(time_ns) = slow.due_ns().checked_sub(1) else { return Ok(()) };
        while fast.due_ns() <= time_ns && !fast.is_over(&schedule) {
            fast.advance(&schedule);
        }
        let mut jumped = schedule.first();
        for _ in 0..skipped {
            jumped.advance(&schedule);
        }
        prop_assert!(jumped.advance_beyond(&schedule, time_ns, 1 << 20));
        prop_assert_eq!((jumped.place(), jumped.due_ns()), (fast.place(), fast.due_ns()));
    }

    #[test]
    fn no_two_due_times_are_closer_than_the_shortest_gap(
        profile in profiles(),
        duration_ns in 1..=100_000_000_000_u64,
        batch in 1..=1024_u32,
        steps in 1..500_usize,
        skipped in 0..5_000_u64,
    ) {
        let duration = Duration::from_nanos(duration_ns);
        let load = Load { profile, duration, batch, seed: 1 };
        let gap_ns = load.shortest_gap_ns();
        let schedule = load.schedule(0, 0).unwrap();
        if schedule.packets().is_none() {
            return Ok(());
        }
        let mut cursor = schedule.resume(skipped, 0);
        for _ in 0..steps {
            let due_ns = cursor.due_ns();
            while cursor.due_ns() == due_ns && !cursor.is_over(&schedule) {
                cursor.advance_write(&schedule);
            }
            if cursor.is_over(&schedule) {
                break;
            }
            prop_assert!(cursor.due_ns() - due_ns >= gap_ns, "{} {}", cursor.due_ns(), due_ns);
        }
    }

    #[test]
    fn writes_go_through_every_place_once(schedule in schedules(), writes in 1..500_usize) {
        let (mut by_write, mut by_packet) = (schedule.first(), schedule.first());
        for _ in 0..writes {
            let due_ns = by_write.due_ns();
            let from = by_write.place();
            by_write.advance_write(&schedule);
            prop_assert!(by_write.place() - from <= u64::from(schedule.batch()));
            while by_packet.place() < by_write.place() {
                prop_assert_eq!(by_packet.due_ns(), due_ns);
                by_packet.advance(&schedule);
            }
            prop_assert_eq!(by_packet, by_write);
        }
    }
}

#[test]
fn the_number_of_packets_is_that_of_whole_periods() {
    let s = 1_000_000_000;
    let steps = |steps: &[(u64, u64)]| {
        let steps = steps.iter().map(|&(rate_millihertz, lasts_ns)| Step {
            rate_millihertz,
            lasts_ns,
        });
        Profile::Steps(Steps::new(&steps.collect::<Vec<_>>()).unwrap())
    };
    for (profile, seconds, packets) in [
        (Profile::constant(1_500), 1, 1),
        (Profile::constant(1_500), 2, 3),
        (
            Profile::Burst {
                packets: 50,
                every_ns: 400_000_000,
            },
            1,
            100,
        ),
        (
            Profile::Ramp {
                from_millihertz: 0,
                to_millihertz: 10_000,
            },
            10,
            50,
        ),
        (
            Profile::Ramp {
                from_millihertz: 10_000,
                to_millihertz: 0,
            },
            10,
            50,
        ),
        (
            steps(&[(1_000, 5 * s), (5_000, 5 * s), (10_000, 0)]),
            12,
            50,
        ),
        (
            Profile::OnOff {
                rate_millihertz: 10_000,
                on_ns: 2 * s,
                off_ns: s,
            },
            10,
            70,
        ),
    ] {
        let load = Load {
            profile,
            duration: Duration::from_secs(seconds),
            batch: 1,
            seed: 1,
        };
        assert_eq!(load.packets(), Some(packets), "{profile}");
    }
}

#[test]
fn a_silence_delays_what_is_due_in_it_to_its_end() {
    let s = 1_000_000_000;
    let load = Load {
        profile: Profile::OnOff {
            rate_millihertz: 2_000,
            on_ns: s,
            off_ns: 3 * s,
        },
        duration: Duration::from_secs(9),
        batch: 1,
        seed: 1,
    };
    let schedule = load.schedule(0, 0).unwrap();
    let due = (0..schedule.packets().unwrap()).map(|n| schedule.due_at(n).unwrap());
    assert_eq!(
        due.collect::<Vec<_>>(),
        [0, s / 2, 4 * s, 9 * s / 2, 8 * s, 17 * s / 2]
    );
}

#[test]
fn the_last_gap_is_that_of_the_rate_at_the_end_and_a_silence_is_none() {
    let (ms, s) = (1_000_000, 1_000_000_000);
    let steps = |text: &str| text.parse::<Profile>().unwrap();
    let ramp = |from_millihertz, to_millihertz| Profile::Ramp {
        from_millihertz,
        to_millihertz,
    };
    let burst = Profile::Burst {
        packets: 50,
        every_ns: 500 * ms,
    };
    for (profile, batch, within_ns) in [
        (Profile::constant(1_000), 1, s..=s),
        (Profile::constant(1_000_000), 7, 7 * ms..=7 * ms),
        (burst, 10, 500 * ms..=500 * ms),
        (
            Profile::Poisson {
                rate_millihertz: 2_000,
            },
            1,
            s / 2..=s / 2,
        ),
        // 1,600 packets in 8 s, 400 a second at the end; then in writes of 4.
        (ramp(0, 400_000), 1, 2_499_000..=2_510_000),
        (ramp(0, 400_000), 4, 9_990_000..=10_100_000),
        (ramp(400_000, 0), 1, 80 * ms..=120 * ms),
        (steps("1:1s,10k"), 1, ms / 10..=ms / 10),
        (steps("10k:1s,1"), 1, s..=s),
        // 2 s of 1 packet/s, 3 s of silence, and one packet more.
        (steps("1:2s,0:3s,1"), 1, s..=s),
        // A single packet has none.
        (steps("0:7s,1"), 1, 0..=0),
    ] {
        let load = Load {
            profile,
            duration: Duration::from_secs(8),
            batch,
            seed: 1,
        };
        let gap_ns = load.schedule(7, 0).unwrap().last_gap_ns();
        assert!(within_ns.contains(&gap_ns), "{profile} {batch}: {gap_ns}");
    }
}
