//! Files of /proc and /sys as text and numbers; `None` when they cannot be read as such.

use std::{fs, path::Path, str::FromStr};

/// The text of a file without the blanks around it.
pub(super) fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// The number in a file.
pub(super) fn number<T: FromStr>(path: impl AsRef<Path>) -> Option<T> {
    text(path)?.parse().ok()
}
