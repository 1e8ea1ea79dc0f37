//! How numbers and foreign text look to people.
//!
//! A comma parts thousands, a point the decimals, whatever the locale: results are compared across
//! machines. What is measured has three digits and a unit of its own, so that no value but 0 is
//! shown as 0; what was asked for is shown as it was asked for.

use std::fmt::Display;

use metronome_proto::{
    json::values::{self, Word},
    names::is_harmful,
    profile::hz,
    v1::{self, profile::Shape},
};

pub(super) use metronome_proto::quantity::{
    count, decimal, few_digits, fixed, hertz, rate, three_digits, time, time_exact, time_mean,
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

/// So many things: `1 client`, `2 clients`.
pub(super) fn number_of(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

/// A share in millionths, to the last one: `99.9999 %`.
pub(super) fn share(ppm: u32) -> String {
    format!("{} %", decimal(f64::from(ppm) / 1e4, 4))
}

/// Foreign text for a terminal: characters that could rewrite the screen, or hide, become `?`.
pub(super) fn clean(text: &str) -> String {
    text.replace(is_harmful, "?")
}

/// Foreign text that is empty where it is not known.
pub(super) fn text(text: &str) -> String {
    known((!text.is_empty()).then_some(text), clean)
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
    fn figures_show_what_they_know() {
        assert_eq!(hertz(10_000.0), "10,000");
        assert_eq!(hertz(10_000.001), "10,000.001");
        assert_eq!(hertz(0.5), "0.5");
    }

    #[test]
    fn shares_and_rates_are_never_more_than_they_are_and_never_nothing() {
        assert_eq!(share(999_999), "99.9999 %");
        assert_eq!(share(1_000_000), "100 %");
        for (hz, text) in [(0.001, "0.001"), (99.999, "99.999"), (99_999.9, "99,999")] {
            assert_eq!(rate(hz), text);
        }
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
            let _ = (time_mean(number), hertz(number), rate(number), few_digits(number));
        }
    }
}
