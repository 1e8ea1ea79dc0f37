//! Past runs in the database of this host, read without a server.

use std::path::PathBuf;

use metronome_proto::{
    filter::{Filter, Order},
    run_id::RunId,
    v1::{self, Failure},
};
use metronome_server::{History, ListQuery};

/// The stored runs.
pub(crate) struct StoredRuns(History);

/// Runs of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    pub(crate) runs: Vec<v1::Run>,
    /// The ids of runs on the way that cannot be read.
    pub(crate) unreadable: Vec<String>,
}

/// Where the database of this host lies, whether or not there is one yet. `None` when nothing names
/// a folder for it.
pub(crate) fn database_path() -> Option<PathBuf> {
    metronome_server::database_path(None)
}

impl StoredRuns {
    /// The database of this host, where a server of this user keeps it. `None` when no server has
    /// made one yet.
    pub(crate) fn open() -> Result<Option<Self>, Failure> {
        let database = std::env::var_os("METRONOME_DATABASE").filter(|path| !path.is_empty());
        Ok(History::open(database.map(PathBuf::from))?.map(Self))
    }

    /// At most `limit` runs that match, in this order, and those that cannot be read.
    pub(crate) fn runs(
        &self,
        filter: &Filter,
        order: Order,
        limit: usize,
    ) -> Result<Listed, Failure> {
        let mut query = ListQuery {
            filter: filter.clone(),
            order,
            limit,
            ..ListQuery::default()
        };
        let mut listed = Listed::default();
        loop {
            let page = self.0.runs(&query)?;
            listed.runs.extend(page.runs);
            let unreadable = page.unreadable.iter().map(RunId::to_string);
            listed.unreadable.extend(unreadable);
            query.limit = limit.saturating_sub(listed.runs.len());
            // A page may be empty and not be the last.
            if page.next.is_none() || query.limit == 0 {
                return Ok(listed);
            }
            query.after = page.next;
        }
    }

    /// One run with its report. `None` when there is none of this id.
    pub(crate) fn run(&self, id: RunId) -> Result<Option<v1::Run>, Failure> {
        self.0.run(id)
    }

    /// The run of a request_id, with its report. `None` when there is none.
    pub(crate) fn run_of_request(&self, request_id: &str) -> Result<Option<v1::Run>, Failure> {
        self.0.by_request_id(request_id)
    }

    /// The client rows of a run, by rising index. Empty for an unknown run or one without a report.
    pub(crate) fn clients(&self, id: RunId) -> Result<Vec<v1::ClientReport>, Failure> {
        self.0.clients(id)
    }

    /// The series of a run. Empty for an unknown run or one without a report.
    pub(crate) fn series(&self, id: RunId) -> Result<v1::Series, Failure> {
        self.0.series(id)
    }
}
