//! The ids of runs as an index has them.
//!
//! The rows lie in another tree of the file. Where a page of that tree is damaged, rows are missing
//! without an error, and the index still has their ids: it shows that they are lost, and leads to
//! those behind the break.

use std::{collections::BTreeSet, ops::RangeInclusive};

use metronome_proto::{filter::Order, v1::RunState};
use rusqlite::{Connection, params};

use super::failure::not_as_written;

/// The states by which the index is read. A row with another one is damaged, and the list of rows
/// has it.
const STATES: [RunState; 8] = [
    RunState::Unspecified,
    RunState::Preparing,
    RunState::Starting,
    RunState::Running,
    RunState::Draining,
    RunState::Ended,
    RunState::Failed,
    RunState::Aborted,
];

/// The first `limit` ids in this range, or fewer when there are no more.
pub(super) fn first_ids(
    connection: &Connection,
    range: RangeInclusive<i64>,
    order: Order,
    limit: usize,
) -> rusqlite::Result<BTreeSet<i64>> {
    let direction = match order {
        Order::NewestFirst => "DESC",
        Order::OldestFirst => "ASC",
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT run_id FROM run INDEXED BY run_state
         WHERE state = ?1 AND run_id BETWEEN ?2 AND ?3 ORDER BY run_id {direction} LIMIT ?4"
    ))?;
    let mut ids = BTreeSet::new();
    for state in STATES {
        let bounds = params![i32::from(state), range.start(), range.end(), limit as i64];
        for id in statement.query_map(bounds, |row| row.get::<_, i64>(0))? {
            if !ids.insert(id?) {
                return Err(not_as_written("its index is not in order"));
            }
        }
    }
    while ids.len() > limit {
        match order {
            Order::NewestFirst => ids.pop_first(),
            Order::OldestFirst => ids.pop_last(),
        };
    }
    Ok(ids)
}

/// The state that the index has of this id. `None` when it has no such id.
pub(super) fn state(connection: &Connection, id: i64) -> rusqlite::Result<Option<RunState>> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM run INDEXED BY run_state WHERE state = ?1 AND run_id = ?2",
    )?;
    for state in STATES {
        if statement.exists(params![i32::from(state), id])? {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// Removes a run whose row is lost from both indices, and its client pages. False when the index
/// has no such run. Call in a transaction.
///
/// SQLite removes entries of an index with their row only. A row put in for that would go into the
/// damaged tree and could cut off others there, and REINDEX would read all of it. So the tree of
/// each index is, for a moment and in this connection only, that of a table as well ("imposter
/// table" in SQLite's documentation), and the tree of the rows is not touched.
pub(super) fn forget(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    let Some(state) = state(connection, id)? else {
        return Ok(false);
    };
    connection.execute_batch("SAVEPOINT forget; PRAGMA writable_schema = ON")?;
    let forgotten = remove_entries(connection, id, state);
    let end = match forgotten {
        Ok(()) => "RELEASE forget",
        Err(_) => "ROLLBACK TO forget; RELEASE forget",
    };
    let ended = connection.execute_batch(end);
    // The schema is read anew, without those tables.
    let reset = connection.execute_batch("PRAGMA writable_schema = RESET");
    forgotten.and(ended).and(reset).map(|()| true)
}

/// Leaves the schema in the file as it was, unless it fails.
fn remove_entries(connection: &Connection, id: i64, state: RunState) -> rusqlite::Result<()> {
    connection.execute_batch(
        "INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql)
             SELECT 'table', 'lost_state', 'lost_state', rootpage, 'CREATE TABLE lost_state
                 (state, run_id, PRIMARY KEY (state, run_id)) WITHOUT ROWID'
             FROM sqlite_schema WHERE type = 'index' AND name = 'run_state';
         INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql)
             SELECT 'table', 'lost_request', 'lost_request', rootpage, 'CREATE TABLE lost_request
                 (request_id, run_id, PRIMARY KEY (request_id, run_id)) WITHOUT ROWID'
             FROM sqlite_schema WHERE type = 'index' AND name = 'sqlite_autoindex_run_1';
         PRAGMA writable_schema = RESET;
         PRAGMA writable_schema = ON",
    )?;
    connection.execute(
        "DELETE FROM lost_state WHERE state = ?1 AND run_id = ?2",
        params![i32::from(state), id],
    )?;
    connection.execute("DELETE FROM lost_request WHERE run_id = ?1", [id])?;
    connection.execute("DELETE FROM client_page WHERE run_id = ?1", [id])?;
    connection.execute("DELETE FROM series_page WHERE run_id = ?1", [id])?;
    connection.execute(
        "DELETE FROM sqlite_schema WHERE name IN ('lost_state', 'lost_request')",
        [],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_looked_for() {
        let known = (-1_000..1_000).filter_map(|number| RunState::try_from(number).ok());
        assert!(known.eq(STATES));
    }
}
