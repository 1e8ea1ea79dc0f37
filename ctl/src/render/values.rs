//! Values of the API in the form that text and JSON share: words, seconds, instants.

use std::time::{Duration, UNIX_EPOCH};

use metronome_proto::v1;

/// The state of a run in one lower-case word.
pub(crate) fn state(run: &v1::Run) -> &'static str {
    state_word(run.state())
}

/// The state of a run or a snapshot in one lower-case word.
pub(super) fn state_word(state: v1::RunState) -> &'static str {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    proptest! {
        #[test]
        fn no_instant_panics(seconds: i64, nanos: i32) {
            let _ = instant(Some(&prost_types::Timestamp { seconds, nanos }));
        }
    }
}
