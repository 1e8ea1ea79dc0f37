//! The files of an agent's `--payload-dir`, as a plan may name them.
//!
//! They are read by a thread of their own: a disk that never answers then holds up one thread, and
//! neither the run nor the agent. There is one such thread at a time, so that a folder of such a
//! disk costs an agent no more than that.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use metronome_os::{
    clock,
    folder::{Folder, NotRead},
};
use metronome_proto::payload::{SHA256_BYTES, sha256};

use crate::stop_signal::{CHECK_EVERY_NS, StopSignal};

/// The open folder.
#[derive(Debug)]
pub(crate) struct AgentFiles {
    folder: Folder,
    /// Whether a thread reads from it.
    is_read: AtomicBool,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub(super) struct FileRead {
    pub(super) data: Arc<Vec<u8>>,
    pub(super) sha256: [u8; SHA256_BYTES],
}

/// How long a file may take.
#[derive(Clone, Copy)]
pub(super) struct Until<'a> {
    /// Ns of CLOCK_MONOTONIC.
    pub(super) deadline_ns: u64,
    pub(super) stop_signal: &'a StopSignal,
}

impl Until<'_> {
    pub(super) fn is_over(&self) -> bool {
        let now_ns = clock::now_ns();
        now_ns >= self.deadline_ns || !self.stop_signal.allows_load(now_ns)
    }
}

impl AgentFiles {
    /// Opens the folder.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            folder: Folder::open(path)?,
            is_read: AtomicBool::new(false),
        })
    }

    /// Reads a file of at most so many bytes whole. Waits for another reading, and for the disk, as
    /// long as allowed.
    pub(super) fn read(
        self: &Arc<Self>,
        name: &str,
        bytes_max: u64,
        until: Until<'_>,
    ) -> Result<FileRead, NotRead> {
        while self.is_read.swap(true, Ordering::AcqRel) {
            if until.is_over() {
                return Err(NotRead::GivenUp);
            }
            thread::sleep(Duration::from_nanos(CHECK_EVERY_NS));
        }
        let reading = ReadingEnds(Arc::clone(self));
        let is_wanted = Arc::new(AtomicBool::new(true));
        let (done, read) = mpsc::sync_channel(1);
        let (name, is_still_wanted) = (name.to_owned(), Arc::clone(&is_wanted));
        let work = move || {
            let goes_on = || is_still_wanted.load(Ordering::Relaxed);
            let bytes = reading.0.folder.read(&name, bytes_max, goes_on);
            let read = bytes.map(|bytes| FileRead {
                sha256: sha256(&bytes),
                data: bytes.into(),
            });
            // The run may have given up.
            let _ = done.send(read);
        };
        thread::Builder::new().name("payload".into()).spawn(work)?;
        loop {
            match read.recv_timeout(Duration::from_nanos(CHECK_EVERY_NS)) {
                Ok(read) => return read,
                Err(RecvTimeoutError::Timeout) if !until.is_over() => {}
                Err(_) => {
                    is_wanted.store(false, Ordering::Relaxed);
                    return Err(NotRead::GivenUp);
                }
            }
        }
    }
}

#[cfg(test)]
impl AgentFiles {
    /// A reading that lasts as long as this value.
    pub(super) fn hold(self: Arc<Self>) -> impl Sized {
        while self.is_read.swap(true, Ordering::AcqRel) {
            thread::yield_now();
        }
        ReadingEnds(self)
    }
}

/// Lets the next reading begin when this one has ended.
struct ReadingEnds(Arc<AgentFiles>);

impl Drop for ReadingEnds {
    fn drop(&mut self) {
        self.0.is_read.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_read_at_a_time_and_one_that_hangs_is_given_up() {
        let path = tempfile::tempdir().unwrap();
        std::fs::write(path.path().join("file"), "bytes").unwrap();
        let files = Arc::new(AgentFiles::open(path.path()).unwrap());
        let stop_signal = StopSignal::without_lease();
        let until = |deadline_ns| Until {
            deadline_ns,
            stop_signal: &stop_signal,
        };
        let read = files.read("file", u64::MAX, until(u64::MAX)).unwrap();
        assert_eq!(*read.data, b"bytes");
        assert_eq!(read.sha256, sha256(b"bytes"));
        // The reading before has ended, or will in a moment.
        assert!(files.read("file", u64::MAX, until(u64::MAX)).is_ok());
        let hangs = Arc::clone(&files).hold();
        let given_up = files
            .read("file", u64::MAX, until(clock::now_ns()))
            .unwrap_err();
        assert!(matches!(given_up, NotRead::GivenUp), "{given_up:?}");
        drop(hangs);
        assert!(files.read("file", u64::MAX, until(u64::MAX)).is_ok());
    }
}
