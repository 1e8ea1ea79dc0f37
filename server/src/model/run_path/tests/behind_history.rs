//! Runs that start at once, behind what was exchanged with their agent before: what that gives, and
//! that it is dropped where the run's own probes exclude it.

use super::*;
use crate::model::clock_history::FourReadings;

/// Probes of a run that are sent more often behind its first 16.
const OFTEN: u64 = 48;
/// The probes of 6 s.
const SHORT: u64 = 16 + OFTEN + 300;
/// Runs of each kind: docs/clocks.md has what 30 gave.
const RUNS: u64 = 9;

/// What came of a run whose packets are timed from its first line on.
struct Outcome {
    figures: PathFigures,
    /// The bound of one-way times as a part of half the least round trip.
    ratio: f64,
    worst_queueing_off_ns: u64,
    /// All queueing was right to 20 us and 1 %.
    is_queueing_near: bool,
}

/// The run in the middle: its path, and the line in use.
struct Follower<'a> {
    path: Path,
    state: u64,
    run_path: RunPath,
    line: Option<ClockLine>,
    measured: Vec<Measured>,
    written_ns: u64,
    exchanges: &'a [Exchange],
}

impl Follower<'_> {
    /// Times a packet each 5 ms up to a reading of the agent's clock.
    fn time_packets(&mut self, until_ns: u64) {
        let path = self.path;
        while self.written_ns < until_ns {
            self.written_ns += 5_000_000;
            let jitter_ns = (-(1.0 - random(&mut self.state)).ln() * path.jitter_ns) as u64;
            let probes = (self.written_ns - START_NS) / 20_000_000;
            let queueing_ns = jitter_ns + probes * path.grows_ns;
            let arrived_ns = self.written_ns + path.forth_ns + queueing_ns;
            let read_ns = i128::from(arrived_ns) + path.truth_ns(arrived_ns);
            let read_ns = u64::try_from(read_ns).unwrap();
            let Some(line) = self.line else { continue };
            let one_way_ns = line.one_way_ns(self.written_ns, read_ns).unwrap();
            let queueing = line.queueing_ns(self.written_ns, read_ns).unwrap();
            self.measured.push(Measured {
                queueing_ns,
                one_way_off_ns: one_way_ns.abs_diff(path.forth_ns + queueing_ns),
                queueing_off_ns: Some(queueing.ns.abs_diff(queueing_ns)),
            });
        }
    }

    /// Takes a message. Its server is another one from then on where it is handed over.
    fn take(&mut self, exchanges: &[Exchange], is_handed_over: bool) {
        let newest = exchanges.last().unwrap();
        self.time_packets(newest.answered_ns);
        if is_handed_over {
            self.run_path = SavedPath::from(&self.run_path).restore(NO_TRUST);
        }
        let now_ns = newest.server_ns + self.path.back_ns + 20_000_000;
        match self
            .run_path
            .take(&message(exchanges), (now_ns, WALL), true)
        {
            Some(PathEvent::Line(new)) => {
                if self.line.is_none() {
                    self.run_path.start(new.at_ns, 0);
                }
                self.line = Some(new);
            }
            Some(PathEvent::Contradicted) => panic!("{:?}", self.path),
            None => {}
        }
    }

    /// No time was further off than the bound.
    fn end(self) -> Outcome {
        let newest = self.exchanges.last().unwrap();
        let figures = self
            .run_path
            .figures(newest.server_ns + self.path.back_ns + 20_000_000);
        let trips = self.exchanges.iter().map(|of| of.answered_ns - of.sent_ns);
        let half_ns = trips.min().unwrap() as f64 / 2.0;
        let (one_way_bound_ns, queueing_bound_ns) = (
            figures.one_way_bound_ns.unwrap(),
            figures.queueing_bound_ns.unwrap(),
        );
        assert!(self.measured.len() > 800);
        let (mut worst_queueing_off_ns, mut is_queueing_near) = (0, true);
        for of in &self.measured {
            let off_ns = of.one_way_off_ns;
            assert!(
                off_ns <= one_way_bound_ns + 2,
                "{:?}: {off_ns} {one_way_bound_ns}",
                self.path
            );
            let off_ns = of.queueing_off_ns.unwrap();
            assert!(off_ns <= queueing_bound_ns + 2, "{:?}: {off_ns}", self.path);
            worst_queueing_off_ns = worst_queueing_off_ns.max(off_ns);
            is_queueing_near &= off_ns <= 20_000 + of.queueing_ns / 100;
        }
        Outcome {
            ratio: one_way_bound_ns as f64 / half_ns,
            figures,
            worst_queueing_off_ns,
            is_queueing_near,
        }
    }
}

