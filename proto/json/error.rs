//! A command that could not do what was asked.

use serde::Serialize;

use super::{SCHEMA_VERSION, failure::Failure, text};
use crate::v1;

/// Why there is no result.
#[must_use]
pub fn error(failure: &v1::Failure) -> String {
    text(&Error::from(failure))
}

/// The same in one line, without a line feed.
#[must_use]
pub fn line(failure: &v1::Failure) -> String {
    super::line(&Error::from(failure))
}

#[derive(Serialize)]
struct Error<'a> {
    schema_version: u32,
    error: Failure<'a>,
}

impl<'a> From<&'a v1::Failure> for Error<'a> {
    fn from(failure: &'a v1::Failure) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            error: failure.into(),
        }
    }
}
