//! A log file that stays small: when its hour or day is over, or when it is full, `NAME` becomes
//! `NAME.1`, `NAME.1` becomes `NAME.2`, and what was `NAME.6` is gone.
//!
//! Hours and days are of UTC. Only files of these very names are ever touched.
//!
//! Our own code since no crate does this for two processes that write one file, as the old and the
//! new server do during an upgrade: after a rotation by the other, rolling-file, its fork
//! tracing-rolling-file, file-rotate and logroller go on in the renamed file and rename the new one
//! away. rolling-file also takes local days with an `unwrap` that panics where a clock change skips
//! midnight. tracing-appender has no size limit, and deletes files of other names.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use metronome_os::{files::append, standard_error};

use crate::sanitise::Escaped;

/// Files that there are at most, the one that is written included.
pub(super) const FILES_MAX: usize = 7;

/// How often to check whether another process has rotated the file: later lines would go into a
/// file of another name.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When a new log file is begun. There are seven at most.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Rotation {
    /// Never: something else, logrotate for example, looks after the file.
    Never,
    /// Every hour of UTC, and whenever the file is full.
    Hourly,
    /// Every day of UTC, and whenever the file is full.
    #[default]
    Daily,
}

/// The log file that is written; its predecessors are only renamed.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    rotation: Rotation,
    bytes_max: u64,
    bytes: u64,
    /// The hour or day of the newest line, counted from 1970.
    period: u64,
    looked: Instant,
}

impl RotatingFile {
    /// Writes what is wrong with this file to standard error.
    fn report(&self, problem: &str) {
        let path = self.path.to_string_lossy();
        standard_error::write_line(&format!("{} {problem}", Escaped(&path)));
    }

