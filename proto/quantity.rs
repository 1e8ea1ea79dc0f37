//! How numbers and times are written for people, in sentences of the server and in tables alike.
//!
//! A comma parts thousands, a point the decimals, whatever the locale. What is measured has three
//! digits and a unit of its own, so that no value but 0 is shown as 0.

/// 1000000 as `1,000,000`.
#[must_use]
pub fn count(number: u64) -> String {
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
#[must_use]
pub fn decimal(number: f64, decimals: usize) -> String {
    let fixed = fixed(number, decimals);
    match fixed.contains('.') {
        true => fixed.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => fixed,
    }
}

/// A figure with exactly `decimals` decimals: `1,234.50`.
#[must_use]
pub fn fixed(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    // Not a number, infinite, negative or beyond u64: as it is.
    whole
        .parse()
        .map_or_else(|_| text.clone(), |whole| count(whole) + rest)
}

/// Three digits, all of them where there are more before the point: `0.00123`, `1.00`, `12,345`.
#[must_use]
pub fn three_digits(number: f64) -> String {
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
#[must_use]
pub fn time(ns: i64) -> String {
    if ns.unsigned_abs() < 1_000 {
        return format!("{ns} ns");
    }
    time_mean(ns as f64)
}

/// A mean of times, as [`time`] has it, with fractions of a nanosecond.
#[must_use]
pub fn time_mean(ns: f64) -> String {
    let (factor, unit) = unit_of(ns.abs());
    format!("{} {unit}", three_digits(ns / factor))
}

/// A time to its last nanosecond, in the same unit: `200.004 µs`.
#[must_use]
pub fn time_exact(ns: i64) -> String {
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

/// A time as [`time`] has it, without zeros at the end: `1 µs`, `50 µs`, `18.4 ms`.
#[must_use]
pub fn time_short(ns: i64) -> String {
    let (factor, unit) = unit_of((ns as f64).abs());
    format!("{} {unit}", few_digits(ns as f64 / factor))
}

/// At most three digits, without zeros at the end: `0.03`, `10`.
#[must_use]
pub fn few_digits(number: f64) -> String {
    let digits = three_digits(number);
    match digits.contains('.') && !digits.contains('e') {
        true => digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => digits,
    }
}

/// A figure rounded down to `decimals` decimals, at most 12: a share of 1 is never shown of less.
#[must_use]
pub fn fixed_down(number: f64, decimals: usize) -> String {
    let text = fixed(number, 12);
    let end = text.find('.').map(|point| point + 1 + decimals);
    text.get(..end.unwrap_or(text.len()))
        .unwrap_or(&text)
        .to_owned()
}

/// Packets per second as they were asked for: rates go in steps of 0.001.
#[must_use]
pub fn hertz(hz: f64) -> String {
    decimal(hz, 3)
}

/// Packets per second as they were measured: from 100 on whole ones, below with three decimals,
/// and never more than there were.
#[must_use]
pub fn rate(hz: f64) -> String {
    if hz < 100.0 {
        return decimal(fixed_down(hz, 3).parse().unwrap_or(hz), 3);
    }
    decimal(hz.floor(), 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_measured_rate_is_never_shown_higher_than_it_is() {
        for (hz, text) in [
            (99.9996, "99.999"),
            (1.005, "1.005"),
            (0.001_999_6, "0.001"),
            (0.0, "0"),
            (100.9, "100"),
        ] {
            assert_eq!(rate(hz), text);
        }
    }

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
        for (ns, text) in [
            (999, "999 ns"),
            (1_000, "1 µs"),
            (50_000, "50 µs"),
            (18_391_000, "18.4 ms"),
            (-1_500, "-1.5 µs"),
            (86_400_000_000_000, "86,400 s"),
        ] {
            assert_eq!(time_short(ns), text);
        }
        assert_eq!(time_exact(200_004), "200.004 µs");
        assert_eq!(time_exact(100_000_000), "100 ms");
        assert_eq!(time_exact(68_719_476_735), "68.719476735 s");
    }

    #[test]
    fn a_number_has_the_digits_that_it_needs() {
        assert_eq!(decimal(10.0, 3), "10");
        assert_eq!(decimal(100.0, 0), "100");
        assert_eq!(fixed(f64::NAN, 1), "NaN");
        assert_eq!(fixed(-1.5, 1), "-1.5");
        assert_eq!(fixed_down(99.999_9, 2), "99.99");
        assert_eq!(fixed_down(99.9, 2), "99.90");
        assert_eq!(fixed_down(f64::NAN, 2), "NaN");
        for (percents, text) in [
            (0.0, "0"),
            (0.03, "0.03"),
            (0.000_001_2, "0.0000012"),
            (1.0, "1"),
            (100.0, "100"),
        ] {
            assert_eq!(few_digits(percents), text);
        }
    }

    proptest! {
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
        fn no_number_panics(number: f64) {
            let _ = (time_mean(number), few_digits(number), fixed_down(number, 2));
        }
    }
}
