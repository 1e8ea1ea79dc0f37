//! How numbers, times and foreign text look.
//!
//! A comma parts thousands, a point the decimals, whatever the locale: results are compared across
//! machines.

use std::time::{Duration, UNIX_EPOCH};

use metronome_proto::v1;

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
pub(crate) fn decimal(number: f64, decimals: usize) -> String {
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
pub(crate) fn hertz(hz: f64) -> String {
    decimal(hz, if hz < 100.0 { 3 } else { 0 })
}

/// A duration of the API in seconds; none counts as 0.
pub(crate) fn seconds(duration: Option<&prost_types::Duration>) -> f64 {
    duration.map_or(0.0, |duration| {
        duration.seconds as f64 + f64::from(duration.nanos) / 1e9
    })
}

/// An instant as RFC 3339 in UTC, to the millisecond. `None` for none and for one outside the
/// years 1970 to 9999.
pub(crate) fn instant(timestamp: Option<&prost_types::Timestamp>) -> Option<String> {
    let timestamp = timestamp?;
    let seconds = u64::try_from(timestamp.seconds)
        .ok()
        .filter(|seconds| *seconds <= YEAR_9999_END_S)?;
    let nanos = u32::try_from(timestamp.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    let instant = UNIX_EPOCH + Duration::new(seconds, nanos);
    Some(humantime::format_rfc3339_millis(instant).to_string())
}

const YEAR_9999_END_S: u64 = 253_402_300_799;

/// Foreign text for a terminal: control characters, which could rewrite the screen, become `?`.
pub(crate) fn clean(text: &str) -> String {
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

/// A state in one lower-case word.
pub(crate) fn state(run: &v1::Run) -> &'static str {
    state_word(run.state())
}

/// As [`state`], of a snapshot's or a run's state.
pub(crate) fn state_word(state: v1::RunState) -> &'static str {
    match state {
        v1::RunState::Unspecified => "unknown",
        v1::RunState::Preparing => "preparing",
        v1::RunState::Starting => "starting",
        v1::RunState::Running => "running",
        v1::RunState::Draining => "draining",
        v1::RunState::Ended => "ended",
        v1::RunState::Aborted => "aborted",
    }
}

/// A verdict in one lower-case word.
pub(crate) fn status(status: v1::VerdictStatus) -> &'static str {
    match status {
        v1::VerdictStatus::Unspecified => "unknown",
        v1::VerdictStatus::Valid => "valid",
        v1::VerdictStatus::Partial => "partial",
        v1::VerdictStatus::Invalid => "invalid",
    }
}

/// A phase in one lower-case word.
pub(crate) fn phase(phase: v1::Phase) -> &'static str {
    match phase {
        v1::Phase::Unspecified | v1::Phase::Staggered => "staggered",
        v1::Phase::Spread => "spread",
        v1::Phase::Aligned => "aligned",
    }
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
    fn an_instant_is_rfc_3339_or_nothing() {
        let at = |seconds, nanos| instant(Some(&prost_types::Timestamp { seconds, nanos }));
        assert_eq!(
            at(0, 7_000_000).as_deref(),
            Some("1970-01-01T00:00:00.007Z")
        );
        assert_eq!(
            at(253_402_300_799, 999_999_999).as_deref(),
            Some("9999-12-31T23:59:59.999Z")
        );
        for (seconds, nanos) in [
            (-1, 0),
            (253_402_300_800, 0),
            (i64::MIN, i32::MIN),
            (i64::MAX, 0),
            (0, -1),
        ] {
            assert_eq!(at(seconds, nanos), None);
        }
    }

    #[test]
    fn foreign_text_cannot_write_on_the_screen() {
        assert_eq!(clean("a\x1b[31m\r\nb\u{9b}ü"), "a?[31m??b?ü");
    }

    proptest! {
        #[test]
        fn wrapping_keeps_every_letter_and_the_width(text in "[a-zü ]{0,300}", width in 1..80_usize) {
            let lines = wrapped(&text, width);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:?}");
            let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }

        #[test]
        fn no_figure_panics(number: f64, seconds: i64, nanos: i32) {
            let _ = (micros(number), hertz(number), decimal(number, 3));
            let _ = instant(Some(&prost_types::Timestamp { seconds, nanos }));
        }
    }
}
