//! Any bytes in place of the state that an old server process sends to a new one: the runs and the
//! master's part are restored and end as runs do, or are refused with a sentence; never a panic,
//! and what was read is written again as it was.
#![no_main]

use std::{cell::RefCell, fs::File, os::fd::OwnedFd};

use libfuzzer_sys::fuzz_target;
use metronome_server::testing::restore_state;

thread_local! {
    static SOCKET: RefCell<OwnedFd> =
        RefCell::new(File::open("/dev/null").expect("/dev/null").into());
}

fuzz_target!(|bytes: &[u8]| {
    restore_state(bytes, || {
        SOCKET.with_borrow(|socket| socket.try_clone().expect("a descriptor"))
    });
});
