//! The search for the greatest load that is held: which number of clients is tried next. Pure.
//!
//! Numbers are doubled until one is not held, then the interval is halved until it is an eighth of
//! what is held. The greatest number held is tried once more, since a single run may be lucky; if
//! it is not held then, the search goes on below it. When there is no time left for that, the
//! number below the greatest one stands: it was held, and so was a greater one.

/// What was tried so far.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Search {
    first: u32,
    /// The most that may be tried.
    most: u32,
    /// Numbers that were held each time, rising.
    held: Vec<u32>,
    /// One of those: held more than once.
    confirmed: Option<u32>,
    /// The least number that was not held.
    refused: Option<u32>,
}

/// The interval is halved until it is this part of what is held.
const PART: u32 = 8;

impl Search {
    /// A search among 1 to `most` clients that begins at `first`, or at `most` if that is less.
    pub(crate) fn new(first: u32, most: u32) -> Self {
        let most = most.max(1);
        Self {
            first: first.clamp(1, most),
            most,
            held: Vec::new(),
            confirmed: None,
            refused: None,
        }
    }

    /// Notes how a run of `clients` ended.
    pub(crate) fn note(&mut self, clients: u32, is_held: bool) {
        if !is_held {
            self.refused = Some(self.refused.map_or(clients, |least| least.min(clients)));
            self.held.retain(|held| *held < clients);
            self.confirmed = self.confirmed.filter(|confirmed| *confirmed < clients);
        } else if self.has_held(clients) {
            self.confirmed = self.confirmed.max(Some(clients));
        } else if self.refused.is_none_or(|least| clients < least) {
            self.held.push(clients);
            self.held.sort_unstable();
        }
    }

    /// Whether `clients` were held once, so that a further run of them is the repetition.
    pub(crate) fn has_held(&self, clients: u32) -> bool {
        self.held.contains(&clients)
    }

    /// The next number to try, when there is time for `steps` runs. `None`: the search is over.
    pub(crate) fn next(&self, steps: u32) -> Option<u32> {
        let best = self.held.last().copied();
        if steps == 0 || (best.is_some() && best == self.confirmed) {
            return None;
        }
        match (best, self.refused) {
            (None, None) => Some(self.first),
            (None, Some(least)) => Some(least / 2).filter(|clients| *clients > 0),
            (Some(held), _) if steps == 1 || held >= self.most => Some(held),
            (Some(held), None) => Some(held.saturating_mul(2).min(self.most)),
            (Some(held), Some(least)) if least - held <= (held / PART).max(1) => Some(held),
            (Some(held), Some(least)) => Some(held + (least - held) / 2),
        }
    }

    /// The greatest number that was held each time and that two runs bear out: both of it, or one
    /// of it and one of more clients.
    pub(crate) fn borne_out(&self) -> Option<u32> {
        let below_greatest = self.held.iter().rev().nth(1).copied();
        self.confirmed.max(below_greatest)
    }

    /// The greatest number that was held each time.
    pub(crate) fn greatest(&self) -> Option<u32> {
        self.held.last().copied()
    }

    /// The least number that was not held.
    pub(crate) fn refused(&self) -> Option<u32> {
        self.refused
    }

    /// Whether what is borne out is the most that may be tried.
    pub(crate) fn is_at_most(&self) -> bool {
        self.borne_out() == Some(self.most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Steps of a search on a host for which `holds` decides.
    fn searched(mut search: Search, steps: u32, mut holds: impl FnMut(u32) -> bool) -> Search {
        for step in 0..steps {
            let Some(clients) = search.next(steps - step) else {
                break;
            };
            search.note(clients, holds(clients));
        }
        search
    }

    #[test]
    fn a_host_that_holds_36_is_found_to_hold_about_that() {
        let mut tried = Vec::new();
        let search = searched(Search::new(10, 10_000), 8, |clients| {
            tried.push(clients);
            clients <= 36
        });
        assert_eq!(tried, [10, 20, 40, 30, 35, 37, 35]);
        assert_eq!((search.borne_out(), search.refused()), (Some(35), Some(37)));
    }

    #[test]
    fn a_number_held_once_by_luck_is_not_promised() {
        let mut runs_of_20 = 0;
        let search = searched(Search::new(10, 10_000), 12, |clients| {
            runs_of_20 += u32::from(clients == 20);
            clients <= 15 || (clients == 20 && runs_of_20 == 1)
        });
        assert_eq!((search.borne_out(), search.refused()), (Some(15), Some(16)));
    }

    #[test]
    fn where_the_repetition_fails_and_time_is_over_the_number_below_stands() {
        let mut runs_of_40 = 0;
        let search = searched(Search::new(10, 10_000), 4, |clients| {
            runs_of_40 += u32::from(clients == 40);
            clients < 40 || runs_of_40 == 1
        });
        assert_eq!(
            (search.borne_out(), search.greatest()),
            (Some(10), Some(20))
        );
    }

    #[test]
    fn a_host_that_holds_nothing_is_promised_nothing() {
        let search = searched(Search::new(10, 10_000), 20, |_| false);
        assert_eq!((search.borne_out(), search.refused()), (None, Some(1)));
        assert_eq!(search.next(20), None);
    }

    #[test]
    fn the_most_that_may_be_tried_is_repeated_and_not_exceeded() {
        let search = searched(Search::new(10, 25), 20, |_| true);
        assert_eq!((search.borne_out(), search.refused()), (Some(25), None));
        assert!(search.is_at_most());
    }

    proptest! {
        #[test]
        fn what_is_promised_was_held_and_what_is_beyond_it_was_not(
            first in 1..200_u32,
            most in 1..10_000_u32,
            holds in 0..20_000_u32,
        ) {
            let search = searched(Search::new(first, most), 100, |clients| clients <= holds);
            let can = holds.min(most);
            match search.borne_out() {
                None => prop_assert_eq!(can, 0),
                Some(confirmed) => {
                    prop_assert!(confirmed <= can, "{search:?}");
                    prop_assert!(can - confirmed <= (confirmed / PART).max(1), "{search:?}");
                }
            }
            prop_assert_eq!(search.next(100), None);
        }

        #[test]
        fn whatever_the_runs_do_only_what_two_runs_bear_out_and_none_refutes_is_promised(
            first in 1..200_u32,
            most in 1..10_000_u32,
            steps in 0..30_u32,
            ends in prop::collection::vec(any::<bool>(), 30),
        ) {
            let mut runs = Vec::new();
            let search = searched(Search::new(first, most), steps, |clients| {
                let is_held = ends[runs.len()];
                runs.push((clients, is_held));
                is_held
            });
            prop_assert!(runs.len() <= steps as usize);
            prop_assert!(runs.iter().all(|(clients, _)| (1..=most).contains(clients)));
            if let Some(promised) = search.borne_out() {
                let of_it = |(clients, is_held): &&(u32, bool)| *is_held && *clients >= promised;
                prop_assert!(runs.iter().filter(of_it).count() >= 2, "{runs:?}");
                prop_assert!(runs.contains(&(promised, true)), "{runs:?}");
                let refused = |(clients, is_held): &(u32, bool)| !is_held && *clients <= promised;
                prop_assert!(!runs.iter().any(refused), "{runs:?}");
            }
        }
    }
}
