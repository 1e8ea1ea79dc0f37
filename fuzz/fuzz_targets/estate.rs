//! Anything in place of what a server hands over to its successor: the runs and the master's books
//! are taken over and end as runs do, or are refused with a sentence; never a panic, and what was
//! read is handed on as it was.
#![no_main]

use std::{cell::RefCell, fs::File, os::fd::OwnedFd};

use libfuzzer_sys::fuzz_target;
use metronome_server::fuzzing::inherit_estate;

thread_local! {
    static SOCKET: RefCell<OwnedFd> = RefCell::new(File::open("/dev/null").expect("/dev/null").into());
}

fuzz_target!(|bytes: &[u8]| {
    inherit_estate(bytes, || {
        SOCKET.with_borrow(|socket| socket.try_clone().expect("a descriptor"))
    });
});
