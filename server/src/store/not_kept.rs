//! Whether a history can be kept where it is to lie.

use std::{
    io::{self, ErrorKind},
    path::Path,
};

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

#[cfg(test)]
mod tests {
    use std::fs;

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
}
