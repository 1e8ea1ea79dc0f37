//! The upgrade: a new server process takes over from an old one in mid-run, or the old one carries
//! on untouched.
//!
//! ```text
//!   old process (drive.rs)                  new process (restore.rs)
//!   starts it with a socket as its input
//!   Offer + listeners, ledger, lock  ─────▶  accepts it, opens all, starts workers without clients
//!                                    ◀─────  Healthy | Refused | Incompatible
//!   waits until every run is RUNNING, holds the runs, lets its workers quit
//!   Connections … Part … End         ─────▶  checks and builds everything, touches nothing
//!                                    ◀─────  Taken | Refused | Incompatible
//!   Go                               ─────▶  places the connections, serves
//!   dismisses its streams, exits
//! ```
//!
//! Until Go the new process has read no byte of any client and written nothing that counts, so
//! whatever becomes of it, the old one takes its own back: it has kept every socket, the ledger and
//! all state. After Go it never does. Go is the point of no return; [`drive`] gives the reasons for
//! the order of the steps.
//!
//! | file | subject |
//! |---|---|
//! | `protocol` | the messages |
//! | `offer` | what is offered first; the one check of versions |
//! | `state` | what is saved, and its one codec |
//! | `new_process`, `old_process` | the peer, as each side sees it |
//! | `error` | why a server was not upgraded |
//! | `stage` | how far an upgrade is, and who has asked for it |
//! | `drive`, `restore` | the steps of the old and of the new process |
//! | `executable`, `container` | what is started, and whether this process may end |
//!
//! Processes whose format or ledger layout differ refuse each other before anything has happened.
//! Absent on purpose: any use of `control` or of the master's thread. `control` implements
//! [`OldServer`] and [`NewMaster`].

mod container;
mod drive;
mod error;
mod executable;
mod new_process;
mod offer;
mod old_process;
mod protocol;
mod restore;
mod stage;
mod state;

pub(crate) use drive::{HeldRun, OldServer, drive};
pub(crate) use error::{StuckRun, UpgradeError};
pub(crate) use offer::{InheritedFds, Offer};
pub(crate) use old_process::OldProcess;
pub(crate) use protocol::send_connections;
pub(crate) use restore::{NewMaster, Restored, restore};
pub(crate) use stage::{Upgrade, Upgrading};
#[cfg(any(test, feature = "testing"))]
pub(crate) use state::State;
pub(crate) use state::{
    ControlState, EncodedMaster, MasterState, Protobuf, RestoredRun, SavedConnection,
    SavedCounters, SavedRun, SavedWorker, UnstoredReport,
};
