//! Which agents did not answer a Prepare in time, by name: they are given no run that does not name
//! them.
//!
//! An agent stays unresponsive until it answers one, or for [`KEPT_NS`] after its session has
//! ended: a new session is no answer, since a process that registers again and again would
//! otherwise spoil each run, and one that was mended and started anew takes part without being
//! named. Times are ns of CLOCK_MONOTONIC.
//!
//! Absent on purpose: clock, I/O. After an upgrade nothing is known of sessions that ended before.

use std::collections::BTreeMap;

/// For so long after the end of its session a name is unresponsive, ns.
pub(super) const KEPT_NS: u64 = 60_000_000_000;
/// Names without a session that are kept at most.
const KEPT_MAX: usize = 1024;

/// The names of unresponsive agents.
#[derive(Debug, Default)]
pub(super) struct Unresponsive {
    names: BTreeMap<String, Lasts>,
}

/// Until when a name is unresponsive, unless it answers before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lasts {
    /// For as long as its session, and a while longer.
    Session,
    /// Its session has ended: until this time, whether it has another one or not.
    Until(u64),
}

impl Unresponsive {
    /// An agent that has a session, or is expected back, did not answer in time.
    pub(super) fn note_missed(&mut self, name: &str) {
        self.names.insert(name.to_owned(), Lasts::Session);
    }

    /// It has answered.
    pub(super) fn note_answered(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Its session has ended, and it does not get its place back. Where too many names are kept,
    /// the one that would be forgotten first is.
    pub(super) fn note_left(&mut self, name: &str, now_ns: u64) {
        let is_kept = |lasts: &Lasts| match *lasts {
            Lasts::Session => true,
            Lasts::Until(until_ns) => now_ns < until_ns,
        };
        self.names.retain(|_, lasts| is_kept(lasts));
        let Some(lasts) = self.names.get_mut(name) else {
            return;
        };
        *lasts = Lasts::Until(now_ns.saturating_add(KEPT_NS));
        let without_session = self.names.iter().filter_map(|(name, lasts)| match lasts {
            Lasts::Session => None,
            Lasts::Until(until_ns) => Some((*until_ns, name)),
        });
        if without_session.clone().count() > KEPT_MAX
            && let Some(first) = without_session.min().map(|(_, name)| name.clone())
        {
            self.names.remove(&first);
        }
    }

    /// Whether an agent of this name is unresponsive now.
    pub(super) fn has(&self, name: &str, now_ns: u64) -> bool {
        match self.names.get(name) {
            None => false,
            Some(Lasts::Session) => true,
            Some(Lasts::Until(until_ns)) => now_ns < *until_ns,
        }
    }

    /// Whether it is so for as long as its session.
    pub(super) fn has_in_session(&self, name: &str) -> bool {
        self.names.get(name) == Some(&Lasts::Session)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_unresponsive_until_it_answers_or_a_minute_after_its_session() {
        let mut unresponsive = Unresponsive::default();
        unresponsive.note_left("a", 0);
        assert!(!unresponsive.has("a", 0), "it has missed nothing");
        unresponsive.note_missed("a");
        assert!(unresponsive.has("a", u64::MAX) && unresponsive.has_in_session("a"));
        unresponsive.note_left("a", 5);
        assert!(unresponsive.has("a", 4 + KEPT_NS) && !unresponsive.has_in_session("a"));
        assert!(!unresponsive.has("a", 5 + KEPT_NS));
        // One that has registered anew meanwhile, and leaves again, is kept for another minute.
        unresponsive.note_left("a", 4 + KEPT_NS);
        assert!(unresponsive.has("a", 3 + 2 * KEPT_NS));
        unresponsive.note_answered("a");
        assert!(!unresponsive.has("a", 4 + KEPT_NS));
    }

    #[test]
    fn a_session_that_ends_when_the_minute_is_over_begins_no_other() {
        let mut unresponsive = Unresponsive::default();
        unresponsive.note_missed("a");
        unresponsive.note_left("a", 0);
        unresponsive.note_left("a", KEPT_NS);
        assert!(!unresponsive.has("a", KEPT_NS));
        assert!(unresponsive.names.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn names_without_a_session_are_bounded_and_the_first_to_be_forgotten_goes(
            more in 1..20_usize,
        ) {
            let mut unresponsive = Unresponsive::default();
            unresponsive.note_missed("connected");
            for number in 0..KEPT_MAX + more {
                let name = number.to_string();
                unresponsive.note_missed(&name);
                unresponsive.note_left(&name, number as u64);
            }
            prop_assert_eq!(unresponsive.names.len(), KEPT_MAX + 1);
            let kept = |number: usize| unresponsive.has(&number.to_string(), 5_000);
            prop_assert!(!kept(more - 1) && kept(more) && kept(KEPT_MAX + more - 1));
            prop_assert!(unresponsive.has_in_session("connected"));
        }
    }
}
