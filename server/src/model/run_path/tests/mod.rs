//! Packets and probes on simulated paths: no time is further off than the bound that is shown.

mod behind_history;
mod going_on;

use proptest::prelude::*;

use super::{
    super::simulated_path::{Path, START_NS, STEADY, random},
    saved::SavedPath,
    *,
};

const NO_TRUST: ClockTrust = ClockTrust {
    ntp: false,
    bound_ns: None,
};
const WALL: WallClock = WallClock {
    ahead_of_monotonic_ns: 0,
    error_max_ns: None,
};
/// Probes of a message: 0.26 s.
const MESSAGE: usize = 13;

fn message(exchanges: &[Exchange]) -> v1::ProbeReadings {
    let reading = |of: &Exchange| v1::ProbeReading {
        sent_ns: of.sent_ns,
        answered_ns: of.answered_ns,
        server_ns: of.server_ns,
    };
    v1::ProbeReadings {
        run_id: String::new(),
        readings: exchanges.iter().map(reading).collect(),
        probes_sent: 7,
        wall_clock: Some(v1::WallClock {
            ahead_of_monotonic_ns: 0,
            error_max_ns: None,
        }),
    }
}

/// A packet on the path, and how far off its times were.
struct Measured {
    queueing_ns: u64,
    one_way_off_ns: u64,
    queueing_off_ns: Option<u64>,
}

/// A run on the path: probes 50 a second, and packets from the probe `starts` on, timed by the
/// lines as they came.
fn run(
    path: Path,
    seed: u64,
    starts: u64,
    probes: u64,
) -> (PathFigures, Vec<Measured>, Vec<Exchange>) {
    let exchanges = path.readings_of(seed, probes);
    let mut state = (seed + 99).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut run_path = RunPath::new(NO_TRUST, 0, &ClockHistory::default());
    run_path.start(START_NS + starts * 20_000_000, 0);
    let mut line: Option<ClockLine> = None;
    let mut measured = Vec::new();
    let mut server_ns = 0;
    for message_of in exchanges.chunks(MESSAGE) {
        let number = (message_of[0].sent_ns - START_NS) / 20_000_000;
        for packet in 0..40 {
            let written_ns = message_of[0].sent_ns + packet * 5_000_000;
            let jitter_ns = (-(1.0 - random(&mut state)).ln() * path.jitter_ns) as u64;
            let queueing_ns = jitter_ns + number * path.grows_ns;
            let arrived_ns = written_ns + path.forth_ns + queueing_ns;
            let read_ns = i128::from(arrived_ns) + path.truth_ns(arrived_ns);
            let read_ns = u64::try_from(read_ns).unwrap();
            let Some(line) = line.filter(|_| number >= starts) else {
                continue;
            };
            let Some(one_way_ns) = line.one_way_ns(written_ns, read_ns) else {
                panic!("no line reaches {written_ns}")
            };
            let queueing = line.queueing_ns(written_ns, read_ns);
            measured.push(Measured {
                queueing_ns,
                one_way_off_ns: one_way_ns.abs_diff(path.forth_ns + queueing_ns),
                queueing_off_ns: queueing.map(|of| of.ns.abs_diff(queueing_ns)),
            });
        }
        let newest = message_of.last().unwrap();
        server_ns = newest.server_ns + 20_000_000;
        match run_path.take(&message(message_of), (server_ns, WALL), true) {
            Some(PathEvent::Line(new)) => line = Some(new),
            Some(PathEvent::Contradicted) => panic!("{path:?} {seed}"),
            None => {}
        }
    }
    (run_path.figures(server_ns), measured, exchanges)
}

