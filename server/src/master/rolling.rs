//! Restarting the workers one by one, under load: each is asked to quit, its connections go to the
//! others, the next one's turn comes when its successor is ready.

use std::collections::VecDeque;

use rustix::process::Pid;
use tracing::{info, warn};

use super::{Master, request::Reply};
use crate::ipc::ToWorker;

/// For a worker to finish its batch and exit; then it is killed, which costs nothing either.
const QUIT_TIME_NS: u64 = 2_000_000_000;

/// For its successor to serve.
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
    /// A worker that never serves again holds up nobody else.
    give_up_at_ns: u64,
}

impl Rolling {
    fn end(self) {
        info!("{} workers were restarted", self.restarted);
        self.replies
            .into_iter()
            .for_each(|reply| reply(self.restarted));
    }
}

impl Master {
    /// Restarts every worker; `reply` gets how many. Asked again meanwhile, both wait for the same.
    pub(super) fn restart_workers(&mut self, reply: Reply<u32>, now_ns: u64) {
        let workers = self.workers.len();
        let rolling = self.rolling.get_or_insert_with(|| Rolling {
            left: (0..workers).collect(),
            current: None,
            restarted: 0,
            replies: Vec::new(),
        });
        rolling.replies.push(reply);
        self.roll(now_ns);
    }

    /// Answers at the end of the restart that is under way, at once when there is none.
    pub(super) fn answer_when_rested(&mut self, reply: Reply<()>) {
        answer_at_end(self.rolling.as_mut(), reply);
    }

    /// Goes on with the restart as far as it can.
    pub(super) fn roll(&mut self, now_ns: u64) {
        while let Some(mut rolling) = self.rolling.take() {
            if let Some(turn) = rolling.current {
                let worker = &self.workers[turn.worker];
                let is_over = worker.is_ready() && worker.pid() != turn.pid;
                if !is_over && now_ns < turn.give_up_at_ns {
                    if worker.pid() == turn.pid && now_ns >= turn.kill_at_ns {
                        warn!("worker {} does not quit and is killed", turn.worker);
                        worker.kill();
                    }
                    self.rolling = Some(rolling);
                    return;
                }
                rolling.restarted += u32::from(is_over);
            }
            let Some(worker) = rolling.left.pop_front() else {
                return rolling.end();
            };
            let turn = Turn {
                worker,
                pid: self.workers[worker].pid(),
                kill_at_ns: now_ns + QUIT_TIME_NS,
                give_up_at_ns: now_ns + TURN_TIME_NS,
            };
            rolling.current = Some(turn);
            self.rolling = Some(rolling);
            self.workers[worker].set_quitting();
            self.say(worker, ToWorker::Quit, None);
        }
    }
}

fn answer_at_end(rolling: Option<&mut Rolling>, reply: Reply<()>) {
    match rolling {
        Some(rolling) => rolling.replies.push(Box::new(move |_restarted| reply(()))),
        None => reply(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_waits_for_rest_is_answered_at_once_or_with_the_restart_that_is_under_way() {
        let (answer, answered) = mpsc::channel();
        let reply = || -> Reply<()> {
            let answer = answer.clone();
            Box::new(move |()| answer.send(()).unwrap())
        };
        answer_at_end(None, reply());
        assert!(answered.try_recv().is_ok());
        let mut rolling = Rolling {
            left: VecDeque::from([1]),
            current: None,
            restarted: 3,
            replies: Vec::new(),
        };
        answer_at_end(Some(&mut rolling), reply());
        assert!(answered.try_recv().is_err());
        rolling.end();
        assert!(answered.try_recv().is_ok());
    }
}
