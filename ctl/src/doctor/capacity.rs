//! What one pacing thread holds with the server on the same host, as far as it was measured. Pure.

use super::{search::Search, trial::Trial};

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capacity {
    /// The greatest number of clients that was held more than once.
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
        let held = search.confirmed().and_then(|clients| {
            let longest = of(clients).max_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
            Some(Held {
                clients,
                seconds: longest.seconds,
                agent_cores: longest.agent_cores,
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
