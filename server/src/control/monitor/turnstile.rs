//! A turnstile: lets those who wait through one by one, in turns the newest and the oldest.
//!
//! Where more come than pass, the oldest lose their places, so that a queue would answer none of
//! them in the end: the newest is answered at once, beside a flood too. Where loops come back as
//! soon as they were answered, the newest is always one of them: the oldest is everyone else.

use std::{collections::VecDeque, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

/// Lets one through at a time, and the next one some time later.
#[derive(Clone, Debug)]
pub(super) struct Turnstile {
    /// Those who come, each with its word to pass.
    arrivals: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl Turnstile {
    /// One that works until it and all copies of it are dropped. Call inside a runtime.
    pub(super) fn new(every: Duration) -> Self {
        let (arrivals, arrived) = mpsc::unbounded_channel();
        tokio::spawn(let_through(arrived, every));
        Self { arrivals }
    }

    /// Resolves when it is this one's turn.
    pub(super) async fn pass(&self) {
        let (word, passes) = oneshot::channel();
        // Both fail only when the runtime ends, and all that waits with it.
        if self.arrivals.send(word).is_ok() {
            let _ = passes.await;
        }
    }
}

async fn let_through(mut arrived: mpsc::UnboundedReceiver<oneshot::Sender<()>>, every: Duration) {
    let (mut waiting, mut is_newest_next) = (VecDeque::new(), true);
    loop {
        if waiting.is_empty() {
            let Some(first) = arrived.recv().await else {
                return;
            };
            waiting.push_back(first);
        }
        while let Ok(next) = arrived.try_recv() {
            waiting.push_back(next);
        }
        // Who has left takes no turn.
        waiting.retain(|word| !word.is_closed());
        let next: Option<oneshot::Sender<()>> = match is_newest_next {
            true => waiting.pop_back(),
            false => waiting.pop_front(),
        };
        if next.is_some_and(|word| word.send(()).is_ok()) {
            is_newest_next = !is_newest_next;
            sleep(every).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use tokio::{task::yield_now, time::Instant};

    use super::*;

    const EVERY: Duration = Duration::from_millis(20);
    const LOOPS: u64 = 12;

    #[tokio::test]
    async fn many_pass_no_faster_than_the_rate_and_who_has_left_holds_up_no_other() {
        let turnstile = Turnstile::new(EVERY);
        let started = Instant::now();
        turnstile.pass().await;
        let pass = || {
            let turnstile = turnstile.clone();
            tokio::spawn(async move { turnstile.pass().await })
        };
        let gone: Vec<_> = (0..10_000).map(|_| pass()).collect();
        gone.iter().for_each(tokio::task::JoinHandle::abort);
        for passing in [pass(), pass(), pass()] {
            passing.await.unwrap();
        }
        let took = started.elapsed();
        assert!(took >= 3 * EVERY, "{took:?}");
        assert!(took < 10_000 * EVERY, "{took:?}");
    }

    #[tokio::test]
    async fn the_newest_passes_before_a_flood_that_came_earlier() {
        let turnstile = Turnstile::new(EVERY);
        turnstile.pass().await;
        let flood: Vec<_> = (0..100)
            .map(|_| {
                let turnstile = turnstile.clone();
                tokio::spawn(async move { turnstile.pass().await })
            })
            .collect();
        for _ in &flood {
            yield_now().await;
        }
        let passed = || flood.iter().filter(|of| of.is_finished()).count();
        let before = passed();
        turnstile.pass().await;
        // Those that had their turns and had not come round to it yet, and one between two turns of
        // the newest.
        let more = passed() - before;
        assert!(more <= 4, "{more}");
    }

    #[tokio::test]
    async fn who_came_first_passes_beside_loops_that_come_back() {
        let turnstile = Turnstile::new(EVERY);
        let turns = Arc::new(AtomicU64::new(0));
        let loops: Vec<_> = (0..LOOPS)
            .map(|_| {
                let (turnstile, turns) = (turnstile.clone(), Arc::clone(&turns));
                tokio::spawn(async move {
                    loop {
                        turnstile.pass().await;
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        yield_now().await;
        for _ in 0..5 {
            let before = turns.load(Ordering::Relaxed);
            turnstile.pass().await;
            // Every second turn is that of the oldest, of whom there are no more than all loops.
            let others = turns.load(Ordering::Relaxed) - before;
            assert!(others <= 2 * LOOPS + 2, "{others}");
        }
        loops.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
