//! The history for reading only: for `benchctl runs` and `show` when no server is up.

use std::path::PathBuf;

use metronome_proto::{
    run_id::RunId,
    v1::{self, Failure, FailureCode},
};
use rusqlite::Connection;

use super::{
    client_pages::find_client_page,
    failure::{Use, failure, unreadable_run},
    list::{ListQuery, Reader, RunPage, list},
    owner::Owners,
    rows::{RunRow, find_by_request_id, find_run},
    schema::{self, ReadOnly},
    series_pages::find_series_page,
    view::as_it_stands,
};
use crate::config;

/// The stored runs, read-only. Servers may write them at the same time.
///
/// Each failure names the file: HISTORY_LOCKED when another process has locked it for more than 5
/// s, HISTORY_DAMAGED, or HISTORY_FAILED.
#[derive(Debug)]
pub struct History {
    file: ReadOnly,
    owners: Owners,
}

impl Reader for ReadOnly {
    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.read_unchanged(query)?
            .map_err(|error| self.failure(error))
    }

    fn failure(&self, error: rusqlite::Error) -> Failure {
        failure(self.path(), Use::Read, &error.into())
    }
}

impl History {
    /// Opens the history at `database`, or where a server keeps it by default.
    ///
    /// `None` when no server has made one yet.
    ///
    /// # Errors
    /// HISTORY_LOCKED, HISTORY_DAMAGED or HISTORY_FAILED, as for every method here.
    pub fn open(database: Option<PathBuf>) -> Result<Option<Self>, Failure> {
        let path = config::database_path(database).ok_or_else(nowhere)?;
        let file = schema::open_to_read(&path)?;
        Ok(file.map(|file| Self {
            owners: Owners::beside(&path),
            file,
        }))
    }

    /// One page of runs.
    ///
    /// A run whose server is gone is ABORTED, also when no server has been started since.
    ///
    /// # Errors
    /// Those of [`History::open`].
    pub fn runs(&self, query: &ListQuery) -> Result<RunPage, Failure> {
        list(&self.file, &self.owners, |_| None, query)
    }

    /// One run with its report. `None` when there is none of this id.
    ///
    /// # Errors
    /// Those of [`History::open`]; HISTORY_DAMAGED where this run alone cannot be read.
    pub fn run(&self, id: RunId) -> Result<Option<v1::Run>, Failure> {
        let found = self
            .file
            .read_unchanged(|rows| find_run(rows, id).and_then(|found| self.whole(rows, found)))?;
        found.map_err(|error| unreadable_run(self.file.path(), id, error))
    }

    /// The run that was made with this request_id, with its report. `None` when there is none.
    ///
    /// # Errors
    /// Those of [`History::open`].
    pub fn by_request_id(&self, request_id: &str) -> Result<Option<v1::Run>, Failure> {
        self.file
            .read(|rows| self.whole(rows, find_by_request_id(rows, request_id)?))
    }

    /// The client rows of a run, by rising index. Empty for an unknown run or one without a report.
    ///
    /// # Errors
    /// Those of [`History::open`].
    pub fn clients(&self, id: RunId) -> Result<Vec<v1::ClientReport>, Failure> {
        let mut clients: Vec<v1::ClientReport> = Vec::new();
        loop {
            let first = clients
                .last()
                .map_or(0, |last| last.client.saturating_add(1));
            let page = self
                .file
                .read_unchanged(|rows| find_client_page(rows, id, first))?
                .map_err(|error| unreadable_run(self.file.path(), id, error))?;
            match page {
                Some(page) => clients.extend(page.clients),
                None => return Ok(clients),
            }
        }
    }

