//! A folder that is opened once, and the files in it, by their names alone.
//!
//! What is opened is a regular file in the folder itself: no path leads out of it, no link is
//! followed, and a FIFO or a device is refused without waiting for it. Reading a regular file can
//! still take as long as its disk does.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
};

/// Bytes that are read between two looks at whether to go on.
const PART_BYTES: usize = 1 << 20;

/// An open folder.
#[derive(Debug)]
pub struct Folder(OwnedFd);

/// Why a file of a folder was not read. Displayed as the end of a sentence that begins with the
/// file.
#[derive(Debug)]
pub enum NotRead {
    /// This is no name: it is empty, `.` or `..`, or has a slash or a zero byte.
    NotName,
    /// There is no such file.
    Missing,
    /// It is a symbolic link.
    Link,
    /// It is a folder, a FIFO, a socket or a device.
    NotRegular,
    /// It has so many bytes, which are more than were asked for.
    TooLarge(u64),
    /// It changed while it was read.
    Changed,
    /// There is no memory for so many bytes.
    NoMemory(u64),
    /// The reading was given up.
    GivenUp,
    /// Everything else that the system reports.
    System(io::Error),
}

impl std::fmt::Display for NotRead {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotName => formatter.write_str("has no name of a file"),
            Self::Missing => formatter.write_str("does not exist"),
            Self::Link => formatter.write_str("is a symbolic link"),
            Self::NotRegular => formatter.write_str("is no regular file"),
            Self::TooLarge(bytes) => write!(formatter, "has {bytes} bytes, which are too many"),
            Self::Changed => formatter.write_str("changed while it was read"),
            Self::NoMemory(bytes) => write!(formatter, "needs {bytes} bytes of memory"),
            Self::GivenUp => formatter.write_str("was not read in time"),
            Self::System(error) => write!(formatter, "cannot be read: {error}"),
        }
    }
}

impl std::error::Error for NotRead {}

impl From<io::Error> for NotRead {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => Self::Missing,
            Some(Errno::LOOP) => Self::Link,
            // What open(2) reports of a socket, and of a device without a driver.
            Some(Errno::NXIO | Errno::NODEV) => Self::NotRegular,
            _ => Self::System(error),
        }
    }
}

impl Folder {
    /// Opens a folder, through links where the path has some.
    ///
    /// # Errors
    /// What open(2) reports; `ENOTDIR` of what is no folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// All bytes of the regular file of this name, at most `bytes_max`, as they were at one moment
    /// as far as its size and its times show. `goes_on` is asked before every part of 1 MiB.
    ///
    /// # Errors
    /// See [`NotRead`].
    pub fn read(
        &self,
        name: &str,
        bytes_max: u64,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<Vec<u8>, NotRead> {
        if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
            return Err(NotRead::NotName);
        }
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = openat(&self.0, name, flags, Mode::empty());
        let mut file = File::from(opened.map_err(io::Error::from)?);
        let before = file.metadata()?;
        if !before.is_file() {
            return Err(NotRead::NotRegular);
        }
        if before.len() > bytes_max {
            return Err(NotRead::TooLarge(before.len()));
        }
        let bytes = read_exactly(&mut file, before.len(), &mut goes_on)?;
        if stamp(&file.metadata()?) != stamp(&before) {
            return Err(NotRead::Changed);
        }
        Ok(bytes)
    }
}

/// All that the file has, if that is so many bytes.
fn read_exactly(
    file: &mut File,
    size: u64,
    goes_on: &mut impl FnMut() -> bool,
) -> Result<Vec<u8>, NotRead> {
    let mut bytes = Vec::new();
    let room = usize::try_from(size)
        .ok()
        .filter(|room| bytes.try_reserve_exact(*room).is_ok());
    let room = room.ok_or(NotRead::NoMemory(size))?;
    loop {
        if !goes_on() {
            return Err(NotRead::GivenUp);
        }
        // One more byte at the end shows that there is no more.
        let part = PART_BYTES.min(room - bytes.len()) as u64;
        if part == 0 {
            let mut more = Vec::new();
            file.take(1).read_to_end(&mut more)?;
            return more.is_empty().then_some(bytes).ok_or(NotRead::Changed);
        }
        if file.by_ref().take(part).read_to_end(&mut bytes)? == 0 {
            return Err(NotRead::Changed);
        }
    }
}

