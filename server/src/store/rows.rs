//! The rows of the history: runs and client pages, from and to the API's messages.
//!
//! Each function works on a connection; which server owns a row, and whether it still lives, is
//! [`super::owner`]'s.

use metronome_proto::{
    filter::{Judged, Order},
    run_id::RunId,
    v1::{self, OutcomeStatus, RunState, VerdictStatus},
};
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::wall_clock::{timestamp, timestamp_ms};

/// A run without its report, as a row has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RunRow {
    pub(super) id: RunId,
    pub(super) run: v1::Run,
    /// That of the report.
    pub(super) judged: Judged,
    /// The server that has begun the run.
    pub(super) owner: String,
}

/// Marks a run as ABORTED. `found_unix_ms`: when that was found, if it is stored.
pub(super) fn abort(run: &mut v1::Run, found_unix_ms: Option<u64>, failure: v1::Failure) {
    run.set_state(RunState::Aborted);
    run.ended_at = found_unix_ms.map(timestamp);
    run.failure = Some(failure);
}

/// SHA-256 of a StartRunRequest as it came.
pub(crate) type RequestDigest = [u8; 32];

/// Writes a run that was just made.
pub(super) fn write_new(
    connection: &Connection,
    run: &v1::Run,
    request: &RequestDigest,
    owner: &str,
) -> rusqlite::Result<usize> {
    write_row(connection, run, request, owner)
}

/// Writes a run whose request is not known.
pub(super) fn write_unknown(
    connection: &Connection,
    run: &v1::Run,
    owner: &str,
) -> rusqlite::Result<usize> {
    write_row(connection, run, &[], owner)
}

fn write_row(
    connection: &Connection,
    run: &v1::Run,
    request: &[u8],
    owner: &str,
) -> rusqlite::Result<usize> {
    connection.execute(
        "INSERT INTO run (run_id, request_id, request_sha256, state, created_ms, owner, run)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            key_of(run),
            run.request_id,
            request,
            run.state,
            run.created_at.as_ref().map(timestamp_ms),
            owner,
            run.encode_to_vec()
        ],
    )
}

/// Writes the end of a run. False when there is no such run.
pub(super) fn write_end(connection: &Connection, run: &v1::Run) -> rusqlite::Result<bool> {
    let (mut row, key) = (run.clone(), key_of(run));
    let report = row.report.take();
    let judged = report.as_ref().map(|report| Judged::of(Some(report)));
    let written = connection.execute(
        "UPDATE run SET state = ?2, ended_ms = ?3, verdict = ?4, outcome = ?5, run = ?6, report = ?7
         WHERE run_id = ?1",
        params![
            key,
            row.state,
            row.ended_at.as_ref().map(timestamp_ms),
            judged.map(|judged| i32::from(judged.verdict)),
            judged.map(|judged| i32::from(judged.outcome)),
            row.encode_to_vec(),
            report.map(|report| report.encode_to_vec())
        ],
    )?;
    Ok(written == 1)
}

/// Deletes a run and its client pages. False when there is none.
pub(super) fn delete(connection: &Connection, id: RunId) -> rusqlite::Result<bool> {
    // The pages reference it.
    let deleted = connection.execute("DELETE FROM run WHERE run_id = ?1", [key(id)])?;
    Ok(deleted > 0)
}

const SELECT: &str = "SELECT run_id, run, verdict, outcome, owner FROM run";

/// One run.
pub(super) fn find_run(connection: &Connection, id: RunId) -> rusqlite::Result<Option<RunRow>> {
    connection
        .prepare_cached(&format!("{SELECT} WHERE run_id = ?1"))?
        .query_row([key(id)], run_row)
        .optional()
}

/// The run that was made with this request_id.
pub(super) fn find_by_request_id(
    connection: &Connection,
    request_id: &str,
) -> rusqlite::Result<Option<RunRow>> {
    connection
        .prepare_cached(&format!("{SELECT} WHERE request_id = ?1"))?
        .query_row([request_id], run_row)
        .optional()
}

