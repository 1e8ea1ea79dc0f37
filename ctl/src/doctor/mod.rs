//! What this host holds, shown by real runs; what this host allows and what the rest of the system
//! allows, judged.
//!
//! | module | subject |
//! |---|---|
//! | [`load`] | the load to examine for |
//! | [`host`] | facts that the kernel reports: limits, cores, clock, sysctls |
//! | [`priority`] | the priority that pacing threads get, found out by taking it |
//! | [`trial`] | pure: what a real run showed |
//! | [`path`] | pure: what a run showed of the path between an agent and the server |
//! | [`search`], [`capacity`] | pure: the search for the greatest load that is held; its result |
//! | [`shares`] | pure: what else used the cores meanwhile |
//! | [`judge`] | pure: facts and a load in, findings out |
//! | [`finding`] | what was found |
//!
//! Nothing is predicted: what is said of a load was measured with that load. No async here: runs
//! and requests are made by [`crate::commands::doctor`]. A fact that is not known is `None` and
//! makes no finding.

pub(crate) mod capacity;
pub(crate) mod finding;
pub(crate) mod host;
pub(crate) mod judge;
pub(crate) mod load;
pub(crate) mod path;
pub(crate) mod priority;
pub(crate) mod search;
pub(crate) mod shares;
pub(crate) mod trial;

use metronome_proto::v1::ThreadPriority;

use capacity::Capacity;
use finding::Finding;
use load::Load;
use shares::Shares;
use trial::Trial;

/// Everything that was found.
#[derive(Clone, Debug)]
pub(crate) struct Examination {
    pub(crate) load: Load,
    /// `None`: it could not be found out.
    pub(crate) priority: Option<ThreadPriority>,
    /// `None`: no run could be made, or none was to be; a finding has the reason.
    pub(crate) measured: Option<Measured>,
    pub(crate) findings: Vec<Finding>,
}

/// Runs of a server that others measure with, which runs of this examination would disturb.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct GoingOn {
    /// Its address.
    pub(crate) server: String,
    /// More than none.
    pub(crate) runs: u32,
}

/// What real runs on this host showed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measured {
    /// The worst run of the load itself: the search may repeat it.
    pub(crate) trial: Trial,
    /// Runs of the load, and how many of them were held.
    pub(crate) runs: u32,
    pub(crate) runs_held: u32,
    /// What one pacing thread holds. `None`: it was not measured.
    pub(crate) capacity: Option<Capacity>,
    /// The runs that ended the search, where some began meanwhile.
    pub(crate) begun: Option<GoingOn>,
    /// Other use of the cores during the runs.
    pub(crate) shares: Option<Shares>,
}

impl Measured {
    /// What `trials` have shown of so many clients, with what else was measured. `None`: no run
    /// had as many.
    pub(crate) fn of(
        clients: u32,
        trials: &[Trial],
        capacity: Option<Capacity>,
        shares: Option<Shares>,
    ) -> Option<Self> {
        let of_load = || trials.iter().filter(|trial| trial.clients == clients);
        // Of equal ones the first: it is the run of the load, and not a repetition.
        let trial = of_load().reduce(|worst, trial| match trial.badness() > worst.badness() {
            true => trial,
            false => worst,
        })?;
        let number = |trials: usize| u32::try_from(trials).unwrap_or(u32::MAX);
        Some(Self {
            trial: trial.clone(),
            runs: number(of_load().count()),
            runs_held: number(of_load().filter(|trial| trial.is_held()).count()),
            capacity,
            begun: None,
            shares,
        })
    }
}

#[cfg(test)]
impl Measured {
    /// One run of the load that was held, and no more.
    pub(crate) fn example() -> Self {
        Self {
            trial: trial::tests::held(),
            runs: 1,
            runs_held: 1,
            capacity: None,
            begun: None,
            shares: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trial::{
        End,
        tests::{held, refused},
    };

    fn worst(trials: &[Trial]) -> (Trial, u32, u32) {
        let measured = Measured::of(10, trials, None, None).expect("a run of the load");
        (measured.trial, measured.runs_held, measured.runs)
    }

    #[test]
    fn the_load_is_judged_by_its_worst_run_in_whatever_order() {
        let unsure = Trial {
            valid_to_ppm: Some(900_000),
            ..held()
        };
        let not_held = refused(10, End::NotHeld, "kept_up");
        let invalid = refused(10, End::Invalid, "LATENESS");
        let rising = [held(), unsure, not_held, invalid];
        for (index, worse) in rising.iter().enumerate() {
            for better in &rising[..index] {
                for trials in [[better, worse], [worse, better]] {
                    let trials = trials.map(Clone::clone);
                    assert_eq!(worst(&trials).0, *worse, "{trials:?}");
                }
            }
        }
        let found = worst(&[held(), refused(10, End::Invalid, "LATENESS")]);
        assert_eq!((found.1, found.2), (1, 2));
    }

    #[test]
    fn runs_of_another_load_are_not_its_runs() {
        let other = refused(20, End::Invalid, "LATENESS");
        assert_eq!(worst(&[held(), other.clone()]), (held(), 1, 1));
        assert_eq!(Measured::of(10, &[other], None, None), None);
    }

    #[test]
    fn of_equal_runs_the_first_is_shown() {
        let short = Trial {
            seconds: 0.7,
            ..held()
        };
        assert_eq!(worst(&[held(), short]), (held(), 2, 2));
    }
}