/// A run of which a message comes every 0.26 s, and is handed over before some.
fn follow_all(
    path: Path,
    seed: u64,
    history: &ClockHistory,
    (probes, handed_over_after): (u64, &[usize]),
) -> Outcome {
    let exchanges = path.readings_of_run(seed, OFTEN, probes);
    let mut follower = Follower {
        path,
        state: (seed + 99).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        run_path: RunPath::new(NO_TRUST, 0, history),
        line: None,
        measured: Vec::new(),
        written_ns: START_NS,
        exchanges: &exchanges,
    };
    let (mut at, mut number) = (0, 0);
    while at < exchanges.len() {
        let until_ns = exchanges[at].answered_ns + 260_000_000;
        let many = (exchanges[at..].iter()).take_while(|of| of.answered_ns < until_ns);
        let many = many.count().min(READINGS_MAX);
        follower.take(
            &exchanges[at..at + many],
            handed_over_after.contains(&number),
        );
        at += many;
        number += 1;
    }
    follower.end()
}

fn drifting(path: Path, seed: u64) -> Path {
    Path {
        drift: [0.0, 50e-6, -50e-6][seed as usize % 3],
        ..path
    }
}

/// The ratio of the bound to half the least round trip that no run may exceed:
/// without a history, after 5 s, 60 s and 180 s of connection.
fn allowed_ratios(name: &str) -> [f64; 4] {
    match name {
        "symmetric" | "loss" => [2.0, 1.6, 1.1, 1.06],
        "jitter" => [2.8, 2.0, 1.3, 1.25],
        // A way that is delayed more and more leaves the offset open by as much.
        "rate limit" => [f64::INFINITY, 5.0, 1.5, 1.3],
        _ => [1.07, 1.07, 1.06, 1.05],
    }
}

