//! A turnstile: lets those who wait through one by one, in the order in which they came.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

/// Lets one through at a time, and the next one some time later.
#[derive(Debug)]
pub(super) struct Turnstile {
    every: Duration,
    /// When the next one may pass. Held by the one whose turn it is; who leaves the queue before
    /// has taken no turn.
    free_at: Mutex<Instant>,
}

impl Turnstile {
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every,
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Resolves when it is this one's turn.
    pub(super) async fn pass(&self) {
        let mut free_at = self.free_at.lock().await;
        sleep_until(*free_at).await;
        *free_at = Instant::now() + self.every;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn many_pass_no_faster_than_the_rate_and_who_has_left_holds_up_no_other() {
        let every = Duration::from_millis(20);
        let turnstile = Arc::new(Turnstile::new(every));
        let started = Instant::now();
        turnstile.pass().await;
        let pass = || {
            let turnstile = Arc::clone(&turnstile);
            tokio::spawn(async move { turnstile.pass().await })
        };
        let gone: Vec<_> = (0..10_000).map(|_| pass()).collect();
        gone.iter().for_each(tokio::task::JoinHandle::abort);
        for passing in [pass(), pass(), pass()] {
            passing.await.unwrap();
        }
        let took = started.elapsed();
        assert!(took >= 3 * every, "{took:?}");
        assert!(took < 10_000 * every, "{took:?}");
    }
}
