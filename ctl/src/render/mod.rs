//! Forms of output, one module each. Pure: data in, text out; no clock, no terminal, no async.
//!
//! | module | form |
//! |---|---|
//! | [`text`] | for people |
//! | [`json`] | for programs |
//! | [`live`] | a run in progress, drawn anew again and again |
//! | [`junit`], [`markdown`] | files for CI, of an [`ending`] |

pub(crate) mod ending;
#[cfg(test)]
pub(crate) mod front_page;
pub(crate) mod json;
pub(crate) mod junit;
pub(crate) mod live;
pub(crate) mod markdown;
pub(crate) mod text;
