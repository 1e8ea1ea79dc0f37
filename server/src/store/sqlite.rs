//! The history as one server works with it: [`Store`] inserts, finishes and finds runs.
//!
//! Calls block: the control plane makes them on threads made for that.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use metronome_proto::{
    run_id::RunId,
    v1::{self, Failure},
};
use rusqlite::{Connection, TransactionBehavior, ffi};

use super::{
    client_pages::{find_client_page, write_client_page},
    connections::Connections,
    failure::{apart, unreadable_run},
    indexed,
    list::{ListQuery, Reader as _, RunPage, list},
    owner::{Owner, Owners},
    rows::{
        RequestDigest, RunRow, abort, delete, find_by_request_id, find_owner, find_request,
        find_run, find_run_in, key, list_unfinished, newest_id, write_end, write_new,
        write_unknown,
    },
    schema::BUSY_TIMEOUT,
    series_pages::{find_series_page, write_series},
    view::{as_it_stands, server_died},
};

/// The end of a run is written again later when the file stays locked for longer.
const END_WAIT: Duration = Duration::from_secs(1);

/// A file of runs, open for reading and writing by one server.
#[derive(Debug)]
pub(crate) struct Store {
    connections: Connections,
    owners: Owners,
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
    #[error("{}", .0.sentence)]
    Database(Failure),
}

/// What became of a request to delete a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Deleted {
    Done,
    /// There is none of this id.
    Unknown,
    /// It has not ended, and belongs to this server.
    NotEnded,
    /// It has not ended, and belongs to another server that lives.
    Elsewhere,
}

impl Store {
    /// Opens the file, making it and its directory when missing, and marks as ABORTED the
    /// unfinished runs of servers that are gone. The second value counts those runs.
    pub(crate) fn open(path: &Path, now_unix_ms: u64) -> anyhow::Result<(Self, usize)> {
        let connections = Connections::open(path).map_err(at_start)?;
        let owners = Owners::beside(path);
        let owner = owners.enroll()?;
        let aborted = connections
            .write(BUSY_TIMEOUT, |writer| {
                Ok(abort_orphans(writer, &owners, now_unix_ms)?)
            })
            .map_err(at_start)?;
        owners.sweep();
        let store = Self {
            connections,
            owners,
            owner,
        };
        Ok((store, aborted))
    }

