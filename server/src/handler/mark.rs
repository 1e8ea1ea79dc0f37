//! How far a handler has come with a connection: a word of the connection's slot.
//!
//! | bits | figure |
//! |---|---|
//! | 0 – 60 | bytes of the connection's stream that are handled: the end of a whole frame |
//! | 61, 62 | how often the batch behind them was begun and not finished: 0 to 3 |
//! | 63 | set where a handler has had this connection from its beginning, or from some byte on |
//!
//! One word, so that one store moves it on and forgets the tries, and a death leaves either both or
//! neither. A word of 0 is that of a connection without a handler.

/// Tries of one batch after which its client is ended.
pub(super) const TRIES_MAX: u8 = 3;

const TRIES_AT: u32 = 61;
const BYTES_MAX: u64 = (1 << TRIES_AT) - 1;
const IS_KEPT: u64 = 1 << 63;

/// The mark of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mark {
    /// Bytes of the stream that are handled; less than 2^61.
    pub(super) bytes: u64,
    /// Calls that were begun for what follows, 0 to 3.
    pub(super) tries: u8,
}

impl Mark {
    /// Everything up to this byte is handled.
    pub(super) fn at(bytes: u64) -> Self {
        Self {
            bytes: bytes & BYTES_MAX,
            tries: 0,
        }
    }

    /// The mark that a word is. `None` where no handler has had the connection.
    pub(super) fn from_word(word: u64) -> Option<Self> {
        (word & IS_KEPT != 0).then_some(Self {
            bytes: word & BYTES_MAX,
            tries: (word >> TRIES_AT) as u8 & TRIES_MAX,
        })
    }

    /// The word of the ledger.
    pub(super) fn to_word(self) -> u64 {
        IS_KEPT | u64::from(self.tries & TRIES_MAX) << TRIES_AT | (self.bytes & BYTES_MAX)
    }

    /// The same before one more try. `None` when there were three.
    pub(super) fn next_try(self) -> Option<Self> {
        let tries = self.tries + 1;
        (tries <= TRIES_MAX).then_some(Self { tries, ..self })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mark_survives_its_word_and_any_word_is_a_mark_or_none(
            word: u64,
            bytes in 0..1_u64 << 61,
            tries in 0..4_u8,
        ) {
            let mark = Mark { bytes, tries };
            prop_assert_eq!(Mark::from_word(mark.to_word()), Some(mark));
            prop_assert!(mark.to_word() != 0);
            let read = Mark::from_word(word);
            prop_assert_eq!(read.map(Mark::to_word), (word >> 63 == 1).then_some(word));
        }
    }

    #[test]
    fn there_are_three_tries_and_a_mark_that_moves_on_has_none() {
        let mut mark = Mark::at(7);
        for tries in 1..=3 {
            mark = mark.next_try().unwrap();
            assert_eq!((mark.bytes, mark.tries), (7, tries));
        }
        assert_eq!(mark.next_try(), None);
        assert_eq!(Mark::from_word(0), None);
    }
}
