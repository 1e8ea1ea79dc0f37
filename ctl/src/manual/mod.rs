//! The command lines of all three executables ([`executable`]), for manual pages ([`page`]),
//! completions and docs/cli.md.
//!
//! Everything comes from the flags themselves, so that no text of it can be out of date; for
//! docs/cli.md, which is committed, a test of [`crate::cli`] ensures that.

mod executable;
mod page;

pub(crate) use self::{executable::Executable, page::pages};
