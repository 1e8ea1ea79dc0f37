//! A field of a request that cannot be followed, and the checks of numbers and times of any
//! message.

use std::time::Duration;

use crate::{duration::from_proto, limits::DURATION_MAX};

/// A field of a request that cannot be followed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Path of the field in the API, below the plan: `groups[0].batch`, `duration`, …
    pub field: String,
    /// Whether a later version might follow it.
    pub kind: FieldErrorKind,
    /// The value, the allowed range and the way out.
    pub problem: String,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FieldErrorKind {
    /// It is missing or out of its range.
    OutOfRange,
    /// It asks for what this version does not have.
    Unsupported,
}

impl FieldError {
    /// A field that is missing or out of its range.
    #[must_use]
    pub fn out_of_range(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            kind: FieldErrorKind::OutOfRange,
            problem: problem.into(),
        }
    }

    /// A field that asks for what this version does not have.
    #[must_use]
    pub fn unsupported(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            kind: FieldErrorKind::Unsupported,
            problem: problem.into(),
        }
    }

    /// The error of a field of the message at `path`.
    #[must_use]
    pub fn below(mut self, path: &str) -> Self {
        self.field = format!("{path}.{}", self.field);
        self
    }
}

/// Checks a number's range: `min` to `max`.
///
/// # Errors
///
/// It is out of its range.
pub fn within(field: &str, value: u32, min: u32, max: u32) -> Result<u32, FieldError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let problem = format!("{value} is out of range; {min} to {max} are allowed");
    Err(FieldError::out_of_range(field, problem))
}

/// Checks a duration from the wire, which may hold anything: `min` to [`DURATION_MAX`].
///
/// # Errors
///
/// It is missing, malformed or out of its range.
pub fn duration(
    field: &str,
    duration: Option<&prost_types::Duration>,
    min: Duration,
) -> Result<Duration, FieldError> {
    let min_ms = min.as_secs_f64() * 1e3;
    let Some(duration) = duration else {
        let problem = format!("missing; {min_ms} ms to 24 h are allowed");
        return Err(FieldError::out_of_range(field, problem));
    };
    from_proto(duration)
        .filter(|duration| (min..=DURATION_MAX).contains(duration))
        .ok_or_else(|| {
            let seconds = duration.seconds as f64 + f64::from(duration.nanos) / 1e9;
            let problem = format!("{seconds} s is out of range; {min_ms} ms to 24 h are allowed");
            FieldError::out_of_range(field, problem)
        })
}
