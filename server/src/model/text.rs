//! Text from outside made harmless before it reaches a log, a terminal or the database.

/// Longest sentence that an agent or a worker may put into a report, bytes.
pub(super) const SENTENCE_BYTES_MAX: usize = 300;

/// `text` without control characters and without those that reorder what a terminal shows, cut to
/// at most `bytes_max` bytes.
pub(crate) fn printable(text: &str, bytes_max: usize) -> String {
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
pub(crate) fn sentence(text: &str) -> String {
    printable(text, SENTENCE_BYTES_MAX)
}

fn is_harmful(character: char) -> bool {
    character.is_control()
        // Line and paragraph separators, and the marks that turn the direction of writing.
        || matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{200E}' | '\u{200F}'
                | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_comes_out_is_short_and_has_no_control_character(
            text: String,
            bytes_max in 0..400_usize,
        ) {
            let clean = printable(&text, bytes_max);
            prop_assert!(clean.len() <= bytes_max);
            prop_assert!(!clean.chars().any(char::is_control));
        }
    }

    #[test]
    fn plain_text_passes_and_an_escape_sequence_loses_its_teeth() {
        assert_eq!(
            sentence("connection refused: 10.0.0.1:8888 – naïve"),
            "connection refused: 10.0.0.1:8888 – naïve"
        );
        assert_eq!(sentence("\x1b[31mred\r\n\u{202E}abc"), "[31mredabc");
        assert_eq!(printable("ääää", 5), "ää");
    }
}
