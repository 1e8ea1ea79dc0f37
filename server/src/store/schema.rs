//! The file: how it is opened, its tables, and how an older one is brought up to date.
//!
//! | table | row | columns |
//! |---|---|---|
//! | run | one run | key, what lists select by, and the whole `v1::Run` as it goes over the API |
//! | client_page | up to 1000 clients of a run | a whole `v1::ListClientsResponse` |

use std::{
    fs::{self, DirBuilder, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

/// Each entry brings the file from the version of its index to the next.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE run (
        run_id     INTEGER PRIMARY KEY,
        request_id TEXT NOT NULL UNIQUE,
        state      INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        ended_ms   INTEGER,
        verdict    INTEGER,
        owner      TEXT NOT NULL,
        run        BLOB NOT NULL
    ) STRICT;
    CREATE INDEX run_state ON run (state);
    CREATE TABLE client_page (
        run_id  INTEGER NOT NULL REFERENCES run (run_id) ON DELETE CASCADE,
        page    INTEGER NOT NULL,
        clients BLOB NOT NULL,
        PRIMARY KEY (run_id, page)
    ) STRICT, WITHOUT ROWID;
"];

/// Another server that shares the file writes for a few ms at a time.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the file for reading and writing; makes it, for its owner only, when it is missing.
pub(super) fn open(path: &Path) -> anyhow::Result<Connection> {
    let opened = make_private_file(path).and_then(|()| open_and_migrate(path));
    opened.with_context(|| {
        let shown = path.display();
        format!(
            "the history {shown} cannot be used; \
             give another file with --database, or move this one away"
        )
    })
}

/// Opens the file for reading and writing as it is: another server is using it, so it must not be
/// migrated now.
pub(super) fn open_as_it_is(path: &Path) -> anyhow::Result<Connection> {
    let open = || -> anyhow::Result<Connection> {
        ensure_regular(path)?;
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        prepare(&connection)?;
        let version = version(&connection)?;
        let ours = MIGRATIONS.len();
        ensure!(
            version == ours,
            "it has format {version} and this version format {ours}; drain the old server first"
        );
        Ok(connection)
    };
    open().with_context(|| format!("the history {} cannot be used", path.display()))
}

/// Opens the file for reading only. `None` when there is no file.
pub(super) fn open_to_read(path: &Path) -> anyhow::Result<Option<Connection>> {
    if !path.exists() {
        return Ok(None);
    }
    let open = || -> anyhow::Result<Connection> {
        ensure_regular(path)?;
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        ensure!(
            version(&connection)? == MIGRATIONS.len(),
            "it was made by another version of Metronome"
        );
        Ok(connection)
    };
    open()
        .map(Some)
        .with_context(|| format!("the history {} cannot be read", path.display()))
}

/// SQLite would wait for ever for the other end of a FIFO.
fn ensure_regular(path: &Path) -> anyhow::Result<()> {
    let is_other = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    ensure!(!is_other, "it is no regular file");
    Ok(())
}

fn make_private_file(path: &Path) -> anyhow::Result<()> {
    if let Some(directory) = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    ensure_regular(path)?;
    // SQLite gives its journal the mode of the file, so this one call makes all of it private.
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    Ok(())
}

fn open_and_migrate(path: &Path) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(path)?;
    prepare(&connection)?;
    // Taken for writing at once: two servers may start on a new file in the same moment.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = version(&transaction)?;
    ensure!(
        version <= MIGRATIONS.len(),
        "it was made by a newer Metronome (format {version})"
    );
    for migration in &MIGRATIONS[version..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    transaction.commit()?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn version(connection: &Connection) -> anyhow::Result<usize> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    #[test]
    fn the_file_and_its_journal_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/runs.sqlite");
        let _connection = open(&path).unwrap();
        for name in ["runs.sqlite", "runs.sqlite-wal", "runs.sqlite-shm"] {
            let mode = fs::metadata(path.with_file_name(name)).unwrap().mode() & 0o777;
            assert_eq!(mode, 0o600, "{name}");
        }
    }

    #[test]
    fn a_file_that_another_server_works_with_is_opened_as_it_is_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runs.sqlite");
        assert!(
            open_as_it_is(&path).is_err() && !path.exists(),
            "nothing is made by looking"
        );
        let connection = open(&path).unwrap();
        open_as_it_is(&path).unwrap();
        for other in [0, MIGRATIONS.len() as i64 + 1] {
            connection
                .pragma_update(None, "user_version", other)
                .unwrap();
            let error = format!("{:#}", open_as_it_is(&path).unwrap_err());
            assert!(
                error.contains(&format!("format {other}")) && error.contains("drain"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_no_history_or_a_newer_one_is_refused_with_the_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let garbage = directory.path().join("garbage");
        fs::write(
            &garbage,
            "not a database, but long enough to be looked at as one".repeat(20),
        )
        .unwrap();
        let newer = directory.path().join("newer");
        open(&newer)
            .unwrap()
            .pragma_update(None, "user_version", 1000)
            .unwrap();
        for path in [
            garbage,
            newer,
            directory.path().to_owned(),
            "/dev/null/runs.sqlite".into(),
        ] {
            let error = format!("{:#}", open(&path).unwrap_err());
            assert!(
                error.contains("--database") && error.contains(&path.display().to_string()),
                "{error}"
            );
        }
    }
}
