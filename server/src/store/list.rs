//! A page of runs: the rows are looked at in steps, so that a filter that matches few of them reads
//! a long history in little memory, and no writer waits long.

use std::ops::Deref;

use metronome_proto::{
    filter::{Filter, Order},
    limits::PAGE_BYTES_MAX,
    run_id::RunId,
    v1,
};
use prost::Message as _;
use rusqlite::Connection;

use super::{
    owner::Owners,
    rows::{RunRow, find_report, list_runs},
    view::{as_it_stands, without_records},
};

/// Rows that are read at a time.
const STEP: usize = 128;
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
}

/// Reads a page. `connection` is called for each step; `newest` has the runs whose state in memory
/// is newer than the stored one.
pub(super) fn list<C: Deref<Target = Connection>>(
    connection: impl Fn() -> C,
    owners: &Owners,
    newest: impl Fn(RunId) -> Option<v1::Run>,
    query: &ListQuery,
) -> rusqlite::Result<RunPage> {
    let (mut page, mut bytes, mut looked_at) = (RunPage::default(), 0, 0);
    let mut after = query.after;
    loop {
        let rows = list_runs(&connection(), query.order, after, STEP)?;
        let is_end = rows.len() < STEP;
        for row in rows {
            let id = row.id;
            if let Some(run) = matching(&connection, owners, newest(id), row, query)? {
                bytes += run.encoded_len();
                // One always goes: a single run is far smaller than a message.
                let has_room = page.runs.len() < query.limit && bytes <= PAGE_BYTES_MAX;
                if !has_room && !page.runs.is_empty() {
                    page.next = after;
                    return Ok(page);
                }
                page.runs.push(run);
            }
            after = Some(id);
        }
        looked_at += STEP;
        if is_end {
            return Ok(page);
        }
        if looked_at >= ROWS_PER_PAGE_MAX {
            page.next = after;
            return Ok(page);
        }
    }
}

/// The run of a row, as the page has it. `None` when it does not match.
fn matching<C: Deref<Target = Connection>>(
    connection: impl Fn() -> C,
    owners: &Owners,
    newest: Option<v1::Run>,
    row: RunRow,
    query: &ListQuery,
) -> rusqlite::Result<Option<v1::Run>> {
    let run = if let Some(run) = newest {
        query.filter.matches(&run).then_some(run)
    } else {
        let run = as_it_stands(row.run, &row.owner, owners);
        if query.filter.matches_judged(&run, row.judged) {
            let report = find_report(&connection(), row.id)?;
            Some(v1::Run { report, ..run })
        } else {
            None
        }
    };
    Ok(run.map(|run| {
        if query.full {
            run
        } else {
            without_records(run)
        }
    }))
}
