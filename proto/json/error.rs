//! A command that could not do what was asked.

use serde::Serialize;

use super::{SCHEMA_VERSION, failure::Failure, text};
use crate::v1;

/// Why there is no result.
#[must_use]
pub fn error(failure: &v1::Failure) -> String {
    #[derive(Serialize)]
    struct Error<'a> {
        schema_version: u32,
        error: Failure<'a>,
    }
    text(&Error {
        schema_version: SCHEMA_VERSION,
        error: failure.into(),
    })
}
