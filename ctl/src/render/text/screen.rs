//! What a text is laid out for.

use super::colour::Colour;

/// What takes a text: a terminal, or a pipe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    /// Columns: 40 to 200, 80 in a pipe. No line is longer, but where a word such as an address is.
    pub(crate) width: usize,
    pub(crate) colour: Colour,
}

#[cfg(test)]
impl Screen {
    /// Without colours.
    pub(super) fn of(width: usize) -> Self {
        Self {
            width,
            colour: Colour::None,
        }
    }
}
