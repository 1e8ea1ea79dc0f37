//! The rows of the history: runs and client pages, from and to the API's messages.
//!
//! Each function works on a connection; which server owns a row, and whether it still lives, is
//! [`super::owner`]'s.

use metronome_proto::{
    run_id::RunId,
    v1::{self, RunState},
};
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use crate::wall_clock::{timestamp, timestamp_ms};

/// Whether nothing more will happen to a run.
pub(crate) fn is_final(run: &v1::Run) -> bool {
    matches!(run.state(), RunState::Ended | RunState::Aborted)
}

/// Marks a run as ABORTED: its server or its driver died.
pub(super) fn abort(run: &mut v1::Run, found_unix_ms: Option<u64>) {
    run.set_state(RunState::Aborted);
    run.ended_at = found_unix_ms.map(timestamp);
}

/// Writes the end of a run.
pub(super) fn write_end(connection: &Connection, run: &v1::Run) -> rusqlite::Result<()> {
    let verdict = run
        .report
        .as_ref()
        .and_then(|report| report.verdict.as_ref())
        .map(|verdict| verdict.status);
    let written = connection.execute(
        "UPDATE run SET state = ?2, ended_ms = ?3, verdict = ?4, run = ?5 WHERE run_id = ?1",
        params![
            key_of(run),
            run.state,
            run.ended_at.as_ref().map(timestamp_ms),
            verdict,
            run.encode_to_vec()
        ],
    )?;
    if written == 1 {
        Ok(())
    } else {
        Err(rusqlite::Error::StatementChangedRows(written))
    }
}

/// One run.
pub(super) fn find_run(connection: &Connection, id: RunId) -> rusqlite::Result<Option<v1::Run>> {
    find_one(
        connection,
        "SELECT run FROM run WHERE run_id = ?1",
        &[&key(id)],
    )
}

/// The run that was made with this request_id.
pub(super) fn find_by_request_id(
    connection: &Connection,
    request_id: &str,
) -> rusqlite::Result<Option<v1::Run>> {
    find_one(
        connection,
        "SELECT run FROM run WHERE request_id = ?1",
        &[&request_id],
    )
}

/// The name of the server that owns a run.
pub(super) fn owner_of(connection: &Connection, id: RunId) -> rusqlite::Result<String> {
    connection.query_row(
        "SELECT owner FROM run WHERE run_id = ?1",
        [key(id)],
        |row| row.get(0),
    )
}

fn find_one(
    connection: &Connection,
    query: &str,
    values: &[&dyn ToSql],
) -> rusqlite::Result<Option<v1::Run>> {
    connection
        .prepare_cached(query)?
        .query_row(values, decode_run)
        .optional()
}

/// At most `limit` runs older than `before`, newest first, each with the name of its owner.
pub(super) fn list_runs(
    connection: &Connection,
    before: Option<RunId>,
    limit: u32,
) -> rusqlite::Result<Vec<(v1::Run, String)>> {
    let before = before.map_or(i64::MAX, key);
    connection
        .prepare_cached(
            "SELECT run, owner FROM run WHERE run_id < ?1 ORDER BY run_id DESC LIMIT ?2",
        )?
        .query_map(params![before, limit], |row| {
            Ok((decode_run(row)?, row.get(1)?))
        })?
        .collect()
}

/// The client rows of one run, by rising index.
pub(super) fn list_client_pages(
    connection: &Connection,
    id: RunId,
) -> rusqlite::Result<Vec<v1::ListClientsResponse>> {
    connection
        .prepare_cached("SELECT clients FROM client_page WHERE run_id = ?1 ORDER BY page")?
        .query_map([key(id)], decode)?
        .collect()
}

/// The run in the first column.
pub(super) fn decode_run(row: &Row<'_>) -> rusqlite::Result<v1::Run> {
    decode(row)
}

/// The message in the first column.
fn decode<M: prost::Message + Default>(row: &Row<'_>) -> rusqlite::Result<M> {
    let bytes = row.get_ref(0)?.as_blob()?;
    M::decode(bytes).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, error.into())
    })
}

/// SQLite's integers are signed; ids made before the year 6429 keep their order in them.
fn key(id: RunId) -> i64 {
    id.bits().cast_signed()
}

/// The key of a run.
pub(super) fn key_of(run: &v1::Run) -> i64 {
    key(run.run_id.parse().unwrap_or(RunId::from_bits(0)))
}
