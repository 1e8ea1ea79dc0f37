//! Where the history lies when nothing keeps it: in a private folder among the temporary files,
//! which goes with the process. One that is killed leaves its folder behind.

use std::{
    env,
    fs::{self, DirBuilder},
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rustix::fs::{Access, access};

use super::schema::make_private_file;

/// Why no history is kept, unless `place` can be used. A place that the user has named is not asked
/// about: to do without it would lose what was to be kept.
pub(crate) fn why_not_kept(place: Option<&Path>) -> Option<String> {
    let Some(place) = place else {
        return Some("neither XDG_STATE_HOME nor HOME names a folder for it".into());
    };
    let error = unwritable(place)?;
    Some(format!("{} cannot be written: {error}", place.display()))
}

/// Why the file cannot be made or written by this user. What else may be wrong with it is found
/// when it is opened.
fn unwritable(place: &Path) -> Option<io::Error> {
    let made = make_private_file(place).err();
    let error = match made {
        Some(error) => error.downcast::<io::Error>().ok()?,
        // The log of the database lies beside it.
        None => access(place.parent()?, Access::WRITE_OK).err()?.into(),
    };
    let is_meant = matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotFound
            | ErrorKind::NotADirectory
            // A file stands where a folder is to be.
            | ErrorKind::AlreadyExists
    );
    is_meant.then_some(error)
}

/// The folder. Dropped, it is removed with all that is in it.
#[derive(Debug)]
pub(crate) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).context("the system gives no random bytes for a name")?;
        let name = format!("metronome-{:016x}", u64::from_le_bytes(bytes));
        let path = env::temp_dir().join(name);
        // Not recursive: a folder that is there already is another's.
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("the folder {} cannot be made", path.display()))?;
        Ok(Self(path))
    }

    /// The file of the history in it.
    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("runs.sqlite")
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_history_is_kept_where_its_file_can_be_made_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            why_not_kept(Some(&folder.path().join("a/runs.sqlite"))),
            None
        );
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for place in [
            Path::new("/proc/none/runs.sqlite"),
            &file.join("runs.sqlite"),
        ] {
            let why = why_not_kept(Some(place)).expect("no place");
            assert!(why.contains("cannot be written"), "{why}");
        }
        assert!(why_not_kept(None).is_some());
    }

    #[test]
    fn the_folder_is_private_and_goes_with_its_value() {
        let folder = TemporaryFolder::new().unwrap();
        let path = folder.0.clone();
        fs::write(folder.database(), "x").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        drop(folder);
        assert!(!path.exists());
    }
}
