//! A private folder for files that go with the process. One that is killed leaves its folder
//! behind.
//!
//! It is made in the first of these that can be written: the folder for temporary files (TMPDIR,
//! else /tmp), /dev/shm, and one that the caller names. The current folder is not among them:
//! what a killed process leaves behind would lie among files of the user's.

use std::{
    env,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// In containers whose files are read-only there is this one.
const SHARED_MEMORY: &str = "/dev/shm";

/// The folder, of this user alone. Dropped, it is removed with all that is in it.
#[derive(Debug)]
pub struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Makes it. Where no place for passing files can be written it lies in `last`, which is made
    /// when missing.
    ///
    /// # Errors
    /// No place can be written; the error names each with its reason. Or the system gives no random
    /// bytes for a name.
    pub fn new(last: Option<&Path>) -> io::Result<Self> {
        let temporary = temporary_place(env::temp_dir());
        Self::in_first_of(
            &[&temporary, Path::new("/tmp"), Path::new(SHARED_MEMORY)],
            last,
        )
    }

    fn in_first_of(places: &[&Path], last: Option<&Path>) -> io::Result<Self> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let name = format!("metronome-{:016x}", u64::from_le_bytes(bytes));
        let mut refusals = Vec::new();
        for place in places.iter().copied().chain(last) {
            let path = place.join(&name);
            let exists = if Some(place) == last {
                private().recursive(true).create(place)
            } else {
                Ok(())
            };
            // Not recursive: a folder that is there already is another's.
            match exists.and_then(|()| private().create(&path)) {
                Ok(()) => return Ok(Self(path)),
                Err(error) => refusals.push(format!("{} ({error})", path.display())),
            }
        }
        let refusals = refusals.join(", ");
        Err(io::Error::other(format!(
            "no temporary folder can be made: {refusals}"
        )))
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be deleted is a few pages among the temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// TMPDIR, where it is set and names no place in the current folder, as an empty one does.
fn temporary_place(named: PathBuf) -> PathBuf {
    match named.is_absolute() {
        true => named,
        false => "/tmp".into(),
    }
}

/// For folders that only this user may enter.
fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_folder_is_private_and_goes_with_its_value() {
        let folder = TemporaryFolder::new(None).unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_for_temporary_files_that_is_empty_or_relative_is_not_the_current_one() {
        for (named, place) in [("", "/tmp"), ("a/b", "/tmp"), ("/a/b", "/a/b")] {
            assert_eq!(temporary_place(named.into()), Path::new(place));
        }
    }

    #[test]
    fn it_lies_in_the_first_place_that_can_be_written_and_the_last_one_is_made() {
        let root = tempfile::tempdir().unwrap();
        let [none, there, last] =
            ["none", "there", "state/metronome"].map(|of| root.path().join(of));
        fs::create_dir(&there).unwrap();
        let made = |places: &[&Path], last| {
            let folder = TemporaryFolder::in_first_of(places, last)?;
            io::Result::Ok(folder.path().parent().unwrap().to_owned())
        };
        assert_eq!(made(&[&there, &none], Some(&last)).unwrap(), there);
        assert_eq!(made(&[&none, &there], Some(&last)).unwrap(), there);
        assert!(!last.exists(), "it was not needed");
        assert_eq!(made(&[&none], Some(&last)).unwrap(), last);
        assert_eq!(fs::read_dir(&last).unwrap().count(), 0);
        let error = made(&[&none, Path::new("/proc/none")], None).unwrap_err();
        let error = error.to_string();
        for place in [&none, Path::new("/proc/none")] {
            assert!(error.contains(place.to_str().unwrap()), "{error}");
        }
    }
}
