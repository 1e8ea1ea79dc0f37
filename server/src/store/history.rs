//! The history for reading only: for `benchctl runs` and `show` when no server is up.

use std::path::PathBuf;

use anyhow::Context as _;
use metronome_proto::{run_id::RunId, v1};
use rusqlite::Connection;

use super::{
    list::{ListQuery, RunPage, list},
    owner::Owners,
    rows::{RunRow, find_by_request_id, find_client_page, find_report, find_run},
    schema,
    view::as_it_stands,
};
use crate::config;

const UNREADABLE: &str = "the history cannot be read";

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

    /// One page of runs.
    ///
    /// A run whose server is gone is ABORTED, also when no server has been started since.
    pub fn runs(&self, query: &ListQuery) -> anyhow::Result<RunPage> {
        list(|| &self.connection, &self.owners, |_| None, query).context(UNREADABLE)
    }

    /// One run with its report. `None` when there is none of this id.
    pub fn run(&self, id: RunId) -> anyhow::Result<Option<v1::Run>> {
        self.whole(find_run(&self.connection, id))
            .context(UNREADABLE)
    }

    /// The run that was made with this request_id, with its report. `None` when there is none.
    pub fn by_request_id(&self, request_id: &str) -> anyhow::Result<Option<v1::Run>> {
        self.whole(find_by_request_id(&self.connection, request_id))
            .context(UNREADABLE)
    }

    /// The client rows of a run, by rising index. Empty for an unknown run or one without a report.
    pub fn clients(&self, id: RunId) -> anyhow::Result<Vec<v1::ClientReport>> {
        let mut clients: Vec<v1::ClientReport> = Vec::new();
        loop {
            let first = clients
                .last()
                .map_or(0, |last| last.client.saturating_add(1));
            let page = find_client_page(&self.connection, id, first).context(UNREADABLE)?;
            match page {
                Some(page) => clients.extend(page.clients),
                None => return Ok(clients),
            }
        }
    }

    fn whole(&self, found: rusqlite::Result<Option<RunRow>>) -> rusqlite::Result<Option<v1::Run>> {
        let Some(RunRow { id, run, owner, .. }) = found? else {
            return Ok(None);
        };
        let run = as_it_stands(run, &owner, &self.owners);
        let report = find_report(&self.connection, id)?;
        Ok(Some(v1::Run { report, ..run }))
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::{FailureCode, RunState};

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
            request_id: "r".into(),
            state: RunState::Preparing.into(),
            created_at: Some(timestamp(7)),
            ..v1::Run::default()
        };
        let (store, _) = Store::open(&path, 0).unwrap();
        store.insert(&run, &[0; 32]).unwrap();
        let history = History::open(Some(path)).unwrap().unwrap();
        let query = |filter: &str| ListQuery {
            filter: filter.parse().unwrap(),
            limit: 10,
            ..ListQuery::default()
        };
        assert_eq!(history.run(RunId::from_bits(7)).unwrap(), Some(run.clone()));
        assert_eq!(history.by_request_id("r").unwrap(), Some(run));
        assert!(
            history
                .runs(&query("state = ABORTED"))
                .unwrap()
                .runs
                .is_empty()
        );
        drop(store);
        let aborted = history.run(RunId::from_bits(7)).unwrap().unwrap();
        assert_eq!(aborted.state(), RunState::Aborted);
        assert_eq!(
            aborted.failure.as_ref().unwrap().code(),
            FailureCode::ServerDied
        );
        let listed = history.runs(&query("state = ABORTED")).unwrap();
        assert_eq!((listed.runs, listed.next), (vec![aborted], None));
        assert_eq!(history.run(RunId::from_bits(8)).unwrap(), None);
        assert!(history.clients(RunId::from_bits(7)).unwrap().is_empty());
    }
}
