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
    io::Errno,
};

/// For what another process writes into a FIFO, as a shell's `<(…)` does.
const WRITING_TIME_MAX: Duration = Duration::from_secs(5);
/// For all of what it writes, however small the pauses in between.
const READING_TIME_MAX: Duration = Duration::from_secs(60);

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
/// `FileTooLarge`: there is more. `TimedOut`: it is a FIFO into which nothing was written for 5 s,
/// or that had no end within 60 s. `InvalidData`: it is not text. Everything else that read(2)
/// reports.
pub fn text(file: &File, bytes_max: usize) -> io::Result<String> {
    let text = read(file, bytes_max, WRITING_TIME_MAX, READING_TIME_MAX)?;
    String::from_utf8(text)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text (UTF-8)"))
}

/// All bytes, none of which comes more than `pause_max` after the last one.
fn read(
    mut file: &File,
    bytes_max: usize,
    pause_max: Duration,
    time_max: Duration,
) -> io::Result<Vec<u8>> {
    let last = Instant::now() + time_max;
    let mut until = Instant::now() + pause_max;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        if !wait_to_read(file, until.min(last))? {
            let sentence = if last <= until {
                format!(
                    "it is a FIFO that has no end within {} s",
                    time_max.as_secs()
                )
            } else {
                let pause = pause_max.as_secs();
                format!("it is a FIFO into which nothing was written for {pause} s")
            };
            return Err(io::Error::new(io::ErrorKind::TimedOut, sentence));
        }
        match file.read(&mut part) {
            Ok(0) => return Ok(bytes),
            Ok(read) => {
                bytes.extend_from_slice(&part[..read]);
                until = Instant::now() + pause_max;
            }
            Err(error) if is_another_turn(error.kind()) => {}
            Err(error) => return Err(error),
        }
        if bytes.len() > bytes_max {
            let sentence = format!("it has more than {bytes_max} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, sentence));
        }
    }
}

fn is_another_turn(error: io::ErrorKind) -> bool {
    matches!(
        error,
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// False when nothing has come until then. True as well, with nothing to read, when a signal has
/// come.
fn wait_to_read(file: &File, until: Instant) -> io::Result<bool> {
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).ok();
    match poll(&mut [PollFd::new(file, PollFlags::IN)], left.as_ref()) {
        Ok(0) => Ok(false),
        Ok(_) | Err(Errno::INTR) => Ok(true),
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

    #[test]
    #[allow(unsafe_code)]
    fn a_fifo_that_is_written_slowly_is_read_to_its_end_whatever_signals_come() {
        // SAFETY: the handler does nothing.
        unsafe { signal_hook_registry::register(libc::SIGURG, || {}) }.unwrap();
        // SAFETY: it takes nothing and cannot fail.
        let reader = unsafe { libc::pthread_self() };
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let file = open(&fifo).unwrap();
        let writes = thread::spawn(move || {
            let mut writer = OpenOptions::new().write(true).open(fifo).unwrap();
            // Longer than 5 s in all, each pause far shorter.
            for _ in 0..6 {
                thread::sleep(Duration::from_secs(1));
                // SAFETY: the reader joins this thread.
                assert_eq!(unsafe { libc::pthread_kill(reader, libc::SIGURG) }, 0);
                writer.write_all(b"x").unwrap();
            }
        });
        assert_eq!(text(&file, 100).unwrap(), "xxxxxx");
        writes.join().unwrap();
    }

    #[test]
    fn a_fifo_that_is_written_for_ever_in_small_parts_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let file = open(&fifo).unwrap();
        let writes = thread::spawn(move || {
            let mut writer = OpenOptions::new().write(true).open(fifo).unwrap();
            // As long as there is a reader, and 50 s at most.
            for _ in 0..1000 {
                thread::sleep(Duration::from_millis(50));
                if writer.write_all(b"x").is_err() {
                    return true;
                }
            }
            false
        });
        let (pause_max, time_max) = (Duration::from_secs(20), Duration::from_secs(1));
        let error = read(&file, 10_000, pause_max, time_max).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("no end within 1 s"), "{error}");
        drop(file);
        assert!(writes.join().unwrap());
    }
}
