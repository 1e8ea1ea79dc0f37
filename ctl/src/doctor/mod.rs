//! What this host allows, measured and judged; what the rest of the system allows, judged.
//!
//! | module | subject |
//! |---|---|
//! | [`host`] | facts that the kernel reports: limits, cores, clock, sysctls |
//! | [`timing`] | facts that have to be measured: late sleeps, the cost of a packet, other load |
//! | [`promise`] | pure: the load that this host can hold, from the costs measured |
//! | [`judge`] | pure: facts and a load in, findings out |
//! | [`finding`] | what was found |
//!
//! No async here: what has to be requested from the server, [`crate::commands::doctor`] requests.
//! A fact that the kernel does not report is `None` and makes no finding.

pub(crate) mod finding;
pub(crate) mod host;
pub(crate) mod judge;
pub(crate) mod promise;
pub(crate) mod timing;
