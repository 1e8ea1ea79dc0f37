//! The operating system: the only place with `unsafe`, each with its reason.
//!
//! What rustix offers safely is used directly by the other modules; here is the rest.

pub(crate) mod channel;
pub(crate) mod clock;
pub(crate) mod conduit;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod socket;
pub(crate) mod wake;
