//! The form of results on standard output.

use clap::ValueEnum;

/// What results look like.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// Exactly one JSON object; docs/result.schema.json describes that of a run.
    Json,
}