fn paths() -> [(&'static str, Path); 6] {
    let jitter_ns = 200_000.0;
    [
        ("symmetric", STEADY),
        (
            "jitter",
            Path {
                jitter_ns,
                ..STEADY
            },
        ),
        (
            "1:10",
            Path {
                forth_ns: 1_000_000,
                back_ns: 10_000_000,
                jitter_ns,
                ..STEADY
            },
        ),
        (
            "loss",
            Path {
                lost_of: 20,
                ..STEADY
            },
        ),
        (
            "rate limit",
            Path {
                grows_ns: 50_000,
                ..STEADY
            },
        ),
        (
            "far",
            Path {
                forth_ns: 50_000_000,
                back_ns: 50_000_000,
                jitter_ns,
                ..STEADY
            },
        ),
    ]
}

/// Each run has 40 s, so some 150 lines.
#[test]
fn no_time_of_a_packet_is_further_off_than_the_bound_that_is_shown() {
    for (name, path) in paths() {
        let (mut widest, mut widest_later, mut worst_queueing) = (0.0_f64, 0.0_f64, 0);
        for seed in 0..12_u64 {
            let path = Path {
                drift: [0.0, 50e-6, -50e-6][seed as usize % 3],
                ..path
            };
            let (figures, measured, exchanges) = run(path, seed, 40, 2_000);
            let bound_ns = figures.one_way_bound_ns.unwrap();
            let queueing_bound_ns = figures.queueing_bound_ns.unwrap();
            assert!(measured.len() > 5_000);
            for of in &measured {
                assert!(
                    of.one_way_off_ns <= bound_ns + 2,
                    "{name} {seed}: {bound_ns}"
                );
                let off_ns = of.queueing_off_ns.unwrap();
                let is_within = off_ns <= queueing_bound_ns + 2;
                assert!(is_within, "{name} {seed}: {off_ns} {queueing_bound_ns}");
            }
            let trips = exchanges.iter().map(|of| of.answered_ns - of.sent_ns);
            let half_ns = trips.min().unwrap() as f64 / 2.0;
            let wide = |figures: &PathFigures| figures.one_way_bound_ns.unwrap() as f64 / half_ns;
            widest = widest.max(wide(&figures));
            let (later, measured, _) = run(path, seed, 300, 2_000);
            widest_later = widest_later.max(wide(&later));
            for of in &measured {
                let off_ns = of.queueing_off_ns.unwrap();
                if ["symmetric", "jitter"].contains(&name) {
                    let allowed_ns = 20_000 + of.queueing_ns / 100;
                    assert!(off_ns <= allowed_ns, "{name} {seed}: {off_ns}");
                }
                worst_queueing = worst_queueing.max(off_ns);
            }
            let clock = figures.clock.unwrap();
            let at_ns = exchanges.last().unwrap().answered_ns;
            let off_ns = path.truth_ns(at_ns) - i128::from(clock.offset_ns);
            assert!(off_ns.unsigned_abs() <= u128::from(clock.bound_ns));
            let drift_off = (path.drift * 1e9) as i64 - clock.drift_ppb;
            assert!(drift_off.unsigned_abs() <= clock.drift_bound_ppb);
        }
        println!(
            "{name}: bound {widest:.3} of half the least round trip, {widest_later:.3} in a run \
             that starts after 6 s, and queueing off by {worst_queueing} ns there"
        );
        // A way that is delayed more and more leaves the offset open by as much.
        let is_open = path.grows_ns > 0;
        assert!(
            is_open || widest < 4.0 && widest_later < 1.3,
            "{name}: {widest} {widest_later}"
        );
    }
}

#[test]
fn a_step_of_a_clock_in_the_run_leaves_it_without_times_between_clocks() {
    for step_ns in [1_000_000_i64, -1_000_000, 3_600_000_000_000] {
        let mut exchanges = STEADY.readings(3);
        for after in &mut exchanges[500..] {
            after.server_ns = after.server_ns.saturating_add_signed(step_ns);
        }
        let mut path = RunPath::new(NO_TRUST, 0, &ClockHistory::default());
        let mut events = Vec::new();
        for of in exchanges.chunks(MESSAGE) {
            events.extend(path.take(&message(of), (u64::MAX, WALL), true));
        }
        let contradicted = events.iter().filter(|of| **of == PathEvent::Contradicted);
        assert_eq!(contradicted.count(), 1);
        assert_eq!(
            events.last(),
            Some(&PathEvent::Contradicted),
            "no line behind it"
        );
        let figures = path.figures(u64::MAX);
        assert_eq!(
            (figures.one_way_bound_ns, figures.queueing_bound_ns),
            (None, None)
        );
        assert!(figures.contradictions >= 1);
    }
}

/// Packets from before and after have the same readings of the agent's clock.
#[test]
fn a_clock_that_goes_back_leaves_the_run_without_times_though_no_reading_contradicts_another() {
    for back_ns in [30_000_000, 1_000_000_000, 3_600_000_000_000] {
        let mut exchanges = STEADY.readings(3);
        for after in &mut exchanges[500..] {
            after.sent_ns -= back_ns;
            after.answered_ns -= back_ns;
        }
        let mut path = RunPath::new(NO_TRUST, 0, &ClockHistory::default());
        // The run ends with the first message from after it.
        for of in exchanges[..520].chunks(MESSAGE) {
            let _ = path.take(&message(of), (u64::MAX, WALL), true);
        }
        let figures = path.figures(u64::MAX);
        assert_eq!(figures.one_way_bound_ns, None, "{back_ns}");
        assert!(figures.contradictions > 0, "{back_ns}");
    }
}

#[test]
fn a_reading_that_comes_again_counts_once() {
    let exchanges = STEADY.readings(3);
    let mut path = RunPath::new(NO_TRUST, 0, &ClockHistory::default());
    let twice = [&exchanges[..20], &exchanges[19..20]].concat();
    let _ = path.take(&message(&twice), (u64::MAX, WALL), true);
    let _ = path.take(&message(&exchanges[19..21]), (u64::MAX, WALL), true);
    let figures = path.figures(u64::MAX);
    assert_eq!((figures.probes_answered, figures.contradictions), (21, 0));
}

#[test]
fn a_claim_narrows_the_bound_and_is_called_so_and_one_that_the_probes_exclude_is_dropped() {
    let offset_ns = STEADY.offset_ns;
    let of_claim = |wrong_ns: i64, trust: ClockTrust, error_max_ns: Option<i64>| {
        let mut path = RunPath::new(trust, 0, &ClockHistory::default());
        for of in STEADY.readings(1).chunks(MESSAGE) {
            let mut message = message(of);
            message.wall_clock = Some(v1::WallClock {
                ahead_of_monotonic_ns: offset_ns + wrong_ns,
                error_max_ns,
            });
            let wall = WallClock {
                error_max_ns: Some(1_000),
                ..WALL
            };
            let _ = path.take(&message, (u64::MAX, wall), true);
        }
        let figures = path.figures(u64::MAX);
        let bound_ns = figures.one_way_bound_ns.unwrap();
        (bound_ns, figures.is_claimed, figures.is_claim_dropped)
    };
    let (proved_ns, is_claimed, is_dropped) = of_claim(0, NO_TRUST, None);
    assert!(proved_ns > 40_000 && !is_claimed && !is_dropped);
    let by_caller = ClockTrust {
        ntp: false,
        bound_ns: Some(5_000),
    };
    let (bound_ns, is_claimed, is_dropped) = of_claim(0, by_caller, None);
    assert!(
        bound_ns <= 10_000 && is_claimed && !is_dropped,
        "{bound_ns}"
    );
    let by_kernels = ClockTrust {
        ntp: true,
        bound_ns: None,
    };
    let (bound_ns, is_claimed, _) = of_claim(0, by_kernels, Some(2_000));
    assert!(bound_ns <= proved_ns / 2 && is_claimed, "{bound_ns}");
    // A kernel that does not call its clock synchronised claims nothing.
    assert_eq!(of_claim(0, by_kernels, None), (proved_ns, false, false));
    let excluded = of_claim(1_000_000, by_caller, None);
    assert_eq!(excluded, (proved_ns, false, true));
}

#[test]
fn fifteen_exchanges_those_of_the_future_and_those_before_the_run_make_no_line() {
    let exchanges = STEADY.readings(1);
    let now_ns = exchanges[999].server_ns;
    let mut path = RunPath::new(NO_TRUST, 0, &ClockHistory::default());
    assert_eq!(
        path.take(&message(&exchanges[..15]), (now_ns, WALL), true),
        None
    );
    assert!(
        path.take(&message(&exchanges[15..16]), (now_ns, WALL), true)
            .is_some()
    );
    // One that is not stored yet is not replaced.
    assert_eq!(
        path.take(&message(&exchanges[16..20]), (now_ns, WALL), false),
        None
    );
    assert!(
        path.take(&message(&exchanges[20..24]), (now_ns, WALL), true)
            .is_some()
    );
    let mut path = RunPath::new(NO_TRUST, 0, &ClockHistory::default());
    let early_ns = exchanges[10].server_ns;
    assert_eq!(
        path.take(&message(&exchanges), (early_ns, WALL), true),
        None
    );
    let mut path = RunPath::new(NO_TRUST, exchanges[90].server_ns, &ClockHistory::default());
    assert_eq!(
        path.take(&message(&exchanges[..100]), (now_ns, WALL), true),
        None
    );
    let figures = path.figures(now_ns);
    assert_eq!(
        (figures.probes_answered, figures.one_way_bound_ns),
        (10, None)
    );
    assert_eq!(figures.clock, None);
}

proptest! {
    #[test]
    fn readings_that_may_be_anything_are_no_panic(
        messages in prop::collection::vec(
            (
                prop::collection::vec(any::<(u64, u64, u64)>(), 0..120),
                any::<(u64, i64, Option<i64>)>(),
                any::<(i64, Option<u64>, bool)>(),
            ),
            0..12,
        ),
        (ntp, bound_ns) in any::<(bool, Option<u64>)>(), at_ns: u64,
    ) {
        let mut path = RunPath::new(ClockTrust { ntp, bound_ns }, 0, &ClockHistory::default());
        for (readings, of_agent, (server_ahead_ns, server_error_ns, stored)) in messages {
            let (now_ns, ahead_ns, error_ns) = of_agent;
            let exchanges: Vec<_> = readings
                .into_iter()
                .map(|(sent_ns, server_ns, answered_ns)| Exchange {
                    sent_ns,
                    server_ns,
                    answered_ns,
                })
                .collect();
            let mut message = message(&exchanges);
            message.wall_clock = Some(v1::WallClock {
                ahead_of_monotonic_ns: ahead_ns,
                error_max_ns: error_ns,
            });
            let wall = WallClock {
                ahead_of_monotonic_ns: server_ahead_ns,
                error_max_ns: server_error_ns,
            };
            let _ = path.take(&message, (now_ns, wall), stored);
            let _ = (path.start_skew(at_ns, now_ns), path.agents_reading(now_ns));
            let _ = path.bounds_so_far(at_ns);
        }
        let restored = SavedPath::from(&path).restore(ClockTrust { ntp, bound_ns });
        prop_assert_eq!(restored.figures(at_ns), path.figures(at_ns));
    }
}
