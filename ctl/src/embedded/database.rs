//! Past runs in the database of this host, read without a server.

use std::path::PathBuf;

use metronome_proto::{
    filter::{Filter, Order},
    run_id::RunId,
    v1,
};
use metronome_server::{History, ListQuery};

/// The stored runs.
pub(crate) struct StoredRuns(History);

/// Where the database of this host lies, whether or not there is one yet.
pub(crate) fn database_path() -> anyhow::Result<PathBuf> {
    metronome_server::database_path(None)
}

impl StoredRuns {
    /// The database of this host, where a server of this user keeps it. `None` when no server has
    /// made one yet.
    pub(crate) fn open() -> anyhow::Result<Option<Self>> {
        let database = std::env::var_os("METRONOME_DATABASE").filter(|path| !path.is_empty());
        Ok(History::open(database.map(PathBuf::from))?.map(Self))
    }

    /// At most `limit` runs that match, in this order, behind the run `after`; without `after`,
    /// from the first.
    pub(crate) fn runs(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<RunId>,
        limit: usize,
    ) -> anyhow::Result<Vec<v1::Run>> {
        let mut query = ListQuery {
            filter: filter.clone(),
            order,
            after,
            limit,
            full: false,
        };
        let mut runs = Vec::new();
        loop {
            let page = self.0.runs(&query)?;
            runs.extend(page.runs);
            query.limit = limit.saturating_sub(runs.len());
            // A page may be empty and not be the last.
            if page.next.is_none() || query.limit == 0 {
                return Ok(runs);
            }
            query.after = page.next;
        }
    }

    /// One run with its report. `None` when there is none of this id.
    pub(crate) fn run(&self, id: RunId) -> anyhow::Result<Option<v1::Run>> {
        self.0.run(id)
    }

    /// The run of a request_id, with its report. `None` when there is none.
    pub(crate) fn run_of_request(&self, request_id: &str) -> anyhow::Result<Option<v1::Run>> {
        self.0.by_request_id(request_id)
    }

    /// The client rows of a run, by rising index. Empty for an unknown run or one without a report.
    pub(crate) fn clients(&self, id: RunId) -> anyhow::Result<Vec<v1::ClientReport>> {
        self.0.clients(id)
    }
}
