//! Instants as people write them: RFC 3339, in the years 0000 to 9999, with up to nine digits below
//! the second. Leap seconds, which have no place on the scale of Unix time, are refused.

use std::{fmt, str::FromStr};

/// A point of Unix time.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Instant {
    seconds: i64,
    nanos: u32,
}

/// The text is no instant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotRfc3339;

const SECONDS_PER_DAY: i64 = 86_400;
const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// From the API, where the fields may hold anything; nanoseconds are made to be some.
impl From<&prost_types::Timestamp> for Instant {
    fn from(at: &prost_types::Timestamp) -> Self {
        let nanos = u32::try_from(at.nanos).unwrap_or(0);
        Self {
            seconds: at.seconds,
            nanos: nanos.min(NANOS_PER_SECOND - 1),
        }
    }
}

impl FromStr for Instant {
    type Err = NotRfc3339;

    fn from_str(text: &str) -> Result<Self, NotRfc3339> {
        let mut rest = text.as_bytes();
        let instant = read(&mut rest).filter(|_| rest.is_empty());
        instant.ok_or(NotRfc3339)
    }
}

fn read(rest: &mut &[u8]) -> Option<Instant> {
    let year = digits(rest, 4)?;
    one_of(rest, b"-")?;
    let month = digits(rest, 2).filter(|month| (1..=12).contains(month))?;
    one_of(rest, b"-")?;
    let day = digits(rest, 2).filter(|day| (1..=days_of(year, month)).contains(day))?;
    one_of(rest, b"Tt")?;
    let hour = digits(rest, 2).filter(|hour| *hour < 24)?;
    one_of(rest, b":")?;
    let minute = digits(rest, 2).filter(|minute| *minute < 60)?;
    one_of(rest, b":")?;
    let second = digits(rest, 2).filter(|second| *second < 60)?;
    let nanos = if one_of(rest, b".").is_some() {
        fraction(rest)?
    } else {
        0
    };
    let offset = offset(rest)?;
    let seconds =
        days_since_1970(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second
            - offset;
    let first = days_since_1970(0, 1, 1) * SECONDS_PER_DAY;
    let last = days_since_1970(10_000, 1, 1) * SECONDS_PER_DAY;
    (first..last)
        .contains(&seconds)
        .then_some(Instant { seconds, nanos })
}

fn digits(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (head, tail) = rest.split_at_checked(count)?;
    let mut number = 0;
    for byte in head {
        number = number * 10 + i64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
    }
    *rest = tail;
    Some(number)
}

fn one_of(rest: &mut &[u8], allowed: &[u8]) -> Option<u8> {
    let (first, tail) = rest.split_first()?;
    allowed.contains(first).then(|| {
        *rest = tail;
        *first
    })
}

/// One to nine digits, as nanoseconds.
fn fraction(rest: &mut &[u8]) -> Option<u32> {
    let is_digit = |byte: &&u8| byte.is_ascii_digit();
    let count = rest.iter().take_while(is_digit).count();
    if !(1..=9).contains(&count) {
        return None;
    }
    let number = digits(rest, count)?;
    u32::try_from(number * 10_i64.pow(9 - count as u32)).ok()
}

/// Seconds that the local time is ahead.
fn offset(rest: &mut &[u8]) -> Option<i64> {
    let sign = match one_of(rest, b"Zz+-")? {
        b'+' => 1,
        b'-' => -1,
        _ => return Some(0),
    };
    let hours = digits(rest, 2).filter(|hours| *hours < 24)?;
    one_of(rest, b":")?;
    let minutes = digits(rest, 2).filter(|minutes| *minutes < 60)?;
    Some(sign * (hours * 3600 + minutes * 60))
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar. Years begin in March here, so that the leap day is the last of
/// its year, and 146,097 days make 400 years.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days_since_1970`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_based = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_based + 2) / 5 + 1;
    let month = (march_based + 2) % 12 + 1;
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// In UTC, with as many digits below the second as it has.
impl fmt::Display for Instant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.seconds.div_euclid(SECONDS_PER_DAY));
        let second = self.seconds.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        if self.nanos > 0 {
            let digits = format!("{:09}", self.nanos);
            write!(formatter, ".{}", digits.trim_end_matches('0'))?;
        }
        formatter.write_str("Z")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(text: &str) -> i64 {
        text.parse::<Instant>().unwrap().seconds
    }

    #[test]
    fn instants_are_those_of_unix_time() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), 0);
        assert_eq!(seconds("1969-12-31t23:59:59z"), -1);
        assert_eq!(seconds("2000-02-29T12:00:00+01:00"), 951_822_000);
        assert_eq!(seconds("2026-11-26T05:00:00Z"), 1_795_669_200);
        assert_eq!(seconds("9999-12-31T23:59:59Z"), 253_402_300_799);
        let instant: Instant = "2026-11-26T05:00:00.25-00:30".parse().unwrap();
        assert_eq!(instant.to_string(), "2026-11-26T05:30:00.25Z");
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "2026-11-26",
            "2026-11-26T05:00Z",
            "2026-11-26T05:00:00",
            "2026-11-26 05:00:00Z",
            "2026-02-29T05:00:00Z",
            "2026-00-01T05:00:00Z",
            "2026-13-01T05:00:00Z",
            "2026-04-31T05:00:00Z",
            "2026-11-26T24:00:00Z",
            "2026-11-26T23:59:60Z",
            "2026-11-26T05:00:00.Z",
            "2026-11-26T05:00:00.1234567890Z",
            "2026-11-26T05:00:00+24:00",
            "2026-11-26T05:00:00+1:00",
            "2026-11-26T05:00:00Zx",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "+026-11-26T05:00:00Z",
            "٢٠٢٦-11-26T05:00:00Z",
        ] {
            assert_eq!(text.parse::<Instant>(), Err(NotRfc3339), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_instant_survives_its_text_and_keeps_its_order(
            one in -62_167_219_200..253_402_300_800_i64,
            other in -62_167_219_200..253_402_300_800_i64,
            nanos in 0..NANOS_PER_SECOND,
        ) {
            let [one, other] = [one, other].map(|seconds| Instant { seconds, nanos });
            prop_assert_eq!(one.to_string().parse(), Ok(one));
            // As long as the fractions are, texts sort as their instants do.
            prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
        }

        #[test]
        fn any_text_is_an_instant_or_is_refused(text in "[0-9TtZz:+.-]{0,40}") {
            let _ = text.parse::<Instant>();
        }
    }
}
