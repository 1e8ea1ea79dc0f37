//! Forms of output, one module each. Pure: data in, text out; no clock, no terminal, no async.
//!
//! | module | form |
//! |---|---|
//! | [`summary`] | a run on one screen |
//! | [`progress`] | a run as one line while it runs |
//! | [`tables`] | runs, agents, clients, the server, for people |
//! | [`doctor`], [`settings`] | findings, settings |
//! | [`json`] | the same for programs |
//! | [`figures`] | how numbers, times and foreign text look in all of them |

pub(crate) mod doctor;
pub(crate) mod figures;
#[cfg(test)]
mod front_page;
pub(crate) mod json;
pub(crate) mod progress;
pub(crate) mod settings;
pub(crate) mod summary;
pub(crate) mod tables;

/// Whether a text may carry colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Colour {
    None,
    Ansi,
}