    /// Opens the file under the name of the server that this process takes over from. That
    /// server's unfinished runs are left as they are, and so is the file.
    pub(crate) fn inherit(path: &Path, owner: &str, lock: OwnedFd) -> anyhow::Result<Self> {
        let connections = Connections::open_as_they_are(path).map_err(at_start)?;
        let owners = Owners::beside(path);
        let owner = owners.inherit(owner, lock)?;
        Ok(Self {
            connections,
            owners,
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

    /// Whether this process may store what waits: the other one of an upgrade may not meanwhile.
    pub(crate) fn may_write(&self) -> bool {
        self.owner.is_last()
    }

    /// Where the file lies.
    pub(crate) fn path(&self) -> &Path {
        self.connections.path()
    }

    /// An error when it has turned out since `asked_at` that another process has locked the file.
    pub(crate) fn refuse_if_locked_since(&self, asked_at: Instant) -> Result<(), Failure> {
        self.connections.refuse_if_locked_since(asked_at)
    }

    /// The highest id of a run. `None` without runs.
    pub(crate) fn newest_id(&self) -> Result<Option<RunId>, Failure> {
        self.connections.read(newest_id)
    }

    /// Writes a run that was just made, by a request of this digest.
    pub(crate) fn insert(&self, run: &v1::Run, request: &RequestDigest) -> Result<(), InsertError> {
        let inserted = self.connections.write(BUSY_TIMEOUT, |writer| {
            let Err(error) = write_new(writer, run, request, self.owner.name()) else {
                return Ok(Ok(()));
            };
            match error.sqlite_error().map(|error| error.extended_code) {
                // The key of the table, and its one other column that is unique.
                Some(ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => Ok(Err(InsertError::IdTaken)),
                Some(ffi::SQLITE_CONSTRAINT_UNIQUE) => Ok(Err(InsertError::RequestTaken)),
                _ => Err(error.into()),
            }
        });
        inserted.map_err(InsertError::Database)?
    }

    /// Writes a run in its final state, its client rows and its series, all or nothing. It may be
    /// written again: the last one holds. Waits at most a second for another writer.
    pub(crate) fn finish(
        &self,
        run: &v1::Run,
        pages: &[v1::ClientRows],
        series: &[v1::Series],
    ) -> Result<(), Failure> {
        self.connections.write(END_WAIT, |writer| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if !write_end(&transaction, run)? {
                // The file with the row was replaced in mid-run.
                write_unknown(&transaction, run, self.owner.name())?;
                write_end(&transaction, run)?;
            }
            let id = run.run_id.parse().unwrap_or(RunId::from_bits(0));
            for page in pages {
                write_client_page(&transaction, id, page)?;
            }
            write_series(&transaction, id, series)?;
            Ok(transaction.commit()?)
        })?;
        self.connections.ensure_in_place()
    }

    /// Deletes a run that is over, and its client rows; also one that cannot be read, unless
    /// another server that lives has begun it, and one whose row is lost, owner and all. None of
    /// this server's runs that go on may be asked for: the state that a damaged row shows is none.
    pub(crate) fn delete(&self, id: RunId) -> Result<Deleted, Failure> {
        self.connections.write(BUSY_TIMEOUT, |writer| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let Some((state, owner)) = find_owner(&transaction, id)? else {
                if !indexed::forget(&transaction, key(id))? {
                    return Ok(Deleted::Unknown);
                }
                transaction.commit()?;
                return Ok(Deleted::Done);
            };
            if !state.is_final() && owner == self.owner.name() {
                if apart(find_run_in(&transaction, id))?.is_ok() {
                    return Ok(Deleted::NotEnded);
                }
            } else if !state.is_final() && !self.owners.is_gone(&owner) {
                return Ok(Deleted::Elsewhere);
            }
            delete(&transaction, id)?;
            transaction.commit()?;
            Ok(Deleted::Done)
        })
    }

    /// Deletes a run that has ended here and whose end could not be stored.
    pub(crate) fn delete_unstored(&self, id: RunId) -> Result<(), Failure> {
        let deleted = |writer: &mut Connection| Ok(delete(writer, id)?);
        self.connections.write(BUSY_TIMEOUT, deleted).map(drop)
    }

    /// The run made with this request_id, with its report.
    pub(crate) fn by_request_id(&self, request_id: &str) -> Result<Option<v1::Run>, Failure> {
        self.connections
            .read(|rows| self.whole(rows, find_by_request_id(rows, request_id)?))
    }

    /// The run made with this request_id, with its report, and the digest of the request: `None`
    /// when the file that had it was replaced in mid-run.
    pub(crate) fn by_request(
        &self,
        request_id: &str,
    ) -> Result<Option<(v1::Run, Option<RequestDigest>)>, Failure> {
        self.connections.read(|rows| {
            let Some(found) = find_by_request_id(rows, request_id)? else {
                return Ok(None);
            };
            let digest = find_request(rows, found.id)?;
            let run = self.whole(rows, Some(found))?;
            Ok(run.map(|run| (run, digest)))
        })
    }

    /// One run, with its report.
    pub(crate) fn run(&self, id: RunId) -> Result<Option<v1::Run>, Failure> {
        let found = self
            .connections
            .read(|rows| apart(find_run(rows, id).and_then(|found| self.whole(rows, found))))?;
        found.map_err(|error| unreadable_run(self.path(), id, error))
    }

    /// One page of runs. `newest` has those whose state in memory is newer than the stored one.
    pub(crate) fn runs(
        &self,
        newest: impl Fn(RunId) -> Option<v1::Run>,
        query: &ListQuery,
    ) -> Result<RunPage, Failure> {
        list(&self.connections, &self.owners, newest, query)
    }

    /// The client rows of one run from `first_client` on, at most 1000 of them. `None` when there
    /// are no more.
    pub(crate) fn client_page(
        &self,
        id: RunId,
        first_client: u32,
    ) -> Result<Option<v1::ClientRows>, Failure> {
        let found = self
            .connections
            .read(|rows| apart(find_client_page(rows, id, first_client)))?;
        found.map_err(|error| unreadable_run(self.path(), id, error))
    }

    /// One page of the series of a run, counted from 0. `None` when there are no more.
    pub(crate) fn series_page(&self, id: RunId, page: u32) -> Result<Option<v1::Series>, Failure> {
        let found = self
            .connections
            .read(|rows| apart(find_series_page(rows, id, page)))?;
        found.map_err(|error| unreadable_run(self.path(), id, error))
    }

    fn whole(
        &self,
        connection: &Connection,
        found: Option<RunRow>,
    ) -> rusqlite::Result<Option<v1::Run>> {
        let stands = |run, owner: &str| as_it_stands(run, owner, &self.owners);
        let whole = found.map(|row| row.with_report(connection, stands));
        Ok(whole.transpose()?.flatten())
    }
}

/// A failure as the server ends with it: the sentence, and the way out.
fn at_start(failure: Failure) -> anyhow::Error {
    anyhow::anyhow!("{}; {}", failure.sentence, failure.remedy)
}

/// Marks every unfinished run whose server is gone.
fn abort_orphans(
    connection: &mut Connection,
    owners: &Owners,
    now_unix_ms: u64,
) -> rusqlite::Result<usize> {
    // Immediate: two servers that start at once must not both mark the same runs.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut aborted = 0;
    for RunRow { mut run, owner, .. } in list_unfinished(&transaction)? {
        if owners.is_gone(&owner) {
            abort(&mut run, Some(now_unix_ms), server_died());
            write_end(&transaction, &run)?;
            aborted += 1;
        }
    }
    transaction.commit()?;
    Ok(aborted)
}

#[cfg(test)]
mod tests {
    use metronome_proto::{
        filter::Order,
        v1::{FailureCode, OutcomeStatus, RunState, VerdictStatus},
    };
    use prost::Message as _;

    use super::*;
    use crate::{store::without_records, wall_clock::timestamp};

    fn run(number: u64, request_id: &str) -> v1::Run {
        v1::Run {
            run_id: RunId::from_bits(number).to_string(),
            request_id: request_id.into(),
            state: RunState::Preparing.into(),
            created_at: Some(timestamp(number)),
            ..v1::Run::default()
        }
    }

    const REQUEST: RequestDigest = [7; 32];

    fn end(mut run: v1::Run) -> v1::Run {
        run.set_state(RunState::Ended);
        run.ended_at = Some(timestamp(1_234));
        let times = Some(v1::Times {
            lateness: Some(v1::Distribution {
                count: 1,
                hdr_v2_deflated: vec![1, 2, 3],
                ..v1::Distribution::default()
            }),
            ..v1::Times::default()
        });
        run.report = Some(v1::Report {
            times: times.clone(),
            groups: vec![v1::GroupReport {
                times,
                ..v1::GroupReport::default()
            }],
            verdict: Some(v1::Verdict {
                status: VerdictStatus::Valid.into(),
                ..v1::Verdict::default()
            }),
            outcome: Some(v1::Outcome {
                status: OutcomeStatus::NotJudged.into(),
                ..v1::Outcome::default()
            }),
            ..v1::Report::default()
        });
        run
    }

    fn page(clients: std::ops::Range<u32>) -> v1::ClientRows {
        let client = |client| v1::ClientReport {
            client,
            ..v1::ClientReport::default()
        };
        v1::ClientRows {
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
            store.insert(&run(7, "a"), &REQUEST).unwrap();
            assert_eq!(store.run(RunId::from_bits(7)).unwrap(), Some(run(7, "a")));
            store.finish(&ended, &pages, &[]).unwrap();
        }
        let store = open(&directory);
        assert_eq!(store.run(RunId::from_bits(7)).unwrap(), Some(ended.clone()));
        assert_eq!(store.by_request_id("a").unwrap(), Some(ended.clone()));
        assert_eq!(store.by_request("a").unwrap(), Some((ended, Some(REQUEST))));
        let page_from = |first| store.client_page(RunId::from_bits(7), first).unwrap();
        assert_eq!(page_from(0).as_ref(), Some(&pages[0]));
        assert_eq!(page_from(3).as_ref(), Some(&pages[1]));
        assert_eq!(page_from(2), Some(page(2..3)), "in the middle of a page");
        assert_eq!(page_from(5), None);
        assert_eq!(store.run(RunId::from_bits(8)).unwrap(), None);
        assert_eq!(store.by_request_id("b").unwrap(), None);
    }

    #[test]
    fn a_series_outlives_the_store_and_a_part_that_is_lost_or_changed_is_an_error() {
        let page = |from_ns| v1::Series {
            points: vec![v1::SeriesPoint {
                from_ns,
                ..v1::SeriesPoint::default()
            }],
            ..v1::Series::default()
        };
        let series = [page(0), page(1), page(2)];
        let id = RunId::from_bits(7);
        for (change, expected) in [
            ("DELETE FROM series_page WHERE page = 9", Ok(3)),
            ("DELETE FROM series_page WHERE page = 0", Err(())),
            ("DELETE FROM series_page WHERE page = 1", Err(())),
            ("DELETE FROM series_page WHERE page = 2", Err(())),
            ("UPDATE series_page SET page = 5 WHERE page = 2", Err(())),
            (
                "UPDATE series_page SET series = x'00' WHERE page = 1",
                Err(()),
            ),
            ("UPDATE series_page SET pages = 2", Err(())),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let store = open(&directory);
            store.insert(&run(7, "a"), &REQUEST).unwrap();
            assert_eq!(store.series_page(id, 0).unwrap(), None, "it has not ended");
            store.finish(&end(run(7, "a")), &[], &series[..1]).unwrap();
            store.finish(&end(run(7, "a")), &[], &series).unwrap();
            let writer = Connection::open(store.path()).unwrap();
            writer.execute_batch(change).unwrap();
            let read = || {
                let mut pages = 0;
                while let Some(page) = store.series_page(id, pages)? {
                    assert_eq!(page, series[pages as usize]);
                    pages += 1;
                }
                Ok::<u32, Failure>(pages)
            };
            assert_eq!(read().map_err(drop), expected, "{change}");
            assert_eq!(store.delete(id).unwrap(), Deleted::Done);
            assert_eq!(store.series_page(id, 0).unwrap(), None, "{change}");
        }
    }

    #[test]
    fn clients_that_are_lost_are_not_taken_for_none() {
        for change in [
            "DELETE FROM client_page",
            "DELETE FROM client_page WHERE last_client = 2",
            "DELETE FROM client_page WHERE last_client = 4",
            "UPDATE client_page SET last_client = 7 WHERE last_client = 4",
            "UPDATE client_page SET run_id = 8 WHERE last_client = 2",
            "DROP TABLE client_page",
        ] {
            let directory = tempfile::tempdir().unwrap();
            let store = open(&directory);
            let groups = [2, 3].map(|clients| v1::Group {
                clients,
                ..v1::Group::default()
            });
            let planned = |run: v1::Run| v1::Run {
                plan: Some(v1::Plan {
                    groups: groups.to_vec(),
                    ..v1::Plan::default()
                }),
                ..run
            };
            let id = RunId::from_bits(7);
            store.insert(&planned(run(7, "a")), &REQUEST).unwrap();
            assert_eq!(store.client_page(id, 0).unwrap(), None, "it has not ended");
            let pages = [page(0..3), page(3..5)];
            store
                .finish(&planned(end(run(7, "a"))), &pages, &[])
                .unwrap();
            let read = || {
                let mut from = 0;
                while let Some(page) = store.client_page(id, from)? {
                    from = page.clients.last().map_or(0, |last| last.client + 1);
                }
                Ok::<u32, Failure>(from)
            };
            assert_eq!(read(), Ok(5));
            let writer = Connection::open(store.path()).unwrap();
            writer
                .execute_batch(&format!("PRAGMA foreign_keys = OFF; {change}"))
                .unwrap();
            let failure = read().unwrap_err();
            assert_eq!(failure.code(), FailureCode::HistoryDamaged, "{change}");
            assert_eq!(failure.figures["run_id"], id.to_string().into(), "{change}");
            assert!(store.run(id).unwrap().is_some(), "the rest is shown");
        }
    }

    #[test]
    fn a_taken_id_and_a_taken_request_are_distinguished() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        store.insert(&run(7, "a"), &REQUEST).unwrap();
        assert!(matches!(
            store.insert(&run(7, "b"), &REQUEST),
            Err(InsertError::IdTaken)
        ));
        assert!(matches!(
            store.insert(&run(8, "a"), &REQUEST),
            Err(InsertError::RequestTaken)
        ));
    }

    /// The numbers of the runs of all pages of `limit` runs, page by page.
    fn pages(store: &Store, filter: &str, order: Order, limit: usize) -> Vec<Vec<u64>> {
        let mut query = ListQuery {
            filter: filter.parse().unwrap(),
            order,
            limit,
            ..ListQuery::default()
        };
        let mut pages = Vec::new();
        loop {
            let page = store.runs(|_| None, &query).unwrap();
            let number = |run: &v1::Run| u64::from_str_radix(&run.run_id, 16).unwrap();
            pages.push(page.runs.iter().map(number).collect());
            query.after = page.next;
            if page.next.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn pages_are_in_order_leave_none_out_and_show_whether_there_is_a_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        let newest = Order::NewestFirst;
        assert_eq!(pages(&store, "", newest, 2), [[0; 0]]);
        for number in [3, 1, 5, 2, 4] {
            store
                .insert(&run(number, &number.to_string()), &REQUEST)
                .unwrap();
        }
        assert_eq!(
            pages(&store, "", newest, 2),
            [vec![5, 4], vec![3, 2], vec![1]]
        );
        assert_eq!(pages(&store, "", newest, 5), [[5, 4, 3, 2, 1]]);
        assert_eq!(
            pages(&store, "", Order::OldestFirst, 3),
            [vec![1, 2, 3], vec![4, 5]]
        );
        store.finish(&end(run(2, "2")), &[], &[]).unwrap();
        store.finish(&end(run(5, "5")), &[], &[]).unwrap();
        assert_eq!(pages(&store, "state = ENDED", newest, 2), [[5, 2]]);
        assert_eq!(pages(&store, "verdict = VALID", newest, 1), [[5], [2]]);
        assert_eq!(pages(&store, "outcome = not_judged", newest, 2), [[5, 2]]);
        assert_eq!(pages(&store, "outcome = HELD", newest, 2), [[0; 0]]);
        assert_eq!(pages(&store, "state != ENDED", newest, 3), [[4, 3, 1]]);
    }

    #[test]
    fn a_long_history_is_read_in_steps_and_what_matches_is_found_wherever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        let written = store.connections.write(BUSY_TIMEOUT, |connection| {
            connection.execute_batch("BEGIN")?;
            for number in 1..=1_000 {
                let run = run(number, &number.to_string());
                write_new(connection, &run, &REQUEST, store.owner.name())?;
            }
            Ok(connection.execute_batch("COMMIT")?)
        });
        written.unwrap();
        for number in [1, 500, 1_000] {
            store
                .finish(&end(run(number, &number.to_string())), &[], &[])
                .unwrap();
        }
        let ended = |order| pages(&store, "state = ENDED", order, 2);
        assert_eq!(ended(Order::NewestFirst), [vec![1_000, 500], vec![1]]);
        assert_eq!(ended(Order::OldestFirst), [vec![1, 500], vec![1_000]]);
        assert_eq!(
            pages(&store, "", Order::NewestFirst, 128).concat().len(),
            1_000
        );
    }

    #[test]
    fn a_page_of_large_runs_fits_a_message_and_has_one_at_least() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        for number in 1..=20 {
            let request_id = format!("{number}{}", "x".repeat(100_000));
            store.insert(&run(number, &request_id), &REQUEST).unwrap();
        }
        let query = ListQuery {
            limit: 50,
            ..ListQuery::default()
        };
        let first = store.runs(|_| None, &query).unwrap();
        let bytes: usize = first.runs.iter().map(v1::Run::encoded_len).sum();
        assert!(first.runs.len() == 7 && bytes < metronome_proto::MESSAGE_BYTES_MAX);
        assert_eq!(pages(&store, "", Order::NewestFirst, 50).concat().len(), 20);
        store
            .insert(&run(21, &"x".repeat(1 << 20)), &REQUEST)
            .unwrap();
        assert_eq!(store.runs(|_| None, &query).unwrap().runs.len(), 1);
    }

