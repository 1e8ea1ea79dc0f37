//! How numbers and foreign text look to people.
//!
//! A comma parts thousands, a point the decimals, whatever the locale: results are compared across
//! machines.

use metronome_proto::v1;

use crate::render::values::seconds;

/// 1000000 as `1,000,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A figure with at most `decimals` decimals, without zeros at the end: `10,000`, `0.5`.
pub(super) fn decimal(number: f64, decimals: usize) -> String {
    let fixed = fixed(number, decimals);
    match fixed.contains('.') {
        true => fixed.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => fixed,
    }
}

/// A figure with exactly `decimals` decimals: `1,234.50`.
pub(crate) fn fixed(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    // Not a number, infinite, negative or beyond u64: as it is.
    whole
        .parse()
        .map_or_else(|_| text.clone(), |whole| count(whole) + rest)
}

/// Microseconds to 0.1 below a millisecond, whole above: they are known within 1 %.
pub(crate) fn micros(us: f64) -> String {
    fixed(us, usize::from(us < 1000.0))
}

/// Packets per second, whole where that is exact enough.
pub(super) fn hertz(hz: f64) -> String {
    decimal(hz, if hz < 100.0 { 3 } else { 0 })
}

/// Foreign text for a terminal: control characters, which could rewrite the screen, become `?`.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '?'
            } else {
                character
            }
        })
        .collect()
}

/// The plan in a few words: `10 × 10,000 Hz × 10 s`.
pub(crate) fn plan(plan: &v1::Plan) -> String {
    let duration_s = seconds(plan.duration.as_ref());
    let rate = if plan.flood {
        "max".into()
    } else {
        format!("{} Hz", hertz(plan.rate_hz))
    };
    format!(
        "{} × {rate} × {} s",
        count(plan.clients.into()),
        decimal(duration_s, 3)
    )
}

/// Breaks a text at blanks into lines of at most `width` characters. A longer word is cut.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(width.max(1)) {
            if used > 0 && used + 1 + piece.len() > width {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                if used > 0 {
                    line.push(' ');
                    used += 1;
                }
                line.extend(piece);
                used += piece.len();
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thousands_are_parted_by_commas() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_000_000, "1,000,000"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn figures_show_what_they_know() {
        assert_eq!(micros(4.13), "4.1");
        assert_eq!(micros(1_234.5), "1,234");
        assert_eq!(micros(68_719_476.735), "68,719,477");
        assert_eq!(hertz(10_000.0), "10,000");
        assert_eq!(hertz(0.5), "0.5");
        assert_eq!(decimal(10.0, 3), "10");
        assert_eq!(decimal(100.0, 0), "100");
        assert_eq!(fixed(f64::NAN, 1), "NaN");
        assert_eq!(fixed(-1.5, 1), "-1.5");
    }

    #[test]
    fn foreign_text_cannot_write_on_the_screen() {
        assert_eq!(clean("a\x1b[31m\r\nb\u{9b}ü"), "a?[31m??b?ü");
    }

    proptest! {
        #[test]
        fn wrapping_keeps_every_letter_and_the_width(
            text in "[a-zü ]{0,300}",
            width in 1..80_usize,
        ) {
            let lines = wrapped(&text, width);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:?}");
            let letters = |text: &str| text.replace(char::is_whitespace, "");
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }

        #[test]
        fn no_figure_panics(number: f64) {
            let _ = (micros(number), hertz(number), decimal(number, 3));
        }
    }
}
