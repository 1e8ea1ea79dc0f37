//! Files that are opened without waiting for another process.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
};

/// For what another process writes into a FIFO, as a shell's `<(…)` does.
const WRITING_TIME_MAX: Duration = Duration::from_secs(5);

/// Opens `path` to append to it, and makes it if it is missing. A FIFO is opened only if something
/// reads it; writes to it wait for that reader, as writes to every file may.
///
/// # Errors
/// `ENXIO`: a FIFO that nothing reads. Everything else that open(2) reports.
pub fn append(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    // Only the opening may not wait. A write that failed instead of waiting would lose a part of a
    // line, or a whole one, and nothing would count it.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Opens `path` to read it with [`text`].
///
/// # Errors
/// What open(2) reports.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
}

/// All of a file that [`open`] opened, at most `bytes_max` bytes.
///
/// # Errors
/// `FileTooLarge`: there is more. `TimedOut`: it is a FIFO into which nothing was written for 5 s.
/// `InvalidData`: it is not text. Everything else that read(2) reports.
pub fn text(mut file: &File, bytes_max: usize) -> io::Result<String> {
    let until = Instant::now() + WRITING_TIME_MAX;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        wait_to_read(file, until)?;
        match file.read(&mut part) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if bytes.len() > bytes_max {
            let sentence = format!("it has more than {bytes_max} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, sentence));
        }
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text (UTF-8)"))
}

fn wait_to_read(file: &File, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).ok();
    match poll(&mut [PollFd::new(file, PollFlags::IN)], left.as_ref()) {
        Ok(0) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it is a FIFO into which nothing was written for 5 s",
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, thread};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_fifo_is_opened_with_a_reader_only_and_written_like_any_file() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(append(&fifo).is_err());
        let reads = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(&fifo);
        let file = append(&fifo).unwrap();
        assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::NONBLOCK));
        drop(reads);
    }

    #[test]
    fn a_file_is_read_whole_or_refused_and_an_endless_one_ends() {
        let read = |path: &Path| text(&open(path)?, 10_000);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for bytes in [0, 1, 4096, 4097, 10_000] {
            fs::write(&path, "x".repeat(bytes)).unwrap();
            assert_eq!(read(&path).unwrap().len(), bytes);
        }
        fs::write(&path, "x".repeat(10_001)).unwrap();
        let kind = |path: &Path| read(path).unwrap_err().kind();
        assert_eq!(kind(&path), io::ErrorKind::FileTooLarge);
        assert_eq!(kind(Path::new("/dev/zero")), io::ErrorKind::FileTooLarge);
        assert_eq!(kind(folder.path()), io::ErrorKind::IsADirectory);
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(kind(&path), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_fifo_is_read_to_its_end_and_one_that_nothing_writes_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let silent = text(&open(&fifo).unwrap(), 100).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        let file = open(&fifo).unwrap();
        let path = fifo.clone();
        let writes = thread::spawn(move || {
            let mut writer = OpenOptions::new().write(true).open(path).unwrap();
            writer.write_all(b"from a shell").unwrap();
        });
        assert_eq!(text(&file, 100).unwrap(), "from a shell");
        writes.join().unwrap();
    }
}
