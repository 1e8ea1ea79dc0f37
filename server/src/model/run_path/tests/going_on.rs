//! A run that goes on: what is shown of it meanwhile, how its start is remembered, and another
//! server that follows its paths from the middle on.

use super::*;

/// The path of a run whose first packet is due at the probe `starts`, after all messages, of which
/// the first ones came to another server.
fn follow(exchanges: &[Exchange], starts: u64, handed_over_after: Option<usize>) -> RunPath {
    let trust = ClockTrust {
        ntp: false,
        bound_ns: Some(30_000),
    };
    let mut path = RunPath::new(trust, 0, &ClockHistory::default());
    for (n, of) in exchanges.chunks(MESSAGE).enumerate() {
        if handed_over_after == Some(n) {
            path = SavedPath::from(&path).restore(trust);
        }
        if of[0].sent_ns >= START_NS + starts * 20_000_000 && path.starts_ns == 0 {
            path.start(START_NS + starts * 20_000_000, 0);
        }
        let mut message = message(of);
        message.wall_clock = Some(v1::WallClock {
            ahead_of_monotonic_ns: STEADY.offset_ns,
            error_max_ns: None,
        });
        let now_ns = of.last().unwrap().server_ns + 1_000_000;
        let _ = path.take(&message, (now_ns, WALL), true);
    }
    path
}

#[test]
fn a_path_that_another_server_goes_on_with_shows_the_same_as_one_that_was_not_handed_over() {
    for seed in 0..4 {
        let exchanges = STEADY.readings_of(seed, 1_500);
        let now_ns = exchanges.last().unwrap().server_ns + 2_000_000;
        let whole = follow(&exchanges, 60, None);
        let bounds = whole.bounds_so_far(now_ns);
        let start_ns = START_NS + 60 * 20_000_000;
        let skew = whole.start_skew(start_ns, 7);
        let figures = whole.figures(now_ns);
        assert!(bounds.is_some() && skew.is_some() && figures.is_claimed);
        for handed_over_after in [0, 1, 30, 70, 115] {
            let path = follow(&exchanges, 60, Some(handed_over_after));
            assert_eq!(path.bounds_so_far(now_ns), bounds, "{handed_over_after}");
            assert_eq!(path.start_skew(start_ns, 7), skew, "{handed_over_after}");
            assert_eq!(path.figures(now_ns), figures, "{handed_over_after}");
        }
    }
}

#[test]
fn what_a_server_hands_over_after_a_step_has_no_times_either() {
    let mut exchanges = STEADY.readings(3);
    for after in &mut exchanges[500..] {
        after.server_ns += 1_000_000;
    }
    let path = follow(&exchanges, 60, Some(60));
    let now_ns = exchanges[999].server_ns + 2_000_000;
    assert_eq!(path.bounds_so_far(now_ns), None);
    assert_eq!(path.start_skew(START_NS + 60 * 20_000_000, 7), None);
    assert_eq!(path.agents_reading(now_ns), None);
    let figures = path.figures(now_ns);
    assert_eq!(
        (figures.one_way_bound_ns, figures.contradictions),
        (None, 1)
    );
}

#[test]
fn the_bounds_of_a_run_that_goes_on_grow_to_those_at_its_end_and_hold_what_was_timed() {
    for (name, path) in paths() {
        let path = Path {
            drift: 50e-6,
            ..path
        };
        let exchanges = path.readings_of(5, 1_000);
        let mut run_path = RunPath::new(NO_TRUST, 0, &ClockHistory::default());
        run_path.start(START_NS + 40 * 20_000_000, 0);
        let mut line: Option<ClockLine> = None;
        for of in exchanges.chunks(MESSAGE) {
            let newest = of.last().unwrap();
            let now_ns = newest.server_ns + 2 * path.back_ns + 2_000_000;
            if let Some(PathEvent::Line(new)) = run_path.take(&message(of), (now_ns, WALL), true) {
                line = Some(new);
            }
            let bounds = run_path.bounds_so_far(now_ns);
            let Some(line) = line.filter(|_| bounds.is_some()) else {
                continue;
            };
            let off_ns = line.offset_at(newest.sent_ns) - path.truth_ns(newest.sent_ns);
            let bound_ns = bounds.unwrap().one_way_ns;
            assert!(off_ns.unsigned_abs() <= u128::from(bound_ns) + 2, "{name}");
        }
        let now_ns = exchanges.last().unwrap().server_ns + 2 * path.back_ns + 3_000_000;
        let so_far = run_path.bounds_so_far(now_ns).unwrap();
        let figures = run_path.figures(now_ns);
        assert_eq!(figures.one_way_bound_ns, Some(so_far.one_way_ns), "{name}");
        assert_eq!(figures.queueing_bound_ns, so_far.queueing_ns, "{name}");
    }
}