/// The digest of the request that has made a run. `None` when it is not known.
pub(super) fn find_request(
    connection: &Connection,
    id: RunId,
) -> rusqlite::Result<Option<RequestDigest>> {
    connection
        .prepare_cached(
            "SELECT request_sha256 FROM run WHERE run_id = ?1 AND request_sha256 <> x''",
        )?
        .query_row([key(id)], |row| row.get(0))
        .optional()
}

/// At most `limit` runs behind `after`, in some order.
pub(super) fn list_runs(
    connection: &Connection,
    order: Order,
    after: Option<RunId>,
    limit: usize,
) -> rusqlite::Result<Vec<RunRow>> {
    let (condition, direction, first) = match order {
        Order::NewestFirst => ("<", "DESC", i64::MAX),
        Order::OldestFirst => (">", "ASC", i64::MIN),
    };
    let after = after.map_or(first, key);
    let query =
        format!("{SELECT} WHERE run_id {condition} ?1 ORDER BY run_id {direction} LIMIT ?2");
    connection
        .prepare_cached(&query)?
        .query_map(params![after, limit as i64], run_row)?
        .collect()
}

/// The runs that are not in a final state.
pub(super) fn list_unfinished(connection: &Connection) -> rusqlite::Result<Vec<RunRow>> {
    let finals = [RunState::Ended, RunState::Failed, RunState::Aborted].map(i32::from);
    let mut unfinished =
        connection.prepare_cached(&format!("{SELECT} WHERE state NOT IN (?1, ?2, ?3)"))?;
    // One that is damaged is no reason not to open the file.
    let rows = unfinished.query_map(finals, run_row)?;
    Ok(rows.filter_map(Result::ok).collect())
}

/// The report of a run. `None` when it has none.
pub(super) fn find_report(
    connection: &Connection,
    id: RunId,
) -> rusqlite::Result<Option<v1::Report>> {
    let report = connection
        .prepare_cached("SELECT report FROM run WHERE run_id = ?1 AND report IS NOT NULL")?
        .query_row([key(id)], |row| decode(row, 0))
        .optional()?;
    Ok(report)
}

/// Writes client rows, which are at least one and in the order of their indices.
pub(super) fn write_client_page(
    connection: &Connection,
    id: RunId,
    page: &v1::ClientRows,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO client_page (run_id, last_client, clients) VALUES (?1, ?2, ?3)",
        params![
            key(id),
            page.clients.last().map(|client| client.client),
            page.encode_to_vec()
        ],
    )?;
    Ok(())
}

/// The page of client rows that has `first_client`, or the next one after it, without what comes
/// before `first_client`. `None` when there is none.
pub(super) fn find_client_page(
    connection: &Connection,
    id: RunId,
    first_client: u32,
) -> rusqlite::Result<Option<v1::ClientRows>> {
    let page = connection
        .prepare_cached(
            "SELECT clients FROM client_page WHERE run_id = ?1 AND last_client >= ?2
             ORDER BY last_client LIMIT 1",
        )?
        .query_row(params![key(id), first_client], |row| {
            decode::<v1::ClientRows>(row, 0)
        })
        .optional()?;
    Ok(page.map(|mut page| {
        page.clients.retain(|client| client.client >= first_client);
        page
    }))
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let (verdict, outcome): (Option<i32>, Option<i32>) = (row.get(2)?, row.get(3)?);
    let known = |number: Option<i32>| number.unwrap_or(0);
    Ok(RunRow {
        id: RunId::from_bits(row.get::<_, i64>(0)?.cast_unsigned()),
        run: decode(row, 1)?,
        judged: Judged {
            verdict: VerdictStatus::try_from(known(verdict)).unwrap_or_default(),
            outcome: OutcomeStatus::try_from(known(outcome)).unwrap_or_default(),
        },
        owner: row.get(4)?,
    })
}

/// The message in a column.
fn decode<M: prost::Message + Default>(row: &Row<'_>, column: usize) -> rusqlite::Result<M> {
    let bytes = row.get_ref(column)?.as_blob()?;
    M::decode(bytes).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, error.into())
    })
}

/// SQLite's integers are signed; ids made before the year 6429 keep their order in them.
fn key(id: RunId) -> i64 {
    id.bits().cast_signed()
}

fn key_of(run: &v1::Run) -> i64 {
    key(run.run_id.parse().unwrap_or(RunId::from_bits(0)))
}
