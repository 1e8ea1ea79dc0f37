//! Sentences that are written from figures, so that no number stands in the prose alone.
//!
//! A template has the names of figures in braces. The end of a name is the figure's unit: `_ns`,
//! `_percent`, `_bytes`; without one it is a number of things, a word, or an index, of which the
//! name ends in `client`. What is measured has three digits, and what was asked for is shown as it
//! is; `{value|limit}` has so many digits that the value as it is shown compares with the limit as
//! the value does.

use std::collections::BTreeMap;

use metronome_proto::{
    quantity::{count, decimal, few_digits, fixed_down, time_exact, time_short},
    v1::{Figure, figure::Value},
};

/// Figures by their names.
pub(super) type Figures = BTreeMap<String, Figure>;

/// A figure that is not known, in a sentence.
const UNKNOWN: &str = "–";

/// Most decimals of a share.
const DECIMALS_MAX: usize = 12;

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
        let (name, other) = name.split_once('|').unwrap_or((name, ""));
        sentence += &match (figures.get(name), figures.get(other)) {
            (Some(figure), Some(limit)) => set_apart(name, figure, other, limit),
            (Some(figure), None) => in_words(name, figure),
            (None, _) => UNKNOWN.into(),
        };
        left = behind;
    }
    sentence + left
}

/// A figure as a sentence shows it.
pub(super) fn in_words(name: &str, figure: &Figure) -> String {
    match figure.value {
        Some(Value::Integer(nanos)) if name.ends_with("_ns") && is_limit(name) => time_exact(nanos),
        Some(Value::Integer(nanos)) if name.ends_with("_ns") => time_short(nanos),
        Some(Value::Integer(number)) if !name.ends_with("client") => grouped(number),
        Some(Value::Number(number)) if name.ends_with("_percent") => decimal(number, 4),
        Some(Value::Number(number)) => few_digits(number),
        _ => figure.to_string(),
    }
}

/// With a comma between thousands.
fn grouped(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", count(number.unsigned_abs()))
}

/// What a figure is compared with is shown as it is: what was asked for.
fn is_limit(name: &str) -> bool {
    name.contains("limit")
        || name.contains("planned")
        || name.contains("room")
        || name == "duration_ns"
}

/// A figure with so many digits that its text compares with that of the other one as the figures
/// do, at least two decimals of a share and as many as the other has; it is rounded down.
fn set_apart(name: &str, figure: &Figure, other: &str, limit: &Figure) -> String {
    let limit_shown = in_words(other, limit);
    match (&figure.value, &limit.value) {
        // Three digits are a time within 0.5 %.
        (Some(Value::Integer(ns)), Some(Value::Integer(limit_ns)))
            if ns.abs_diff(*limit_ns) <= ns.unsigned_abs() / 100 =>
        {
            time_exact(*ns)
        }
        (Some(Value::Number(number)), Some(_)) => share_apart(*number, &limit_shown),
        _ => in_words(name, figure),
    }
}

