//! What workers say on their standard error, which is next to nothing (a panic, say), as lines of
//! the master's log: with the worker's number, cleaned, and not too many.

use std::{
    io::{self, BufRead as _, BufReader, Read as _},
    process::ChildStderr,
    thread,
};

use metronome_os::clock::now_ns;
use metronome_telemetry::rate_limited_log::RateLimit;
use rustix::process::Pid;

use crate::text;

/// A worker that says more than this in ten seconds is broken; what it says then is counted.
static LINES: RateLimit = RateLimit::new(20, 10_000_000_000);

/// The longest line that is read as one.
const LINE_BYTES_MAX: u64 = 4096;

/// Reads until the worker's standard error ends, on a thread of its own.
pub(super) fn follow(worker: usize, pid: Pid, stderr: ChildStderr) -> io::Result<()> {
    let tell = move |said: &str| {
        if let Some(withheld) = LINES.admit(now_ns()) {
            tracing::warn!(
                worker,
                pid = pid.as_raw_nonzero().get(),
                withheld,
                "a worker says: {said}"
            );
        }
    };
    thread::Builder::new()
        .name("worker-log".into())
        .spawn(move || for_each_line(stderr, tell))
        .map(drop)
}

/// Tells every line, cleaned and cut, but for empty ones.
fn for_each_line(from: impl io::Read, tell: impl Fn(&str)) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut from)
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)
    {
        let said = text::sentence(&String::from_utf8_lossy(&line));
        if !said.is_empty() {
            tell(&said);
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn what_a_worker_says_comes_line_by_line_and_harmless() {
        let said = RefCell::new(Vec::new());
        let bytes = [b"one\n\n\x1b[31mtwo\xff\n".to_vec(), vec![b'x'; 10_000]].concat();
        for_each_line(&bytes[..], |line| said.borrow_mut().push(line.to_owned()));
        let said = said.into_inner();
        assert_eq!(said[..2], ["one", "[31mtwo\u{FFFD}"]);
        assert!(
            said.len() == 5 && said[2..].iter().all(|line| line.len() <= 300),
            "{said:?}"
        );
    }
}