/// What changes with the bytes of a file: its length, when it was written, when its inode changed.
fn stamp(of: &Metadata) -> [i64; 5] {
    let length = i64::try_from(of.len()).unwrap_or(i64::MAX);
    [
        length,
        of.mtime(),
        of.mtime_nsec(),
        of.ctime(),
        of.ctime_nsec(),
    ]
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, os::unix::fs::symlink};

    use rustix::fs::{FileType, mknodat};

    use super::*;

    fn always() -> bool {
        true
    }

    #[test]
    fn a_file_is_read_whole_with_as_many_bytes_as_allowed_and_refused_with_one_more() {
        let path = tempfile::tempdir().unwrap();
        let folder = Folder::open(path.path()).unwrap();
        for bytes in [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1] {
            let written: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            fs::write(path.path().join("file"), &written).unwrap();
            assert_eq!(folder.read("file", bytes as u64, always).unwrap(), written);
            if let Some(less) = (bytes as u64).checked_sub(1) {
                let refused = folder.read("file", less, always).unwrap_err();
                assert!(matches!(refused, NotRead::TooLarge(_)), "{refused:?}");
            }
        }
    }

    #[test]
    fn only_a_regular_file_in_the_folder_itself_is_read_and_nothing_is_waited_for() {
        let path = tempfile::tempdir().unwrap();
        let within = |name: &str| path.path().join(name);
        fs::write(within("file"), "bytes").unwrap();
        fs::create_dir(within("folder")).unwrap();
        fs::write(within("folder/file"), "bytes").unwrap();
        symlink("file", within("link")).unwrap();
        symlink("/dev/zero", within("device")).unwrap();
        symlink("folder", within("linked-folder")).unwrap();
        mknodat(CWD, within("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(within("socket")).unwrap();
        let folder = Folder::open(path.path()).unwrap();
        let refused = |name: &str| format!("{:?}", folder.read(name, 100, always).unwrap_err());
        for name in [
            "",
            ".",
            "..",
            "folder/file",
            "./file",
            "/etc/passwd",
            "fi\0le",
        ] {
            assert_eq!(refused(name), "NotName", "{name}");
        }
        for name in ["link", "device", "linked-folder"] {
            assert_eq!(refused(name), "Link");
        }
        for name in ["folder", "fifo", "socket"] {
            assert_eq!(refused(name), "NotRegular", "{name}");
        }
        assert_eq!(refused("none"), "Missing");
        assert!(refused(&"x".repeat(300)).starts_with("System"));
        assert!(Folder::open(&within("file")).is_err());
        assert!(Folder::open(&within("none")).is_err());
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_refused_however_it_changes() {
        let path = tempfile::tempdir().unwrap();
        let file = path.path().join("file");
        let folder = Folder::open(path.path()).unwrap();
        let read_while = |change: &dyn Fn()| {
            fs::write(&file, vec![7; 3 * PART_BYTES]).unwrap();
            let mut asked = 0;
            let goes_on = || {
                asked += 1;
                if asked == 2 {
                    change();
                }
                true
            };
            folder.read("file", u64::MAX, goes_on)
        };
        let open = || fs::OpenOptions::new().append(true).open(&file).unwrap();
        let longer = read_while(&|| open().write_all(b"x").unwrap());
        assert!(matches!(longer, Err(NotRead::Changed)), "{longer:?}");
        let shorter = read_while(&|| open().set_len(1).unwrap());
        assert!(matches!(shorter, Err(NotRead::Changed)), "{shorter:?}");
        let touched = read_while(&|| open().set_modified(std::time::UNIX_EPOCH).unwrap());
        assert!(matches!(touched, Err(NotRead::Changed)), "{touched:?}");
        let replaced = read_while(&|| fs::remove_file(&file).unwrap());
        assert!(matches!(replaced, Err(NotRead::Changed)), "{replaced:?}");
        let alone = read_while(&|| {}).unwrap();
        assert_eq!(alone.len(), 3 * PART_BYTES);
    }

    #[test]
    fn a_reading_that_is_given_up_ends() {
        let path = tempfile::tempdir().unwrap();
        fs::write(path.path().join("file"), "bytes").unwrap();
        let folder = Folder::open(path.path()).unwrap();
        let given_up = folder.read("file", 100, || false).unwrap_err();
        assert!(matches!(given_up, NotRead::GivenUp), "{given_up:?}");
    }
}
