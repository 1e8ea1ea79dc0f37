//! The standard error of workers, which is next to nothing (a panic, for example), as lines of the
//! master's log: with the worker's number, cleaned, and not too many.

use std::{
    io::{self, BufRead as _, BufReader, Read as _},
    process::ChildStderr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use metronome_os::clock::now_ns;
use metronome_telemetry::{rate_limited_log::RateLimit, sanitise};
use rustix::process::Pid;

/// A worker that writes more lines than this in ten seconds is broken; the rest is counted.
static LINES: RateLimit = RateLimit::new(20, 10_000_000_000);

/// The longest line that is read as one.
const LINE_BYTES_MAX: u64 = 4096;

/// The number of a process that is none of the workers yet.
pub(super) const SPARE: u32 = u32::MAX;

/// Reads until the worker's standard error ends, on a thread of its own. `worker` is its number,
/// which may come later.
pub(super) fn follow(worker: Arc<AtomicU32>, pid: Pid, stderr: ChildStderr) -> io::Result<()> {
    let log = move |line: &str| {
        if let Some(withheld) = LINES.admit(now_ns()) {
            let worker = Some(worker.load(Ordering::Relaxed)).filter(|number| *number != SPARE);
            tracing::warn!(
                worker,
                pid = pid.as_raw_nonzero().get(),
                withheld,
                "a worker wrote: {line}"
            );
        }
    };
    thread::Builder::new()
        .name("worker-log".into())
        .spawn(move || for_each_line(stderr, log))
        .map(drop)
}

/// Calls `log` for every line, cleaned and cut, but for empty ones.
fn for_each_line(from: impl io::Read, log: impl Fn(&str)) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut from)
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)
    {
        let line_text = sanitise::sentence(&String::from_utf8_lossy(&line));
        if !line_text.is_empty() {
            log(&line_text);
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn what_a_worker_writes_comes_line_by_line_and_harmless() {
        let lines = RefCell::new(Vec::new());
        let bytes = [b"one\n\n\x1b[31mtwo\xff\n".to_vec(), vec![b'x'; 10_000]].concat();
        for_each_line(&bytes[..], |line| lines.borrow_mut().push(line.to_owned()));
        let lines = lines.into_inner();
        assert_eq!(lines[..2], ["one", "[31mtwo\u{FFFD}"]);
        assert!(
            lines.len() == 5 && lines[2..].iter().all(|line| line.len() <= 300),
            "{lines:?}"
        );
    }
}
