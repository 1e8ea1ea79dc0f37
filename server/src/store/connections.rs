//! The two connections of a server to its file: a reader never waits for a writer.
//!
//! Each is used by one caller at a time. When another process has locked the file, SQLite waits up
//! to its timeout; those who have waited for the connection meanwhile fail with the first, so that
//! nothing waits for a multiple of it.
//!
//! SQLite goes on with a file that has lost its name, and what is written there is gone with the
//! process. So before each use the name is looked at, and the file that has it now is opened.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use metronome_proto::v1::{Failure, FailureCode};
use rusqlite::Connection;

use super::{
    failure::{Use, failure, locked},
    list::Reader,
    schema,
};

/// The file at a path, open for reading and for writing.
#[derive(Debug)]
pub(super) struct Connections {
    path: PathBuf,
    reader: Shared,
    writer: Shared,
}

/// A connection that one caller at a time uses.
#[derive(Debug)]
struct Shared {
    opened: Mutex<Opened>,
    /// When it last turned out that another process has locked the file.
    locked_at: Mutex<Option<Instant>>,
}

/// A connection, and the file that it leads to.
#[derive(Debug)]
struct Opened {
    connection: Connection,
    /// Device and inode. `None` when the name was gone at once.
    file: Option<(u64, u64)>,
}

impl Connections {
    /// Opens the file, and makes it when it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        Self::with(path, schema::open)
    }

    /// Opens the file, which another server is using.
    pub(super) fn open_as_they_are(path: &Path) -> Result<Self, Failure> {
        Self::with(path, schema::open_as_it_is)
    }

    fn with(path: &Path, open: Open) -> Result<Self, Failure> {
        // The writer may make what the reader opens.
        let writer = Opened::new(path, open)?;
        let reader = Opened::new(path, schema::open_as_it_is)?;
        Ok(Self {
            path: path.to_owned(),
            reader: Shared::new(reader),
            writer: Shared::new(writer),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes something. Another writer is waited for as long as `wait`.
    pub(super) fn write<T>(
        &self,
        wait: Duration,
        change: impl FnOnce(&mut Connection) -> anyhow::Result<T>,
    ) -> Result<T, Failure> {
        self.writer.used(&self.path, |writer| {
            if !self.is_in_place(writer) {
                *writer = Opened::new(&self.path, schema::open_again)?;
            }
            let timeout = writer.connection.busy_timeout(wait);
            timeout
                .map_err(anyhow::Error::from)
                .and_then(|()| change(&mut writer.connection))
                .map_err(|error| failure(&self.path, Use::Write, &error))
        })
    }

    /// An error when the file for writing does not have the name any more.
    pub(super) fn ensure_in_place(&self) -> Result<(), Failure> {
        if self.is_in_place(&lock(&self.writer.opened)) {
            return Ok(());
        }
        let shown = self.path.display();
        let sentence = format!("the history {shown} was removed or replaced while it was in use");
        Err(Failure::new(FailureCode::HistoryFailed, sentence))
    }

    /// An error when it has turned out since `asked_at` that another process has locked the file:
    /// who has waited that long for their turn does not wait once more.
    pub(super) fn refuse_if_locked_since(&self, asked_at: Instant) -> Result<(), Failure> {
        self.reader.refuse_if_locked_since(asked_at, &self.path)?;
        self.writer.refuse_if_locked_since(asked_at, &self.path)
    }

    fn is_in_place(&self, opened: &Opened) -> bool {
        opened.file.is_some() && file_at(&self.path) == opened.file
    }
}

impl Reader for Connections {
    /// The file that was open before stays so while the one of this name cannot be opened.
    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.reader.used(&self.path, |reader| {
            let named = file_at(&self.path);
            if named.is_some()
                && named != reader.file
                && let Ok(opened) = Opened::new(&self.path, schema::open_as_it_is)
            {
                *reader = opened;
            }
            query(&reader.connection).map_err(|error| self.failure(error))
        })
    }

    fn failure(&self, error: rusqlite::Error) -> Failure {
        failure(&self.path, Use::Read, &error.into())
    }
}

impl Shared {
    fn new(opened: Opened) -> Self {
        Self {
            opened: Mutex::new(opened),
            locked_at: Mutex::default(),
        }
    }

    /// Uses the connection once it is free.
    fn used<T>(
        &self,
        path: &Path,
        work: impl FnOnce(&mut Opened) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let asked_at = Instant::now();
        let mut opened = lock(&self.opened);
        self.refuse_if_locked_since(asked_at, path)?;
        let result = work(&mut opened);
        let is_locked = |failure: &Failure| failure.code() == FailureCode::HistoryLocked;
        if result.as_ref().is_err_and(is_locked) {
            *lock(&self.locked_at) = Some(Instant::now());
        }
        result
    }

    fn refuse_if_locked_since(&self, asked_at: Instant, path: &Path) -> Result<(), Failure> {
        match *lock(&self.locked_at) {
            Some(locked_at) if locked_at >= asked_at => Err(locked(path)),
            _ => Ok(()),
        }
    }
}

type Open = fn(&Path) -> Result<Connection, Failure>;

impl Opened {
    fn new(path: &Path, open: Open) -> Result<Self, Failure> {
        // Looked at before and after: which of two files was opened in between is not known.
        let before = file_at(path);
        let connection = open(path)?;
        let file = file_at(path).filter(|file| before.is_none_or(|before| before == *file));
        Ok(Self { connection, file })
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked held no transaction open: those roll back when dropped.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
