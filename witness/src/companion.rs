//! Another process that is watched along with this one.

use metronome_os::host_use;

/// Another process that belongs to this one: its threads are shown together, by this name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Companion {
    /// At most 15 bytes, as that of a thread: `worker-0`.
    pub name: String,
    /// Its id. `None` while there is no process by this name; what it is counted to have been away
    /// is kept meanwhile.
    pub process: Option<host_use::ProcessId>,
    /// For how long it was away so far, ns, as it counts itself.
    pub away_ns: u64,
}
