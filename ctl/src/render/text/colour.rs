//! Colours of a terminal.

/// Whether a text may carry colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Colour {
    None,
    Ansi,
}

/// Every sequence by which a text of ours changes colour (ECMA-48, SGR).
pub(crate) const SEQUENCES: [&str; 7] = [
    "\x1b[0m",
    "\x1b[31m",
    "\x1b[32m",
    "\x1b[33m",
    "\x1b[1;31m",
    "\x1b[1;32m",
    "\x1b[1;33m",
];
