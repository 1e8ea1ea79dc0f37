//! The history as one server works with it: [`Store`] inserts, finishes, aborts and finds runs.
//!
//! Calls block: the control plane makes them on threads made for that.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use metronome_proto::{
    run_id::RunId,
    v1::{self, RunState},
};
use prost::Message as _;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    owner::{Owner, Owners},
    rows::{
        abort, decode_run, find_by_request_id, find_run, is_final, key_of, list_client_pages,
        list_runs, write_end,
    },
    schema,
};
use crate::wall_clock::timestamp_ms;

/// A file of runs, open for reading and writing by one server.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Mutex<Connection>,
    path: PathBuf,
    /// Holds this server's lock for as long as the store lives.
    owner: Owner,
}

/// Why a run could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InsertError {
    /// Another run has this id: make another one.
    #[error("the run id is taken")]
    IdTaken,
    /// Another run was made with this request_id: answer with that one.
    #[error("the request_id is taken")]
    RequestTaken,
    /// The database cannot be written now.
    #[error("the history cannot be written: {0}")]
    Database(#[from] rusqlite::Error),
}

impl Store {
    /// Opens the file, making it and its directory when missing, and marks as ABORTED the
    /// unfinished runs of servers that are gone. The second value counts those runs.
    pub(crate) fn open(path: &Path, now_unix_ms: u64) -> anyhow::Result<(Self, usize)> {
        let mut connection = schema::open(path)?;
        let owners = Owners::beside(path);
        let owner = owners.enroll()?;
        let aborted = abort_orphans(&mut connection, &owners, now_unix_ms)?;
        owners.sweep();
        Ok((
            Self {
                connection: Mutex::new(connection),
                path: path.to_owned(),
                owner,
            },
            aborted,
        ))
    }

    /// Opens the file under the name of the server that this process takes over from. That
    /// server's unfinished runs are left as they are, and so is the file.
    pub(crate) fn inherit(path: &Path, owner: &str, lock: OwnedFd) -> anyhow::Result<Self> {
        let connection = schema::open_as_it_is(path)?;
        let owner = Owners::beside(path).inherit(owner, lock)?;
        Ok(Self {
            connection: Mutex::new(connection),
            path: path.to_owned(),
            owner,
        })
    }

    /// This server's name and its lock, for the process that takes over.
    pub(crate) fn owner(&self) -> (&str, BorrowedFd<'_>) {
        (self.owner.name(), self.owner.lock())
    }

    /// Whether this server's runs end with this process: not once another process has taken over.
    pub(crate) fn set_last(&self, is_last: bool) {
        self.owner.set_last(is_last);
    }

    /// Where the file lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a run that was just made.
    pub(crate) fn insert(&self, run: &v1::Run) -> Result<(), InsertError> {
        let inserted = self.connection().execute(
            "INSERT INTO run (run_id, request_id, state, created_ms, owner, run)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                key_of(run),
                run.request_id,
                run.state,
                run.created_at.as_ref().map(timestamp_ms),
                self.owner.name(),
                run.encode_to_vec()
            ],
        );
        match inserted {
            Ok(_) => Ok(()),
            Err(error) if violates(&error, "run.run_id") => Err(InsertError::IdTaken),
            Err(error) if violates(&error, "run.request_id") => Err(InsertError::RequestTaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the end of a run and its client rows, all or nothing.
    pub(crate) fn finish(
        &self,
        run: &v1::Run,
        pages: &[v1::ListClientsResponse],
    ) -> rusqlite::Result<()> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write_end(&transaction, run)?;
        for (page, clients) in (0_i64..).zip(pages) {
            transaction.execute(
                "INSERT OR REPLACE INTO client_page (run_id, page, clients) VALUES (?1, ?2, ?3)",
                params![key_of(run), page, clients.encode_to_vec()],
            )?;
        }
        transaction.commit()
    }

    /// Marks a run of this server that will never have a report.
    pub(crate) fn abort(&self, id: RunId, now_unix_ms: u64) -> rusqlite::Result<()> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(mut run) = find_run(&transaction, id)?.filter(|run| !is_final(run)) {
            abort(&mut run, Some(now_unix_ms));
            write_end(&transaction, &run)?;
        }
        transaction.commit()
    }

    /// The run made with this request_id.
    pub(crate) fn by_request_id(&self, request_id: &str) -> rusqlite::Result<Option<v1::Run>> {
        find_by_request_id(&self.connection(), request_id)
    }

    /// One run.
    pub(crate) fn run(&self, id: RunId) -> rusqlite::Result<Option<v1::Run>> {
        find_run(&self.connection(), id)
    }

    /// At most `limit` runs older than `before`, newest first.
    pub(crate) fn runs(&self, before: Option<RunId>, limit: u32) -> rusqlite::Result<Vec<v1::Run>> {
        list_runs(&self.connection(), before, limit)
            .map(|runs| runs.into_iter().map(|(run, _)| run).collect())
    }

