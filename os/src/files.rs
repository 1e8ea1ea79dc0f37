//! Files that are opened without waiting for another process.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::OFlags;

/// Opens `path` to append to it, and makes it if it is missing. A FIFO is opened only if something
/// reads it, and later writes to it fail instead of waiting; a regular file behaves as always.
///
/// # Errors
/// `ENXIO`: a FIFO that nothing reads. Everything else that open(2) reports.
pub fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
}
