//! What a SIGHUP means: the workers are restarted, or the terminal in whose foreground the server
//! was started has gone, and with it whatever would end the server. Pure.
//!
//! A server that lives on costs a process; one that drains by mistake costs its users their runs.
//! So it drains only on what cannot be anything else, and an order of a service manager, a script
//! or a user elsewhere always restarts the workers. Absent: SIGHUP that is ignored from the start,
//! under `nohup`: it is never caught.

use metronome_os::hang_ups::{Origin, Terminal};

/// What the server does on a SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HangUp {
    Drain,
    RestartWorkers,
}

/// The answer to a SIGHUP from `origin`, with the terminal as it is `now`. `had_terminal`: it was
/// there when this process was started.
pub(super) fn answer(origin: Origin, had_terminal: bool, now: Terminal) -> HangUp {
    match (origin, now) {
        (Origin::Kernel | Origin::SessionLeader, Terminal::Gone) if had_terminal => HangUp::Drain,
        _ => HangUp::RestartWorkers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_drains_only_when_its_own_terminal_has_gone_and_that_sent_the_signal() {
        use Origin::{Kernel, Other, SessionLeader};
        use Terminal::{Gone, Present, Unknown};
        for origin in [Kernel, SessionLeader, Other] {
            for had_terminal in [true, false] {
                for now in [Present, Gone, Unknown] {
                    let wanted = match (origin, had_terminal, now) {
                        (Kernel, true, Gone) | (SessionLeader, true, Gone) => HangUp::Drain,
                        _ => HangUp::RestartWorkers,
                    };
                    let shown = format!("{origin:?}, {had_terminal}, {now:?}");
                    assert_eq!(answer(origin, had_terminal, now), wanted, "{shown}");
                }
            }
        }
    }
}
