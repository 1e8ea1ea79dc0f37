//! Giving up rights that a process does not need.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// Gives up all capabilities of the calling thread but CAP_SYS_NICE, where it is held, and makes
/// sure that no executable that is started gives any back. For a process of one thread.
///
/// # Errors
/// The kernel, or a filter of system calls, refuses one of the calls.
pub fn keep_only_sys_nice() -> io::Result<()> {
    set_no_new_privs(true)?;
    let kept = capabilities(None)?.permitted & CapabilitySet::SYS_NICE;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    #[test]
    fn nothing_is_left_but_the_right_to_priorities() {
        // Capabilities are of a thread, so the other tests of this process keep theirs.
        let status = thread::spawn(|| {
            keep_only_sys_nice().unwrap();
            fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        let status = status.join().unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
        };
        let sys_nice = CapabilitySet::SYS_NICE.bits();
        for set in ["CapEff:", "CapPrm:"] {
            assert!([0, sys_nice].contains(&field(set)), "{set} {status}");
        }
        assert_eq!((field("CapInh:"), field("NoNewPrivs:")), (0, 1));
    }
}
