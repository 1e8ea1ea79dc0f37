//! Requests to end, counted: which of the signals that come is another one, and which repeats the
//! last. Pure; times are the caller's. Which signals ask for an end is absent.

use std::time::{Duration, Instant};

/// Signals within this time of the last one that counted are one request. `timeout` sends its
/// signal to its child and then to the group of both, and a supervisor may send SIGHUP behind
/// SIGTERM; a person takes longer to press Ctrl-C again.
pub const ONE_REQUEST: Duration = Duration::from_millis(250);

/// The requests to end that a process has had.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndRequests {
    last: Option<Instant>,
}

impl EndRequests {
    /// Whether a signal that comes at `now` is a request of its own. Times never go back.
    pub fn counts(&mut self, now: Instant) -> bool {
        let is_new = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= ONE_REQUEST);
        if is_new {
            self.last = Some(now);
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
        let begin = Instant::now();
        let mut requests = EndRequests::default();
        for (ms, counts) in [
            (0, true),
            (1, false),
            (249, false),
            (250, true),
            (499, false),
            (1000, true),
        ] {
            let now = begin + Duration::from_millis(ms);
            assert_eq!(requests.counts(now), counts, "{ms} ms");
        }
    }

    proptest! {
        #[test]
        fn signals_that_never_pause_still_count_once_in_each_span(gaps in prop::collection::vec(0..250_u64, 1..200)) {
            let mut requests = EndRequests::default();
            let mut now = Instant::now();
            let mut counted = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                if requests.counts(now) {
                    counted.push(now);
                }
            }
            for pair in counted.windows(2) {
                let apart = pair[1] - pair[0];
                prop_assert!(apart >= ONE_REQUEST && apart < 2 * ONE_REQUEST, "{apart:?}");
            }
            prop_assert!(now - counted[counted.len() - 1] < ONE_REQUEST);
        }
    }
}
