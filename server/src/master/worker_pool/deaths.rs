//! Deaths of one worker's processes: how long to wait before the next start, and when it is a crash
//! loop. Pure: every time is an argument, in ns of one clock.

use std::collections::VecDeque;

/// Deaths in this time count as a crash loop, which is over when a process has lived for as long …
const CRASH_LOOP_NS: u64 = 10_000_000_000;

/// … and this many of them, or so many short lives in a row, make the server degraded.
const CRASH_LOOP_DEATHS: usize = 5;

/// A process that lived this long was able to: the next one starts at once.
const SHORT_LIFE_NS: u64 = 1_000_000_000;

const RESTART_WAIT_FIRST_NS: u64 = 100_000_000;
const RESTART_WAIT_MAX_NS: u64 = 5_000_000_000;

/// Processes of one worker that ended without a request to quit.
#[derive(Clone, Debug, Default)]
pub(super) struct Deaths {
    pub(super) total: u64,
    /// When the last ones were.
    pub(super) recent_ns: VecDeque<u64>,
    /// Processes in a row that did not live long.
    short_lives: u32,
    /// The last deaths were a crash loop, and no process has lived for long since.
    is_looping: bool,
}

impl Deaths {
    /// Counts the death of a process. Returns when to start the next.
    pub(super) fn note(&mut self, started_ns: u64, now_ns: u64) -> u64 {
        let was_short = now_ns.saturating_sub(started_ns) < SHORT_LIFE_NS;
        self.short_lives = if was_short {
            self.short_lives.saturating_add(1)
        } else {
            0
        };
        self.recent_ns
            .retain(|death_ns| now_ns.saturating_sub(*death_ns) < CRASH_LOOP_NS);
        self.recent_ns.push_back(now_ns);
        let goes_on = self.is_looping && now_ns.saturating_sub(started_ns) < CRASH_LOOP_NS;
        self.is_looping = goes_on
            || self.recent_ns.len() >= CRASH_LOOP_DEATHS
            || self.short_lives as usize >= CRASH_LOOP_DEATHS;
        self.total = self.total.saturating_add(1);
        now_ns + restart_wait_ns(self.short_lives)
    }

    /// A process ended on request: one that had lived for long ends a crash loop.
    pub(super) fn note_quit(&mut self, started_ns: u64, now_ns: u64) {
        if now_ns.saturating_sub(started_ns) >= CRASH_LOOP_NS {
            (self.short_lives, self.is_looping) = (0, false);
        }
    }

    /// Whether the worker dies again and again. `started_ns` is the start of its present process,
    /// if it has one.
    pub(super) fn is_crash_loop(&self, started_ns: Option<u64>, now_ns: u64) -> bool {
        let is_within = |since_ns: u64| now_ns.saturating_sub(since_ns) < CRASH_LOOP_NS;
        let recent = self
            .recent_ns
            .iter()
            .filter(|death_ns| is_within(**death_ns));
        // With the longest wait before each start there are not that many deaths in that time any
        // more: then the loop is over when a process has lived for as long.
        recent.count() >= CRASH_LOOP_DEATHS || (self.is_looping && started_ns.is_none_or(is_within))
    }
}

/// How long to wait before a start, after so many short lives in a row: 0, then 0.1 s doubling to
/// 5 s, so that a worker that cannot live never becomes a fork storm.
fn restart_wait_ns(short_lives: u32) -> u64 {
    let Some(doublings) = short_lives.checked_sub(1) else {
        return 0;
    };
    let factor = 2_u64.saturating_pow(doublings);
    RESTART_WAIT_FIRST_NS
        .saturating_mul(factor)
        .min(RESTART_WAIT_MAX_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn the_wait_before_a_start_grows_from_nothing_to_five_seconds() {
        let waits: Vec<u64> = (0..9)
            .map(|deaths| restart_wait_ns(deaths) / 1_000_000)
            .collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(restart_wait_ns(u32::MAX), RESTART_WAIT_MAX_NS);
        assert_eq!(restart_wait_ns(64), RESTART_WAIT_MAX_NS);
    }

    #[test]
    fn five_deaths_in_ten_seconds_are_a_crash_loop_and_are_forgotten() {
        let mut deaths = Deaths::default();
        for death in 0..5 {
            assert!(!deaths.is_crash_loop(Some(0), death * SECOND_NS));
            deaths.note(0, death * SECOND_NS + 1);
        }
        assert!(deaths.is_crash_loop(Some(0), 5 * SECOND_NS));
        assert!(!deaths.is_crash_loop(Some(0), 11 * SECOND_NS));
        assert_eq!(deaths.total, 5);
    }

    #[test]
    fn a_crash_loop_lasts_until_a_process_has_lived_for_ten_seconds() {
        let mut deaths = Deaths::default();
        let mut start_ns = 0;
        for death in 1..=30 {
            let died_ns = start_ns + 1;
            start_ns = deaths.note(start_ns, died_ns);
            // Right after the death, and right before the next start.
            for now_ns in [died_ns, start_ns - 1] {
                assert_eq!(deaths.is_crash_loop(None, now_ns), death >= 5, "{death}");
            }
        }
        let lived = |seconds| deaths.is_crash_loop(Some(start_ns), start_ns + seconds * SECOND_NS);
        assert!(lived(0) && lived(9) && !lived(10));
        // One that lived for two seconds does not end the loop.
        let mut other = deaths.clone();
        let died_ns = start_ns + 2 * SECOND_NS;
        let next_ns = other.note(start_ns, died_ns);
        assert!(other.is_crash_loop(None, died_ns) && other.is_crash_loop(Some(next_ns), next_ns));
        // One that quits on request after an hour leaves no loop behind.
        let quit_ns = start_ns + 3600 * SECOND_NS;
        deaths.note_quit(start_ns, quit_ns);
        assert!(!deaths.is_crash_loop(None, quit_ns));
        assert!(!deaths.is_crash_loop(Some(quit_ns), quit_ns));
    }

    #[test]
    fn a_worker_that_lived_is_started_again_at_once_and_one_that_did_not_waits() {
        let mut deaths = Deaths::default();
        assert_eq!(deaths.note(0, 2 * SECOND_NS), 2 * SECOND_NS);
        assert_eq!(
            deaths.note(2 * SECOND_NS, 2 * SECOND_NS + 5),
            2 * SECOND_NS + 5 + RESTART_WAIT_FIRST_NS
        );
        assert_eq!(deaths.note(3 * SECOND_NS, 9 * SECOND_NS), 9 * SECOND_NS);
    }
}
