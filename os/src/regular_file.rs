//! A regular file, read whole: no FIFO, device or directory is opened, no more is read than was
//! asked for, and what changes meanwhile is refused. Sizes are bytes.

use std::{
    fs::{self, File, FileType, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

/// All bytes of the file at `path`, at most `bytes_max`. It waits for no other process; a larger
/// file is refused by its size, before any of it is read.
///
/// # Errors
/// `InvalidInput`: it is a directory, a FIFO, a socket or a device. `FileTooLarge`: it has more
/// bytes. `InvalidData`: it was changed while it was read. Everything else that stat(2), open(2)
/// and read(2) report.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // Some devices do something when they are opened, so that comes second.
    check(&fs::metadata(path)?, bytes_max)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    // Another file may have that name by now.
    let before = file.metadata()?;
    check(&before, bytes_max)?;
    unchanged(&file, &before)
}

fn check(file: &Metadata, bytes_max: u64) -> io::Result<()> {
    if !file.is_file() {
        let kind = kind(file.file_type());
        let sentence = format!("it is {kind}, and a regular file is needed");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
    }
    if file.len() > bytes_max {
        let sentence = format!(
            "it has {} bytes, and at most {bytes_max} are read",
            file.len()
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, sentence));
    }
    Ok(())
}

fn kind(of: FileType) -> &'static str {
    if of.is_dir() {
        "a directory"
    } else if of.is_fifo() {
        "a FIFO"
    } else if of.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// All bytes of a file that was like this `before`, and still is.
fn unchanged(file: &File, before: &Metadata) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more than it has, which shows that it grows.
    file.take(before.len().saturating_add(1))
        .read_to_end(&mut bytes)?;
    let after = file.metadata()?;
    let state = |of: &Metadata| (of.len(), of.mtime(), of.mtime_nsec());
    if bytes.len() as u64 != before.len() || state(&after) != state(before) {
        let sentence = "it was changed while it was read; try again once nothing writes it";
        return Err(io::Error::new(io::ErrorKind::InvalidData, sentence));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::net::UnixListener};

    use rustix::fs::{CWD, Mode, mknodat};

    use super::*;

    #[test]
    fn a_regular_file_is_read_whole_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for bytes in [0, 1, 4096, 10_000] {
            let content: Vec<u8> = (0..bytes).map(|byte| byte as u8).collect();
            fs::write(&path, &content).unwrap();
            assert_eq!(read(&path, 10_000).unwrap(), content);
        }
        fs::write(&path, [0; 10_001]).unwrap();
        let error = read(&path, 10_000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        // A sparse one takes no time either.
        File::create(&path).unwrap().set_len(5 << 30).unwrap();
        let error = read(&path, 10_000).unwrap_err();
        assert!(error.to_string().contains("5368709120 bytes"), "{error}");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let (fifo, socket) = (folder.path().join("fifo"), folder.path().join("socket"));
        mknodat(
            CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        for (path, word) in [
            (folder.path(), "a directory"),
            (&fifo, "a FIFO"),
            (&link, "a FIFO"),
            (&socket, "a socket"),
            (Path::new("/dev/zero"), "a device"),
            (Path::new("/dev/tty"), "a device"),
        ] {
            let error = read(path, 100).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
            assert!(error.to_string().contains(word), "{path:?}: {error}");
        }
        let missing = read(&folder.path().join("missing"), 100).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "before").unwrap();
        let file = File::open(&path).unwrap();
        let before = file.metadata().unwrap();
        assert_eq!(unchanged(&file, &before).unwrap(), b"before");
        let changes: [fn(&mut File); 2] = [
            |file| file.write_all(b"more").unwrap(),
            |file| file.set_len(3).unwrap(),
        ];
        for change in changes {
            let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
            let file = File::open(&path).unwrap();
            let before = file.metadata().unwrap();
            change(&mut writer);
            let error = unchanged(&file, &before).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        // Files of /proc have contents without a size.
        let error = read(Path::new("/proc/self/status"), 1 << 20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
