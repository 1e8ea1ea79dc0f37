//! Requests to end, counted: which of the signals that come is another one, and which repeats the
//! last. Pure; times are the caller's, ns of CLOCK_MONOTONIC. Which signals ask for an end is
//! absent.

use std::time::Duration;

/// Signals within this time of the last one that counted are one request. `timeout` sends its
/// signal to its child and then to the group of both, and a supervisor may send SIGHUP behind
/// SIGTERM; a person takes longer to press Ctrl-C again.
pub const ONE_REQUEST: Duration = Duration::from_millis(250);

/// The requests to end that a process has had.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndRequests {
    last_ns: Option<u64>,
}

impl EndRequests {
    /// Whether a signal that comes at `now_ns` is a request of its own. Times never go back.
    pub fn counts(&mut self, now_ns: u64) -> bool {
        let repeats = |last_ns| u128::from(now_ns.saturating_sub(last_ns)) < ONE_REQUEST.as_nanos();
        let is_new = !self.last_ns.is_some_and(repeats);
        if is_new {
            self.last_ns = Some(now_ns);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_two_signals_of_timeout_are_one_request_and_a_later_one_is_another() {
        let mut requests = EndRequests::default();
        for (ms, counts) in [
            (0, true),
            (1, false),
            (249, false),
            (250, true),
            (499, false),
            (1000, true),
        ] {
            assert_eq!(requests.counts(ms * 1_000_000), counts, "{ms} ms");
        }
    }

    proptest! {
        #[test]
        fn signals_that_never_pause_still_count_once_in_each_span(
            gaps in prop::collection::vec(0..250_u64, 1..200),
        ) {
            let mut requests = EndRequests::default();
            let mut now = 0;
            let mut counted = Vec::new();
            for gap in gaps {
                now += gap * 1_000_000;
                if requests.counts(now) {
                    counted.push(now);
                }
            }
            for pair in counted.windows(2) {
                let apart = Duration::from_nanos(pair[1] - pair[0]);
                prop_assert!(apart >= ONE_REQUEST && apart < 2 * ONE_REQUEST, "{apart:?}");
            }
            prop_assert!(Duration::from_nanos(now - counted[counted.len() - 1]) < ONE_REQUEST);
        }
    }
}