    /// Opens the file for more lines, and makes its folder when there is none.
    pub(super) fn open(path: &Path, rotation: Rotation, bytes_max: u64) -> io::Result<Self> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            fs::create_dir_all(folder)?;
        }
        let file = append(path)?;
        let metadata = file.metadata()?;
        // A pipe, a device or a link such as /dev/stdout is not ours to rename.
        let is_plain = fs::symlink_metadata(path)?.is_file();
        let rotation = if is_plain { rotation } else { Rotation::Never };
        let last_write = if metadata.len() > 0 {
            metadata.modified()?
        } else {
            SystemTime::now()
        };
        let period = rotation.period(last_write);
        Ok(Self {
            path: path.into(),
            file,
            rotation,
            bytes_max,
            bytes: metadata.len(),
            period,
            looked: Instant::now(),
        })
    }

    fn is_due(&self, period: u64) -> bool {
        self.rotation != Rotation::Never
            && self.bytes > 0
            && (period != self.period || self.bytes >= self.bytes_max)
    }

    /// Rotates, unless another process has done so: during an upgrade two servers write here. Only
    /// one of them rotates at a time; the other keeps writing and follows later. Returns whether
    /// there is room.
    fn make_room(&mut self) -> io::Result<bool> {
        let full = self.file.try_clone()?;
        match full.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let made = self.is_still_open().and_then(|still_open| {
            if still_open {
                self.rotate()
            } else {
                self.follow()
            }
        });
        // The file stays open where it could not be rotated, and so would the lock.
        full.unlock()?;
        made.map(|()| true)
    }

    /// Goes on in the file that the path leads to now.
    fn follow(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        self.bytes = self.file.metadata()?.len();
        Ok(())
    }

    /// Goes on in the file that another process has begun in this hour or day, if there is one.
    fn follow_if_moved(&mut self, period: u64) -> io::Result<()> {
        if self.rotation == Rotation::Never || self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        if !self.is_still_open()? {
            self.follow()?;
            self.period = period;
        }
        Ok(())
    }

    /// Whether the path leads to the file that is written.
    fn is_still_open(&self) -> io::Result<bool> {
        let open = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (open.dev(), open.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..FILES_MAX).rev() {
            let (from, to) = (self.former(number - 1), self.former(number));
            match fs::rename(from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = append(&self.path)?;
        self.bytes = 0;
        Ok(())
    }

    /// What the file is called after so many rotations.
    fn former(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        name.into()
    }
}

impl Write for RotatingFile {
    /// Takes whole lines: a file ends where a line does.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let period = self.rotation.period(SystemTime::now());
        if let Err(error) = self.follow_if_moved(period) {
            self.report(&format!("cannot be opened again: {error}"));
        }
        let has_room = !self.is_due(period)
            || self.make_room().unwrap_or_else(|error| {
                // The lines go on in the old file then, until the next is due.
                self.report(&format!("cannot be rotated: {error}"));
                self.bytes = 0;
                true
            });
        if has_room {
            self.period = period;
        }
        self.file.write_all(lines)?;
        self.bytes += lines.len() as u64;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Rotation {
    /// The hour or day of `time`, counted from 1970.
    fn period(self, time: SystemTime) -> u64 {
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        match self {
            Self::Never => 0,
            Self::Hourly => seconds / 3_600,
            Self::Daily => seconds / 86_400,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LARGE: u64 = 1_000_000;

    /// Names of the folder with the content of each, sorted.
    fn files(folder: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let read = |entry: fs::DirEntry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read_to_string(entry.path()).unwrap(),
            )
        };
        let mut files: Vec<_> = entries.map(read).collect();
        files.sort();
        files
    }

    fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()))
            .collect()
    }

    #[test]
    fn a_full_file_makes_room_and_the_seventh_last_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let neighbours = [
            ("a.log-of-mine", "x"),
            ("a.log.10", "x"),
            ("a.log.old", "x"),
        ];
        neighbours
            .iter()
            .for_each(|(name, content)| fs::write(folder.path().join(name), content).unwrap());
        let mut file =
            RotatingFile::open(&folder.path().join("a.log"), Rotation::Daily, 4).unwrap();
        for number in 0..10 {
            file.write_all(format!("{number}\n").as_bytes()).unwrap();
            file.write_all(b"+\n").unwrap();
        }
        let kept = files(folder.path())
            .into_iter()
            .filter(|(_, content)| content != "x")
            .collect::<Vec<_>>();
        let expected = [
            ("a.log", "9\n+\n"),
            ("a.log.1", "8\n+\n"),
            ("a.log.2", "7\n+\n"),
            ("a.log.3", "6\n+\n"),
        ];
        let more = [
            ("a.log.4", "5\n+\n"),
            ("a.log.5", "4\n+\n"),
            ("a.log.6", "3\n+\n"),
        ];
        assert_eq!(kept, named(&[&expected[..], &more].concat()));
        assert_eq!(
            files(folder.path()).len(),
            FILES_MAX + neighbours.len(),
            "what others own stays"
        );
    }

    #[test]
    fn lines_of_yesterday_and_of_another_process_move_on_when_today_s_first_line_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/a.log");
        RotatingFile::open(&path, Rotation::Daily, LARGE)
            .unwrap()
            .write_all(b"old\n")
            .unwrap();
        RotatingFile::open(&path, Rotation::Daily, LARGE)
            .unwrap()
            .write_all(b"same day\n")
            .unwrap();
        let yesterday = SystemTime::now() - Duration::from_secs(86_400);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(yesterday)
            .unwrap();
        RotatingFile::open(&path, Rotation::Daily, LARGE)
            .unwrap()
            .write_all(b"today\n")
            .unwrap();
        let expected = [("a.log", "today\n"), ("a.log.1", "old\nsame day\n")];
        assert_eq!(files(path.parent().unwrap()), named(&expected));
    }

    #[test]
    fn yesterday_s_file_that_another_process_holds_is_rotated_once_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut file = RotatingFile::open(&path, Rotation::Daily, LARGE).unwrap();
        file.write_all(b"old\n").unwrap();
        file.period -= 1;
        let other = File::open(&path).unwrap();
        other.lock().unwrap();
        file.write_all(b"meanwhile\n").unwrap();
        assert_eq!(
            files(folder.path()),
            named(&[("a.log", "old\nmeanwhile\n")])
        );
        other.unlock().unwrap();
        file.write_all(b"today\n").unwrap();
        let expected = [("a.log", "today\n"), ("a.log.1", "old\nmeanwhile\n")];
        assert_eq!(files(folder.path()), named(&expected));
    }

    #[test]
    fn of_two_that_write_the_same_file_one_rotates_and_the_other_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let open = || RotatingFile::open(&path, Rotation::Daily, 8).unwrap();
        let (mut old, mut new) = (open(), open());
        old.write_all(b"old 1 ..\n").unwrap();
        old.write_all(b"old 2\n").unwrap();
        new.looked -= LOOK_EVERY;
        new.write_all(b"new 1\n").unwrap();
        let expected = [("a.log", "old 2\nnew 1\n"), ("a.log.1", "old 1 ..\n")];
        assert_eq!(files(folder.path()), named(&expected));
    }

    #[test]
    fn a_file_that_another_has_begun_today_is_not_rotated_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let open = || RotatingFile::open(&path, Rotation::Daily, LARGE).unwrap();
        let (mut first, mut second) = (open(), open());
        first.write_all(b"yesterday\n").unwrap();
        (first.period, second.period) = (0, 0);
        first.write_all(b"first today\n").unwrap();
        second.looked -= LOOK_EVERY;
        second.write_all(b"second today\n").unwrap();
        let expected = [
            ("a.log", "first today\nsecond today\n"),
            ("a.log.1", "yesterday\n"),
        ];
        assert_eq!(files(folder.path()), named(&expected));
    }

    #[test]
    fn a_file_that_another_has_locked_is_written_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut file = RotatingFile::open(&path, Rotation::Daily, 4).unwrap();
        let other = append(&path).unwrap();
        other.lock().unwrap();
        file.write_all(b"one ..\n").unwrap();
        file.write_all(b"two\n").unwrap();
        other.unlock().unwrap();
        file.write_all(b"three\n").unwrap();
        assert_eq!(
            files(folder.path()),
            named(&[("a.log", "three\n"), ("a.log.1", "one ..\ntwo\n")])
        );
    }

    #[test]
    fn a_link_stays_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut file = RotatingFile::open(&link, Rotation::Hourly, 1).unwrap();
        file.write_all(b"one\n").unwrap();
        file.write_all(b"two\n").unwrap();
        let content = "one\ntwo\n";
        assert_eq!(
            files(folder.path()),
            named(&[("link", content), ("target", content)])
        );
    }

    #[test]
    fn a_file_that_cannot_be_rotated_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.log.5"), "").unwrap();
        fs::create_dir(folder.path().join("a.log.6")).unwrap();
        let path = folder.path().join("a.log");
        let mut file = RotatingFile::open(&path, Rotation::Daily, 1).unwrap();
        file.write_all(b"one\n").unwrap();
        file.write_all(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}
