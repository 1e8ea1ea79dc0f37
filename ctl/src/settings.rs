//! A setting of benchctl, its value and where that came from.

use serde::Serialize;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    Flag,
    Environment,
    Default,
}

/// One setting as it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) origin: Origin,
    /// The flag and the variable that set it.
    pub(crate) set_by: &'static str,
}
