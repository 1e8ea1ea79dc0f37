//! A terminal as what is drawn on it needs it: its size, who has it, and Ctrl-Z. Nothing here
//! changes how a terminal is set.

#![allow(unsafe_code)]

use std::{
    io::{self, IsTerminal},
    mem::MaybeUninit,
    os::fd::AsFd,
    ptr,
};

use rustix::{
    process::{Signal, getpgrp},
    termios::{tcgetpgrp, tcgetwinsize},
};

/// Columns and rows of the window of a terminal. `None` where there is none, or where they were
/// never set.
pub fn size(terminal: &impl AsFd) -> Option<(usize, usize)> {
    let size = tcgetwinsize(terminal).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0 && rows > 0).then_some((columns, rows))
}

/// Whether this process may draw on a terminal: not while its shell or another job has it. A
/// terminal that controls no session, or not this one, has no foreground to share, and one whose
/// foreground is in another namespace of processes has none that is known.
pub fn may_draw(terminal: &(impl IsTerminal + AsFd)) -> bool {
    terminal.is_terminal()
        && tcgetpgrp(terminal).map_or_else(
            |error| [libc::ENOTTY, libc::EOPNOTSUPP].contains(&error.raw_os_error()),
            |foreground| foreground == getpgrp(),
        )
}

/// Stops this process as Ctrl-Z does where it is not caught, and returns when it was continued:
/// at once where no shell could do that, since the kernel does not stop such a process. What
/// caught SIGTSTP before does so again.
///
/// # Errors
/// The signal cannot be set; nothing has changed.
pub fn stop_until_continued() -> io::Result<()> {
    let mut default = MaybeUninit::<libc::sigaction>::zeroed();
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all of it is zeroed, which is a valid value of its type.
    let default = unsafe {
        (*default.as_mut_ptr()).sa_sigaction = libc::SIG_DFL;
        default.assume_init()
    };
    let signal = Signal::TSTP.as_raw();
    // SAFETY: the default action runs no code of this process; the present one is written to
    // `before`, which has room for it.
    if unsafe { libc::sigaction(signal, &raw const default, before.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call takes no pointer. To this thread, so that it has come when the call returns.
    unsafe { libc::raise(signal) };
    // SAFETY: this was the action of the signal before; no old one is asked for.
    unsafe { libc::sigaction(signal, before.as_ptr(), ptr::null_mut()) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::{
        pty::{OpenptFlags, openpt},
        termios::{Winsize, tcsetwinsize},
    };

    use super::*;

    #[test]
    fn a_terminal_has_the_size_that_was_set_and_what_is_none_has_none() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        assert_eq!(size(&master), None);
        let window = Winsize {
            ws_row: 20,
            ws_col: 40,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, window).unwrap();
        assert_eq!(size(&master), Some((40, 20)));
        // It is the terminal of no session.
        assert!(may_draw(&master));
        let file = File::open("/dev/null").unwrap();
        assert_eq!(size(&file), None);
        assert!(!may_draw(&file));
    }
}
