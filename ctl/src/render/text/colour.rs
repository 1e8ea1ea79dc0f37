//! Colours of a terminal.

/// Whether a text may carry colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Colour {
    None,
    Ansi,
}
