//! The rows of the history: runs, from and to the API's messages.
//!
//! Each function works on a connection; which server owns a row, and whether it still lives, is
//! [`super::owner`]'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use metronome_proto::{
    filter::{Judged, Order},
    run_id::RunId,
    v1::{self, OutcomeStatus, RunState, VerdictStatus},
};
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use sha2::{Digest as _, Sha256};

use super::{
    failure::{apart, is_damage, not_as_written},
    indexed,
};
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
    pub(super) has_report: bool,
}

impl RunRow {
    /// The run, in a state that follows from its owner, with its report. `None` when it has been
    /// deleted since the row was read: a run that has ended is not shown without its report.
    pub(super) fn with_report(
        self,
        connection: &Connection,
        state: impl FnOnce(v1::Run, &str) -> v1::Run,
    ) -> rusqlite::Result<Option<v1::Run>> {
        let run = state(self.run, &self.owner);
        if !self.has_report {
            return Ok(Some(run));
        }
        let report = find_report(connection, self.id)?;
        Ok(report.map(|report| v1::Run {
            report: Some(report),
            ..run
        }))
    }
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
    let bytes = run.encode_to_vec();
    let digest = Shown {
        key: key_of(run),
        request_id: &run.request_id,
        state: run.state,
        judged: None,
        owner,
        run: &bytes,
        report_digest: None,
    }
    .digest();
    connection.execute(
        "INSERT INTO run
             (run_id, request_id, request_sha256, state, created_ms, owner, run, digest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            key_of(run),
            run.request_id,
            request,
            run.state,
            run.created_at.as_ref().map(timestamp_ms),
            owner,
            bytes,
            digest
        ],
    )
}

