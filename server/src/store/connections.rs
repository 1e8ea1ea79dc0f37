//! The two connections of a server to its file: a reader never waits for a writer.
//!
//! SQLite goes on with a file that has lost its name, and what is written there is gone with the
//! process. So before each use the name is looked at, and the file that has it now is opened.

use std::{
    fs,
    ops::{Deref, DerefMut},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::ensure;
use rusqlite::Connection;

use super::schema;

/// The file at a path, open for reading and for writing.
#[derive(Debug)]
pub(super) struct Connections {
    path: PathBuf,
    reader: Mutex<Opened>,
    writer: Mutex<Opened>,
}

/// One of the connections, while it is used.
pub(super) struct Guard<'a>(MutexGuard<'a, Opened>);

/// A connection, and the file that it leads to.
#[derive(Debug)]
struct Opened {
    connection: Connection,
    /// Device and inode. `None` when the name was gone at once.
    file: Option<(u64, u64)>,
}

impl Connections {
    /// Opens the file, and makes it when it is missing.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        Self::with(path, schema::open)
    }

    /// Opens the file, which another server is using.
    pub(super) fn open_as_they_are(path: &Path) -> anyhow::Result<Self> {
        Self::with(path, schema::open_as_it_is)
    }

    fn with(path: &Path, open: fn(&Path) -> anyhow::Result<Connection>) -> anyhow::Result<Self> {
        // The writer may make what the reader opens.
        let writer = Opened::new(path, open)?;
        let reader = Opened::new(path, schema::open_as_it_is)?;
        Ok(Self {
            path: path.to_owned(),
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// For reading. The file that was open before stays so while the one of this name cannot be
    /// opened.
    pub(super) fn reader(&self) -> Guard<'_> {
        let mut reader = lock(&self.reader);
        let named = file_at(&self.path);
        if named.is_some()
            && named != reader.file
            && let Ok(opened) = Opened::new(&self.path, schema::open_as_it_is)
        {
            *reader = opened;
        }
        Guard(reader)
    }

    /// For writing. Another writer is waited for as long as `wait`.
    pub(super) fn writer(&self, wait: Duration) -> anyhow::Result<Guard<'_>> {
        let mut writer = lock(&self.writer);
        if !self.is_in_place(&writer) {
            *writer = Opened::new(&self.path, schema::open_again)?;
        }
        writer.connection.busy_timeout(wait)?;
        Ok(Guard(writer))
    }

    /// An error when the file of this connection does not have the name any more.
    pub(super) fn ensure_in_place(&self, used: &Guard<'_>) -> anyhow::Result<()> {
        ensure!(
            self.is_in_place(&used.0),
            "the file was removed or replaced while it was in use"
        );
        Ok(())
    }

    fn is_in_place(&self, opened: &Opened) -> bool {
        opened.file.is_some() && file_at(&self.path) == opened.file
    }
}

impl Opened {
    fn new(path: &Path, open: fn(&Path) -> anyhow::Result<Connection>) -> anyhow::Result<Self> {
        // Looked at before and after: which of two files was opened in between is not known.
        let before = file_at(path);
        let connection = open(path)?;
        let file = file_at(path).filter(|file| before.is_none_or(|before| before == *file));
        Ok(Self { connection, file })
    }
}

impl Deref for Guard<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0.connection
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0.connection
    }
}

fn lock(connection: &Mutex<Opened>) -> MutexGuard<'_, Opened> {
    // A thread that panicked held no transaction open: those roll back when dropped.
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
