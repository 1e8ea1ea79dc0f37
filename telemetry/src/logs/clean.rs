//! A line of text made harmless: no character that moves a terminal or begins another line.

use std::fmt;

/// A line as it may be written.
pub(super) struct Cleaned<'a>(pub(super) &'a str);

impl fmt::Display for Cleaned<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_harmful(character) {
                write!(formatter, "{}", character.escape_default())?;
            } else {
                fmt::Write::write_char(formatter, character)?;
            }
        }
        Ok(())
    }
}

fn is_harmful(character: char) -> bool {
    character.is_control()
        // Line and paragraph separators, and the marks that turn the direction of writing.
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}
