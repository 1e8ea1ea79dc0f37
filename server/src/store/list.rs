//! A page of runs: the rows are looked at in steps, so that a filter that matches few of them reads
//! a long history in little memory, and no writer waits long.

use metronome_proto::{
    filter::{Filter, Order},
    limits::PAGE_BYTES_MAX,
    run_id::RunId,
    v1::{self, Failure},
};
use prost::Message as _;
use rusqlite::Connection;

use super::{
    failure::apart,
    owner::Owners,
    rows::{RunRow, list_runs},
    view::{as_it_stands, without_records},
};

/// Rows that are read at a time.
const STEP: usize = 128;
/// What the id of a run that cannot be read takes in a message.
const UNREADABLE_BYTES: usize = 18;
/// Rows that are looked at for one page: a second at most.
const ROWS_PER_PAGE_MAX: usize = 20_000;

/// Which runs a page is to have.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Those that match it.
    pub filter: Filter,
    /// Newest or oldest first.
    pub order: Order,
    /// Behind this one; `None` from the first.
    pub after: Option<RunId>,
    /// At most so many.
    pub limit: usize,
    /// With the `hdr_v2_deflated` of their distributions.
    pub full: bool,
}

/// Some runs of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunPage {
    /// In the order that was asked for.
    pub runs: Vec<v1::Run>,
    /// Behind which run the next page begins; `None` when there are no more. A page may be short,
    /// or empty, and have a next one all the same.
    pub next: Option<RunId>,
    /// Runs that cannot be read, since the file is damaged there, whatever the filter.
    pub unreadable: Vec<RunId>,
}

/// Where rows are read, a few at a time.
pub(super) trait Reader {
    /// Reads something.
    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>)
    -> Result<T, Failure>;

    /// The failure of an error that came of it.
    fn failure(&self, error: rusqlite::Error) -> Failure;
}

/// Reads a page. `newest` has the runs whose state in memory is newer than the stored one.
pub(super) fn list(
    reader: &impl Reader,
    owners: &Owners,
    newest: impl Fn(RunId) -> Option<v1::Run>,
    query: &ListQuery,
) -> Result<RunPage, Failure> {
    let (mut page, mut bytes, mut looked_at) = (RunPage::default(), 0, 0);
    let mut after = query.after;
    loop {
        let ids = query.filter.ids();
        let listed = reader.read(|rows| list_runs(rows, query.order, after, ids, STEP))?;
        let is_end = listed.rows.len() < STEP;
        for (id, row) in listed.rows {
            let found = match newest(id) {
                Some(run) => Ok(query.filter.matches(&run).then_some(run)),
                None => reader.read(|rows| apart(stored(rows, owners, row, query)))?,
            };
            match found {
                Ok(None) => {}
                Ok(Some(run)) => {
                    let run = if query.full {
                        run
                    } else {
                        without_records(run)
                    };
                    bytes += run.encoded_len();
                    // One always goes: a single run is far smaller than a message.
                    let has_room = page.runs.len() < query.limit && bytes <= PAGE_BYTES_MAX;
                    if !has_room && !page.runs.is_empty() {
                        page.next = after;
                        return Ok(page);
                    }
                    page.runs.push(run);
                }
                Err(_) => {
                    bytes += UNREADABLE_BYTES;
                    page.unreadable.push(id);
                }
            }
            after = Some(id);
        }
        looked_at += STEP;
        match listed.broke {
            // What was asked for is there; the next page fails.
            Some(_) if page.runs.len() >= query.limit => {
                page.next = after;
                return Ok(page);
            }
            Some(error) => return Err(reader.failure(error)),
            None if is_end => return Ok(page),
            None => {}
        }
        if looked_at >= ROWS_PER_PAGE_MAX {
            page.next = after;
            return Ok(page);
        }
    }
}

/// The run of a row with its report. `None` when it does not match.
fn stored(
    connection: &Connection,
    owners: &Owners,
    row: rusqlite::Result<RunRow>,
    query: &ListQuery,
) -> rusqlite::Result<Option<v1::Run>> {
    let mut row = row?;
    let run = as_it_stands(std::mem::take(&mut row.run), &row.owner, owners);
    if !query.filter.matches_judged(&run, row.judged) {
        return Ok(None);
    }
    row.with_report(connection, |_, _| run)
}
