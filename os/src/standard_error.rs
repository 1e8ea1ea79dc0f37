//! Lines on standard error that never panic and never wait for long: what reads it may have ended,
//! or may have stopped to read.
//!
//! For the few lines that are no log lines: why a process cannot start, what was lost at its end.

use std::{
    io::{self, Write as _},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// The longest that a line waits for room in the pipe or the terminal.
pub(crate) const WAIT_MAX: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// A pipe that reports room takes this many bytes at once (PIPE_BUF).
pub(crate) const LINE_BYTES_MAX: usize = 4096;

/// Writes `text` and a line end. A text of more than 4095 bytes is cut at a character's edge; a
/// line that finds no room within a second is given up.
pub fn write_line(text: &str) {
    write(&format!("{}\n", cut(text)), WAIT_MAX);
}

/// Writes `text`, of at most 4096 bytes, where there is room for it now; else it is given up. For
/// what is soon followed by something newer: progress. Returns whether it was written.
pub fn write_passing(text: &str) -> bool {
    write(text, Timespec::default())
}

/// Writes `text`, of at most 4096 bytes; where it finds no room within a second it is given up. For
/// what takes something back that stands on the terminal.
pub fn write_waiting(text: &str) {
    write(text, WAIT_MAX);
}

fn write(text: &str, wait: Timespec) -> bool {
    let stderr = io::stderr();
    let has_room = has_room(&stderr, wait);
    if has_room {
        // An error means that there is nothing to write to any more, and nothing else to report to.
        let _ = stderr.lock().write_all(text.as_bytes());
    }
    has_room
}

/// Whether `stream` takes 4096 bytes at once, or refuses them at once, within `wait`. A signal does
/// not end the wait.
pub(crate) fn has_room(stream: &impl AsFd, wait: Timespec) -> bool {
    let deadline = Instant::now().checked_add(Duration::try_from(wait).unwrap_or_default());
    let mut left = wait;
    loop {
        match poll(&mut [PollFd::new(stream, PollFlags::OUT)], Some(&left)) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {
                let until = deadline.unwrap_or_else(Instant::now);
                let rest = until.saturating_duration_since(Instant::now());
                left = Timespec::try_from(rest).unwrap_or_default();
            }
            // Without poll (a filter of system calls) a stream is taken to have room, as almost all
            // have.
            Err(_) => return true,
        }
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(LINE_BYTES_MAX - 1))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_at_the_edge_of_a_character() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(5000)).len(), 4095);
        let wide = "ä".repeat(3000);
        assert_eq!(cut(&wide).len(), 4094);
    }
}
