//! Log lines that a peer can cause, limited: a peer in a loop must not fill a disk.
//!
//! Pure: the time is an argument, ns of CLOCK_MONOTONIC.

use std::sync::{Mutex, PoisonError};

/// Lets so many lines through in each period and counts the rest.
#[derive(Debug)]
pub struct RateLimit {
    lines_max: u32,
    period_ns: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since_ns: u64,
    lines: u32,
    withheld: u64,
}

impl RateLimit {
    /// At most `lines_max` lines in `period_ns`.
    #[must_use]
    pub const fn new(lines_max: u32, period_ns: u64) -> Self {
        Self {
            lines_max,
            period_ns,
            state: Mutex::new(State {
                since_ns: 0,
                lines: 0,
                withheld: 0,
            }),
        }
    }

    /// Whether a line may be written now: with how many were withheld since the last one.
    pub fn admit(&self, now_ns: u64) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ns.saturating_sub(state.since_ns) >= self.period_ns || state.lines == 0 {
            (state.since_ns, state.lines) = (now_ns, 0);
        }
        if state.lines == self.lines_max {
            state.withheld += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_of_lines_becomes_a_few_and_a_number() {
        let rate_limit = RateLimit::new(2, 100);
        let admitted: Vec<_> = (10..20).map(|now_ns| rate_limit.admit(now_ns)).collect();
        assert_eq!(admitted[..3], [Some(0), Some(0), None]);
        assert!(admitted[2..].iter().all(Option::is_none));
        assert_eq!(rate_limit.admit(110), Some(8));
        assert_eq!(rate_limit.admit(111), Some(0));
        assert_eq!(rate_limit.admit(112), None);
    }
}
