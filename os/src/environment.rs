//! Variables of the environment that are set but empty: they count as not set, as a composition's
//! `${NAME:-}` makes them.
#![allow(unsafe_code)]

use std::{env, fs};

/// Removes the empty variables whose names begin with `prefix`. To be called first in `main`: does
/// nothing once the process has more than one thread, or where the kernel does not report that.
pub fn remove_empty(prefix: &str) {
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        return;
    }
    let is_empty_one = |(name, value): &(std::ffi::OsString, std::ffi::OsString)| {
        value.is_empty() && name.to_string_lossy().starts_with(prefix)
    };
    for (name, _) in env::vars_os().filter(is_empty_one) {
        // SAFETY: this process has one thread, so nothing reads the environment meanwhile.
        unsafe { env::remove_var(name) };
    }
}