#[test]
fn a_run_that_starts_at_once_has_nearly_the_least_bound_after_a_minute_of_connection() {
    for (name, path) in paths() {
        let runs = [None, Some(5), Some(60), Some(180)];
        for (seconds, allowed) in runs.into_iter().zip(allowed_ratios(name)) {
            let outcomes = (0..RUNS).map(|seed| {
                let path = drifting(path, seed);
                let history = seconds.map(|of| path.history(seed, of)).unwrap_or_default();
                follow_all(path, seed, &history, (SHORT, &[]))
            });
            let outcomes: Vec<_> = outcomes.collect();
            let mut ratios: Vec<_> = outcomes.iter().map(|of| of.ratio).collect();
            ratios.sort_by(f64::total_cmp);
            let off_ns = outcomes.iter().map(|of| of.worst_queueing_off_ns).max();
            let (p50, max) = (ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
            println!(
                "{name} after {seconds:?} s: bound {p50:.3} (p50), {max:.3} (max) of half the \
                 least round trip, queueing off by {} ns",
                off_ns.unwrap()
            );
            assert!(max <= allowed, "{name} {seconds:?}: {max}");
            if seconds >= Some(60) && ["symmetric", "jitter"].contains(&name) {
                assert!(
                    outcomes.iter().all(|of| of.is_queueing_near),
                    "{name} {seconds:?}"
                );
            }
        }
    }
}

#[test]
fn a_clock_that_was_stepped_between_the_history_and_the_run_is_shown_as_without_a_history() {
    for (seed, step_ns) in (0..).zip([1_000_000, -1_000_000, 3_600_000_000_000, i64::MIN / 4]) {
        let before = Path {
            offset_ns: STEADY.offset_ns - step_ns,
            ..STEADY
        };
        let history = match before.offset_ns.abs() < 4_000_000_000_000 {
            true => before.history(seed, 60),
            false => far_off(),
        };
        let outcome = follow_all(STEADY, seed, &history, (SHORT, &[]));
        let without = follow_all(STEADY, seed, &ClockHistory::default(), (SHORT, &[]));
        assert_eq!(outcome.figures, without.figures, "{step_ns}");
        assert_eq!(outcome.figures.contradictions, 0);
    }
}

/// Exchanges near the end of what a clock can read.
fn far_off() -> ClockHistory {
    let mut history = ClockHistory::default();
    history.add(FourReadings {
        asked_ns: u64::MAX - 3,
        received_ns: START_NS - 2,
        sent_ns: START_NS - 1,
        answered_ns: u64::MAX,
    });
    history
}

/// The more the rate differs, the sooner that is found. Up to then times are taken by lines that
/// the history has made, and judged by it.
#[test]
fn a_rate_that_changes_at_the_start_leaves_every_time_within_the_bound() {
    for (n, changed_ppm) in (0..).zip([-900_i32, -30, -4, 2, 8, 30]) {
        for (name, path) in paths() {
            let before = Path {
                drift: f64::from(changed_ppm) * 1e-6,
                ..path
            };
            let history = before.history(n, 180);
            let outcome = follow_all(path, n, &history, (16 + OFTEN + 1_500, &[]));
            assert_eq!(outcome.figures.contradictions, 0, "{name} {changed_ppm}");
            if changed_ppm.abs() >= 30 && name == "symmetric" {
                let without = follow_all(path, n, &ClockHistory::default(), (SHORT, &[]));
                assert!(outcome.ratio >= without.ratio / 1.1, "{name} {changed_ppm}");
            }
        }
    }
}

#[test]
fn a_step_in_the_run_leaves_it_without_times_behind_a_history_as_well() {
    let history = STEADY.history(3, 60);
    let mut exchanges = STEADY.readings_of_run(3, OFTEN, SHORT);
    for after in &mut exchanges[200..] {
        after.server_ns += 1_000_000;
    }
    let mut path = RunPath::new(NO_TRUST, 0, &history);
    let taken = |of: &[Exchange]| path.take(&message(of), (u64::MAX, WALL), true);
    let last = exchanges.chunks(MESSAGE).filter_map(taken).last();
    assert_eq!(last, Some(PathEvent::Contradicted));
    assert_eq!(path.figures(u64::MAX).one_way_bound_ns, None);
}

#[test]
fn a_path_that_is_handed_over_holds_its_times_and_has_the_history_for_good_after_20_s() {
    let path = drifting(STEADY, 1);
    for seed in 0..3 {
        let history = path.history(seed, 60);
        let long = 16 + OFTEN + 1_500;
        let whole = follow_all(path, seed, &history, (long, &[]));
        let early = follow_all(path, seed, &history, (long, &[4, 12]));
        let late = follow_all(path, seed, &history, (long, &[90]));
        assert_eq!(whole.figures, late.figures);
        assert!(
            early.ratio >= whole.ratio && early.ratio < 2.0,
            "{}",
            early.ratio
        );
    }
}

/// The connection of the probes was lost for 11 s. The rate changed by 15 ppm before the run, which
/// its first 3 s do not show.
#[test]
fn a_line_before_a_pause_is_judged_alone_too_so_that_its_bound_holds_without_the_history() {
    let lost = 16 + OFTEN + 150;
    for (seed, changed) in (0..).zip([15e-6, -15e-6, 15e-6, -15e-6]) {
        let before = Path {
            drift: changed,
            ..STEADY
        };
        let mut run_path = RunPath::new(NO_TRUST, 0, &before.history(seed, 180));
        let exchanges = STEADY.readings_of_run(seed, OFTEN, lost + 550 + 150);
        let (first, rest) = exchanges.split_at(lost as usize);
        let take = |run_path: &mut RunPath, of: &[Exchange]| {
            let now_ns = of.last().unwrap().server_ns + 1_000_000;
            run_path.take(&message(of), (now_ns, WALL), true)
        };
        let lines = first.chunks(MESSAGE).map(|of| take(&mut run_path, of));
        let Some(PathEvent::Line(line)) = lines.last().flatten() else {
            panic!("{seed}");
        };
        assert!(run_path.allowed.has_history(), "{seed}");
        for of in rest[550..].chunks(MESSAGE) {
            assert_ne!(take(&mut run_path, of), Some(PathEvent::Contradicted));
        }
        assert!(!run_path.allowed.has_history(), "{seed}");
        let figures = run_path.figures(exchanges.last().unwrap().server_ns + 2_000_000);
        let off_ns = line.offset_at(line.until_ns) - STEADY.truth_ns(line.until_ns);
        let bound_ns = figures.one_way_bound_ns.unwrap();
        let is_within = off_ns.unsigned_abs() <= u128::from(bound_ns) + 2;
        assert!(is_within, "{seed}: {off_ns} {bound_ns}");
    }
}

/// The step is less than what the probes would notice.
#[test]
fn no_clock_of_an_agent_reads_more_than_the_latest_reading_though_the_history_is_wrong() {
    for (seed, step_ns) in (0..).zip([-40_000_i64, 40_000]) {
        let before = Path {
            offset_ns: STEADY.offset_ns - step_ns,
            ..STEADY
        };
        let exchanges = STEADY.readings_of_run(seed, OFTEN, 100);
        let mut run_path = RunPath::new(NO_TRUST, 0, &before.history(seed, 60));
        let newest = exchanges.last().unwrap();
        let now_ns = newest.server_ns + 1_000_000;
        let _ = run_path.take(&message(&exchanges), (now_ns, WALL), true);
        assert!(run_path.allowed.has_history(), "{step_ns}");
        let reading_ns = newest.answered_ns + 50_000_000;
        let server_ns = i128::from(reading_ns) + STEADY.truth_ns(reading_ns);
        let latest_ns = run_path.latest_reading(u64::try_from(server_ns).unwrap());
        assert!(Some(reading_ns) <= latest_ns, "{step_ns}");
    }
}

/// No probes limit one and not the other.
#[test]
fn a_line_that_nothing_but_the_history_limits_leaves_the_run_without_times() {
    let exchanges = STEADY.readings_of_run(1, OFTEN, 100);
    let now_ns = exchanges.last().unwrap().server_ns + 1_000_000;
    for is_limited in [true, false] {
        let mut run_path = RunPath::new(NO_TRUST, 0, &STEADY.history(1, 60));
        let _ = run_path.take(&message(&exchanges), (now_ns, WALL), true);
        if !is_limited {
            run_path.alone.as_mut().unwrap().allowed.clear();
            run_path.judge_before(u64::MAX);
            assert_eq!(run_path.bounds_so_far(now_ns), None);
        }
        let figures = run_path.figures(now_ns);
        assert_eq!(figures.one_way_bound_ns.is_some(), is_limited);
        assert_eq!(figures.queueing_bound_ns.is_some(), is_limited);
        assert_eq!(figures.contradictions, u32::from(!is_limited));
    }
}

#[test]
fn a_claim_with_which_the_probes_agree_is_kept_and_the_history_that_it_excludes_is_not() {
    // The probes alone would allow either.
    let before = Path {
        offset_ns: STEADY.offset_ns + 150_000,
        ..STEADY
    };
    let trust = ClockTrust {
        ntp: false,
        bound_ns: Some(5_000),
    };
    let of_run = |history: &ClockHistory| {
        let mut path = RunPath::new(trust, 0, history);
        for of in STEADY.readings_of_run(1, OFTEN, SHORT).chunks(MESSAGE) {
            let mut message = message(of);
            message.wall_clock = Some(v1::WallClock {
                ahead_of_monotonic_ns: STEADY.offset_ns,
                error_max_ns: None,
            });
            let _ = path.take(&message, (u64::MAX, WALL), true);
        }
        path.figures(u64::MAX)
    };
    let with = of_run(&before.history(1, 60));
    assert!(with.is_claimed && !with.is_claim_dropped && with.contradictions == 0);
    assert_eq!(with, of_run(&ClockHistory::default()));
    let agreeing = of_run(&STEADY.history(1, 60));
    let [agreeing_ns, with_ns] = [agreeing, with].map(|of| of.one_way_bound_ns.unwrap());
    assert!(agreeing_ns <= with_ns + 500, "{agreeing_ns} {with_ns}");
}

proptest! {
    #[test]
    fn a_history_that_may_be_anything_is_no_panic_and_takes_no_room(
        readings in prop::collection::vec(any::<(u64, u64, u64, u64)>(), 0..40),
        near in prop::collection::vec((0..1_000_u64, 0..1_000_u64, 0..1_000_u64), 0..600),
        begins_ns in prop_oneof![Just(START_NS), any::<u64>()],
    ) {
        let mut history = ClockHistory::default();
        for (asked_ns, received_ns, sent_ns, answered_ns) in readings {
            history.add(FourReadings { asked_ns, received_ns, sent_ns, answered_ns });
        }
        for (asked_ns, received_ns, sent_ns) in near {
            let at = |ns| begins_ns.saturating_add(ns);
            history.add(FourReadings {
                asked_ns: at(asked_ns),
                received_ns: at(received_ns),
                sent_ns: at(sent_ns),
                answered_ns: at(sent_ns),
            });
        }
        prop_assert!(history.most(0).count() <= 256);
        let mut path = RunPath::new(NO_TRUST, 0, &history);
        for of in STEADY.readings(1)[..200].chunks(MESSAGE) {
            let event = path.take(&message(of), (u64::MAX, WALL), true);
            prop_assert_ne!(event, Some(PathEvent::Contradicted));
        }
        prop_assert_eq!(path.figures(u64::MAX).contradictions, 0);
    }
}
