//! A rolling restart: whose turn it is. Pure: what the workers are and what time it is come as
//! arguments, what is to be done is returned.
//!
//! Each worker is asked to quit, its connections go to the others, and the next one's turn comes
//! when its new process serves.

use std::collections::VecDeque;

use rustix::process::Pid;

use crate::master::request::Reply;

/// For a worker to finish its batch and exit; then it is killed, which costs nothing either.
const TURN_QUIT_TIME_NS: u64 = 2_000_000_000;

/// For its next process to serve.
const TURN_TIME_NS: u64 = 10_000_000_000;

/// A rolling restart that is under way.
pub(super) struct Rolling {
    left: VecDeque<usize>,
    current: Option<Turn>,
    restarted: u32,
    replies: Vec<Reply<u32>>,
}

/// One worker's turn.
#[derive(Clone, Copy)]
struct Turn {
    worker: usize,
    /// The process that is to quit; `None` when it was dead already.
    pid: Option<Pid>,
    kill_at_ns: u64,
    /// A worker that never serves again holds up no other.
    give_up_at_ns: u64,
}

/// A worker as a rolling restart sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) pid: Option<Pid>,
    pub(super) is_ready: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Nothing until the next look.
    Wait,
    /// The worker does not quit: kill it, then wait.
    Kill(usize),
    /// It is this worker's turn: ask it to quit, then look again.
    Quit(usize),
    /// Every worker has had its turn.
    End,
}

impl Rolling {
    /// The restart of so many workers, none of which has had its turn.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            left: (0..workers).collect(),
            current: None,
            restarted: 0,
            replies: Vec::new(),
        }
    }

    /// `reply` gets how many workers were restarted, at the end.
    pub(super) fn reply_at_end(&mut self, reply: Reply<u32>) {
        self.replies.push(reply);
    }

    /// The next step.
    pub(super) fn step(&mut self, seen: impl Fn(usize) -> Seen, now_ns: u64) -> Step {
        if let Some(turn) = self.current {
            let worker = seen(turn.worker);
            let is_over = worker.is_ready && worker.pid != turn.pid;
            if !is_over && now_ns < turn.give_up_at_ns {
                return if worker.pid == turn.pid && now_ns >= turn.kill_at_ns {
                    Step::Kill(turn.worker)
                } else {
                    Step::Wait
                };
            }
            self.restarted += u32::from(is_over);
        }
        let Some(worker) = self.left.pop_front() else {
            return Step::End;
        };
        self.current = Some(Turn {
            worker,
            pid: seen(worker).pid,
            kill_at_ns: now_ns + TURN_QUIT_TIME_NS,
            give_up_at_ns: now_ns + TURN_TIME_NS,
        });
        Step::Quit(worker)
    }

    /// How many workers were restarted, and the replies that are due with that number.
    pub(super) fn end(self) -> (u32, Vec<Reply<u32>>) {
        (self.restarted, self.replies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: i32, is_ready: bool) -> Seen {
        let pid = Pid::from_raw(pid);
        Seen { pid, is_ready }
    }

    #[test]
    fn the_next_turn_comes_when_the_new_process_serves() {
        let mut rolling = Rolling::new(2);
        assert_eq!(rolling.step(|_| seen(1, true), 0), Step::Quit(0));
        for (worker, now_ns) in [
            (seen(1, true), 1),
            (seen(0, false), 2),
            (seen(2, false), TURN_QUIT_TIME_NS),
        ] {
            assert_eq!(rolling.step(|_| worker, now_ns), Step::Wait, "{worker:?}");
        }
        assert_eq!(rolling.step(|_| seen(2, true), 3), Step::Quit(1));
        assert_eq!(rolling.step(|_| seen(3, true), 4), Step::End);
        assert_eq!(rolling.end().0, 2);
    }

    #[test]
    fn one_that_does_not_quit_is_killed_and_one_that_never_serves_holds_up_no_other() {
        let mut rolling = Rolling::new(2);
        assert_eq!(rolling.step(|_| seen(1, true), 0), Step::Quit(0));
        assert_eq!(
            rolling.step(|_| seen(1, true), TURN_QUIT_TIME_NS - 1),
            Step::Wait
        );
        assert_eq!(
            rolling.step(|_| seen(1, true), TURN_QUIT_TIME_NS),
            Step::Kill(0)
        );
        assert_eq!(
            rolling.step(|_| seen(0, false), TURN_TIME_NS - 1),
            Step::Wait
        );
        assert_eq!(
            rolling.step(|_| seen(0, false), TURN_TIME_NS),
            Step::Quit(1)
        );
        assert_eq!(rolling.step(|_| seen(5, true), TURN_TIME_NS + 1), Step::End);
        assert_eq!(rolling.end().0, 1, "the first was not restarted");
    }

    #[test]
    fn all_that_wait_for_the_end_are_returned_at_the_end() {
        let mut rolling = Rolling::new(0);
        for _ in 0..2 {
            rolling.reply_at_end(Box::new(drop));
        }
        assert_eq!(rolling.step(|_| seen(1, true), 0), Step::End);
        let (restarted, replies) = rolling.end();
        assert_eq!((restarted, replies.len()), (0, 2));
    }
}
