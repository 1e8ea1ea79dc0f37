//! The state that an old server process sends to a new one: read, taken over, or refused.

use std::os::fd::OwnedFd;

use crate::{control::testing::revive_and_end, master::testing::inherit};

/// What a predecessor hands over in an upgrade, whole and as its master's part alone, is read and
/// taken over or refused. `socket` makes connections to go with it.
pub fn restore_state(bytes: &[u8], mut socket: impl FnMut() -> OwnedFd) {
    if let Some(master) = revive_and_end(bytes) {
        inherit(&master, &mut socket);
    }
    inherit(bytes, &mut socket);
}
