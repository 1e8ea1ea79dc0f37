//! The file: how it is opened, and its tables.
//!
//! | table | row | columns |
//! |---|---|---|
//! | run | one run | what rows are found by, the `v1::Run` without its report, the `v1::Report` |
//! | client_page | up to 1000 clients of a run | a whole `v1::ClientRows` |
//! | series_page | a part of the series of a run | a whole `v1::Series`, deflated |
//!
//! Each row has a digest of what it shows: SQLite notices damage to its own structure, and none to
//! a figure.
//!
//! A file of another format is refused before anything of it is changed: its messages would be
//! misread. But one that lacks only the table of the series gets it, and is read without.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use metronome_proto::v1::Failure;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::failure::{LogUnread, Use, WrittenMeanwhile, failure, is_locked, is_not_writable};

/// Raised with every change of the tables, or of the messages in them that older ones contradict.
const FORMAT: i64 = 6;

const TABLES: &str = "
    CREATE TABLE run (
        run_id     INTEGER PRIMARY KEY,
        request_id TEXT NOT NULL UNIQUE,
        request_sha256 BLOB NOT NULL,
        state      INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        ended_ms   INTEGER,
        verdict    INTEGER,
        outcome    INTEGER,
        owner      TEXT NOT NULL,
        run        BLOB NOT NULL,
        digest     BLOB NOT NULL,
        report     BLOB,
        report_digest BLOB
    ) STRICT;
    CREATE INDEX run_state ON run (state);
    CREATE TABLE client_page (
        run_id      INTEGER NOT NULL REFERENCES run (run_id) ON DELETE CASCADE,
        last_client INTEGER NOT NULL,
        clients     BLOB NOT NULL,
        digest      BLOB NOT NULL,
        PRIMARY KEY (run_id, last_client)
    ) STRICT, WITHOUT ROWID;
";

/// What came with format 6, and nothing else: a file of format 5 gets it when a server opens it.
const WITHOUT_SERIES: i64 = 5;

const SERIES_TABLE: &str = "
    CREATE TABLE series_page (
        run_id INTEGER NOT NULL REFERENCES run (run_id) ON DELETE CASCADE,
        page   INTEGER NOT NULL,
        pages  INTEGER NOT NULL,
        series BLOB NOT NULL,
        digest BLOB NOT NULL,
        PRIMARY KEY (run_id, page)
    ) STRICT;
";

/// Another server that shares the file writes for a few ms at a time.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two tries where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Opens the file for reading and writing; makes it, for its owner only, when it is missing.
pub(super) fn open(path: &Path) -> Result<Connection, Failure> {
    let opened = make_private_file(path).and_then(|()| open_or_make(path));
    opened.map_err(|error| failure(path, Use::Open, &error))
}

/// Opens the file again after another one has taken its name, or none has it any more.
pub(super) fn open_again(path: &Path) -> Result<Connection, Failure> {
    if !path.exists() {
        return open(path);
    }
    // Not opened as a plain file: to close that would release the locks of every connection that
    // this process has to the same file.
    let opened = ensure_regular(path).and_then(|()| open_or_make(path));
    opened.map_err(|error| failure(path, Use::Open, &error))
}

/// Opens the file for reading and writing as it is: another server is using it, so nothing is made
/// in it.
pub(super) fn open_as_it_is(path: &Path) -> Result<Connection, Failure> {
    let open = || -> anyhow::Result<Connection> {
        ensure_regular(path)?;
        let connection =
            Connection::open_with_flags(plain(path), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let format = format(&connection)?;
        ensure!(
            format == FORMAT,
            "it has format {format} and this version format {FORMAT}; drain the old server first"
        );
        prepare(&connection)?;
        Ok(connection)
    };
    open().map_err(|error| failure(path, Use::Write, &error))
}

/// A connection for reading only.
#[derive(Debug)]
pub(super) struct ReadOnly {
    path: PathBuf,
    connection: Connection,
    /// The file as it was before it was opened as one that nothing changes. `None`: SQLite takes
    /// care of what others write.
    unchanged: Option<Stamp>,
}

/// What changes when a file is written or another one takes its place: device, inode, bytes, and
/// the time of its last change in ns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp(u64, u64, u64, i128);

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        let changed_ns = i128::from(file.mtime()) * 1_000_000_000 + i128::from(file.mtime_nsec());
        Ok(Self(file.dev(), file.ino(), file.len(), changed_ns))
    }

    /// An error when the file was written since, or is being written.
    fn ensure_that_of(self, path: &Path) -> anyhow::Result<()> {
        ensure_no_log(path)?;
        if Self::of(path)? != self {
            return Err(WrittenMeanwhile.into());
        }
        Ok(())
    }
}