    #[test]
    fn a_newer_state_in_memory_is_what_is_matched_and_shown() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        store.insert(&run(1, "1"), &REQUEST).unwrap();
        let newer = end(run(1, "1"));
        let listed = |filter: &str, full| {
            let query = ListQuery {
                filter: filter.parse().unwrap(),
                limit: 9,
                full,
                ..ListQuery::default()
            };
            store.runs(|_| Some(newer.clone()), &query).unwrap().runs
        };
        assert_eq!(
            listed("verdict = VALID", true),
            std::slice::from_ref(&newer)
        );
        let basic = without_records(newer.clone());
        assert_ne!(basic, newer);
        assert_eq!(listed("verdict = VALID", false), [basic]);
        assert_eq!(listed("state = PREPARING", true), []);
    }

    #[test]
    fn a_run_is_deleted_once_it_is_over_and_nothing_of_it_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        let [own, ended, others] = [1, 2, 3].map(RunId::from_bits);
        store.insert(&run(1, "1"), &REQUEST).unwrap();
        store.insert(&run(2, "2"), &REQUEST).unwrap();
        store.finish(&end(run(2, "2")), &[page(0..3)], &[]).unwrap();
        let other = open(&directory);
        other.insert(&run(3, "3"), &REQUEST).unwrap();
        assert_eq!(store.delete(own).unwrap(), Deleted::NotEnded);
        assert_eq!(store.delete(others).unwrap(), Deleted::Elsewhere);
        drop(other);
        assert_eq!(store.delete(others).unwrap(), Deleted::Done);
        assert_eq!(store.delete(ended).unwrap(), Deleted::Done);
        assert_eq!(store.delete(ended).unwrap(), Deleted::Unknown);
        assert_eq!(
            store.by_request("2").unwrap(),
            None,
            "the request_id is free"
        );
        assert_eq!(store.client_page(ended, 0).unwrap(), None);
        assert_eq!(pages(&store, "", Order::NewestFirst, 9), [[1]]);
        store.delete_unstored(own).unwrap();
        assert_eq!(store.run(own).unwrap(), None);
    }

    fn change(store: &Store, statement: &str) {
        let changed = store.connections.write(BUSY_TIMEOUT, |connection| {
            assert_eq!(connection.execute(statement, [])?, 1);
            Ok(())
        });
        changed.unwrap();
    }

    #[test]
    fn a_damaged_row_is_deleted_whatever_its_state_unless_another_server_lives() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        let other = open(&directory);
        for number in 1..=4 {
            store
                .insert(&run(number, &number.to_string()), &REQUEST)
                .unwrap();
        }
        other.insert(&run(5, "5"), &REQUEST).unwrap();
        store.finish(&end(run(1, "1")), &[page(0..3)], &[]).unwrap();
        // A final state that has become another one, an owner that no server can have, and bytes.
        change(&store, "UPDATE run SET state = 2 WHERE run_id = 1");
        change(
            &store,
            "UPDATE run SET owner = 'a' || char(0) WHERE run_id = 2",
        );
        change(&store, "UPDATE run SET run = x'00' WHERE run_id = 3");
        change(&store, "UPDATE run SET run = x'00' WHERE run_id = 5");
        let delete = |number| store.delete(RunId::from_bits(number)).unwrap();
        assert_eq!([1, 2, 3].map(delete), [Deleted::Done; 3]);
        assert_eq!(delete(4), Deleted::NotEnded);
        assert_eq!(delete(5), Deleted::Elsewhere);
        drop(other);
        assert_eq!(delete(5), Deleted::Done);
        assert_eq!(pages(&store, "", Order::NewestFirst, 9), [[4]]);
    }

    #[test]
    fn a_start_goes_on_without_a_damaged_row_and_not_without_a_damaged_page() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        for number in 1..=40 {
            let request_id = format!("{number}{}", "x".repeat(1_000));
            store.insert(&run(number, &request_id), &REQUEST).unwrap();
        }
        change(&store, "UPDATE run SET run = x'00' WHERE run_id = 7");
        let path = store.path().to_owned();
        drop(store);
        let whole = std::fs::read(&path).unwrap();
        let (store, aborted) = Store::open(&path, 99).unwrap();
        assert_eq!(aborted, 39);
        drop(store);
        let (mut starts, mut named) = (0, 0);
        const PAGE: usize = 4096;
        for page in 1..whole.len() / PAGE {
            let mut damaged = whole.clone();
            // The type of the page.
            damaged[page * PAGE] = 0xff;
            std::fs::write(&path, damaged).unwrap();
            match Store::open(&path, 99) {
                // It is none of the pages with runs.
                Ok((_, aborted)) => {
                    assert_eq!(aborted, 39, "page {page}");
                    starts += 1;
                }
                Err(error) => {
                    let shown = format!("{error:#}");
                    assert!(shown.contains("is damaged"), "{shown}");
                    named += 1;
                }
            }
        }
        assert!(named > 0, "{starts}");
    }

    #[test]
    fn an_end_may_be_written_twice() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        store.insert(&run(7, "a"), &REQUEST).unwrap();
        let ended = end(run(7, "a"));
        for _ in 0..2 {
            store.finish(&ended, &[page(0..3)], &[]).unwrap();
        }
        assert_eq!(store.run(RunId::from_bits(7)).unwrap(), Some(ended));
        assert_eq!(
            store.client_page(RunId::from_bits(7), 0).unwrap(),
            Some(page(0..3))
        );
    }

    #[test]
    fn the_end_of_a_run_goes_into_the_file_that_has_the_name_now() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        store.insert(&run(7, "a"), &REQUEST).unwrap();
        let folder = store.path().parent().unwrap().to_owned();
        for name in ["runs.sqlite", "runs.sqlite-wal", "runs.sqlite-shm"] {
            std::fs::rename(folder.join(name), folder.join(format!("old-{name}"))).unwrap();
        }
        let ended = end(run(7, "a"));
        store.finish(&ended, &[page(0..3)], &[]).unwrap();
        drop(store);
        let store = open(&directory);
        assert_eq!(store.run(RunId::from_bits(7)).unwrap(), Some(ended.clone()));
        assert_eq!(
            store.by_request("a").unwrap(),
            Some((ended, None)),
            "which request it was is not known any more"
        );
        store.insert(&run(8, "b"), &REQUEST).unwrap();
    }

    #[test]
    fn a_file_that_is_locked_for_writing_is_read_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        store.insert(&run(7, "a"), &REQUEST).unwrap();
        let blocker = Connection::open(store.path()).unwrap();
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let ended = end(run(7, "a"));
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| store.finish(&ended, &[], &[]));
            while !writing.is_finished() {
                assert_eq!(store.run(RunId::from_bits(7)).unwrap(), Some(run(7, "a")));
            }
            writing.join().unwrap().unwrap_err();
        });
        blocker.execute_batch("ROLLBACK").unwrap();
        store.finish(&ended, &[], &[]).unwrap();
        assert_eq!(store.run(RunId::from_bits(7)).unwrap(), Some(ended));
    }

    #[test]
    fn only_the_runs_of_servers_that_are_gone_are_aborted() {
        let directory = tempfile::tempdir().unwrap();
        let alive = open(&directory);
        alive.insert(&run(1, "alive"), &REQUEST).unwrap();
        {
            let gone = open(&directory);
            gone.insert(&run(2, "gone"), &REQUEST).unwrap();
            gone.insert(&run(3, "gone, but ended"), &REQUEST).unwrap();
            gone.finish(&end(run(3, "gone, but ended")), &[], &[])
                .unwrap();
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
        assert_eq!(found.failure.unwrap().code(), FailureCode::ServerDied);
        alive.finish(&end(run(1, "alive")), &[], &[]).unwrap();
        assert_eq!(state(1), RunState::Ended);
    }
}