/// The connection of the probes was lost for 25 s, and the clocks have another rate when it is
/// back: packets were timed for 5 s of these.
#[test]
fn a_line_before_a_pause_of_the_probes_is_judged_by_what_was_read_before_it() {
    let (last, change_ns) = (600_u64, 5_000_000_000_i64);
    let away_ns = last * 20_000_000 + change_ns.unsigned_abs();
    let after = Path {
        drift: 40e-6,
        offset_ns: STEADY.offset_ns - (40e-6 * away_ns as f64) as i64,
        ..STEADY
    };
    for seed in 0..20 {
        let mut run_path = RunPath::new(NO_TRUST, 0, &ClockHistory::default());
        let before = STEADY.readings_of(seed, last);
        let mut line: Option<ClockLine> = None;
        let take = |run_path: &mut RunPath, of: &[Exchange]| {
            let now_ns = of.last().unwrap().server_ns + 1_000_000;
            run_path.take(&message(of), (now_ns, WALL), true)
        };
        for of in before.chunks(MESSAGE) {
            if let Some(PathEvent::Line(new)) = take(&mut run_path, of) {
                line = Some(new);
            }
        }
        let line = line.unwrap();
        let until_ns = line.until_ns;
        let truth_ns = STEADY.truth_ns(until_ns);
        let off_ns = (line.offset_at(until_ns) - truth_ns).unsigned_abs();
        let back = &after.readings_of(seed, last + 1_250 + 500)[last as usize + 1_250..];
        for of in back.chunks(MESSAGE) {
            let _ = take(&mut run_path, of);
        }
        let now_ns = back.last().unwrap().server_ns + 2_000_000;
        let so_far = run_path.bounds_so_far(now_ns);
        let figures = run_path.figures(now_ns);
        let bound_ns = figures.one_way_bound_ns.unwrap();
        assert_eq!(so_far.map(|of| of.one_way_ns), Some(bound_ns));
        assert!(off_ns <= u128::from(bound_ns) + 2, "{off_ns} {bound_ns}");
        assert!(
            bound_ns < 400_000,
            "{bound_ns}: of some ms by what was read 25 s later"
        );
    }
}

/// The message had been under way for a while.
#[test]
fn no_clock_of_an_agent_reads_more_than_the_latest_reading() {
    for (drift, seed) in [(-999e-6, 1), (-50e-6, 2), (0.0, 3), (999e-6, 4)] {
        let path = Path { drift, ..STEADY };
        for (under_way_ns, later_ns) in [(0, 0), (0, 20_000_000_000), (700_000_000, 4_000_000_000)]
        {
            let exchanges = path.readings_of(seed, 100);
            let newest_ns = exchanges[99].answered_ns;
            let mut run_path = RunPath::new(NO_TRUST, 0, &ClockHistory::default());
            let server_ns = |agent_ns: u64| {
                u64::try_from(i128::from(agent_ns) + path.truth_ns(agent_ns)).unwrap()
            };
            let now_ns = server_ns(newest_ns + under_way_ns);
            let _ = run_path.take(&message(&exchanges), (now_ns, WALL), true);
            let reading_ns = newest_ns + under_way_ns + later_ns;
            let latest_ns = run_path.latest_reading(server_ns(reading_ns)).unwrap();
            assert!(reading_ns <= latest_ns, "{drift} {under_way_ns} {later_ns}");
        }
    }
}

#[test]
fn an_agent_that_has_not_waited_for_its_start_has_no_bound_since_some_lines_were_not_judged() {
    let exchanges = STEADY.readings(3);
    let now_ns = exchanges[999].server_ns + 2_000_000;
    let start_ns = START_NS + 60 * 20_000_000;
    for (began_ns, is_early) in [
        (start_ns, false),
        (start_ns + 1, false),
        (start_ns - 1, true),
    ] {
        let mut path = follow(&exchanges, 60, None);
        path.began(began_ns);
        let figures = path.figures(now_ns);
        assert_eq!(figures.one_way_bound_ns.is_none(), is_early);
        assert_eq!(figures.queueing_bound_ns.is_none(), is_early);
    }
}

/// No server saves that.
#[test]
fn lines_that_are_handed_over_without_an_exchange_leave_the_run_without_times() {
    let exchanges = STEADY.readings(3);
    let now_ns = exchanges[999].server_ns + 2_000_000;
    let mut saved = SavedPath::from(&follow(&exchanges, 0, None));
    let trust = ClockTrust::default();
    assert!(saved.clone().restore(trust).bounds_so_far(now_ns).is_some());
    saved.exchanges.clear();
    let path = saved.restore(trust);
    assert_eq!(path.bounds_so_far(now_ns), None);
    let figures = path.figures(now_ns);
    let bounds = (figures.one_way_bound_ns, figures.queueing_bound_ns);
    assert_eq!(bounds, (None, None));
}

/// The run goes on for 39 s after its start.
#[test]
fn the_skew_of_a_start_is_as_near_as_what_was_read_around_it() {
    for seed in 0..20 {
        let path = Path {
            drift: 50e-6,
            ..STEADY
        };
        let exchanges = path.readings_of(seed, 2_000);
        let mut run_path = RunPath::new(NO_TRUST, 0, &ClockHistory::default());
        let start_ns = START_NS + 40 * 20_000_000;
        for of in exchanges.chunks(MESSAGE) {
            if of[0].sent_ns > START_NS + 30 * 20_000_000 && run_path.starts_ns == 0 {
                run_path.start(start_ns, 0);
            }
            let now_ns = of.last().unwrap().server_ns + 1_000_000;
            let _ = run_path.take(&message(of), (now_ns, WALL), true);
        }
        let truth_ns = i128::from(start_ns) + path.truth_ns(start_ns);
        let ordered_ns = u64::try_from(truth_ns).unwrap() - 70_000;
        let skew = run_path.start_skew(start_ns, ordered_ns).unwrap();
        assert!(skew.ns.abs_diff(70_000) <= skew.bound_ns + 1, "{skew:?}");
        assert!(skew.bound_ns < 150_000, "{skew:?}");
        // An agent that has begun at another instant is further from what was read then.
        let other = run_path.start_skew(start_ns + 1, ordered_ns).unwrap();
        assert!(other.ns.abs_diff(70_000) <= other.bound_ns + 2, "{other:?}");
    }
}
