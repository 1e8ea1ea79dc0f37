//! Turns: only so many answers are made at once, since one that is made takes more memory than its
//! bytes.
//!
//! A turn is taken once the request has come and is given back before the answer goes out, so that
//! it never waits for a caller. Calls that change something, and those whose answers are small,
//! need none.

use std::{sync::Arc, time::Duration};

use metronome_proto::v1::{Failure, FailureCode};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Answers that are being made.
const MADE_AT_ONCE: usize = 4;
/// For an answer to be made, when others are made before it.
const TURN_MAX: Duration = Duration::from_secs(5);

/// The turns of all connections.
#[derive(Clone, Debug)]
pub(in crate::control) struct Turns {
    free: Arc<Semaphore>,
    wait_max: Duration,
}

/// A turn, given back when this is dropped.
#[derive(Debug)]
pub(in crate::control) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    pub(in crate::control) fn new() -> Self {
        Self {
            free: Arc::new(Semaphore::new(MADE_AT_ONCE)),
            wait_max: TURN_MAX,
        }
    }

    /// Waits until an answer may be made: 5 s at most, then it is `ANSWERS_FULL`.
    pub(in crate::control) async fn take(&self) -> Result<Turn, Failure> {
        match timeout(self.wait_max, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit }),
            _ => Err(none()),
        }
    }
}

/// No turn came.
fn none() -> Failure {
    let seconds = TURN_MAX.as_secs();
    let sentence =
        format!("{MADE_AT_ONCE} answers are being made, and none was ready within {seconds} s");
    Failure::new(FailureCode::AnswersFull, sentence)
}

#[cfg(test)]
mod tests {
    use metronome_proto::failure::is_phrase;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::control::status;

    #[tokio::test]
    async fn one_that_gets_no_turn_is_refused_as_such_and_may_come_again() {
        let turns = Turns {
            wait_max: Duration::from_millis(10),
            ..Turns::new()
        };
        let mut taken = Vec::new();
        for _ in 0..MADE_AT_ONCE {
            taken.push(turns.take().await.unwrap());
        }
        let refused = turns.take().await.unwrap_err();
        assert_eq!(refused.code(), FailureCode::AnswersFull);
        assert!(is_phrase(&refused.sentence), "{}", refused.sentence);
        assert!(refused.sentence.starts_with("4 answers are being made"));
        assert!(refused.figures.is_empty(), "no bytes are too many");
        let status = status::from_failure(&refused);
        assert!(status.get_details_retry_info().is_some());
        taken.pop();
        turns.take().await.unwrap();
    }
}
