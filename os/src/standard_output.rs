//! Writing to standard output, whose reader may have gone, or may have stopped to read.
//!
//! A line that announces something is given up when nothing takes it. A result is worth waiting
//! for, as the output of every filter is, but the wait can be interrupted; and once this process
//! was asked to end, the wait itself has an end.

use std::{
    io::{self, IsTerminal, Write as _},
    ops::RangeInclusive,
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    signals::EndAtOnce,
    standard_error::{LINE_BYTES_MAX, WAIT_MAX, has_room},
};

/// Writes `line`, of at most 4096 bytes with its line end, unless it finds no room within a second.
/// Nothing depends on it.
pub fn announce(line: &str) {
    let mut stdout = io::stdout().lock();
    if has_room(&stdout, WAIT_MAX) {
        let _ = stdout
            .write_all(line.as_bytes())
            .and_then(|()| stdout.flush());
    }
}

/// A result that nothing takes any of is given up after this time, once an end was asked for.
const LAST_WAIT_MAX: Timespec = Timespec {
    tv_sec: 3,
    tv_nsec: 0,
};

/// The request to end is one to the whole process.
static IS_TO_END: AtomicBool = AtomicBool::new(false);

/// This process was asked to end: from now on a result waits for its reader for 3 s at most.
pub fn end_is_asked_for() {
    IS_TO_END.store(true, Relaxed);
}

/// Writes all of `text`, however long its reader takes. A reader that has gone is no error: after
/// `| head` the user has what they wanted. While it waits for a reader, SIGINT, SIGTERM and SIGHUP
/// end the process at once, also where they are caught.
///
/// # Errors
/// Standard output takes no more: a full disk, for example, or nothing reads it and an end was
/// asked for.
pub fn write_result(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let mut rest = text.as_bytes();
    let written = loop {
        if rest.is_empty() {
            break stdout.flush();
        }
        let _waiting = (!has_room(&stdout, Default::default())).then(EndAtOnce::begin);
        if IS_TO_END.load(Relaxed) && !has_room(&stdout, LAST_WAIT_MAX) {
            break Err(io::ErrorKind::TimedOut.into());
        }
        let (part, after) = rest.split_at(rest.len().min(LINE_BYTES_MAX));
        // The lock buffers up to the last line feed, so that each part is flushed by itself.
        if let Err(error) = stdout.write_all(part).and_then(|()| stdout.flush()) {
            break Err(error);
        }
        rest = after;
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Whether the reader of standard output has gone, so that nothing that is written is read.
#[must_use]
pub fn reader_has_gone() -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec::default();
    poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
        && polled[0]
            .revents()
            .intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Columns of a screen of which the width is not known: of a pipe and of a file.
pub const COLUMNS_NORM: usize = 80;
/// What a text is laid out for at least and at most, however wide the terminal is.
pub const COLUMNS_ALLOWED: RangeInclusive<usize> = 40..=200;

/// The columns that a text on standard output is laid out for: those of its terminal, of which
/// COLUMNS in the environment has the word, within [`COLUMNS_ALLOWED`]; without one
/// [`COLUMNS_NORM`].
#[must_use]
pub fn columns() -> usize {
    columns_of(&io::stdout())
}

/// [`columns`], for another stream.
pub fn columns_of(stream: &(impl IsTerminal + AsFd)) -> usize {
    if !stream.is_terminal() {
        return COLUMNS_NORM;
    }
    let set = std::env::var("COLUMNS").ok();
    let window = || rustix::termios::tcgetwinsize(stream).ok();
    let window = || window().map(|size| usize::from(size.ws_col));
    columns_allowed(set.as_deref(), window)
}

/// `window` is 0 where it was never set.
fn columns_allowed(set: Option<&str>, window: impl FnOnce() -> Option<usize>) -> usize {
    let set = set.and_then(|columns| columns.parse().ok());
    let columns = set.filter(|columns| *columns > 0).or_else(window);
    let columns = columns.filter(|columns| *columns > 0);
    columns.map_or(COLUMNS_NORM, |columns| {
        columns.clamp(*COLUMNS_ALLOWED.start(), *COLUMNS_ALLOWED.end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_is_the_variables_or_the_windows_within_bounds() {
        for (set, window, columns) in [
            (None, Some(132), 132),
            (Some("60"), Some(132), 60),
            (Some(""), Some(132), 132),
            (Some("wide"), Some(132), 132),
            (Some("0"), Some(132), 132),
            (None, Some(0), 80),
            (None, None, 80),
            (Some("10"), None, 40),
            (None, Some(1_000), 200),
        ] {
            assert_eq!(
                columns_allowed(set, || window),
                columns,
                "{set:?} {window:?}"
            );
        }
    }
}
