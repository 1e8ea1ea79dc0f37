//! Errors of the operating system as parts of our messages.

use std::io;

/// The error as the middle of a sentence, for example "connection refused".
pub(crate) fn within_sentence(error: &io::Error) -> String {
    let text = match error.raw_os_error() {
        // Without the number that std puts behind it.
        Some(_) => error
            .to_string()
            .split(" (os error")
            .next()
            .unwrap_or_default()
            .to_owned(),
        None => error.to_string(),
    };
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn errors_of_the_system_read_as_part_of_a_sentence() {
        assert_eq!(
            within_sentence(&io::Error::from_raw_os_error(
                Errno::CONNREFUSED.raw_os_error()
            )),
            "connection refused"
        );
        assert_eq!(
            within_sentence(&io::ErrorKind::TimedOut.into()),
            "timed out"
        );
    }
}