/// Writes the end of a run. False when there is no such run.
pub(super) fn write_end(connection: &Connection, run: &v1::Run) -> rusqlite::Result<bool> {
    let (mut row, key) = (run.clone(), key_of(run));
    let owner: Option<String> = connection
        .prepare_cached("SELECT owner FROM run WHERE run_id = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    let Some(owner) = owner else {
        return Ok(false);
    };
    let report = row.report.take();
    let judged = report.as_ref().map(|report| Judged::of(Some(report)));
    let judged = judged.map(|it| (i32::from(it.verdict), i32::from(it.outcome)));
    let (bytes, report) = (row.encode_to_vec(), report.map(|it| it.encode_to_vec()));
    let report_digest = report.as_deref().map(|report| report_digest(key, report));
    let digest = Shown {
        key,
        request_id: &row.request_id,
        state: row.state,
        judged,
        owner: &owner,
        run: &bytes,
        report_digest: report_digest.as_ref().map(<[u8; DIGEST_BYTES]>::as_slice),
    }
    .digest();
    let written = connection.execute(
        "UPDATE run SET state = ?2, ended_ms = ?3, verdict = ?4, outcome = ?5, run = ?6,
             digest = ?7, report = ?8, report_digest = ?9
         WHERE run_id = ?1",
        params![
            key,
            row.state,
            row.ended_at.as_ref().map(timestamp_ms),
            judged.map(|(verdict, _)| verdict),
            judged.map(|(_, outcome)| outcome),
            bytes,
            digest,
            report,
            report_digest
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

/// State and owner of a run, as far as a row that may be damaged has them.
pub(super) fn find_owner(
    connection: &Connection,
    id: RunId,
) -> rusqlite::Result<Option<(RunState, String)>> {
    connection
        .prepare_cached("SELECT state, owner FROM run WHERE run_id = ?1")?
        .query_row([key(id)], |row| {
            let state = RunState::try_from(row.get(0).unwrap_or(0)).unwrap_or_default();
            Ok((state, row.get(1).unwrap_or_default()))
        })
        .optional()
}

/// The highest id. `None` without runs.
pub(super) fn newest_id(connection: &Connection) -> rusqlite::Result<Option<RunId>> {
    let newest: Option<i64> = connection
        .prepare_cached("SELECT max(run_id) FROM run")?
        .query_row([], |row| row.get(0))?;
    Ok(newest.map(|key| RunId::from_bits(key.cast_unsigned())))
}

const SELECT: &str = "SELECT run_id, request_id, state, verdict, outcome, owner, run, digest,
     report_digest FROM run";

/// One run. An error when its row is lost.
pub(super) fn find_run(connection: &Connection, id: RunId) -> rusqlite::Result<Option<RunRow>> {
    find_run_in(&connection.unchecked_transaction()?, id)
}

/// One run of a snapshot, so that row and index are as they were at one moment.
pub(super) fn find_run_in(
    snapshot: &Transaction<'_>,
    id: RunId,
) -> rusqlite::Result<Option<RunRow>> {
    let found = stored_row(snapshot, id)?;
    if found.is_none() && indexed::state(snapshot, key(id))?.is_some() {
        return Err(not_as_written("a run is lost"));
    }
    Ok(found)
}

fn stored_row(connection: &Connection, id: RunId) -> rusqlite::Result<Option<RunRow>> {
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

/// Rows in the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct ListedRows {
    /// Each with its id; a row that is damaged, or lost, has no more.
    pub(super) rows: Vec<(RunId, rusqlite::Result<RunRow>)>,
    /// Why there are no more, if the file does not give them.
    pub(super) broke: Option<rusqlite::Error>,
}

/// At most `limit` runs behind `after`, in some order, of those with these ids: fewer when there
/// are no more.
pub(super) fn list_runs(
    connection: &Connection,
    order: Order,
    after: Option<RunId>,
    ids: Option<RangeInclusive<RunId>>,
    limit: usize,
) -> rusqlite::Result<ListedRows> {
    let Some(range) = keys_behind(order, after, ids) else {
        return Ok(ListedRows::default());
    };
    // Rows and index as they are at one moment.
    let snapshot = connection.unchecked_transaction()?;
    let mut listed = scan_runs(&snapshot, order, range.clone(), limit)?;
    match apart(indexed::first_ids(&snapshot, range, order, limit))? {
        Ok(indexed) => with_lost(&snapshot, order, listed, indexed, limit),
        // Without an index there is only what was found: whether rows are lost is not known.
        Err(error) => {
            listed.broke.get_or_insert(error);
            Ok(listed)
        }
    }
}

/// The keys behind `after` of those with these ids. `None` when there can be none.
fn keys_behind(
    order: Order,
    after: Option<RunId>,
    ids: Option<RangeInclusive<RunId>>,
) -> Option<RangeInclusive<i64>> {
    let (from, to) = ids.map_or((i64::MIN, i64::MAX), |ids| {
        (key(*ids.start()), key(*ids.end()))
    });
    Some(match (order, after.map(key)) {
        (_, None) => from..=to,
        (Order::NewestFirst, Some(after)) => from..=to.min(after.checked_sub(1)?),
        (Order::OldestFirst, Some(after)) => from.max(after.checked_add(1)?)..=to,
    })
}

/// The rows as their own tree has them.
fn scan_runs(
    connection: &Connection,
    order: Order,
    range: RangeInclusive<i64>,
    limit: usize,
) -> rusqlite::Result<ListedRows> {
    let direction = match order {
        Order::NewestFirst => "DESC",
        Order::OldestFirst => "ASC",
    };
    let query =
        format!("{SELECT} WHERE run_id BETWEEN ?1 AND ?2 ORDER BY run_id {direction} LIMIT ?3");
    let mut statement = connection.prepare_cached(&query)?;
    let mut found = statement.query(params![range.start(), range.end(), limit as i64])?;
    let mut listed = ListedRows::default();
    let mut last = None;
    loop {
        let row = match found.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(listed),
            Err(error) => {
                listed.broke = Some(error);
                return Ok(listed);
            }
        };
        let key: i64 = row.get(0)?;
        let is_behind = last.is_none_or(|last| match order {
            Order::NewestFirst => key < last,
            Order::OldestFirst => key > last,
        });
        if !is_behind {
            // A damaged tree leads back to where it has been, for ever.
            listed.broke = Some(not_as_written("its rows are not in order"));
            return Ok(listed);
        }
        last = Some(key);
        listed
            .rows
            .push((RunId::from_bits(key.cast_unsigned()), run_row(row)));
    }
}

/// The rows that were found and those that the index has beside them, each looked up by itself.
fn with_lost(
    connection: &Connection,
    order: Order,
    listed: ListedRows,
    indexed: BTreeSet<i64>,
    limit: usize,
) -> rusqlite::Result<ListedRows> {
    if listed.broke.as_ref().is_some_and(|error| !is_damage(error)) {
        return Ok(listed);
    }
    let found = listed.rows.into_iter().map(|(id, row)| (key(id), row));
    let mut found: BTreeMap<i64, rusqlite::Result<RunRow>> = found.collect();
    let mut keys = indexed;
    keys.extend(found.keys());
    let mut keys: Vec<i64> = keys.into_iter().collect();
    if order == Order::NewestFirst {
        keys.reverse();
    }
    let mut rows = Vec::new();
    for key in keys.into_iter().take(limit) {
        let id = RunId::from_bits(key.cast_unsigned());
        let row = match found.remove(&key) {
            Some(row) => row,
            None => apart(stored_row(connection, id))?
                .and_then(|row| row.ok_or_else(|| not_as_written("a run is lost"))),
        };
        rows.push((id, row));
    }
    Ok(ListedRows { rows, broke: None })
}

/// The runs that are not in a final state, without those that are damaged.
pub(super) fn list_unfinished(connection: &Connection) -> rusqlite::Result<Vec<RunRow>> {
    let finals = [RunState::Ended, RunState::Failed, RunState::Aborted].map(i32::from);
    let mut unfinished =
        connection.prepare_cached(&format!("{SELECT} WHERE state NOT IN (?1, ?2, ?3)"))?;
    let mut found = unfinished.query(finals)?;
    let mut rows = Vec::new();
    // A row that is damaged is no reason not to open the file, as one that cannot be reached is:
    // how many there are would not be known.
    while let Some(row) = found.next()? {
        rows.extend(apart(run_row(row))?.ok());
    }
    Ok(rows)
}

/// The report of a run that has one. `None` when there is no such run.
fn find_report(connection: &Connection, id: RunId) -> rusqlite::Result<Option<v1::Report>> {
    connection
        .prepare_cached("SELECT report, report_digest FROM run WHERE run_id = ?1")?
        .query_row([key(id)], |row| {
            let report = row.get_ref(0)?.as_blob()?;
            if row.get_ref(1)?.as_blob()? != report_digest(key(id), report) {
                return Err(not_as_written("a report is not as it was written"));
            }
            decode(report)
        })
        .optional()
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let (verdict, outcome): (Option<i32>, Option<i32>) = (row.get(3)?, row.get(4)?);
    let (key, owner): (i64, String) = (row.get(0)?, row.get(5)?);
    let bytes = row.get_ref(6)?.as_blob()?;
    let shown = Shown {
        key,
        request_id: row.get_ref(1)?.as_str()?,
        state: row.get(2)?,
        judged: verdict.zip(outcome),
        owner: &owner,
        run: bytes,
        report_digest: row.get_ref(8)?.as_blob_or_null()?,
    };
    if row.get_ref(7)?.as_blob()? != shown.digest() {
        return Err(not_as_written("a run is not as it was written"));
    }
    let known = |number: Option<i32>| number.unwrap_or(0);
    Ok(RunRow {
        id: RunId::from_bits(key.cast_unsigned()),
        run: decode(bytes)?,
        judged: Judged {
            verdict: VerdictStatus::try_from(known(verdict)).unwrap_or_default(),
            outcome: OutcomeStatus::try_from(known(outcome)).unwrap_or_default(),
        },
        has_report: shown.report_digest.is_some(),
        owner,
    })
}

/// Enough of a SHA-256 that no damage keeps it by chance.
pub(super) const DIGEST_BYTES: usize = 8;

/// What a row of a run shows, besides its report.
struct Shown<'a> {
    key: i64,
    request_id: &'a str,
    state: i32,
    /// Verdict and outcome.
    judged: Option<(i32, i32)>,
    owner: &'a str,
    run: &'a [u8],
    report_digest: Option<&'a [u8]>,
}

impl Shown<'_> {
    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let (verdict, outcome) = self.judged.unwrap_or((-1, -1));
        digest(&[
            &self.key.to_le_bytes(),
            self.request_id.as_bytes(),
            &self.state.to_le_bytes(),
            &verdict.to_le_bytes(),
            &outcome.to_le_bytes(),
            self.owner.as_bytes(),
            self.run,
            self.report_digest.unwrap_or_default(),
        ])
    }
}

fn report_digest(key: i64, report: &[u8]) -> [u8; DIGEST_BYTES] {
    digest(&[&key.to_le_bytes(), report])
}

/// A digest of these parts, each with its length.
pub(super) fn digest(parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut sha256 = Sha256::new();
    for part in parts {
        sha256.update((part.len() as u64).to_le_bytes());
        sha256.update(part);
    }
    let whole: [u8; 32] = sha256.finalize().into();
    std::array::from_fn(|index| whole[index])
}

/// The message that these bytes are.
pub(super) fn decode<M: prost::Message + Default>(bytes: &[u8]) -> rusqlite::Result<M> {
    M::decode(bytes).map_err(|_| not_as_written("a message cannot be read"))
}

/// SQLite's integers are signed; ids made before the year 6429 keep their order in them.
pub(super) fn key(id: RunId) -> i64 {
    id.bits().cast_signed()
}

fn key_of(run: &v1::Run) -> i64 {
    key(run.run_id.parse().unwrap_or(RunId::from_bits(0)))
}
