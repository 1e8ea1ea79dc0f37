//! Lines on standard error that never panic and never wait for long: what reads it may have ended,
//! or may have stopped to read.
//!
//! For the few lines that are no log lines: why a process cannot start, what was lost at its end.

use std::io::{self, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The longest that a line waits for room in the pipe or the terminal.
const WAIT_MAX: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// A pipe that reports room takes this many bytes at once (PIPE_BUF).
const LINE_BYTES_MAX: usize = 4096;

/// Writes `text` and a line end. A text of more than 4095 bytes is cut at a character's edge; a
/// line that finds no room within a second is given up.
pub fn write_line(text: &str) {
    let stderr = io::stderr();
    let has_room = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&WAIT_MAX));
    if has_room.is_ok_and(|ready| ready > 0) {
        let line = format!("{}\n", cut(text));
        // An error means that there is nothing to write to any more, and nothing else to report to.
        let _ = stderr.lock().write_all(line.as_bytes());
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
