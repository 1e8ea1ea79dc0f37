//! Writing log lines without ever waiting for the file, the pipe or the terminal that takes them.
//!
//! A thread of its own writes. 8192 lines may wait for it; further ones are dropped and
//! counted, and a line reports how many as soon as the output takes lines again.

use std::{
    io::{self, Write},
    mem,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that may wait to be written: about 1 MiB.
const LINES_MAX: usize = 8192;

/// The longest that waiting lines hold up the end of the process.
const END_TIME_MAX: Duration = Duration::from_secs(1);

/// Lines that were dropped, and how many of them have been reported.
#[derive(Clone, Debug, Default)]
struct Dropped {
    /// Set once the writing thread has been started.
    counter: Arc<OnceLock<ErrorCounter>>,
    reported: Arc<AtomicUsize>,
}

impl Dropped {
    fn unreported(&self) -> usize {
        let dropped = self.counter.get().map_or(0, ErrorCounter::dropped_lines);
        dropped.saturating_sub(self.reported.load(Relaxed))
    }
}

/// Writes the lines that still wait when it is dropped, for at most two seconds.
#[derive(Debug)]
pub(crate) struct LogGuard {
    guard: Option<WorkerGuard>,
    dropped: Dropped,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let until = Instant::now() + END_TIME_MAX;
        while self.dropped.unreported() > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
        if self.dropped.unreported() > 0 {
            // Nothing takes the lines. The library's guard would report that on standard output,
            // which belongs to results.
            mem::forget(self.guard.take());
        }
    }
}

/// Starts the thread that writes to `output`; `note` makes the line that reports a number of
/// dropped ones.
pub(super) fn start(
    output: impl Write + Send + 'static,
    note: fn(usize) -> String,
) -> (NonBlocking, LogGuard) {
    let dropped = Dropped::default();
    let reporting = Reporting {
        output,
        note,
        dropped: dropped.clone(),
        refused: 0,
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_MAX)
        .thread_name("log")
        .finish(reporting);
    let _ = dropped.counter.set(writer.error_counter());
    let guard = Some(guard);
    (writer, LogGuard { guard, dropped })
}

/// The output, with a line about dropped ones where some were dropped.
struct Reporting<W> {
    output: W,
    note: fn(usize) -> String,
    dropped: Dropped,
    /// Lines that the output refused, not yet reported: a full disk, a reader that has gone.
    refused: usize,
}

impl<W: Write> Reporting<W> {
    fn report_dropped(&mut self) -> io::Result<()> {
        let unreported = self.dropped.unreported();
        if unreported + self.refused > 0 {
            let note = (self.note)(unreported + self.refused);
            self.output.write_all(note.as_bytes())?;
            self.dropped.reported.fetch_add(unreported, Relaxed);
            self.refused = 0;
        }
        Ok(())
    }
}

impl<W: Write> Write for Reporting<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self
            .report_dropped()
            .and_then(|()| self.output.write_all(line));
        self.refused += usize::from(written.is_err());
        Ok(line.len())
    }

    /// The writing thread calls it when no line waits any more.
    fn flush(&mut self) -> io::Result<()> {
        // The writing thread could do nothing about an error; what was refused is counted.
        let _ = self.report_dropped().and_then(|()| self.output.flush());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, pipe};

    use rustix::pipe::fcntl_setpipe_size;

    use super::*;

    fn note(dropped: usize) -> String {
        format!("{dropped} dropped\n")
    }

    #[test]
    fn an_output_that_nothing_reads_delays_no_line_and_no_end() {
        let (reader, writer) = pipe().unwrap();
        let (mut lines, guard) = start(writer, note);
        let line = [b'x'; 100];
        let begun = Instant::now();
        for _ in 0..3 * LINES_MAX {
            lines.write_all(&line).unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
        let ending = Instant::now();
        drop(guard);
        assert!(ending.elapsed() < Duration::from_secs(5));
        drop(reader);
    }

    #[test]
    fn lines_that_the_output_refused_are_reported_when_it_takes_lines_again() {
        /// Refuses its second write.
        struct Fails(Arc<std::sync::Mutex<(usize, Vec<u8>)>>);

        impl Write for Fails {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let mut state = self.0.lock().unwrap();
                state.0 += 1;
                if state.0 == 2 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                state.1.extend(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let state = Arc::default();
        let (mut lines, guard) = start(Fails(Arc::clone(&state)), note);
        for line in ["one\n", "two\n", "three\n"] {
            lines.write_all(line.as_bytes()).unwrap();
        }
        drop(guard);
        let text = String::from_utf8(state.lock().unwrap().1.clone()).unwrap();
        assert_eq!(text, "one\n1 dropped\nthree\n");
    }

    #[test]
    fn every_line_is_written_or_reported_as_dropped() {
        let (reader, writer) = pipe().unwrap();
        fcntl_setpipe_size(&writer, 4096).unwrap();
        let (mut lines, guard) = start(writer, note);
        let total = 3 * LINES_MAX;
        for _ in 0..total {
            lines.write_all(b"line\n").unwrap();
        }
        let reading = thread::spawn(move || {
            let lines = BufReader::new(reader).lines().map_while(Result::ok);
            lines.fold((0, 0), |(written, dropped), line| {
                match line.strip_suffix(" dropped") {
                    Some(number) => (written, dropped + number.parse::<usize>().unwrap()),
                    None => (written + 1, dropped),
                }
            })
        });
        drop(lines);
        drop(guard);
        let (written, dropped) = reading.join().unwrap();
        assert_eq!(written + dropped, total);
        assert!(dropped > 0, "the pipe took {written} lines at once");
    }
}
