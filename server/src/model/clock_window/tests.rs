//! The region of a window holds the truth on simulated paths, seeded, and stands any readings.

use proptest::prelude::*;

use super::{
    super::simulated_path::{Path, START_NS, STEADY},
    *,
};

#[test]
fn the_truth_is_inside_and_the_width_is_that_of_the_least_round_trip() {
    let paths = [
        STEADY,
        Path {
            forth_ns: 1_000_000,
            back_ns: 10_000_000,
            jitter_ns: 200_000.0,
            ..STEADY
        },
        Path {
            jitter_ns: 200_000.0,
            ..STEADY
        },
        Path {
            lost_of: 20,
            ..STEADY
        },
        Path {
            grows_ns: 50_000,
            ..STEADY
        },
    ];
    for path in paths {
        for seed in 0..200_u64 {
            let path = Path {
                drift: [0.0, 50e-6, -50e-6][seed as usize % 3],
                ..path
            };
            let readings = path.readings(seed);
            let mut window = ClockWindow::default();
            for message in readings.chunks(13) {
                assert_eq!(window.take(message), Ok(()), "{path:?}");
                let at_ns = message[message.len() - 1].answered_ns;
                let Extent { least_ns, most_ns } = window.extent(at_ns).unwrap();
                let truth_ns = path.truth_ns(at_ns);
                assert!(
                    least_ns <= truth_ns && truth_ns <= most_ns,
                    "{path:?} {seed}"
                );
            }
            let (slow, fast) = window.drifts().unwrap();
            assert!(slow <= path.drift && path.drift <= fast, "{path:?} {seed}");
            if path.grows_ns == 0 {
                let trips = readings.iter().map(|of| of.answered_ns - of.sent_ns);
                let least_ns = trips.min().unwrap() as f64 / 2.0;
                let middle = window.extent(START_NS + WINDOW_NS / 2).unwrap();
                assert!(
                    middle.bound_ns() as f64 <= least_ns * 1.05 + 4.0,
                    "{path:?} {seed}"
                );
            }
        }
    }
}

#[test]
fn a_step_beyond_the_round_trip_is_found_and_the_window_begins_anew() {
    for (seed, step_ns) in (0..200_u64).zip(
        [1_000_000_i64, -1_000_000, 10_000_000_000]
            .into_iter()
            .cycle(),
    ) {
        let mut readings = STEADY.readings(seed);
        for after in &mut readings[500..] {
            after.server_ns = after.server_ns.saturating_add_signed(step_ns);
        }
        let mut window = ClockWindow::default();
        assert_eq!(window.take(&readings[..500]), Ok(()));
        assert_eq!(
            window.take(&readings[500..513]),
            Err(Contradicted),
            "{seed}"
        );
        assert_eq!(window.extent(readings[512].answered_ns), None);
        assert_eq!(window.take(&readings[513..526]), Ok(()));
        let at_ns = readings[525].answered_ns;
        let truth_ns = STEADY.truth_ns(at_ns) + i128::from(step_ns);
        let Extent { least_ns, most_ns } = window.extent(at_ns).unwrap();
        assert!(least_ns <= truth_ns && truth_ns <= most_ns);
    }
}

proptest! {
    #[test]
    fn readings_that_may_be_anything_are_no_panic_and_take_no_room(
        readings in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..100),
        near in prop::collection::vec((0..100_u64, 0..100_u64, 0..100_u64), 0..2_000),
        at_ns: u64,
    ) {
        let mut window = ClockWindow::default();
        for (sent_ns, server_ns, answered_ns) in readings.into_iter().chain(near) {
            let _ = window.take(&[Exchange { sent_ns, server_ns, answered_ns }]);
            prop_assert!(window.exchanges.len() <= EXCHANGES_MAX);
            if let Some(Extent { least_ns, most_ns }) = window.extent(at_ns) {
                prop_assert!(least_ns <= most_ns);
            }
        }
    }
}

/// Not a limit that a busy machine could break: the figure is for who runs it with --nocapture.
#[test]
fn a_full_window_takes_another_message() {
    let readings = STEADY.readings(1);
    let mut window = ClockWindow::default();
    assert_eq!(window.take(&readings[..987]), Ok(()));
    let begin = std::time::Instant::now();
    assert_eq!(window.take(&readings[987..]), Ok(()));
    println!("{} ns", begin.elapsed().as_nanos());
}
