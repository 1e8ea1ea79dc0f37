//! Variables of the environment.

use std::env;

/// A variable of the environment. One that is empty counts as not set, as the specification of
/// OpenTelemetry has it.
#[must_use]
pub fn read_variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}
