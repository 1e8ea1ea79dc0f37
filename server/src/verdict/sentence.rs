//! Sentences that are written from figures, so that no number stands in the prose alone.
//!
//! A template has the names of figures in braces. The end of a name is the figure's unit: `_ns`,
//! `_percent`, `_bytes`; without one it is a number of things, a word, or an index, of which the
//! name ends in `client`.

use std::collections::BTreeMap;

use metronome_proto::v1::{Figure, figure::Value};

/// Figures by their names.
pub(super) type Figures = BTreeMap<String, Figure>;

/// A figure that is not known, in a sentence.
const UNKNOWN: &str = "–";

pub(super) fn figures<const N: usize>(of: [(&str, Figure); N]) -> Figures {
    of.map(|(name, figure)| (name.to_owned(), figure)).into()
}

/// A difference of times or counts. One that an i64 does not hold is given as its nearest.
pub(super) fn signed(difference: i128) -> Figure {
    let nearest = difference.clamp(i64::MIN.into(), i64::MAX.into());
    i64::try_from(nearest).unwrap_or_default().into()
}

/// The template with every figure in its place; one that is not among the figures is a dash.
pub(super) fn write(template: &str, figures: &Figures) -> String {
    let mut sentence = String::new();
    let mut left = template;
    while let Some((before, after)) = left.split_once('{') {
        let (name, behind) = after.split_once('}').unwrap_or((after, ""));
        sentence += before;
        sentence += &figures
            .get(name)
            .map_or(UNKNOWN.into(), |figure| in_words(name, figure));
        left = behind;
    }
    sentence + left
}

/// A figure as a sentence shows it.
pub(super) fn in_words(name: &str, figure: &Figure) -> String {
    match figure.value {
        Some(Value::Integer(nanos)) if name.ends_with("_ns") => time(nanos),
        Some(Value::Integer(number)) if !name.ends_with("client") => grouped(number),
        Some(Value::Number(number)) => format!("{number:.2}"),
        _ => figure.to_string(),
    }
}

/// With a comma between thousands.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn time(nanos: i64) -> String {
    match nanos.unsigned_abs() {
        0..10_000 => format!("{nanos} ns"),
        10_000..1_000_000_000 => format!("{} ms", (nanos / 1_000) as f64 / 1e3),
        _ => format!("{} s", (nanos / 1_000_000) as f64 / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_shows_its_figures_in_their_units() {
        let figures = figures([
            ("clients", 3_u32.into()),
            ("lateness_ns", 1_024_999_u64.into()),
            ("early_ns", signed(-40)),
            ("duration_ns", 90_000_000_000_u64.into()),
            ("sent_percent", 98.005_f64.into()),
            ("agent", "{clients}".into()),
            ("packets", 1_234_567_u32.into()),
            ("short", signed(-1_000)),
            ("first_client", 9_999_u32.into()),
        ]);
        for (template, sentence) in [
            ("{clients} clients", "3 clients"),
            ("{packets}, {short}", "1,234,567, -1,000"),
            ("client {first_client}", "client 9999"),
            ("{lateness_ns}, {early_ns}", "1.024 ms, -40 ns"),
            ("{duration_ns}: {sent_percent} %", "90 s: 98.00 %"),
            ("of {agent}.", "of {clients}."),
            ("{acknowledged} of {clients}", "– of 3"),
        ] {
            assert_eq!(write(template, &figures), sentence);
        }
    }

    #[test]
    fn a_difference_that_is_too_great_is_the_greatest() {
        assert_eq!(signed(i128::MAX), i64::MAX.into());
        assert_eq!(signed(i128::MIN), i64::MIN.into());
        assert_eq!(signed(-7), (-7_i64).into());
    }
}
