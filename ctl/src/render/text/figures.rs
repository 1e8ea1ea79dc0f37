//! How numbers and foreign text look to people.
//!
//! A comma parts thousands, a point the decimals, whatever the locale: results are compared across
//! machines.

use std::fmt::Display;

use metronome_proto::{
    json::values::{self, Word},
    profile::hz,
    v1::{self, profile::Shape},
};

/// What stands where a figure is not known.
pub(super) const UNKNOWN: &str = "–";

/// A figure that may not be known.
pub(super) fn known<T, D: Display>(figure: Option<T>, text: impl FnOnce(T) -> D) -> String {
    figure.map_or_else(|| UNKNOWN.into(), |figure| text(figure).to_string())
}

/// A word that may not be known, as people write it: `not held`.
pub(super) fn word(word: Option<Word>) -> String {
    known(word, |word| word.replace('_', " ").to_lowercase())
}

/// 1000000 as `1,000,000`.
pub(super) fn count(number: u64) -> String {
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

/// So many things: `1 client`, `2 clients`.
pub(super) fn number_of(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
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
pub(super) fn fixed(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    // Not a number, infinite, negative or beyond u64: as it is.
    whole
        .parse()
        .map_or_else(|_| text.clone(), |whole| count(whole) + rest)
}

/// Microseconds to 0.1 below a millisecond, whole above: they are known within 1 %.
pub(super) fn micros(us: f64) -> String {
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

/// The labels of a run: `host=a rack=7`.
pub(super) fn labels(run: &v1::Run) -> String {
    let labels = run.labels.iter();
    let labels = labels.map(|(key, value)| format!("{key}={value}"));
    clean(&labels.collect::<Vec<_>>().join(" "))
}

/// The plan in a few words: `10 × 10,000 Hz × 10 s`.
pub(super) fn plan(plan: &v1::Plan) -> String {
    let groups = plan.groups.iter().map(clients_and_rate);
    let groups = groups.collect::<Vec<_>>().join(" + ");
    format!("{groups} × {}", duration(plan))
}

/// One group of a plan in a few words: `10 × 10,000 Hz × 10 s`.
pub(super) fn group(group: &v1::Group, plan: &v1::Plan) -> String {
    format!("{} × {}", clients_and_rate(group), duration(plan))
}

fn clients_and_rate(group: &v1::Group) -> String {
    let shape = group.profile.as_ref().and_then(|of| of.shape.as_ref());
    let rate = known(shape, |shape| match shape {
        Shape::Constant(constant) => format!("{} Hz", hertz(hz(constant.rate_millihertz))),
        Shape::Flood(_) => "max".into(),
    });
    format!("{} × {rate}", count(group.clients.into()))
}

fn duration(plan: &v1::Plan) -> String {
    let seconds = values::seconds(plan.duration.as_ref());
    known(seconds, |seconds| format!("{} s", decimal(seconds, 3)))
}

/// Microseconds from nanoseconds, as [`micros`] shows them.
pub(super) fn micros_of_ns(ns: i64) -> String {
    micros(values::micros(ns))
}

/// Puts whole parts, two blanks between them, into lines of at most `width` characters. A longer
/// part has a line of its own.
pub(super) fn flowed(parts: impl IntoIterator<Item = String>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 2 + part.chars().count() <= width => {
                line.push_str("  ");
                line.push_str(&part);
            }
            _ => lines.push(part),
        }
    }
    lines
}

/// Breaks a text at blanks into lines of at most `width` characters. A longer word is cut.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
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
        fn flowing_keeps_every_part_whole(
            parts in prop::collection::vec("[a-z]{1,9} [0-9]{1,9}", 0..20),
            width in 20..80_usize,
        ) {
            let lines = flowed(parts.clone(), width);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:?}");
            let flowed = lines.iter().flat_map(|line| line.split("  "));
            prop_assert_eq!(flowed.collect::<Vec<_>>(), parts);
        }

        #[test]
        fn no_figure_panics(number: f64) {
            let _ = (micros(number), hertz(number), decimal(number, 3));
        }
    }
}
