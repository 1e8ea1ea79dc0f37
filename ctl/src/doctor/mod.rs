//! What this host allows, measured and judged; the network part of `benchctl doctor` is in
//! [`crate::commands::doctor`].
//!
//! | module | subject |
//! |---|---|
//! | [`host`] | facts that the kernel tells: limits, cores, quota, clock, sysctls |
//! | [`timing`] | facts that have to be measured: how late sleeps end, what a packet costs, who else runs |
//! | [`judge`] | pure: facts and a load in, findings and a promise out |
//!
//! A fact that the kernel does not tell is `None` and makes no finding. No async here.

pub(crate) mod host;
pub(crate) mod judge;
pub(crate) mod timing;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Level {
    /// As it should be.
    Fine,
    /// Figures may suffer.
    Warning,
    /// The load cannot be held or not be trusted.
    Problem,
}

/// One thing looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    /// What was looked at: a short stable name.
    pub(crate) check: &'static str,
    pub(crate) level: Level,
    /// What is so.
    pub(crate) told: String,
    /// What to do about it, when there is something to do.
    pub(crate) cure: Option<String>,
}

impl Finding {
    /// As it should be.
    pub(crate) fn fine(check: &'static str, told: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Fine,
            told: told.into(),
            cure: None,
        }
    }

    /// Figures may suffer.
    pub(crate) fn warning(
        check: &'static str,
        told: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            check,
            level: Level::Warning,
            told: told.into(),
            cure: Some(cure.into()),
        }
    }

    /// The load cannot be held or not be trusted.
    pub(crate) fn problem(
        check: &'static str,
        told: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            check,
            level: Level::Problem,
            told: told.into(),
            cure: Some(cure.into()),
        }
    }
}

/// What was asked to be judged for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) clients: u32,
    /// Of each client.
    pub(crate) rate_hz: f64,
}

/// What this host can hold, from the costs measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Promise {
    /// 99 of 100 packets leave at most this late.
    pub(crate) lateness_p99_us: f64,
    /// Clients at the load's rate that one pacing thread holds, when the server is on another host.
    pub(crate) clients_per_thread: u32,
    /// As before, with the server on this host too.
    pub(crate) clients_with_server: u32,
}
