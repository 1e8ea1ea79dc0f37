//! The history for reading only: for `benchctl runs` and `show` when no server is up.

use std::path::PathBuf;

use anyhow::Context as _;
use metronome_proto::{run_id::RunId, v1};
use rusqlite::Connection;

use super::{
    owner::Owners,
    rows::{abort, find_run, is_final, list_client_pages, list_runs, owner_of},
    schema,
};
use crate::config;

/// The stored runs, read-only. Servers may write them at the same time.
#[derive(Debug)]
pub struct History {
    connection: Connection,
    owners: Owners,
}

impl History {
    /// Opens the history at `database`, or where a server keeps it by default.
    ///
    /// `None` when no server has made one yet. An error names the file.
    pub fn open(database: Option<PathBuf>) -> anyhow::Result<Option<Self>> {
        let path = config::database_path(database)?;
        let connection = schema::open_to_read(&path)?;
        Ok(connection.map(|connection| Self {
            connection,
            owners: Owners::beside(&path),
        }))
    }

    /// At most `limit` runs older than `before`, newest first, without the distributions' hdr_v2.
    ///
    /// A run whose server died is ABORTED, also when no server has been started since.
    pub fn runs(&self, before: Option<RunId>, limit: u32) -> anyhow::Result<Vec<v1::Run>> {
        let listed =
            list_runs(&self.connection, before, limit).context("the history cannot be read")?;
        Ok(listed
            .into_iter()
            .map(|(run, owner)| without_records(self.as_it_stands(run, &owner)))
            .collect())
    }

    /// One run with its report. `None` when there is none of this id.
    pub fn run(&self, id: RunId) -> anyhow::Result<Option<v1::Run>> {
        let found = find_run(&self.connection, id).context("the history cannot be read")?;
        let Some(run) = found else { return Ok(None) };
        let owner = owner_of(&self.connection, id).context("the history cannot be read")?;
        Ok(Some(self.as_it_stands(run, &owner)))
    }

    /// The client rows of a run, by rising index. Empty for an unknown run or one without a report.
    pub fn clients(&self, id: RunId) -> anyhow::Result<Vec<v1::ClientReport>> {
        let pages =
            list_client_pages(&self.connection, id).context("the history cannot be read")?;
        Ok(pages.into_iter().flat_map(|page| page.clients).collect())
    }

    fn as_it_stands(&self, mut run: v1::Run, owner: &str) -> v1::Run {
        if !is_final(&run) && self.owners.is_gone(owner) {
            abort(&mut run, None);
        }
        run
    }
}

/// A run as lists show it: without the distributions' hdr_v2.
pub(crate) fn without_records(mut run: v1::Run) -> v1::Run {
    if let Some(report) = &mut run.report {
        for distribution in [
            &mut report.lateness,
            &mut report.transit,
            &mut report.latency,
        ]
        .into_iter()
        .flatten()
        {
            distribution.hdr_v2.clear();
        }
    }
    run
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::RunState;

    use super::{super::sqlite::Store, *};
    use crate::wall_clock::timestamp;

    #[test]
    fn the_history_is_read_without_a_server_and_a_dead_servers_run_is_aborted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runs.sqlite");
        assert!(
            History::open(Some(path.clone())).unwrap().is_none(),
            "nothing is made by looking"
        );
        let run = v1::Run {
            run_id: RunId::from_bits(7).to_string(),
            state: RunState::Preparing.into(),
            created_at: Some(timestamp(7)),
            ..v1::Run::default()
        };
        let (store, _) = Store::open(&path, 0).unwrap();
        store.insert(&run).unwrap();
        let history = History::open(Some(path)).unwrap().unwrap();
        assert_eq!(history.run(RunId::from_bits(7)).unwrap(), Some(run));
        drop(store);
        assert_eq!(
            history.run(RunId::from_bits(7)).unwrap().unwrap().state(),
            RunState::Aborted
        );
        assert_eq!(
            history.runs(None, 10).unwrap()[0].state(),
            RunState::Aborted
        );
        assert_eq!(history.run(RunId::from_bits(8)).unwrap(), None);
        assert!(history.clients(RunId::from_bits(7)).unwrap().is_empty());
    }
}