    /// The client rows of one run, by rising index.
    pub(crate) fn client_pages(&self, id: RunId) -> rusqlite::Result<Vec<v1::ListClientsResponse>> {
        list_client_pages(&self.connection(), id)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A thread that panicked held no transaction open: those roll back when dropped.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks every unfinished run whose server is gone.
fn abort_orphans(
    connection: &mut Connection,
    owners: &Owners,
    now_unix_ms: u64,
) -> rusqlite::Result<usize> {
    // Immediate: two servers that start at once must not both mark the same runs.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut orphans: Vec<v1::Run> = {
        let unfinished = "SELECT run, owner FROM run WHERE state NOT IN (?1, ?2)";
        let finals = [i32::from(RunState::Ended), i32::from(RunState::Aborted)];
        let mut statement = transaction.prepare(unfinished)?;
        let rows = statement.query_map(finals, |row| {
            Ok((decode_run(row)?, row.get::<_, String>(1)?))
        })?;
        let is_orphan = |row: &rusqlite::Result<(v1::Run, String)>| {
            row.as_ref().is_ok_and(|(_, owner)| owners.is_gone(owner))
        };
        rows.filter(is_orphan)
            .map(|row| row.map(|(run, _)| run))
            .collect::<rusqlite::Result<_>>()?
    };
    for run in &mut orphans {
        abort(run, Some(now_unix_ms));
        write_end(&transaction, run)?;
    }
    transaction.commit()?;
    Ok(orphans.len())
}

fn violates(error: &rusqlite::Error, column: &str) -> bool {
    let is_constraint = error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation);
    is_constraint && error.to_string().contains(column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wall_clock::timestamp;

    fn run(number: u64, request_id: &str) -> v1::Run {
        v1::Run {
            run_id: RunId::from_bits(number).to_string(),
            request_id: request_id.into(),
            state: RunState::Preparing.into(),
            created_at: Some(timestamp(number)),
            ..v1::Run::default()
        }
    }

    fn end(mut run: v1::Run) -> v1::Run {
        run.set_state(RunState::Ended);
        run.ended_at = Some(timestamp(1_234));
        run.report = Some(v1::Report {
            elapsed_s: 1.5,
            ..v1::Report::default()
        });
        run
    }

    fn page(clients: std::ops::Range<u32>) -> v1::ListClientsResponse {
        let client = |client| v1::ClientReport {
            client,
            ..v1::ClientReport::default()
        };
        v1::ListClientsResponse {
            clients: clients.map(client).collect(),
        }
    }

    fn open(directory: &tempfile::TempDir) -> Store {
        Store::open(&directory.path().join("deep/er/runs.sqlite"), 99)
            .unwrap()
            .0
    }

    #[test]
    fn a_run_outlives_the_store_with_its_report_and_clients() {
        let directory = tempfile::tempdir().unwrap();
        let ended = end(run(7, "a"));
        let pages = [page(0..3), page(3..5)];
        {
            let store = open(&directory);
            store.insert(&run(7, "a")).unwrap();
            assert_eq!(store.run(RunId::from_bits(7)).unwrap(), Some(run(7, "a")));
            store.finish(&ended, &pages).unwrap();
        }
        let store = open(&directory);
        assert_eq!(store.run(RunId::from_bits(7)).unwrap(), Some(ended.clone()));
        assert_eq!(store.by_request_id("a").unwrap(), Some(ended));
        assert_eq!(store.client_pages(RunId::from_bits(7)).unwrap(), pages);
        assert_eq!(store.run(RunId::from_bits(8)).unwrap(), None);
        assert_eq!(store.by_request_id("b").unwrap(), None);
    }

    #[test]
    fn a_taken_id_and_a_taken_request_are_distinguished() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        store.insert(&run(7, "a")).unwrap();
        assert!(matches!(
            store.insert(&run(7, "b")),
            Err(InsertError::IdTaken)
        ));
        assert!(matches!(
            store.insert(&run(8, "a")),
            Err(InsertError::RequestTaken)
        ));
        assert!(
            store.finish(&end(run(9, "c")), &[]).is_err(),
            "a run that was never inserted"
        );
    }

    #[test]
    fn a_run_is_aborted_unless_it_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        for number in [1, 2] {
            store.insert(&run(number, &number.to_string())).unwrap();
        }
        let ended = end(run(2, "2"));
        store.finish(&ended, &[]).unwrap();
        for number in [1, 2, 3] {
            store.abort(RunId::from_bits(number), 99).unwrap();
        }
        let found = store.run(RunId::from_bits(1)).unwrap().unwrap();
        assert_eq!(
            (found.state(), found.ended_at),
            (RunState::Aborted, Some(timestamp(99)))
        );
        assert_eq!(store.run(RunId::from_bits(2)).unwrap(), Some(ended));
    }

    #[test]
    fn pages_are_newest_first_and_leave_none_out() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        for number in [3, 1, 5, 2, 4] {
            store.insert(&run(number, &number.to_string())).unwrap();
        }
        let page = |before, limit| {
            let runs = store.runs(before, limit).unwrap();
            runs.into_iter()
                .map(|run| u64::from_str_radix(&run.run_id, 16).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(page(None, 2), [5, 4]);
        assert_eq!(page(Some(RunId::from_bits(4)), 2), [3, 2]);
        assert_eq!(page(Some(RunId::from_bits(2)), 2), [1]);
        assert!(page(Some(RunId::from_bits(1)), 2).is_empty());
    }

    #[test]
    fn only_the_runs_of_servers_that_are_gone_are_aborted() {
        let directory = tempfile::tempdir().unwrap();
        let alive = open(&directory);
        alive.insert(&run(1, "alive")).unwrap();
        {
            let gone = open(&directory);
            gone.insert(&run(2, "gone")).unwrap();
            gone.insert(&run(3, "gone, but ended")).unwrap();
            gone.finish(&end(run(3, "gone, but ended")), &[]).unwrap();
        }
        let (store, aborted) = Store::open(alive.path(), 99).unwrap();
        assert_eq!(aborted, 1);
        let state = |number| {
            store
                .run(RunId::from_bits(number))
                .unwrap()
                .unwrap()
                .state()
        };
        assert_eq!(
            [1, 2, 3].map(state),
            [RunState::Preparing, RunState::Aborted, RunState::Ended]
        );
        let found = store.run(RunId::from_bits(2)).unwrap().unwrap();
        assert_eq!(found.ended_at, Some(timestamp(99)));
        alive.finish(&end(run(1, "alive")), &[]).unwrap();
        assert_eq!(state(1), RunState::Ended);
    }
}
