//! metronome-server: a master with the gRPC API, forked workers that read packets, and the ledger
//! in shared memory that both trust the kernel, not each other, to keep exact.
//!
//! ```text
//! main → control, master, worker      control → run, verdict, master, ledger, store
//! master → ledger, sys                worker → ledger, sys, proto's codecs
//! ```
//!
//! `run`, `verdict` and `master::placement` are pure. tokio and tonic appear only in `control`.
//! `unsafe` appears only in `sys`.

pub mod config;
mod control;
mod ledger;
mod master;
mod run;
mod store;
mod sys;
mod verdict;
mod worker;
