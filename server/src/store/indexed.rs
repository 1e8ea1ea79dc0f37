//! The ids of runs as an index has them.
//!
//! The rows lie in another tree of the file. Where a page of that tree is damaged, rows are missing
//! without an error, and the index still has their ids: it shows that they are lost, and leads to
//! those behind the break.

use std::{collections::BTreeSet, ops::RangeInclusive};

use metronome_proto::{filter::Order, v1::RunState};
use rusqlite::{Connection, OptionalExtension as _, params};

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

/// Whether the index has this id.
pub(super) fn has(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM run INDEXED BY run_state WHERE state = ?1 AND run_id = ?2",
    )?;
    for state in STATES {
        let found: Option<i64> = statement
            .query_row(params![i32::from(state), id], |row| row.get(0))
            .optional()?;
        if found.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
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