    /// The series of a run. Empty for an unknown run, and for one without a report.
    ///
    /// # Errors
    /// Those of [`History::open`].
    pub fn series(&self, id: RunId) -> Result<v1::Series, Failure> {
        let mut series = v1::Series::default();
        for page in 0.. {
            let found = self
                .file
                .read_unchanged(|rows| find_series_page(rows, id, page))?
                .map_err(|error| unreadable_run(self.file.path(), id, error))?;
            let Some(found) = found else {
                break;
            };
            series.append(found);
        }
        Ok(series)
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

/// There is no file to look for.
fn nowhere() -> Failure {
    let sentence = "neither XDG_STATE_HOME nor HOME names a folder for the history";
    Failure {
        remedy: "name its file with METRONOME_DATABASE".into(),
        ..Failure::new(FailureCode::HistoryFailed, sentence)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use metronome_proto::{
        filter::Order,
        v1::{FailureCode, RunState},
    };

    use super::{
        super::sqlite::{Deleted, Store},
        *,
    };
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

    /// A history of three ended runs, without its server.
    fn of_three(directory: &tempfile::TempDir) -> PathBuf {
        let path = directory.path().join("runs.sqlite");
        let (store, _) = Store::open(&path, 0).unwrap();
        for number in 1..=3 {
            let run = v1::Run {
                run_id: RunId::from_bits(number).to_string(),
                request_id: format!("r{number}"),
                created_at: Some(timestamp(number)),
                state: RunState::Ended.into(),
                report: Some(v1::Report::default()),
                ..v1::Run::default()
            };
            store.insert(&run, &[0; 32]).unwrap();
            store.finish(&run, &[], &[]).unwrap();
        }
        path
    }

    fn all() -> ListQuery {
        ListQuery {
            limit: 10,
            ..ListQuery::default()
        }
    }

    #[test]
    fn a_list_goes_on_without_a_row_that_is_damaged_in_any_column() {
        for change in [
            "run = x'0a0164'",
            "run = x''",
            "report = x'00'",
            "report = NULL",
            "report_digest = NULL",
            "state = 10",
            "verdict = 1",
            "owner = 'another'",
            "owner = CAST(x'ff' AS TEXT)",
            "request_id = 'other'",
            "digest = x'00'",
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = of_three(&directory);
            let change = format!("UPDATE run SET {change} WHERE run_id = 3");
            let writer = Connection::open(&path).unwrap();
            writer.execute_batch(&change).unwrap();
            drop(writer);
            let history = History::open(Some(path.clone())).unwrap().unwrap();
            let page = history.runs(&all()).unwrap();
            let ids: Vec<_> = page.runs.iter().map(|run| run.run_id.as_str()).collect();
            assert_eq!(ids, ["0000000000000002", "0000000000000001"], "{change}");
            assert_eq!(page.unreadable, [RunId::from_bits(3)], "{change}");
            let failure = history.run(RunId::from_bits(3)).unwrap_err();
            assert_eq!(failure.code(), FailureCode::HistoryDamaged);
            let shown = path.display().to_string();
            assert!(failure.sentence.contains(&shown), "{failure:?}");
            assert_eq!(failure.figures["run_id"], "0000000000000003".into());
            // A server starts on it, and can remove that row.
            let (store, _) = Store::open(&path, 0).unwrap();
            let deleted = store.delete(RunId::from_bits(3)).unwrap();
            assert_eq!(deleted, Deleted::Done, "{change}");
            assert!(history.runs(&all()).unwrap().unreadable.is_empty());
        }
    }

    #[test]
    fn a_file_that_another_process_has_locked_is_reported_as_locked_by_all_that_open_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = of_three(&directory);
        let holder = Connection::open(&path).unwrap();
        let exclusive = "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT";
        holder.execute_batch(exclusive).unwrap();
        let failure = History::open(Some(path.clone())).unwrap_err();
        assert_eq!(failure.code(), FailureCode::HistoryLocked);
        let refused = Store::open(&path, 0).map(drop).unwrap_err().to_string();
        for sentence in [failure.sentence, refused] {
            let locked = format!(
                "the history {} is locked by another process",
                path.display()
            );
            assert!(sentence.starts_with(&locked), "{sentence}");
        }
    }

    #[test]
    fn a_prefix_is_looked_up_in_all_runs() {
        let directory = tempfile::tempdir().unwrap();
        let history = History::open(Some(of_three(&directory))).unwrap().unwrap();
        for (prefix, found) in [
            ("0", 3),
            ("0000000000000002", 1),
            ("00000000000000020", 0),
            ("f", 0),
        ] {
            let Ok(filter) = format!("run_id = {prefix}").parse() else {
                assert_eq!(prefix.len(), 17);
                continue;
            };
            let query = ListQuery { filter, ..all() };
            assert_eq!(history.runs(&query).unwrap().runs.len(), found, "{prefix}");
        }
    }

    /// A history of many runs with a page of its rows' tree overwritten by another of its leaves.
    fn with_a_leaf_overwritten(path: &Path, lost: usize, by: usize) {
        let pages: Vec<u64> = {
            let (store, _) = Store::open(path, 0).unwrap();
            for number in 1..=MANY {
                let run = v1::Run {
                    run_id: RunId::from_bits(number).to_string(),
                    request_id: format!("r{number}"),
                    created_at: Some(timestamp(number)),
                    state: RunState::Ended.into(),
                    labels: [("k".into(), "v".repeat(900))].into(),
                    ..v1::Run::default()
                };
                store.insert(&run, &[0; 32]).unwrap();
            }
            drop(store);
            let connection = Connection::open(path).unwrap();
            let leaf = |id: u64| {
                // Where the bytes of a row lie shows its page.
                let label: Vec<u8> = connection
                    .query_row(
                        "SELECT run FROM run WHERE run_id = ?1",
                        [id as i64],
                        |row| row.get(0),
                    )
                    .unwrap();
                let bytes = std::fs::read(path).unwrap();
                let at = bytes
                    .windows(label.len())
                    .position(|window| window == label);
                at.unwrap() as u64 / 4096
            };
            (1..=MANY).map(leaf).collect()
        };
        let mut leaves = pages;
        leaves.dedup();
        let (lost, by) = (leaves[lost % leaves.len()], leaves[by % leaves.len()]);
        let mut bytes = std::fs::read(path).unwrap();
        let page = |number: u64| number as usize * 4096..(number as usize + 1) * 4096;
        bytes.copy_within(page(by), page(lost).start);
        std::fs::write(path, bytes).unwrap();
    }

    const MANY: u64 = 24;

    #[test]
    fn a_break_in_the_tree_hides_no_run_and_none_is_silently_missing() {
        let mut deleted = 0;
        for (lost, by) in [(0, 1), (2, 5), (3, 2), (usize::MAX, 0), (5, 0), (0, 5)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("runs.sqlite");
            let lost = if lost == usize::MAX { 5 } else { lost };
            with_a_leaf_overwritten(&path, lost, by);
            let history = History::open(Some(path.clone())).unwrap().unwrap();
            for order in [Order::NewestFirst, Order::OldestFirst] {
                for limit in [1, 100] {
                    let query = ListQuery {
                        order,
                        limit,
                        ..ListQuery::default()
                    };
                    let page = history.runs(&query).unwrap();
                    let ids = page.runs.iter().map(|run| run.run_id.parse().unwrap());
                    let mut ids: Vec<RunId> = ids.chain(page.unreadable.iter().copied()).collect();
                    ids.sort();
                    let all = (1..=MANY).map(RunId::from_bits);
                    if limit > 1 {
                        assert!(!page.unreadable.is_empty() && !page.runs.is_empty());
                        assert!(ids.into_iter().eq(all), "{lost} {by} {order}");
                    } else if order == Order::NewestFirst {
                        // None is skipped without a word.
                        let newest = (1..=MANY).rev().take(ids.len()).map(RunId::from_bits);
                        assert!(ids.into_iter().rev().eq(newest), "{lost} {by}");
                    }
                }
            }
            let page = history.runs(&ListQuery {
                limit: 100,
                ..ListQuery::default()
            });
            for id in page.unwrap().unreadable {
                let filter = format!("run_id = {id}").parse().unwrap();
                let named = history.runs(&ListQuery {
                    filter,
                    limit: 2,
                    ..ListQuery::default()
                });
                assert_eq!(named.unwrap().unreadable, [id]);
                let failure = history.run(id).unwrap_err();
                assert_eq!(failure.code(), FailureCode::HistoryDamaged);
            }
            deleted += usize::from(each_lost_run_is_deleted_and_hides_no_other(&path, &history));
        }
        assert!(deleted >= 5, "{deleted}");
    }

    /// False where no server starts on the file.
    fn each_lost_run_is_deleted_and_hides_no_other(path: &Path, history: &History) -> bool {
        let list = || {
            let query = ListQuery {
                limit: 100,
                ..ListQuery::default()
            };
            history.runs(&query).unwrap()
        };
        // A server does not start where it cannot read which runs are unfinished.
        let Ok((store, _)) = Store::open(path, 0) else {
            return false;
        };
        let schema = || -> Vec<String> {
            let connection = Connection::open(path).unwrap();
            let mut rows = connection
                .prepare("SELECT name || rootpage FROM sqlite_schema")
                .unwrap();
            let names = rows.query_map([], |row| row.get(0)).unwrap();
            names.map(Result::unwrap).collect()
        };
        let (mut before, schema_before) = (list(), schema());
        while let Some(id) = before.unreadable.pop() {
            assert_eq!(store.delete(id), Ok(Deleted::Done), "{id}");
            assert!(list() == before, "{id}");
            assert_eq!(store.delete(id).unwrap(), Deleted::Unknown);
            // Nothing of it is left in the way of a new run.
            let request_id = format!("r{}", id.bits());
            assert_eq!(store.by_request_id(&request_id).unwrap(), None);
            let connection = Connection::open(path).unwrap();
            let entries: i64 = connection
                .query_row(
                    "SELECT count(*) FROM run INDEXED BY sqlite_autoindex_run_1
                     WHERE request_id = ?1",
                    [request_id],
                    |row| row.get(0),
                )
                .unwrap();
            assert_eq!(entries, 0, "{id}");
            assert_eq!(schema(), schema_before);
        }
        true
    }

    #[test]
    fn a_list_without_its_index_does_not_pass_for_a_whole_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runs.sqlite");
        with_a_leaf_overwritten(&path, 2, 2);
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("DROP INDEX run_state").unwrap();
        // The row is missing without an error, and nothing shows any more that it is.
        connection
            .execute_batch("DELETE FROM run WHERE run_id = 9")
            .unwrap();
        let history = History::open(Some(path)).unwrap().unwrap();
        let query = |limit| ListQuery {
            limit,
            ..ListQuery::default()
        };
        let failure = history.runs(&query(100)).map(drop).unwrap_err();
        assert_eq!(failure.code(), FailureCode::HistoryDamaged);
        assert_eq!(
            history.runs(&query(3)).unwrap().runs.len(),
            3,
            "those are there"
        );
    }

    #[test]
    fn the_highest_and_the_lowest_key_are_listed() {
        let directory = tempfile::tempdir().unwrap();
        let path = of_three(&directory);
        let ids = [i64::MAX.cast_unsigned(), i64::MIN.cast_unsigned()].map(RunId::from_bits);
        let (store, _) = Store::open(&path, 0).unwrap();
        for id in ids {
            let run = v1::Run {
                run_id: id.to_string(),
                request_id: id.to_string(),
                created_at: Some(timestamp(9)),
                state: RunState::Ended.into(),
                ..v1::Run::default()
            };
            store.insert(&run, &[0; 32]).unwrap();
        }
        drop(store);
        let history = History::open(Some(path)).unwrap().unwrap();
        for order in [Order::NewestFirst, Order::OldestFirst] {
            let page = history.runs(&ListQuery { order, ..all() }).unwrap();
            assert_eq!(page.runs.len(), 5, "{order}");
            let ends = [page.runs.first(), page.runs.last()].map(|run| run.unwrap().run_id.clone());
            let mut expected = ids.map(|id| id.to_string());
            if order == Order::OldestFirst {
                expected.reverse();
            }
            assert_eq!(ends, expected);
            let after = page.runs.last().unwrap().run_id.parse().ok();
            let behind = history
                .runs(&ListQuery {
                    order,
                    after,
                    ..all()
                })
                .unwrap();
            assert_eq!(behind, RunPage::default());
        }
    }
}
