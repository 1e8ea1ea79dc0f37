//! The clients of a run, in pages: from and to the API's messages.
//!
//! A run with a report has the row of each client of its plan: what is missing is lost, not none.

use metronome_proto::{run_id::RunId, v1};
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    failure::not_as_written,
    rows::{DIGEST_BYTES, decode, digest, find_run_in, key},
};

/// Writes client rows, which are at least one and in the order of their indices.
pub(super) fn write_client_page(
    connection: &Connection,
    id: RunId,
    page: &v1::ClientRows,
) -> rusqlite::Result<()> {
    let (last, bytes) = (page.clients.last(), page.encode_to_vec());
    let last = last.map(|client| i64::from(client.client));
    connection.execute(
        "INSERT OR REPLACE INTO client_page (run_id, last_client, clients, digest)
         VALUES (?1, ?2, ?3, ?4)",
        params![key(id), last, bytes, page_digest(key(id), last, &bytes)],
    )?;
    Ok(())
}

/// The page of client rows that has `first_client`, without what comes before it. `None` when the
/// run has no such client, or no rows yet. An error when the rows of a client are lost: a report
/// has them for each client of the plan.
pub(super) fn find_client_page(
    connection: &Connection,
    id: RunId,
    first_client: u32,
) -> rusqlite::Result<Option<v1::ClientRows>> {
    // Rows and run as they are at one moment.
    let snapshot = connection.unchecked_transaction()?;
    let page = stored_client_page(&snapshot, id, first_client)?;
    let Some(page) = page else {
        let run = find_run_in(&snapshot, id)?.filter(|run| run.has_report);
        let clients = run.and_then(|run| clients_of(&run.run));
        if clients.is_some_and(|clients| first_client < clients) {
            return Err(not_as_written("clients are lost"));
        }
        return Ok(None);
    };
    if page.clients.first().map(|first| first.client) != Some(first_client) {
        return Err(not_as_written("clients are lost"));
    }
    Ok(Some(page))
}

/// How many clients a run was to have. `None` without a plan.
fn clients_of(run: &v1::Run) -> Option<u32> {
    let groups = run.plan.as_ref()?.groups.iter();
    Some(groups.fold(0, |sum: u32, group| sum.saturating_add(group.clients)))
}

fn stored_client_page(
    connection: &Connection,
    id: RunId,
    first_client: u32,
) -> rusqlite::Result<Option<v1::ClientRows>> {
    let page = connection
        .prepare_cached(
            "SELECT last_client, clients, digest FROM client_page
             WHERE run_id = ?1 AND last_client >= ?2 ORDER BY last_client LIMIT 1",
        )?
        .query_row(params![key(id), first_client], |row| {
            let bytes = row.get_ref(1)?.as_blob()?;
            let digest = page_digest(key(id), row.get(0)?, bytes);
            if row.get_ref(2)?.as_blob()? != digest {
                return Err(not_as_written("clients are not as they were written"));
            }
            decode::<v1::ClientRows>(bytes)
        })
        .optional()?;
    Ok(page.map(|mut page| {
        page.clients.retain(|client| client.client >= first_client);
        page
    }))
}

fn page_digest(key: i64, last_client: Option<i64>, clients: &[u8]) -> [u8; DIGEST_BYTES] {
    let last = last_client.unwrap_or(-1);
    digest(&[&key.to_le_bytes(), &last.to_le_bytes(), clients])
}
