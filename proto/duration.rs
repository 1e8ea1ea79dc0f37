//! A time as a flag has it: seconds as a number, or with units as in 250ms, 10s or 1m30s; and as
//! the API has it. Which times are allowed is the flag's or the field's to judge.

use std::time::Duration;

/// The text is no time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a time is seconds or has units, such as 10, 10s, 250ms or 1m30s")]
pub struct BadDuration;

/// The time of a text. A number alone is seconds.
pub fn parse(text: &str) -> Result<Duration, BadDuration> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| BadDuration),
        Err(_) => humantime::parse_duration(text).map_err(|_| BadDuration),
    }
}

/// A duration from the wire. `None` when it is negative or malformed.
#[must_use]
pub fn from_proto(wire: &prost_types::Duration) -> Option<Duration> {
    // Not Duration::try_from: prost-types 0.14.6 overflows on the lowest i64, which a peer may
    // send.
    let seconds = u64::try_from(wire.seconds).ok()?;
    let nanos = u32::try_from(wire.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_is_seconds_or_has_units() {
        for (text, ms) in [
            ("10", 10_000),
            ("0.25", 250),
            ("10s", 10_000),
            ("250ms", 250),
            ("1m30s", 90_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "-1", "NaN", "inf", "1e300", "ten", "10x", "10 potatoes"] {
            assert_eq!(parse(text), Err(BadDuration), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = parse(&text);
        }
    }
}
