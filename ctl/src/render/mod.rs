//! Forms of output, one module each. Pure: data in, text out; no clock, no terminal, no async.
//!
//! | module | form |
//! |---|---|
//! | [`text`] | for people |
//! | [`json`] | for programs |

#[cfg(test)]
mod front_page;
pub(crate) mod json;
pub(crate) mod text;
