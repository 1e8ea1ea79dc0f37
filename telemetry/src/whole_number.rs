//! The value of a flag that is a whole number. A refusal names what is allowed in words, where
//! that of clap's own parser has the notation of a range.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

/// The parser of a flag that takes the whole numbers of `allowed`. Its error is the rest of a
/// sentence that begins with the value and the flag.
pub fn whole_number<T>(allowed: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| {
        text.parse()
            .ok()
            .filter(|number| allowed.contains(number))
            .ok_or_else(|| {
                let (min, max) = (allowed.start(), allowed.end());
                format!("a whole number from {min} to {max} is allowed")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_outside_the_range_is_refused_in_words() {
        let parse = whole_number(1..=256_u32);
        assert_eq!(parse("1"), Ok(1));
        assert_eq!(parse("256"), Ok(256));
        for text in [
            "0",
            "257",
            "-1",
            "x",
            "",
            " 7",
            "1.5",
            "99999999999999999999",
        ] {
            let problem = parse(text).expect_err(text);
            assert_eq!(problem, "a whole number from 1 to 256 is allowed");
        }
    }
}
