//! Values of the API in the form that JSON and texts for people share: words, seconds, instants.
//!
//! Codes are in upper case, as in the API without their prefix; all other words are in lower case.
//! An unspecified enum is not known, so it has no word. A number that this version does not have is
//! that number as text: never the word of another value.

use std::borrow::Cow;

use prost_types::{Duration, Timestamp};

use crate::v1::{
    AgentChange, AgentLoss, AgentState, Allowance, ClockRelation, Comparison, EnvironmentRole,
    FailureCode, LawStatus, LimitKind, Metric, NoteCode, ObjectiveSource, OutcomeStatus, Phase,
    ReasonCode, RunState, StopCause, ThreadPriority, VerdictStatus, WorkerChange,
    clock_relation::Relation,
};

/// The word of an enum.
pub type Word = Cow<'static, str>;

/// Bytes as hexadecimal digits in lower case.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The state of a run: `running`.
#[must_use]
pub fn state(number: i32) -> Option<Word> {
    word(number, RunState::word)
}

/// The code of a failure: `CONNECTION_REFUSED`.
#[must_use]
pub fn failure_code(number: i32) -> Option<Word> {
    word(number, |code| match code {
        FailureCode::Unspecified => None,
        code => Some(code.name()),
    })
}

/// The code of a reason or a law: `LATENESS`.
#[must_use]
pub fn reason_code(number: i32) -> Option<Word> {
    word(number, |code| match code {
        ReasonCode::Unspecified => None,
        code => Some(code.name()),
    })
}

/// The code of a note: `OVERSLEPT`.
#[must_use]
pub fn note_code(number: i32) -> Option<Word> {
    word(number, |code| match code {
        NoteCode::Unspecified => None,
        code => Some(code.name()),
    })
}

/// A verdict: `valid`.
#[must_use]
pub fn verdict(number: i32) -> Option<Word> {
    word(number, VerdictStatus::word)
}

/// An outcome: `not_judged`.
#[must_use]
pub fn outcome(number: i32) -> Option<Word> {
    word(number, OutcomeStatus::word)
}

/// What an objective judges: `kept_up`.
#[must_use]
pub fn metric(number: i32) -> Option<Word> {
    word(number, Metric::word)
}

/// How an objective compares: `<=`.
#[must_use]
pub fn comparison(number: i32) -> Option<Word> {
    word(number, Comparison::operator)
}

/// Where an objective comes from: `default` or `user`.
#[must_use]
pub fn objective_source(number: i32) -> Option<Word> {
    word(number, |source| match source {
        ObjectiveSource::Unspecified => None,
        ObjectiveSource::Default => Some("default"),
        ObjectiveSource::User => Some("user"),
    })
}

/// How a law came out: `holds`.
#[must_use]
pub fn law(number: i32) -> Option<Word> {
    word(number, LawStatus::word)
}

/// What stopped a run: `operator`.
#[must_use]
pub fn stop_cause(number: i32) -> Option<Word> {
    word(number, StopCause::word)
}

/// What follows when an agent is lost: `continue` or `stop`.
#[must_use]
pub fn agent_loss(number: i32) -> Option<Word> {
    word(number, |loss: AgentLoss| Some(loss.word()))
}

/// Whether an agent is given shares of runs: `available` or `unresponsive`.
#[must_use]
pub fn agent_state(number: i32) -> Option<Word> {
    word(number, |state: AgentState| Some(state.word()))
}

/// What has changed of an agent: `connected`.
#[must_use]
pub fn agent_change(number: i32) -> Option<Word> {
    word(number, |change| match change {
        AgentChange::Unspecified => None,
        AgentChange::Connected => Some("connected"),
        AgentChange::Disconnected => Some("disconnected"),
        AgentChange::Unresponsive => Some("unresponsive"),
        AgentChange::Updated => Some("updated"),
    })
}

/// What has changed of a worker: `died`.
#[must_use]
pub fn worker_change(number: i32) -> Option<Word> {
    word(number, |change| match change {
        WorkerChange::Unspecified => None,
        WorkerChange::Started => Some("started"),
        WorkerChange::Died => Some("died"),
        WorkerChange::Replaced => Some("replaced"),
    })
}

/// What a process is in a run: `agent` or `server`.
#[must_use]
pub fn role(number: i32) -> Option<Word> {
    word(number, EnvironmentRole::word)
}

/// A reason that a plan allows: `STOLEN`.
#[must_use]
pub fn allowance(number: i32) -> Option<Word> {
    word(number, |one| match one {
        Allowance::Unspecified => None,
        one => Some(one.name()),
    })
}

/// Where the limit of a run lies: `receiver`.
#[must_use]
pub fn limit(number: i32) -> Option<Word> {
    word(number, LimitKind::word)
}

/// What the scheduler granted to the threads that measured: `real_time`.
#[must_use]
pub fn priority(number: i32) -> Option<Word> {
    word(number, ThreadPriority::word)
}

