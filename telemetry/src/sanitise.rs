//! Foreign text made harmless before it reaches a log, a terminal, a report or the database.
//!
//! Foreign is what a peer, a worker or a user's file has written. Harmful are control characters,
//! which move a terminal or begin a forged line, and the characters that reorder what is shown or
//! hide in it.

use std::fmt::{self, Write as _};

/// Longest sentence that an agent or a worker may put into a report, bytes.
pub const SENTENCE_BYTES_MAX: usize = 300;

/// A line with its harmful characters escaped, none removed: `\u{1b}` for ESC.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_harmful(character) {
                write!(formatter, "{}", character.escape_default())?;
            } else {
                formatter.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// `text` without its harmful characters, cut to at most `bytes_max` bytes at a character's edge.
#[must_use]
pub fn printable(text: &str, bytes_max: usize) -> String {
    let mut clean = String::new();
    for character in text.chars().filter(|&character| !is_harmful(character)) {
        if clean.len() + character.len_utf8() > bytes_max {
            break;
        }
        clean.push(character);
    }
    clean
}

/// A sentence from an agent or a worker, fit for a report.
#[must_use]
pub fn sentence(text: &str) -> String {
    printable(text, SENTENCE_BYTES_MAX)
}

/// The same characters as `metronome_proto::names::is_harmful`, which this crate does not see; a
/// test of benchctl compares them.
fn is_harmful(character: char) -> bool {
    character.is_control()
        // Separators of lines, marks that turn the direction of writing, marks of no width.
        || matches!(
            character,
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn printable_text_is_short_and_has_no_control_character(
            text: String,
            bytes_max in 0..400_usize,
        ) {
            let clean = printable(&text, bytes_max);
            prop_assert!(clean.len() <= bytes_max);
            prop_assert!(!clean.chars().any(char::is_control));
            prop_assert!(!Escaped(&text).to_string().chars().any(char::is_control));
        }
    }

    #[test]
    fn plain_text_passes_and_an_escape_sequence_is_disarmed() {
        assert_eq!(
            sentence("connection refused: 10.0.0.1:8888 – naïve"),
            "connection refused: 10.0.0.1:8888 – naïve"
        );
        assert_eq!(sentence("\x1b[31mred\r\n\u{202E}abc"), "[31mredabc");
        assert_eq!(printable("ääää", 5), "ää");
        assert_eq!(
            Escaped("\x1b[31mred\u{202E}").to_string(),
            "\\u{1b}[31mred\\u{202e}"
        );
    }
}
