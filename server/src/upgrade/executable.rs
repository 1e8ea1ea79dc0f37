//! Which file is the new version: the one that lies now where this process was started from.
//!
//! Not /proc/self/exe: that is the old version, whatever has become of its file.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

/// What the kernel appends to the path of a file that was replaced or removed.
const DELETED: &[u8] = b" (deleted)";

/// Where this process was started from. To be asked for at its start, when the name that it was
/// started by still leads to its own file.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// The name it was started by, which may be a link that points to the new version later on;
    /// else its own file.
    path: Option<PathBuf>,
}

impl Origin {
    pub(super) fn of_this_process() -> Self {
        let started_as = env::args_os().next().unwrap_or_default();
        let folders: Vec<PathBuf> =
            env::var_os("PATH").map_or_else(Vec::new, |path| env::split_paths(&path).collect());
        let own = Path::new(OWN_FILE);
        let named = at_own_file(Path::new(&started_as), own);
        let named = named.or_else(|| found_in(&folders, &started_as, own));
        Self {
            path: named.or_else(|| fs::read_link(OWN_FILE).ok().map(undeleted)),
        }
    }

    /// The path of the new version. An error is one sentence: another file than the one at that
    /// path would be an old version.
    pub(super) fn new_version(&self) -> Result<PathBuf, String> {
        let path = self.path.as_deref();
        let is_executable = |path: &&Path| path.is_file() && access(*path, Access::EXEC_OK).is_ok();
        let found = path.filter(is_executable).map(Path::to_owned);
        found.ok_or_else(|| {
            let shown = path.map_or_else(String::new, |path| path.display().to_string());
            format!(
                "there is no executable at {shown} any more, from where this server was started; \
                 put the new one there"
            )
        })
    }
}

/// A name with a slash, where it leads to the file `own`: a process may be called anything by what
/// starts it.
fn at_own_file(name: &Path, own: &Path) -> Option<PathBuf> {
    let has_slash = name.as_os_str().as_bytes().contains(&b'/');
    let is_own = has_slash && identity(name).is_some_and(|it| Some(it) == identity(own));
    // The folder that a relative name counts from may be another one by then.
    is_own.then(|| std::path::absolute(name).ok()).flatten()
}

/// The path of a file that may have been replaced or removed meanwhile.
fn undeleted(link: PathBuf) -> PathBuf {
    let bytes = link.as_os_str().as_bytes();
    let path = bytes.strip_suffix(DELETED);
    path.map_or(link.clone(), |path| OsStr::from_bytes(path).into())
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Where a name without a slash leads to the file `own`, as a shell looks it up. `None` for another
/// name: a process may be called anything by what starts it.
fn found_in(folders: &[PathBuf], name: &OsStr, own: &Path) -> Option<PathBuf> {
    if name.is_empty() || name.as_bytes().contains(&b'/') {
        return None;
    }
    let own = identity(own)?;
    let mut paths = folders.iter().map(|folder| folder.join(name));
    paths.find(|path| identity(path) == Some(own))
}

const OWN_FILE: &str = "/proc/self/exe";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_an_executable_at_the_path_it_was_started_from_is_the_new_version() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new, link] = ["old", "new", "link"].map(|name| folder.path().join(name));
        fs::copy("/bin/true", &old).unwrap();
        symlink(&old, &link).unwrap();
        let path = at_own_file(&link, &old);
        assert_eq!(path.as_deref(), Some(&*link));
        assert_eq!(at_own_file(Path::new("/bin/true"), &old), None);
        assert_eq!(at_own_file(Path::new("old"), &old), None);
        let origin = Origin { path };
        assert_eq!(origin.new_version().unwrap(), link);
        fs::remove_file(&link).unwrap();
        assert!(origin.new_version().is_err(), "the link is gone");
        fs::write(&new, "").unwrap();
        symlink(&new, &link).unwrap();
        assert!(origin.new_version().is_err(), "it cannot be executed");
        fs::remove_file(&link).unwrap();
        symlink("/bin/true", &link).unwrap();
        assert_eq!(origin.new_version().unwrap(), link);
    }

    #[test]
    fn the_own_file_is_found_by_its_path_though_it_was_replaced() {
        let deleted = PathBuf::from("/opt/1/metronome-server (deleted)");
        assert_eq!(undeleted(deleted), Path::new("/opt/1/metronome-server"));
        assert_eq!(undeleted("/a/m".into()), Path::new("/a/m"));
    }

    #[test]
    fn a_bare_name_is_the_first_in_path_that_leads_to_the_own_file() {
        let folder = tempfile::tempdir().unwrap();
        let [other, own, later] = ["other", "own", "later"].map(|name| folder.path().join(name));
        for path in [&other, &own, &later] {
            fs::create_dir(path).unwrap();
        }
        fs::write(other.join("m"), "").unwrap();
        fs::write(later.join("real"), "").unwrap();
        symlink(later.join("real"), own.join("m")).unwrap();
        symlink(later.join("real"), later.join("m")).unwrap();
        let folders = [
            folder.path().join("none"),
            other,
            own.clone(),
            later.clone(),
        ];
        let found = |name: &str| found_in(&folders, OsStr::new(name), &later.join("real"));
        assert_eq!(found("m"), Some(own.join("m")));
        assert_eq!(found("n"), None);
        assert_eq!(found("own/m"), None);
        assert_eq!(found(""), None);
    }
}
