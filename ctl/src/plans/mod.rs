//! A load as a user writes it, by flags, in the text of a group or in a file, and what of the API
//! it is. Pure.
//!
//! | module | subject |
//! |---|---|
//! | [`parts`] | what may be given of a plan, by its key, and the plan that this makes |
//! | [`payload`] | what may be given of a payload |
//! | [`tree`] | YAML as values with their places |
//! | [`file`](mod@file) | a plan file: its keys, and where in the file an error is |
//! | [`text`] | a plan as such a file |
//!
//! A key has the same name and meaning in all three; what is left out has one default. Absent:
//! ranges, which [`metronome_proto::plan`] checks, and reading files.

pub(crate) mod file;
pub(crate) mod parts;
pub(crate) mod payload;
pub(crate) mod text;
mod tree;

/// The JSON schema of a plan file.
pub(crate) const SCHEMA: &str = include_str!("../../../docs/plan.schema.json");
