//! How many connections there may be: as many as descriptors allow, beside what else needs them.

use anyhow::Context as _;
use rustix::process::{Resource, getrlimit};

use metronome_proto::limits::AGENTS_MAX;

use crate::ledger::{self, Dimensions, Ledger};

/// Connections without a verified hello yet, beside the clients. A crowd of them must not take the
/// clients' places.
const PENDING_MAX: u64 = 16_384;

/// Runs at a time: each has a row of the ledger, and one row is the static run's.
pub(crate) const RUNS_MAX: u32 = ledger::RUNS_MAX as u32 - 1;

/// Connections of probes: one of each agent of each run. An agent of a run has a client at least.
const PROBES_MAX: u32 = RUNS_MAX * AGENTS_MAX as u32;

/// Descriptors for everything but connections: the control port must answer whatever happens.
const DESCRIPTORS_RESERVED: u64 = 512;

/// Descriptors of each worker as well: its process, its channel, its standard error.
pub(crate) const DESCRIPTORS_PER_WORKER: u64 = 4;

/// A ledger for as many connections as fit. A server that takes over needs none: it gets the old
/// one.
pub(super) fn make_ledger(max_clients: u32, workers: u32) -> anyhow::Result<Ledger> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let slots = slots(files, max_clients, workers)?;
    Ledger::create(Dimensions { slots }).context("no shared memory for the ledger")
}

/// How many connections fit into so many open files.
fn slots(files: u64, max_clients: u32, workers: u32) -> anyhow::Result<u32> {
    let probes = max_clients.min(PROBES_MAX);
    let wanted = u64::from(max_clients) + u64::from(probes) + PENDING_MAX;
    let reserved = DESCRIPTORS_RESERVED + u64::from(workers) * DESCRIPTORS_PER_WORKER;
    let possible = files.saturating_sub(reserved);
    anyhow::ensure!(
        possible > u64::from(max_clients),
        "--max-clients: {max_clients} clients need more open files than the limit of {files} \
         allows beside the {reserved} that are kept for other things; raise it (ulimit -n) or ask \
         for fewer clients"
    );
    Ok(wanted.min(possible) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clients_fit_and_as_many_others_as_descriptors_allow() {
        assert_eq!(slots(1 << 20, 1000, 4).unwrap(), 2 * 1000 + 16_384);
        let every = 10_000 + 15 * 256 + 16_384;
        assert_eq!(slots(u64::MAX, 10_000, 256).unwrap(), every);
        assert_eq!(slots(4096, 1000, 4).unwrap(), 4096 - 512 - 16);
        assert_eq!(slots(1529, 1000, 4).unwrap(), 1001);
        for files in [0, 1024, 1528] {
            let refused = slots(files, 1000, 4).unwrap_err().to_string();
            assert!(refused.contains(&format!("limit of {files}")), "{refused}");
        }
    }
}
