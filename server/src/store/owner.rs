//! Which server owns an unfinished run, and whether it still lives.
//!
//! Each server takes a random name and holds a lock (flock) on `<database>.owners/<name>.lock`
//! while it lives; the kernel releases the lock however the server dies. So a run is an orphan when
//! its owner's lock can be taken or the file is gone. No pid is trusted: those are used again.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use anyhow::{Context as _, ensure};
use rustix::fs::{FlockOperation, flock};

/// All servers that use one database.
#[derive(Debug)]
pub(super) struct Owners {
    directory: PathBuf,
}

/// This server, alive for as long as this value is.
///
/// A lock belongs to the open file description, not to the process: a process that takes over and
/// has the descriptor holds the lock as well, and continues under the same name.
#[derive(Debug)]
pub(super) struct Owner {
    name: String,
    path: PathBuf,
    /// Locked; the lock ends with the last descriptor.
    lock: File,
    /// Whether this process removes the file when it ends.
    is_last: AtomicBool,
}

impl Owners {
    pub(super) fn beside(database: &Path) -> Self {
        let mut directory = database.as_os_str().to_owned();
        directory.push(".owners");
        Self {
            directory: directory.into(),
        }
    }

    /// Takes a name and its lock.
    pub(super) fn enroll(&self) -> anyhow::Result<Owner> {
        let named = || {
            format!(
                "the directory {} cannot be written",
                self.directory.display()
            )
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .with_context(named)?;
        // Files are deleted in there: a link may lead to a directory of anything.
        let is_own = fs::symlink_metadata(&self.directory).is_ok_and(|found| found.is_dir());
        ensure!(
            is_own,
            "{} is a link; remove it, or name another file with METRONOME_DATABASE",
            self.directory.display()
        );
        let number = getrandom::u64().context("the system gives no random bytes for a name")?;
        let name = format!("{number:016x}");
        let path = self.path(&name);
        loop {
            let lock = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&path)
                .with_context(named)?;
            // Waits at most for another server's sweep, which may also have removed the file.
            flock(&lock, FlockOperation::LockExclusive).with_context(named)?;
            if is_at(&lock, &path) {
                return Ok(Owner {
                    name,
                    path,
                    lock,
                    is_last: AtomicBool::new(true),
                });
            }
        }
    }

    /// Takes over the name of another server, with its lock.
    pub(super) fn inherit(&self, name: &str, lock: OwnedFd) -> anyhow::Result<Owner> {
        let (path, lock) = (self.path(name), File::from(lock));
        ensure!(
            is_name(name) && is_at(&lock, &path),
            "the old server's lock is not one of {}",
            self.directory.display()
        );
        Ok(Owner {
            name: name.to_owned(),
            path,
            lock,
            is_last: AtomicBool::new(false),
        })
    }

    /// Whether the server of this name has ended. An unexpected error counts as alive: nothing is
    /// taken from a server that may still be running. No server has what is no name.
    pub(super) fn is_gone(&self, name: &str) -> bool {
        if !is_name(name) {
            return true;
        }
        match File::open(self.path(name)) {
            Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Removes the lock files of servers that have ended, and nothing else.
    pub(super) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        let is_lock = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            is_file
                && name
                    .to_str()
                    .and_then(|name| name.strip_suffix(".lock"))
                    .is_some_and(is_name)
        };
        for path in entries.flatten().filter(is_lock).map(|entry| entry.path()) {
            let Ok(file) = File::open(&path) else {
                continue;
            };
            let is_locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            // Another sweep may have removed it, and a server have made a new one of that name.
            if is_locked && is_at(&file, &path) {
                // Removed while locked, so that no starting server takes it for its own.
                let _ = fs::remove_file(&path);
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.lock"))
    }
}

impl Owner {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Whether this process, and not the other one of an upgrade, is the server of this name: it
    /// writes the results, and removes the lock file when it ends.
    pub(super) fn is_last(&self) -> bool {
        self.is_last.load(Relaxed)
    }

    /// Sets [`Self::is_last`].
    pub(super) fn set_last(&self, is_last: bool) {
        self.is_last.store(is_last, Relaxed);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.is_last() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a server can have this name: 16 hexadecimal digits.
fn is_name(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_at(file: &File, path: &Path) -> bool {
    let place = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => place(&ours) == place(&theirs),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_owner_is_alive_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let owners = Owners::beside(&directory.path().join("runs.sqlite"));
        let (first, second) = (owners.enroll().unwrap(), owners.enroll().unwrap());
        owners.sweep();
        let name = first.name().to_owned();
        assert!(!owners.is_gone(&name) && !owners.is_gone(second.name()));
        drop(first);
        assert!(owners.is_gone(&name) && !owners.is_gone(second.name()));
    }

    #[test]
    fn a_name_that_was_handed_over_lives_until_its_last_holder_ends() {
        let directory = tempfile::tempdir().unwrap();
        let owners = Owners::beside(&directory.path().join("runs.sqlite"));
        let old = owners.enroll().unwrap();
        let name = old.name().to_owned();
        let lock = || old.lock().try_clone_to_owned().unwrap();
        // A new process that fails takes nothing with it.
        drop(owners.inherit(&name, lock()).unwrap());
        assert!(!owners.is_gone(&name));
        let new = owners.inherit(&name, lock()).unwrap();
        old.set_last(false);
        new.set_last(true);
        drop(old);
        owners.sweep();
        assert!(!owners.is_gone(&name));
        drop(new);
        assert!(owners.is_gone(&name));
        let unlocked = File::open("/dev/null").unwrap();
        assert!(owners.inherit(&name, unlocked.into()).is_err());
        assert!(
            owners
                .inherit("../../etc/passwd", File::open("/dev/null").unwrap().into())
                .is_err()
        );
    }

    #[test]
    fn an_owner_that_was_killed_left_its_file_and_is_gone_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let owners = Owners::beside(&directory.path().join("runs.sqlite"));
        drop(owners.enroll().unwrap());
        let left = owners.path("00000000deadbeef");
        fs::write(&left, "").unwrap();
        assert!(owners.is_gone("00000000deadbeef"));
        owners.sweep();
        assert!(!left.exists());
    }

    #[test]
    fn what_is_no_lock_file_stays_and_a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let elsewhere = directory.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let (lock, letter) = (
            elsewhere.join("0123456789abcdef.lock"),
            elsewhere.join("letter"),
        );
        fs::write(&lock, "").unwrap();
        fs::write(&letter, "").unwrap();
        let owners = Owners::beside(&directory.path().join("runs.sqlite"));
        symlink(&elsewhere, &owners.directory).unwrap();
        let refused = owners.enroll().err().unwrap().to_string();
        assert!(refused.contains("runs.sqlite.owners"), "{refused}");
        assert!(lock.exists() && letter.exists());
        fs::remove_file(&owners.directory).unwrap();
        let _own = owners.enroll().unwrap();
        let (note, link) = (
            owners.directory.join("note.lock"),
            owners.path("0123456789abcdef"),
        );
        fs::write(&note, "").unwrap();
        symlink(&letter, &link).unwrap();
        owners.sweep();
        assert!(note.exists() && letter.exists() && fs::symlink_metadata(&link).is_ok());
    }
}
