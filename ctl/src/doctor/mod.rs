//! What this host allows, measured and judged, and whether the rest of the system is there.
//!
//! | module | subject |
//! |---|---|
//! | [`host`] | facts that the kernel reports: limits, cores, clock, sysctls |
//! | [`cgroup`] | the CPU quota of this process's control group |
//! | [`files`] | files of /proc and /sys |
//! | [`timing`] | facts that have to be measured: late sleeps, the cost of a packet, other load |
//! | [`promise`] | pure: the load that this host can hold, from the costs measured |
//! | [`judge`] | pure: facts and a load in, findings out |
//! | [`remote`] | the server, its data port and its agents (async: only here) |
//! | [`finding`] | what was found |
//!
//! A fact that the kernel does not report is `None` and makes no finding.

mod cgroup;
mod files;
pub(crate) mod finding;
pub(crate) mod host;
pub(crate) mod judge;
pub(crate) mod promise;
pub(crate) mod remote;
pub(crate) mod timing;
