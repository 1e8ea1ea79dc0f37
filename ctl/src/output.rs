//! The form of results on standard output, and their colours.

use clap::ValueEnum;

/// What results look like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Output {
    Text,
    Json,
}

/// What a flag asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// Exactly one JSON object; docs/result.schema.json describes that of a run.
    Json,
    /// A JSON object a line, for `watch`: each event as it comes.
    Ndjson,
}

impl Form {
    /// What one result looks like.
    pub(crate) fn output(self) -> Output {
        match self {
            Self::Text => Output::Text,
            Self::Json | Self::Ndjson => Output::Json,
        }
    }

    /// Whether there is an object a line.
    pub(crate) fn is_lines(self) -> bool {
        self == Self::Ndjson
    }
}

/// When what people read has colours.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Colours {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Also in a pipe or a file.
    Always,
    /// In no case.
    Never,
}

impl Colours {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}