/// A phase: `staggered`.
#[must_use]
pub fn phase(number: i32) -> Option<Word> {
    word(number, |phase| match phase {
        Phase::Unspecified => None,
        Phase::Staggered => Some("staggered"),
        Phase::Spread => Some("spread"),
        Phase::Aligned => Some("aligned"),
        Phase::Auto => Some("auto"),
    })
}

/// What a bound rests on: `claimed` by the plan, or `proved` by exchanges of readings.
#[must_use]
pub fn bound_is(claimed: bool) -> &'static str {
    if claimed { "claimed" } else { "proved" }
}

/// What the bound of a queueing is: as good as the floor that was seen.
pub const ESTIMATED: &str = "estimated";

/// How the clock of an agent relates to the server's: `same`, `offset` or `unknown`. `None` when
/// that is not known, or is a relation that this version does not have.
#[must_use]
pub fn clock(clock: Option<&ClockRelation>) -> Option<&'static str> {
    Some(match clock?.relation? {
        Relation::Same(_) => "same",
        Relation::Offset(_) => "offset",
        Relation::Unknown(_) => "unknown",
    })
}

fn word<E: TryFrom<i32>>(number: i32, name: fn(E) -> Option<&'static str>) -> Option<Word> {
    match E::try_from(number) {
        Ok(value) => name(value).map(Cow::Borrowed),
        Err(_) => Some(Cow::Owned(number.to_string())),
    }
}

/// A span of time in seconds.
#[must_use]
pub fn seconds(duration: Option<&Duration>) -> Option<f64> {
    duration.map(|duration| duration.seconds as f64 + f64::from(duration.nanos) / 1e9)
}

/// A span of time in seconds, from nanoseconds.
#[must_use]
pub fn seconds_of_ns(ns: i64) -> f64 {
    ns as f64 / 1e9
}

/// A span of time in microseconds, from nanoseconds.
#[must_use]
pub fn micros(ns: i64) -> f64 {
    ns as f64 / 1e3
}

/// An instant as RFC 3339 in UTC, to the millisecond. `None` for none and for one outside the
/// years 1970 to 9999.
#[must_use]
pub fn instant(timestamp: Option<&Timestamp>) -> Option<String> {
    let Timestamp { seconds, nanos } = *timestamp?;
    if !(0..=YEAR_9999_END_S).contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    let second = Timestamp { seconds, nanos: 0 }.to_string();
    Some(format!(
        "{}.{:03}Z",
        second.trim_end_matches('Z'),
        nanos / 1_000_000
    ))
}

const YEAR_9999_END_S: i64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_instant_is_rfc_3339_or_nothing() {
        let at = |seconds, nanos| instant(Some(&Timestamp { seconds, nanos }));
        for (seconds, nanos, text) in [
            (0, 7_000_000, "1970-01-01T00:00:00.007Z"),
            (1_767_323_045, 0, "2026-01-02T03:04:05.000Z"),
            (1_709_208_000, 999_999_999, "2024-02-29T12:00:00.999Z"),
            (YEAR_9999_END_S, 999_999_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(at(seconds, nanos).as_deref(), Some(text));
        }
        for (seconds, nanos) in [
            (-1, 0),
            (YEAR_9999_END_S + 1, 0),
            (i64::MIN, i32::MIN),
            (i64::MAX, 0),
            (0, -1),
        ] {
            assert_eq!(at(seconds, nanos), None);
        }
    }

    #[test]
    fn an_unspecified_enum_has_no_word_and_an_unknown_number_is_that_number() {
        let words: [fn(i32) -> Option<Word>; 8] = [
            state,
            failure_code,
            reason_code,
            verdict,
            outcome,
            law,
            stop_cause,
            phase,
        ];
        for word in words {
            assert_eq!(word(0), None);
            assert_eq!(word(i32::MAX).as_deref(), Some("2147483647"));
            assert_eq!(word(-7).as_deref(), Some("-7"));
        }
    }

    #[test]
    fn codes_are_in_upper_case_and_all_other_words_in_lower_case() {
        let words = |word: fn(i32) -> Option<Word>| {
            let known = (1..1_000).filter_map(word);
            known.filter(|word| word.parse::<i32>().is_err())
        };
        let codes = [failure_code, reason_code, note_code].map(words);
        for code in codes.into_iter().flatten() {
            assert_eq!(code, code.to_uppercase());
        }
        let others = [state, verdict, outcome, law, stop_cause, phase].map(words);
        for word in others.into_iter().flatten() {
            assert_eq!(word, word.to_lowercase());
        }
        assert_eq!(state(RunState::Running.into()).as_deref(), Some("running"));
    }

    proptest! {
        #[test]
        fn no_instant_panics(seconds: i64, nanos: i32) {
            let _ = instant(Some(&Timestamp { seconds, nanos }));
        }
    }
}
