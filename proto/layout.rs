//! How texts for people lie in the columns of a terminal. Widths are columns, not bytes or letters:
//! a character of East Asia takes two, a combining mark none. What is to be shown has no control
//! characters. A no-break space keeps a number and its unit on one line, and is shown as a blank.

use unicode_width::UnicodeWidthChar as _;

const NO_BREAK: char = '\u{a0}';

/// The text with no-break spaces for its blanks.
#[must_use]
pub fn unbroken(text: &str) -> String {
    text.replace(' ', "\u{a0}")
}

/// What a line may be broken between.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|of: char| of.is_whitespace() && of != NO_BREAK);
    words.filter(|word| !word.is_empty())
}

/// The columns that a text takes.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(character: char) -> usize {
    character.width().unwrap_or(1)
}

/// The text in at most `width` columns, at least 1: where it is longer its end is `…`.
#[must_use]
pub fn shortened(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let (kept, _) = text.split_at(fitting_bytes(text, width.saturating_sub(1)));
    format!("{}…", kept.trim_end())
}

/// How many bytes of a text fit `width` columns.
fn fitting_bytes(text: &str, width: usize) -> usize {
    let mut used = 0;
    let mut ends = text.char_indices().take_while(|(_, character)| {
        used += columns_of(*character);
        used <= width
    });
    let end = ends.by_ref().last();
    end.map_or(0, |(start, character)| start + character.len_utf8())
}

/// Breaks a text at blanks into lines of at most `width` columns, at least 2. A longer word is cut.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    for mut word in words(text) {
        while columns(word) > width {
            // One character at least, or there would be no end.
            let first = word.chars().next().map_or(0, char::len_utf8);
            let (piece, rest) = word.split_at(fitting_bytes(word, width).max(first));
            pieces.push(piece);
            word = rest;
        }
        pieces.push(word);
    }
    let mut lines = filled(pieces.into_iter().map(ToOwned::to_owned), " ", width);
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// Puts parts, two blanks between them, into lines of at most `width` columns. A part stays on one
/// line where it fits one; a longer one is broken at its blanks, and a longer word left whole.
#[must_use]
pub fn flowed(parts: impl IntoIterator<Item = String>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open: Vec<String> = Vec::new();
    for part in parts {
        if columns(&part) <= width {
            open.push(part);
            continue;
        }
        lines.extend(filled(std::mem::take(&mut open), "  ", width));
        let words = words(&part).map(ToOwned::to_owned);
        lines.extend(filled(words, " ", width));
    }
    lines.extend(filled(open, "  ", width));
    lines
}

fn filled(parts: impl IntoIterator<Item = String>, gap: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for part in parts {
        let wide = columns(&part);
        match lines.last_mut() {
            Some((line, used)) if *used + gap.len() + wide <= width => {
                line.push_str(gap);
                line.push_str(&part);
                *used += gap.len() + wide;
            }
            _ => lines.push((part, wide)),
        }
    }
    let lines = lines.into_iter();
    lines.map(|(line, _)| line.replace(NO_BREAK, " ")).collect()
}

/// Lines of which the first has a mark, and the others blanks of its width before them.
#[must_use]
pub fn marked(mark: &str, lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let indent = " ".repeat(columns(mark));
    let marks = std::iter::once(mark).chain(std::iter::repeat(indent.as_str()));
    let lines = marks.zip(lines).map(|(mark, line)| mark.to_owned() + &line);
    lines.map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn widths_are_columns_of_a_terminal() {
        assert_eq!(columns("aé–µ"), 4);
        assert_eq!(columns("測定"), 4);
        assert_eq!(columns("e\u{301}"), 1);
        assert_eq!(shortened("測定器", 4), "測…");
        assert_eq!(shortened("rack=seven", 7), "rack=s…");
        assert_eq!(shortened("rack=7", 6), "rack=7");
    }

    #[test]
    fn a_part_that_fits_no_line_is_broken_at_its_blanks_alone() {
        let parts = ["one", "two words", "a-word-too-long and more", "four"];
        let lines = flowed(parts.map(String::from), 9);
        let expected = ["one", "two words", "a-word-too-long", "and more", "four"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_number_stays_with_its_unit_where_both_fit_a_line() {
        let text = format!("late by {} or", unbroken("10 ms"));
        assert_eq!(wrapped(&text, 10), ["late by", "10 ms or"]);
        assert_eq!(flowed([text.clone()], 10), ["late by", "10 ms or"]);
        assert_eq!(flowed([text], 80), ["late by 10 ms or"]);
    }

    proptest! {
        #[test]
        fn wrapping_keeps_every_letter_and_the_width(
            text in "[a-zü測 ]{0,300}",
            width in 2..80_usize,
        ) {
            let lines = wrapped(&text, width);
            prop_assert!(lines.iter().all(|line| columns(line) <= width), "{lines:?}");
            let letters = |text: &str| text.replace(char::is_whitespace, "");
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }

        #[test]
        fn flowing_keeps_every_part_whole_that_fits(
            parts in prop::collection::vec("[a-z測]{1,9} [0-9]{1,9}", 0..20),
            width in 28..80_usize,
        ) {
            let lines = flowed(parts.clone(), width);
            prop_assert!(lines.iter().all(|line| columns(line) <= width), "{lines:?}");
            let flowed = lines.iter().flat_map(|line| line.split("  "));
            prop_assert_eq!(flowed.collect::<Vec<_>>(), parts);
        }

        #[test]
        fn a_shortened_text_fits_and_has_its_beginning(
            text in "[a-zü測 ]{0,50}",
            width in 1..60_usize,
        ) {
            let short = shortened(&text, width);
            prop_assert!(columns(&short) <= width, "{short}");
            prop_assert!(text.starts_with(short.trim_end_matches('…')));
        }
    }
}
