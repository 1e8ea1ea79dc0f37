//! What one pacing thread holds with the server on the same host, as far as it was measured. Pure.

use super::{search::Search, trial::Trial};

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capacity {
    /// The greatest number of clients that two runs bear out.
    pub(crate) held: Option<Held>,
    /// The least number of clients that was not held.
    pub(crate) refused: Option<Refused>,
    /// What is held is the most that may be tried here.
    pub(crate) is_at_most: bool,
}

/// A number of clients that was held.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) clients: u32,
    /// Lengths of the schedules of its runs, the longest first; there is one at least.
    pub(crate) seconds: Vec<f64>,
    /// CPU of the pacing thread in the longest run, in cores.
    pub(crate) agent_cores: Option<f64>,
    /// More clients that were held in one run, where these were held in no second one.
    pub(crate) more_once: Option<Once>,
}

/// A number of clients that was held in a single run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Once {
    pub(crate) clients: u32,
    /// Length of its schedule.
    pub(crate) seconds: f64,
}

/// A pacing thread that takes too much CPU for real-time priority has lost it after this.
pub(crate) const PRIORITY_LOST_S: f64 = 1.0;

impl Held {
    /// The longest of its runs.
    pub(crate) fn longest_s(&self) -> Option<f64> {
        self.seconds.first().copied()
    }

    /// Whether no run behind it was long enough to show what is left of it when the pacing thread
    /// loses its real-time priority.
    pub(crate) fn is_brief(&self) -> bool {
        let runs = self.seconds.iter().copied();
        let mut runs = runs.chain(self.more_once.map(|once| once.seconds));
        runs.all(|seconds| seconds <= PRIORITY_LOST_S)
    }
}

/// A number of clients that was not held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refused {
    pub(crate) clients: u32,
    /// What its run ended with: `LATENESS`.
    pub(crate) codes: Vec<String>,
}

impl Capacity {
    /// What `trials`, all runs of `search`, have shown.
    pub(crate) fn of(search: &Search, trials: &[Trial]) -> Self {
        let of = |clients| trials.iter().filter(move |of| of.clients == clients);
        let held = search.borne_out().and_then(|clients| {
            let mut runs: Vec<&Trial> = of(clients).collect();
            runs.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
            let greatest = search.greatest().filter(|greatest| *greatest > clients);
            Some(Held {
                clients,
                seconds: runs.iter().map(|run| run.seconds).collect(),
                agent_cores: runs.first()?.agent_cores,
                more_once: greatest.and_then(|greatest| {
                    Some(Once {
                        clients: greatest,
                        seconds: of(greatest).next()?.seconds,
                    })
                }),
            })
        });
        let refused = search.refused().and_then(|clients| {
            let refused = of(clients).find(|trial| !trial.is_held())?;
            Some(Refused {
                clients,
                codes: refused.grounds.iter().map(|of| of.code.clone()).collect(),
            })
        });
        Self {
            held,
            refused,
            is_at_most: search.is_at_most(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::trial::{End, tests};

    #[test]
    fn what_was_measured_is_kept_with_the_lengths_of_its_runs() {
        let held = |clients, seconds| Trial {
            clients,
            seconds,
            ..tests::held()
        };
        let trials = [
            held(10, 2.0),
            held(20, 0.7),
            tests::refused(22, End::Invalid, "LATENESS"),
            held(20, 1.5),
        ];
        let mut search = Search::new(10, 100);
        trials
            .iter()
            .for_each(|of| search.note(of.clients, of.is_held()));
        let capacity = Capacity::of(&search, &trials);
        let held = capacity.held.expect("held twice");
        assert_eq!(
            (held.clients, &held.seconds[..], held.more_once),
            (20, &[1.5, 0.7][..], None)
        );
        assert!(!held.is_brief());
        let refused = capacity.refused.expect("tried");
        assert_eq!(
            (refused.clients, refused.codes.join(" ")),
            (22, "LATENESS".into())
        );
    }

    #[test]
    fn what_only_brief_runs_bear_out_is_known_as_such() {
        let trials = [(10, 0.7), (20, 0.7), (25, 0.7)].map(|(clients, seconds)| Trial {
            clients,
            seconds,
            ..tests::held()
        });
        let mut search = Search::new(10, 100);
        trials.iter().for_each(|of| search.note(of.clients, true));
        // The repetition.
        let refused = tests::refused(25, End::Invalid, "LATENESS");
        search.note(25, false);
        let all = [&trials[..], &[refused]].concat();
        let held = Capacity::of(&search, &all).held.expect("20 were held once");
        let once = Once {
            clients: 20,
            seconds: 0.7,
        };
        assert_eq!((held.clients, held.more_once), (10, Some(once)));
        assert!(held.is_brief());
    }

    #[test]
    fn what_was_held_once_is_not_promised() {
        let trials = [tests::held()];
        let mut search = Search::new(10, 100);
        search.note(10, true);
        let capacity = Capacity::of(&search, &trials);
        assert_eq!((capacity.held, capacity.refused), (None, None));
    }
}
