//! The series of a run, in pages: from and to the API's messages, deflated.
//!
//! A run may have none, as one without a report, and those of a file that is older.

use std::io::{Read as _, Write as _};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use metronome_proto::{limits::PAGE_BYTES_MAX, run_id::RunId, v1};
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    failure::not_as_written,
    rows::{DIGEST_BYTES, decode, digest, key},
};

/// Writes all pages of a run, in place of those that were written before.
pub(super) fn write_series(
    connection: &Connection,
    id: RunId,
    pages: &[v1::Series],
) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM series_page WHERE run_id = ?1", [key(id)])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO series_page (run_id, page, pages, series, digest) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (page, series) in (0_i64..).zip(pages) {
        let of = pages.len() as i64;
        let bytes = deflated(&series.encode_to_vec());
        let digest = page_digest(key(id), page, of, &bytes);
        insert.execute(params![key(id), page, of, bytes, digest])?;
    }
    Ok(())
}

/// One page, counted from 0. `None` when the run has no such page. An error when it is lost, or not
/// as it was written.
pub(super) fn find_series_page(
    connection: &Connection,
    id: RunId,
    page: u32,
) -> rusqlite::Result<Option<v1::Series>> {
    let has_table: bool = connection
        .prepare_cached("SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'series_page'")?
        .query_row([], |row| row.get(0))?;
    if !has_table {
        return Ok(None);
    }
    let found = connection
        .prepare_cached(
            "SELECT page, pages, series, digest FROM series_page
             WHERE run_id = ?1 AND page >= ?2 ORDER BY page LIMIT 1",
        )?
        .query_row(params![key(id), page], |row| {
            let (found, of): (i64, i64) = (row.get(0)?, row.get(1)?);
            let bytes = row.get_ref(2)?.as_blob()?;
            if row.get_ref(3)?.as_blob()? != page_digest(key(id), found, of, bytes) {
                return Err(not_as_written("a series is not as it was written"));
            }
            if found != i64::from(page) {
                return Err(not_as_written("a part of a series is lost"));
            }
            decode::<v1::Series>(&inflated(bytes)?)
        })
        .optional()?;
    if found.is_none() && page > 0 {
        // The one before has how many there are.
        let of: Option<i64> = connection
            .prepare_cached("SELECT pages FROM series_page WHERE run_id = ?1 AND page = ?2")?
            .query_row(params![key(id), page - 1], |row| row.get(0))
            .optional()?;
        if of.is_some_and(|of| of > i64::from(page)) {
            return Err(not_as_written("a part of a series is lost"));
        }
    }
    Ok(found)
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    // A vector takes every write.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// At most as much as a page can have: what inflates to more is damaged.
fn inflated(bytes: &[u8]) -> rusqlite::Result<Vec<u8>> {
    let most = 2 * PAGE_BYTES_MAX as u64;
    let mut inflated = Vec::new();
    let read = ZlibDecoder::new(bytes)
        .take(most)
        .read_to_end(&mut inflated);
    read.map_err(|_| not_as_written("a series cannot be read"))?;
    Ok(inflated)
}

fn page_digest(key: i64, page: i64, pages: i64, series: &[u8]) -> [u8; DIGEST_BYTES] {
    digest(&[
        &key.to_le_bytes(),
        &page.to_le_bytes(),
        &pages.to_le_bytes(),
        series,
    ])
}
