//! What the scheduler grants to a thread, as the kernel reports it, whatever was asked for.
#![allow(unsafe_code)]

use rustix::process::{Pid, getpriority_process};

/// The priority of a thread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Granted {
    /// No more than an ordinary program has: nice 0, or worse.
    Ordinary,
    /// A nice value below 0.
    RaisedNice,
    /// It runs before every ordinary thread.
    RealTime,
}

impl Granted {
    /// That of a thread, by its id; of a process, that of its first thread. `None`: the calling
    /// thread's. Nothing is returned when there is no such thread.
    pub fn of(thread: Option<Pid>) -> Option<Self> {
        let id = thread.map_or(0, |thread| thread.as_raw_nonzero().get());
        // SAFETY: takes a number and returns one.
        let policy = unsafe { libc::sched_getscheduler(id) };
        match policy & !libc::SCHED_RESET_ON_FORK {
            _ if policy < 0 => None,
            libc::SCHED_FIFO | libc::SCHED_RR | libc::SCHED_DEADLINE => Some(Self::RealTime),
            libc::SCHED_IDLE => Some(Self::Ordinary),
            _ => match getpriority_process(thread).ok()? {
                ..0 => Some(Self::RaisedNice),
                _ => Some(Self::Ordinary),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::process::setpriority_process;

    use super::*;

    #[test]
    fn a_thread_has_what_it_was_given_and_one_that_is_not_there_has_nothing() {
        let none = Pid::from_raw(i32::MAX - 7).unwrap();
        assert_eq!(Granted::of(Some(none)), None);
        let with_nice = |nice| {
            let given = move || {
                setpriority_process(None, nice).ok()?;
                Granted::of(None)
            };
            thread::spawn(given).join().unwrap()
        };
        // To lower it needs no right; to raise it does.
        assert_eq!(with_nice(19), Some(Granted::Ordinary));
        let raised = with_nice(-1);
        assert!(
            raised.is_none_or(|it| it == Granted::RaisedNice),
            "{raised:?}"
        );
    }
}
