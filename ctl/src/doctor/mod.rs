//! What this host holds, shown by real runs; what this host allows and what the rest of the system
//! allows, judged.
//!
//! | module | subject |
//! |---|---|
//! | [`load`] | the load to examine for |
//! | [`host`] | facts that the kernel reports: limits, cores, clock, sysctls |
//! | [`priority`] | the priority that pacing threads get, found out by taking it |
//! | [`trial`] | pure: what a real run showed |
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
pub(crate) mod priority;
pub(crate) mod search;
pub(crate) mod shares;
pub(crate) mod trial;

use capacity::Capacity;
use finding::Finding;
use load::Load;
use priority::Priority;
use shares::Shares;
use trial::Trial;

/// Everything that was found.
#[derive(Clone, Debug)]
pub(crate) struct Examination {
    pub(crate) load: Load,
    /// `None`: it could not be found out.
    pub(crate) priority: Option<Priority>,
    /// `None`: no run could be made, or none was to be; a finding has the reason.
    pub(crate) measured: Option<Measured>,
    pub(crate) findings: Vec<Finding>,
}

/// What real runs on this host showed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measured {
    /// The run of the load itself.
    pub(crate) trial: Trial,
    /// What one pacing thread holds. `None`: it was not measured.
    pub(crate) capacity: Option<Capacity>,
    /// Other use of the cores during the runs.
    pub(crate) shares: Option<Shares>,
}
