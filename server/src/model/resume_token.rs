//! What an agent shows to get its own place back when its stream was lost.

use std::fmt;

use metronome_proto::limits::RESUME_TOKEN_BYTES;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

/// A secret of the server and one agent. Never shown.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(crate) struct ResumeToken([u8; RESUME_TOKEN_BYTES]);

impl ResumeToken {
    /// A token of random bytes.
    pub(crate) fn new(random: [u8; RESUME_TOKEN_BYTES]) -> Self {
        Self(random)
    }

    /// Whether an agent has shown this token. It takes as long whatever was shown.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        self.0.as_slice().ct_eq(shown).into()
    }

    /// Its bytes, for its agent.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ResumeToken(…)")
    }
}

impl PartialEq for ResumeToken {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_own_bytes_and_no_others() {
        let token = ResumeToken::new([7; 16]);
        assert!(token.is(&token.to_bytes()));
        let mut other = [7; 16];
        other[15] = 8;
        for shown in [&other[..], &[7; 15], &[7; 17], &[]] {
            assert!(!token.is(shown));
        }
        assert_eq!(token, ResumeToken::new([7; 16]));
        assert_ne!(token, ResumeToken::new(other));
        assert_eq!(format!("{token:?}"), "ResumeToken(…)");
    }
}