impl ReadOnly {
    /// Where the file lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is read of the file. A failure when it was written meanwhile and SQLite does not take
    /// care of that: then neither what was read nor its error is that of a whole file.
    pub(super) fn read_unchanged<T>(
        &self,
        read: impl FnOnce(&Connection) -> T,
    ) -> Result<T, Failure> {
        let found = read(&self.connection);
        self.ensure_unchanged()
            .map_err(|error| failure(&self.path, Use::Read, &error))?;
        Ok(found)
    }

    fn ensure_unchanged(&self) -> anyhow::Result<()> {
        match self.unchanged {
            Some(before) => before.ensure_that_of(&self.path),
            None => Ok(()),
        }
    }
}

/// Opens the file for reading only. `None` when there is no file, or a new one without tables.
pub(super) fn open_to_read(path: &Path) -> Result<Option<ReadOnly>, Failure> {
    let opened = |connection, unchanged| ReadOnly {
        path: path.to_owned(),
        connection,
        unchanged,
    };
    let open = || -> anyhow::Result<Option<ReadOnly>> {
        if !exists(path)? {
            return Ok(None);
        }
        ensure_regular(path)?;
        let with = |opened: rusqlite::Result<Connection>| -> anyhow::Result<_> {
            let connection = opened?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            if is_empty(&connection)? {
                return Ok(None);
            }
            if format(&connection)? != WITHOUT_SERIES {
                ensure_format(&connection)?;
            }
            Ok(Some(connection))
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        match with(Connection::open_with_flags(plain(path), flags)) {
            Err(error) if is_not_writable(&error) => {
                let stamp = Stamp::of(path)?;
                ensure_no_log(path)?;
                let flags = flags | OpenFlags::SQLITE_OPEN_URI;
                let found = with(Connection::open_with_flags(immutable(path), flags));
                stamp.ensure_that_of(path)?;
                Ok(found?.map(|connection| opened(connection, Some(stamp))))
            }
            found => Ok(found?.map(|connection| opened(connection, None))),
        }
    };
    open().map_err(|error| failure(path, Use::Read, &error))
}

/// Whether there is something at the path. What cannot be looked at is not taken for nothing.
fn exists(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The path as SQLite takes it for a file's: `:memory:` and `file:x?mode=memory` are names like any
/// others here.
fn plain(path: &Path) -> PathBuf {
    // An absolute path stays as it is.
    Path::new(".").join(path)
}

/// The file as one that nothing changes: then SQLite reads one in WAL mode without its `-wal` and
/// `-shm`, which cannot be made where the folder cannot be written.
fn immutable(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in plain(path).as_os_str().as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                uri.push(char::from(*byte));
            }
            // `?`, `#` and `%` would begin something else.
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// The newest runs are in the log as long as it has not been written back into the file.
fn ensure_no_log(path: &Path) -> Result<(), LogUnread> {
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut log = file.into_os_string();
    log.push("-wal");
    let has_log = match fs::metadata(&log) {
        Ok(metadata) => metadata.len() > 0,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    if has_log {
        return Err(LogUnread { log: log.into() });
    }
    Ok(())
}

/// SQLite would wait for ever for the other end of a FIFO.
fn ensure_regular(path: &Path) -> anyhow::Result<()> {
    let is_other = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    ensure!(!is_other, "it is no regular file");
    Ok(())
}

/// Makes the file, for its owner only, and its folders when they are missing.
pub(super) fn make_private_file(path: &Path) -> anyhow::Result<()> {
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

fn open_or_make(path: &Path) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(plain(path))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    if is_empty(&connection)? {
        make_tables(&mut connection)?;
    } else {
        add_series(&mut connection)?;
        ensure_format(&connection)?;
        prepare(&connection)?;
    }
    Ok(connection)
}

fn make_tables(connection: &mut Connection) -> anyhow::Result<()> {
    prepare(connection)?;
    // Taken for writing at once: two servers may start on a new file in the same moment.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if is_empty(&transaction)? {
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(SERIES_TABLE)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    ensure_format(&transaction)?;
    transaction.commit()?;
    Ok(())
}

/// Brings a file of format 5 to format 6: its runs have no series.
fn add_series(connection: &mut Connection) -> anyhow::Result<()> {
    if format(connection)? != WITHOUT_SERIES {
        return Ok(());
    }
    // Another server may do the same.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if format(&transaction)? == WITHOUT_SERIES {
        transaction.execute_batch(SERIES_TABLE)?;
        transaction.pragma_update(None, "user_version", WITHOUT_SERIES + 1)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Settings of this connection, and the journal of the file.
///
/// SQLite does not wait for a server that changes the journal of the file at the same moment, as
/// the first ones on a new file do: waiting might be for ever. So this one asks again.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_locked(&error) && Instant::now() < deadline => sleep(BUSY_PAUSE),
            set => break set?,
        }
    }
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

/// Whether the file is new.
fn is_empty(connection: &Connection) -> anyhow::Result<bool> {
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0 && format(connection)? == 0)
}

fn ensure_format(connection: &Connection) -> anyhow::Result<()> {
    match format(connection)? {
        FORMAT => Ok(()),
        0 => bail!("it is no history of Metronome"),
        older @ 1..FORMAT => bail!(
            "an older Metronome made it (format {older}, this version has {FORMAT}) and it stays \
             as it is: that version reads it"
        ),
        other => bail!("a newer Metronome made it (format {other}, this version has {FORMAT})"),
    }
}

fn format(connection: &Connection) -> anyhow::Result<i64> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use metronome_proto::{run_id::RunId, v1::FailureCode};

    use super::{super::series_pages::find_series_page, *};

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
    fn servers_that_start_on_a_new_file_at_the_same_moment_all_open_it() {
        let directory = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let path = directory.path().join(format!("{round}.sqlite"));
            let together = std::sync::Barrier::new(4);
            let opened = std::thread::scope(|scope| {
                let start = || {
                    together.wait();
                    open(&path).map(drop).map_err(|error| error.sentence)
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
                let ended = threads.into_iter().map(|thread| thread.join().unwrap());
                ended.collect::<Result<Vec<()>, _>>()
            });
            assert_eq!(opened.map(|all| all.len()), Ok(4), "{round}");
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
        for other in [FORMAT - 1, FORMAT + 1] {
            connection
                .pragma_update(None, "user_version", other)
                .unwrap();
            let error = open_as_it_is(&path).unwrap_err().sentence;
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
        let foreign = directory.path().join("foreign");
        let of_format = |name: &str, format: i64| {
            let path = directory.path().join(name);
            let connection = open(&path).unwrap();
            connection
                .pragma_update(None, "user_version", format)
                .unwrap();
            path
        };
        Connection::open(&foreign)
            .unwrap()
            .execute_batch("CREATE TABLE anything (at_all)")
            .unwrap();
        for path in [
            garbage,
            of_format("newer", 1000),
            of_format("older", 1),
            of_format("negative", -1),
            foreign,
            directory.path().to_owned(),
            "/dev/null/runs.sqlite".into(),
        ] {
            let before = fs::read(&path).ok();
            let errors = [open(&path).err(), open_to_read(&path).err()];
            for error in errors
                .into_iter()
                .flatten()
                .map(|error| format!("{}; {}", error.sentence, error.remedy))
            {
                assert!(
                    error.contains("--database") && error.contains(&path.display().to_string()),
                    "{error}"
                );
            }
            assert!(open(&path).is_err());
            assert!(open_to_read(&path).is_err(), "{}", path.display());
            assert_eq!(fs::read(&path).ok(), before, "it was changed");
        }
    }

    #[test]
    fn a_history_from_before_the_series_is_read_as_it_is_and_gets_its_table_from_a_server() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runs.sqlite");
        make_private_file(&path).unwrap();
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(TABLES).unwrap();
        connection
            .pragma_update(None, "user_version", WITHOUT_SERIES)
            .unwrap();
        drop(connection);
        let find = |rows: &Connection| find_series_page(rows, RunId::from_bits(1), 0).unwrap();
        let before = fs::read(&path).unwrap();
        let reader = open_to_read(&path).unwrap().expect("it is there");
        assert_eq!(reader.read_unchanged(find).unwrap(), None);
        drop(reader);
        assert_eq!(
            fs::read(&path).unwrap(),
            before,
            "it was changed by reading"
        );
        for _ in 0..2 {
            let connection = open(&path).unwrap();
            assert_eq!(format(&connection).unwrap(), FORMAT);
            assert_eq!(find(&connection), None);
        }
    }

    #[test]
    fn only_what_is_not_there_or_is_new_is_no_history() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        symlink("loop", at("loop")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        fs::write(at("empty"), "").unwrap();
        for path in [at("none"), at("none/none"), at("dangling"), at("empty")] {
            assert!(open_to_read(&path).unwrap().is_none(), "{}", path.display());
        }
        for path in [at("loop"), at(&"n".repeat(300)), at("empty/x")] {
            let failure = open_to_read(&path).unwrap_err();
            assert_eq!(failure.code(), FailureCode::HistoryFailed);
            let names_it = failure.sentence.contains(&path.display().to_string());
            assert!(names_it && !failure.remedy.contains("disk"), "{failure:?}");
        }
    }

    /// A history with a table's worth of pages whose `-shm` cannot be made, by any user: a link is
    /// not followed.
    fn without_shared_memory(path: &Path, keep_log: bool) {
        let made = path.with_file_name("made");
        let log = |path: &Path, suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let connection = open(&made).unwrap();
        if keep_log {
            fs::copy(log(&made, "-wal"), log(path, "-wal")).unwrap();
        } else {
            drop(connection);
        }
        fs::copy(&made, path).unwrap();
        symlink("nowhere/at/all", log(path, "-shm")).unwrap();
    }

    #[test]
    fn a_history_in_a_folder_that_cannot_be_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a?mode=memory#b%41&\u{e9}.sqlite");
        without_shared_memory(&path, false);
        let file = open_to_read(&path).unwrap().expect("it is there");
        assert_eq!(
            file.read_unchanged(|rows| format(rows).unwrap()).unwrap(),
            FORMAT
        );
        let written = file.read_unchanged(|rows| rows.execute_batch("DELETE FROM run"));
        assert!(written.unwrap().is_err());
    }

    #[test]
    fn a_history_that_is_written_while_it_is_read_without_its_log_is_no_history() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runs.sqlite");
        let log = directory.path().join("runs.sqlite-wal");
        without_shared_memory(&path, false);
        let file = open_to_read(&path).unwrap().expect("it is there");
        let refused = |file: &ReadOnly, change: &dyn Fn()| {
            let failure = file.read_unchanged(|_| change()).unwrap_err();
            assert_eq!(failure.code(), FailureCode::HistoryFailed);
            failure
        };
        let failure = refused(&file, &|| fs::write(&log, "a commit").unwrap());
        assert!(failure.sentence.contains("runs.sqlite-wal"), "{failure:?}");
        fs::remove_file(&log).unwrap();
        file.read_unchanged(|_| ()).unwrap();
        let failure = refused(&file, &|| {
            // The same bytes, as a log that is written back may leave as many.
            let bytes = fs::read(&path).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            fs::write(&path, bytes).unwrap();
        });
        assert!(
            failure.sentence.contains("while it was read"),
            "{failure:?}"
        );
        assert!(failure.remedy.contains("again"), "{failure:?}");
        let file = open_to_read(&path).unwrap().expect("it is there");
        refused(&file, &|| fs::remove_file(&path).unwrap());
    }

    #[test]
    fn a_history_with_a_log_that_cannot_be_read_is_refused_with_the_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runs.sqlite");
        without_shared_memory(&path, true);
        let failure = open_to_read(&path).unwrap_err();
        assert_eq!(failure.code(), FailureCode::HistoryFailed);
        assert!(
            failure.sentence.contains("newest runs")
                && failure.sentence.contains("runs.sqlite-wal"),
            "{failure:?}"
        );
        assert!(failure.remedy.contains("copy"), "{failure:?}");
    }

    #[test]
    fn a_path_is_a_files_whatever_sqlite_would_take_it_for() {
        for name in [":memory:", "file:x?mode=memory"] {
            let plain = plain(Path::new(name));
            assert_eq!(plain, Path::new(".").join(name));
        }
        assert_eq!(plain(Path::new("/x/y")), Path::new("/x/y"));
    }
}
