//! How numbers and foreign text look to people.
//!
//! A comma parts thousands, a point the decimals, whatever the locale: results are compared across
//! machines. What is measured has three digits and a unit of its own, so that no value but 0 is
//! shown as 0; what was asked for is shown as it was asked for.

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

/// Three digits, all of them where there are more before the point: `0.00123`, `1.00`, `12,345`.
pub(super) fn three_digits(number: f64) -> String {
    let magnitude = number.abs();
    // The first power of ten that the number, rounded to three digits, is below.
    let decimals = (0..=9).find(|decimals| magnitude * 10_f64.powi(*decimals) >= 99.949_999_999);
    match decimals {
        _ if magnitude == 0.0 => "0".into(),
        Some(decimals) => fixed(number, decimals as usize),
        None => format!("{number:.2e}"),
    }
}

/// A time with three digits in the largest unit that it has one of: `640 ns`, `6.40 µs`, `1.38 s`.
pub(super) fn time(ns: i64) -> String {
    if ns.unsigned_abs() < 1_000 {
        return format!("{ns} ns");
    }
    time_mean(ns as f64)
}

/// A mean of times, as [`time`] has it, with fractions of a nanosecond.
pub(super) fn time_mean(ns: f64) -> String {
    let (factor, unit) = unit_of(ns.abs());
    format!("{} {unit}", three_digits(ns / factor))
}

/// A time to its last nanosecond, in the same unit: `200.004 µs`.
pub(super) fn time_exact(ns: i64) -> String {
    let (factor, unit) = unit_of(ns as f64);
    format!("{} {unit}", decimal(ns as f64 / factor, 9))
}

/// Nanoseconds in a unit, and its name.
fn unit_of(ns: f64) -> (f64, &'static str) {
    const UNITS: [(f64, &str); 4] = [(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")];
    // 999.5 of a unit are shown as 1.00 of the next one.
    let fits = |(factor, _): &&(f64, &str)| ns < 999.5 * factor;
    *UNITS.iter().find(fits).unwrap_or(&UNITS[UNITS.len() - 1])
}

/// At most three digits, without zeros at the end: `0.03`, `10`.
pub(super) fn few_digits(number: f64) -> String {
    let digits = three_digits(number);
    match digits.contains('.') && !digits.contains('e') {
        true => digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => digits,
    }
}

/// A share in millionths, to the last one: `99.9999 %`.
pub(super) fn share(ppm: u32) -> String {
    format!("{} %", decimal(f64::from(ppm) / 1e4, 4))
}

/// Packets per second as they were asked for: rates go in steps of 0.001.
pub(super) fn hertz(hz: f64) -> String {
    decimal(hz, 3)
}

/// Packets per second as they were measured: from 100 on whole ones, never more than there were.
pub(super) fn rate(hz: f64) -> String {
    if hz < 100.0 {
        return decimal(hz, 3);
    }
    decimal(hz.floor(), 0)
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
        assert_eq!(hertz(10_000.0), "10,000");
        assert_eq!(hertz(10_000.001), "10,000.001");
        assert_eq!(hertz(0.5), "0.5");
        assert_eq!(decimal(10.0, 3), "10");
        assert_eq!(decimal(100.0, 0), "100");
        assert_eq!(fixed(f64::NAN, 1), "NaN");
        assert_eq!(fixed(-1.5, 1), "-1.5");
    }

    #[test]
    fn a_time_has_three_digits_and_the_unit_that_they_need() {
        for (ns, text) in [
            (0, "0 ns"),
            (1, "1 ns"),
            (640, "640 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (4_130, "4.13 µs"),
            (9_994, "9.99 µs"),
            (9_996, "10.0 µs"),
            (62_140, "62.1 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (1_384_120_000, "1.38 s"),
            (68_719_476_735, "68.7 s"),
            (86_400_000_000_000, "86,400 s"),
            (-640, "-640 ns"),
            (-1_500, "-1.50 µs"),
        ] {
            assert_eq!(time(ns), text);
        }
        for (ns, text) in [
            (0.0, "0 ns"),
            (0.25, "0.250 ns"),
            (32.54, "32.5 ns"),
            (1_520.0, "1.52 µs"),
        ] {
            assert_eq!(time_mean(ns), text);
        }
        assert_eq!(time_exact(200_004), "200.004 µs");
        assert_eq!(time_exact(100_000_000), "100 ms");
        assert_eq!(time_exact(68_719_476_735), "68.719476735 s");
    }

    #[test]
    fn shares_and_rates_are_never_more_than_they_are_and_never_nothing() {
        for (percents, text) in [
            (0.0, "0"),
            (0.03, "0.03"),
            (0.000_001_2, "0.0000012"),
            (1.0, "1"),
            (100.0, "100"),
        ] {
            assert_eq!(few_digits(percents), text);
        }
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
        fn no_time_but_0_is_shown_as_0_and_none_is_wide(ns: i64) {
            let is_zero = |text: &str| !text.contains(|digit: char| ('1'..='9').contains(&digit));
            let shown = time(ns);
            prop_assert_eq!(is_zero(&shown), ns == 0, "{}", shown);
            if (0..1_000_000_000_000).contains(&ns) {
                prop_assert!(shown.chars().count() <= 7, "{shown}");
            }
            let fraction = 1e6 / (ns as f64);
            prop_assert_eq!(is_zero(&three_digits(fraction)), fraction == 0.0);
        }

        #[test]
        fn no_figure_panics(number: f64) {
            let _ = (time_mean(number), hertz(number), rate(number), few_digits(number));
        }
    }
}
