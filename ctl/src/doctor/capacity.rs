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
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) clients: u32,
    /// Length of the schedule of its longest run.
    pub(crate) seconds: f64,
    /// CPU of the pacing thread in that run, in cores.
    pub(crate) agent_cores: Option<f64>,
    /// More clients that were held in one run, where these were held in no second one.
    pub(crate) more_once: Option<u32>,
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
            let longest = of(clients).max_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
            Some(Held {
                clients,
                seconds: longest.seconds,
                agent_cores: longest.agent_cores,
                more_once: search.greatest().filter(|greatest| *greatest > clients),
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
    fn what_was_measured_is_kept_with_the_length_of_its_longest_run() {
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
            (held.clients, held.seconds, held.more_once),
            (20, 1.5, None)
        );
        let refused = capacity.refused.expect("tried");
        assert_eq!(
            (refused.clients, refused.codes.join(" ")),
            (22, "LATENESS".into())
        );
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