fn share_apart(number: f64, limit_shown: &str) -> String {
    let value_of = |text: &str| text.replace(',', "").parse::<f64>().ok();
    let order = |of: f64| of.partial_cmp(&value_of(limit_shown)?);
    let is_right = |text: &String| value_of(text).and_then(order) == order(number);
    let own = limit_shown
        .split_once('.')
        .map_or(0, |(_, digits)| digits.len());
    let mut longer = (own.max(2)..=DECIMALS_MAX).map(|decimals| fixed_down(number, decimals));
    longer.find(is_right).unwrap_or_else(|| number.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sentence_shows_its_figures_in_their_units() {
        let figures = figures([
            ("clients", 3_u32.into()),
            ("lateness_ns", 1_024_999_u64.into()),
            ("early_ns", signed(-40)),
            ("duration_ns", 90_000_000_000_u64.into()),
            ("sent_percent", 98.005_f64.into()),
            ("periods", 98.005_f64.into()),
            ("planned_ns", 1_024_999_u64.into()),
            ("room_ns", 1_024_998_u64.into()),
            ("agent", "{clients}".into()),
            ("packets", 1_234_567_u32.into()),
            ("short", signed(-1_000)),
            ("first_client", 9_999_u32.into()),
        ]);
        for (template, sentence) in [
            ("{clients} clients", "3 clients"),
            ("{packets}, {short}", "1,234,567, -1,000"),
            ("client {first_client}", "client 9999"),
            ("{lateness_ns}, {early_ns}", "1.02 ms, -40 ns"),
            ("{duration_ns}: {sent_percent} %", "90 s: 98.005 %"),
            ("{periods} periods", "98 periods"),
            ("{planned_ns}, {room_ns}", "1.024999 ms, 1.024998 ms"),
            ("of {agent}.", "of {clients}."),
            ("{acknowledged} of {clients}", "– of 3"),
        ] {
            assert_eq!(write(template, &figures), sentence);
        }
    }

    #[test]
    fn a_value_is_set_apart_from_its_limit() {
        let shown = |percent: f64, limit: f64| {
            let figures = figures([
                ("of_percent", percent.into()),
                ("limit_percent", limit.into()),
            ]);
            write("{of_percent|limit_percent}, {limit_percent}", &figures)
        };
        assert_eq!(shown(99.899_9, 99.9), "99.89, 99.9");
        assert_eq!(shown(1.000_1, 1.0), "1.0001, 1");
        assert_eq!(shown(99.999_999_9, 99.9), "99.99, 99.9");
        assert_eq!(shown(99.9, 99.9), "99.90, 99.9");
        assert_eq!(shown(50.0, 99.999_9), "50.0000, 99.9999");
        assert_eq!(shown(99.999_1, 99.999), "99.9991, 99.999");
        assert_eq!(shown(99.999, 99.999), "99.999, 99.999");
        assert_eq!(shown(99.900_1, 99.9), "99.9001, 99.9");
        let shown = |nanos: u64, limit: u64| {
            let figures = figures([("of_ns", nanos.into()), ("limit_ns", limit.into())]);
            write("{of_ns|limit_ns}, {limit_ns}", &figures)
        };
        assert_eq!(shown(99_000_000, 98_000_001), "99 ms, 98.000001 ms");
        assert_eq!(shown(99_001_000, 99_000_000), "99.001 ms, 99 ms");
        assert_eq!(shown(98_765_432, 1_000_000), "98.8 ms, 1 ms");
        assert_eq!(shown(99_560_000, 99_580_000), "99.56 ms, 99.58 ms");
    }

    /// The number in front of the unit, in ns.
    fn nanos_of(text: &str) -> f64 {
        let (number, unit) = text.split_once(' ').unwrap();
        let units = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
        let factor = units.iter().find(|of| of.0 == unit).unwrap().1;
        (number.replace(',', "").parse::<f64>().unwrap() * factor).round()
    }

    proptest! {
        #[test]
        fn a_share_is_shown_on_the_side_of_its_limit_on_which_it_is(
            scheduled in prop_oneof![1..2_000_u64, 1..1_000_000_000_u64],
            limit_ppm in prop_oneof![0..=1_000_000_u64, 999_980..=1_000_000_u64],
            // The nearest shares to the limit, too.
            offset in prop_oneof![-3..=3_i64, -1_000_000_000..=0_i64],
        ) {
            let nearest = scheduled * limit_ppm / 1_000_000;
            let kept = nearest.saturating_add_signed(offset).min(scheduled);
            let percent = (kept * 100) as f64 / scheduled as f64;
            let figures = figures([
                ("of_percent", percent.into()),
                ("limit_percent", (limit_ppm as f64 / 1e4).into()),
            ]);
            let number = |template| write(template, &figures).replace(',', "").parse::<f64>();
            let shown = number("{of_percent|limit_percent}").unwrap();
            let limit = number("{limit_percent}").unwrap();
            let of_shares = (u128::from(kept) * 1_000_000).cmp(&u128::from(scheduled * limit_ppm));
            prop_assert_eq!(shown.partial_cmp(&limit), Some(of_shares), "{}", shown);
            // The last decimal is that of a rounded share: a share is no decimal number.
            prop_assert!(shown <= percent + 1e-12);
        }

        #[test]
        fn a_time_is_shown_on_the_side_of_its_limit_on_which_it_is(
            limit_ns in prop_oneof![1..2_000_i64, 1..100_000_000_000_i64],
            offset_ns in prop_oneof![-20..20_i64, -2_000_000..2_000_000_i64],
        ) {
            let ns = (limit_ns + offset_ns).max(0);
            let figures = figures([("of_ns", ns.into()), ("limit_ns", limit_ns.into())]);
            let nanos = |template| nanos_of(&write(template, &figures));
            let (shown, limit) = (nanos("{of_ns|limit_ns}"), nanos("{limit_ns}"));
            prop_assert_eq!(shown.partial_cmp(&limit), Some(ns.cmp(&limit_ns)));
        }
    }

    #[test]
    fn a_difference_that_is_too_great_is_the_greatest() {
        assert_eq!(signed(i128::MAX), i64::MAX.into());
        assert_eq!(signed(i128::MIN), i64::MIN.into());
        assert_eq!(signed(-7), (-7_i64).into());
    }
}
