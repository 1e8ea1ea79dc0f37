//! What the text of a flag means, and which flag a field of the API came from. Pure.
//!
//! Limits of the plan live in [`metronome_proto::plan`] and are checked there; here is only what a
//! text can get wrong. Errors complete clap's "invalid value 'X' for '--flag <V>': …".

use std::{str::FromStr, time::Duration};

use metronome_proto::{
    plan::{BATCH_MAX, CLIENTS_MAX, PlanError, THREADS_MAX},
    rate::AskedRate,
};

/// The most workers that `metronome-server` takes.
pub(crate) const WORKERS_MAX: u32 = 256;
const LABEL_BYTES_MAX: usize = 128;
const REQUEST_ID_BYTES_MAX: usize = 64;
/// Writes per second and client of the seed's own client, which batches rate / 200 packets.
const SEED_WRITES_HZ: f64 = 200.0;

/// Packets per write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Batch {
    /// 1 to [`BATCH_MAX`].
    Packets(u32),
    /// The rule of the seed's client: rate / 200, at least 1.
    Seed,
}

/// The error for `--batch seed` with `--rate max`.
pub(crate) const SEED_BATCH_NEEDS_A_RATE: &str = "--batch seed is the rate / 200, and --rate max \
     has no rate: give --batch 1 to 1024, or leave it out for 1024";

impl Batch {
    /// Packets per write at a rate of `rate_hz` per client.
    pub(crate) fn packets(self, rate_hz: f64) -> u32 {
        match self {
            Self::Packets(packets) => packets,
            // A float cast saturates, so NaN and 1e12 become numbers that the plan judges.
            Self::Seed => ((rate_hz / SEED_WRITES_HZ) as u32).max(1),
        }
    }
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "seed" {
            return Ok(Self::Seed);
        }
        number_within(text, 1, BATCH_MAX)
            .map(Self::Packets)
            .map_err(|problem| format!("{problem}, or the word seed for rate / 200"))
    }
}

/// Clients: a whole number; its range is the plan's to judge.
pub(crate) fn clients(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("a whole number from 1 to {CLIENTS_MAX} is allowed"))
}

/// Pacing threads.
pub(crate) fn threads(text: &str) -> Result<u32, String> {
    number_within(text, 1, THREADS_MAX)
}

/// Worker processes of the embedded server.
pub(crate) fn workers(text: &str) -> Result<u32, String> {
    number_within(text, 1, WORKERS_MAX)
}

/// Clients that the embedded server admits.
pub(crate) fn max_clients(text: &str) -> Result<u32, String> {
    number_within(text, 1, CLIENTS_MAX)
}

/// Packets per second of a load that has a rate: a number, with k or M for thousands or millions.
pub(crate) fn rate_hz(text: &str) -> Result<f64, String> {
    match text.parse()? {
        AskedRate::Hz(hz) => Ok(hz),
        AskedRate::Max => {
            Err("packets per second are a number here, such as 10000, 10k or 0.5".into())
        }
    }
}

/// A time: seconds as a number, or with units as in 250ms, 10s, 1m30s.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds)
            .map_err(|_| "1 ms to 24 h are allowed".to_owned());
    }
    humantime::parse_duration(text).map_err(|_| {
        "a time is seconds or has units, such as 10, 250ms or 1m30s; 1 ms to 24 h are allowed"
            .into()
    })
}

/// The label of a run.
pub(crate) fn label(text: &str) -> Result<String, String> {
    if text.len() > LABEL_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!(
            "at most {LABEL_BYTES_MAX} bytes without control characters are allowed"
        ));
    }
    Ok(text.to_owned())
}

/// The name of a request.
pub(crate) fn request_id(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (1..=REQUEST_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "1 to {REQUEST_ID_BYTES_MAX} characters of A-Z a-z 0-9 _ . - are allowed"
    ))
}

/// A plan's error in the words of the command line.
pub(crate) fn sentence(error: &PlanError) -> String {
    format!("{}: {}", of_field(error.field), error.problem)
}

/// The flag that a field of StartRun comes from; a field without one stays as it is.
pub(crate) fn of_field(field: &str) -> String {
    let field = field.strip_prefix("plan.").unwrap_or(field);
    match field {
        "rate_hz" => "--rate".into(),
        "agents" => "--agent".into(),
        "request_id" => "--request-id".into(),
        "clients" | "duration" | "batch" | "phase" | "threads" | "target" | "label" => {
            format!("--{field}")
        }
        other => other.into(),
    }
}

fn number_within(text: &str, min: u32, max: u32) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("a whole number from {min} to {max} is allowed"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_load_with_a_rate_has_no_greatest_one() {
        assert_eq!(rate_hz("10k"), Ok(10_000.0));
        for text in ["", "ten", "max"] {
            assert!(rate_hz(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_seconds_or_has_units() {
        for (text, ms) in [
            ("10", 10_000),
            ("0.25", 250),
            ("10s", 10_000),
            ("250ms", 250),
            ("1m30s", 90_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "-1", "NaN", "inf", "1e300", "ten", "10x"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_seeds_batch_follows_the_rate() {
        assert_eq!(
            Batch::from_str("seed").map(|batch| batch.packets(10_000.0)),
            Ok(50)
        );
        assert_eq!(Batch::Seed.packets(1.0), 1);
        assert_eq!(Batch::from_str("7").map(|batch| batch.packets(1.0)), Ok(7));
        for text in ["0", "1025", "-1", "sea"] {
            assert!(Batch::from_str(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_field_of_the_api_has_the_name_of_its_flag() {
        for (field, flag) in [
            ("plan.rate_hz", "--rate"),
            ("rate_hz", "--rate"),
            ("plan.agents", "--agent"),
            ("request_id", "--request-id"),
            ("plan.clients", "--clients"),
            ("run_id", "run_id"),
        ] {
            assert_eq!(of_field(field), flag);
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_meaning_or_is_refused(text: String) {
            let _ = (rate_hz(&text), duration(&text), clients(&text));
            let _ = (Batch::from_str(&text), label(&text));
            if let Ok(id) = request_id(&text) {
                prop_assert!(id.len() <= REQUEST_ID_BYTES_MAX);
            }
        }

        #[test]
        fn any_rate_makes_a_batch(hz: f64) {
            prop_assert!(Batch::Seed.packets(hz) >= 1);
        }
    }
}
