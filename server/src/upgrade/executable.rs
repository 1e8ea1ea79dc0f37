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

/// What the kernel appends to the path of a file that was replaced or removed.
const DELETED: &[u8] = b" (deleted)";

/// Where this process was started from. To be asked for at its start, when a name without a slash
/// still leads to its own file.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// In order of preference.
    paths: Vec<PathBuf>,
}

impl Origin {
    pub(super) fn of_this_process() -> Self {
        let started_as = env::args_os().next();
        let folders: Vec<PathBuf> =
            env::var_os("PATH").map_or_else(Vec::new, |path| env::split_paths(&path).collect());
        let in_path = started_as
            .as_deref()
            .and_then(|name| found_in(&folders, name, Path::new(OWN_FILE)));
        let link = fs::read_link(OWN_FILE).ok();
        Self {
            paths: paths(started_as.as_deref(), in_path, link.as_deref()),
        }
    }

    /// The path of the new version. An error is one sentence.
    pub(super) fn new_version(&self) -> Result<PathBuf, String> {
        let found = self.paths.iter().find(|path| path.is_file()).cloned();
        found.ok_or_else(|| {
            let first = self.paths.first();
            let shown = first.map_or_else(String::new, |path| path.display().to_string());
            format!(
                "there is no executable at {shown} any more, from where this server was started; \
                 put the new one there"
            )
        })
    }
}

/// In order of preference. The name it was started by comes first: it may be a link that points to
/// the new version by now.
fn paths(
    started_as: Option<&OsStr>,
    in_path: Option<PathBuf>,
    link: Option<&Path>,
) -> Vec<PathBuf> {
    let named = started_as
        .filter(|name| name.as_bytes().contains(&b'/'))
        .map(PathBuf::from);
    let linked = link.map(|link| {
        let bytes = link.as_os_str().as_bytes();
        PathBuf::from(OsStr::from_bytes(
            bytes.strip_suffix(DELETED).unwrap_or(bytes),
        ))
    });
    named.into_iter().chain(in_path).chain(linked).collect()
}

/// Where a name without a slash leads to the file `own`, as a shell looks it up. `None` for another
/// name: a process may be called anything by what starts it.
fn found_in(folders: &[PathBuf], name: &OsStr, own: &Path) -> Option<PathBuf> {
    if name.is_empty() || name.as_bytes().contains(&b'/') {
        return None;
    }
    let file = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let own = file(own)?;
    let mut paths = folders.iter().map(|folder| folder.join(name));
    paths.find(|path| file(path) == Some(own))
}

const OWN_FILE: &str = "/proc/self/exe";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn found(started_as: &str, in_path: Option<&str>, link: &str) -> Vec<String> {
        let in_path = in_path.map(PathBuf::from);
        let paths = paths(Some(OsStr::new(started_as)), in_path, Some(Path::new(link)));
        paths
            .into_iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn the_name_it_was_started_by_comes_before_the_file_it_was() {
        let deleted = "/opt/1/metronome-server (deleted)";
        assert_eq!(
            found("/usr/bin/m", None, deleted),
            ["/usr/bin/m", "/opt/1/metronome-server"]
        );
        assert_eq!(found("./m", None, "/a/m"), ["./m", "/a/m"]);
        assert_eq!(
            found("metronome-server", Some("/usr/bin/m"), deleted),
            ["/usr/bin/m", "/opt/1/metronome-server"]
        );
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
