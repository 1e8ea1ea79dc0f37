//! Which file is the new version: the one that lies now where this process was started from.
//!
//! Not /proc/self/exe: that is the old version, whatever has become of its file.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// What the kernel appends to the path of a file that was replaced or removed.
const DELETED: &[u8] = b" (deleted)";

/// The path of the new version. An error is one sentence.
pub(super) fn executable() -> Result<PathBuf, String> {
    let started_as = env::args_os().next();
    let link = fs::read_link("/proc/self/exe").ok();
    let candidates = candidates(started_as.as_deref(), link.as_deref());
    let found = candidates.iter().find(|path| path.is_file()).cloned();
    found.ok_or_else(|| {
        let first = candidates.first();
        let shown = first.map_or_else(String::new, |path| path.display().to_string());
        format!(
            "there is no executable at {shown} any more, from where this server was started; \
             put the new one there"
        )
    })
}

/// In order of preference. The name it was started by comes first: it may be a link that points to
/// the new version by now. One without a slash was looked up in PATH and names no place.
fn candidates(started_as: Option<&OsStr>, link: Option<&Path>) -> Vec<PathBuf> {
    let named = started_as
        .filter(|name| name.as_bytes().contains(&b'/'))
        .map(PathBuf::from);
    let linked = link.map(|link| {
        let bytes = link.as_os_str().as_bytes();
        PathBuf::from(OsStr::from_bytes(
            bytes.strip_suffix(DELETED).unwrap_or(bytes),
        ))
    });
    named.into_iter().chain(linked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(started_as: &str, link: &str) -> Vec<String> {
        let candidates = candidates(Some(OsStr::new(started_as)), Some(Path::new(link)));
        candidates
            .into_iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn the_name_it_was_started_by_comes_before_the_file_it_was() {
        let deleted = "/opt/1/metronome-server (deleted)";
        assert_eq!(
            found("/usr/bin/m", deleted),
            ["/usr/bin/m", "/opt/1/metronome-server"]
        );
        assert_eq!(found("./m", "/a/m"), ["./m", "/a/m"]);
        assert_eq!(
            found("metronome-server", deleted),
            ["/opt/1/metronome-server"]
        );
    }
}
