//! Forms of output, one module each. Pure: data in, text out; no clock, no terminal, no async.
//!
//! | module | form |
//! |---|---|
//! | [`text`] | for people |
//! | [`json`] | for programs |
//! | [`values`] | words, seconds and instants that both have in common |

#[cfg(test)]
mod front_page;
pub(crate) mod json;
pub(crate) mod text;
mod values;
