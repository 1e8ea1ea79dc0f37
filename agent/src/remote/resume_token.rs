//! What proves to the server that this agent is the one that it has welcomed before, so that the
//! agent takes its own place back while the server still holds the old stream.
//!
//! It lives in memory only, over all sessions of this process, and is never logged. Pure.

use std::fmt;

use metronome_proto::limits::RESUME_TOKEN_BYTES;

/// The token of the last Welcome.
#[derive(Default)]
pub(super) struct ResumeToken(Option<[u8; RESUME_TOKEN_BYTES]>);

impl ResumeToken {
    /// Takes the token of a Welcome. One of another size is none.
    pub(super) fn replace(&mut self, bytes: &[u8]) {
        self.0 = bytes.try_into().ok();
    }

    /// The token for a Register; empty before the first Welcome.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.map(Vec::from).unwrap_or_default()
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ResumeToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_token_counts_and_one_of_another_size_is_none() {
        let mut token = ResumeToken::default();
        assert!(token.bytes().is_empty());
        token.replace(&[7; RESUME_TOKEN_BYTES]);
        assert_eq!(token.bytes(), [7; RESUME_TOKEN_BYTES]);
        assert!(!format!("{token:?}").contains('7'));
        token.replace(&[7; RESUME_TOKEN_BYTES + 1]);
        assert!(token.bytes().is_empty());
    }
}
