//! Past runs in the database of this host, read without a server.

use std::path::PathBuf;

pub(crate) use metronome_server::History;

/// Where the database of this host lies, whether or not there is one yet.
pub(crate) fn database_path() -> anyhow::Result<PathBuf> {
    metronome_server::database_path(None)
}

/// The database of this host, where a server of this user keeps it. `None` when no server has made
/// one yet.
pub(crate) fn stored_runs() -> anyhow::Result<Option<History>> {
    let database = std::env::var_os("METRONOME_DATABASE").filter(|path| !path.is_empty());
    History::open(database.map(PathBuf::from))
}
