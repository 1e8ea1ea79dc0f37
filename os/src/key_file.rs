//! A secret key in a file, as hexadecimal digits: `openssl rand -hex 32 >key; chmod 600 key`.
//!
//! A file that others can read is refused: its key is no secret. One of root's may be readable by
//! its group, which is how secrets reach a service that runs as another user.

use std::{fmt, fs::File, io, os::unix::fs::MetadataExt as _, path::Path};

use crate::files;

/// White space that may stand around the digits, bytes.
const SPACE_MAX: usize = 16;

/// Why a key file cannot be used. Displayed as the end of a sentence that begins with its flag and
/// its path.
#[derive(Debug)]
pub enum KeyFileError {
    /// The file is not there, not ours to read, or not text.
    Unreadable(io::Error),
    /// Other users can read the file; its permission bits.
    Readable(u32),
    /// The file does not hold exactly this many hexadecimal digits.
    Malformed(usize),
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(formatter, "cannot be read: {error}"),
            Self::Readable(mode) => write!(
                formatter,
                "can be read by others (mode {mode:03o}); run chmod 600 on it and make a new key \
                 (640 where root owns it and the group is the service's)"
            ),
            Self::Malformed(digits) => write!(
                formatter,
                "must hold {digits} hexadecimal digits and nothing else; make one with \
                 `openssl rand -hex {}`",
                digits / 2
            ),
        }
    }
}

impl std::error::Error for KeyFileError {}

/// Opens a file with a secret key, whatever is in it.
///
/// # Errors
/// It cannot be opened, or others than its owner, and root's group, can read it.
pub fn open(path: &Path) -> Result<File, KeyFileError> {
    let file = files::open(path).map_err(KeyFileError::Unreadable)?;
    let status = file.metadata().map_err(KeyFileError::Unreadable)?;
    let mode = status.mode() & 0o777;
    if is_private(mode, status.uid()) {
        Ok(file)
    } else {
        Err(KeyFileError::Readable(mode))
    }
}

fn is_private(mode: u32, owner: u32) -> bool {
    let others_may = if owner == 0 { 0o040 } else { 0 };
    mode & 0o077 & !others_may == 0
}

/// Reads a key of `BYTES` bytes; white space around the digits is ignored.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read<const BYTES: usize>(path: &Path) -> Result<[u8; BYTES], KeyFileError> {
    let file = open(path)?;
    let malformed = KeyFileError::Malformed(2 * BYTES);
    let text = match files::text(&file, 2 * BYTES + SPACE_MAX) {
        Ok(text) => text,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidData => malformed,
                _ => KeyFileError::Unreadable(error),
            });
        }
    };
    let mut key = [0; BYTES];
    let decoded = hex::decode_to_slice(text.trim(), &mut key);
    decoded.map(|()| key).map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn read_text(text: &str, mode: u32) -> Result<[u8; 4], String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_private_file_with_the_right_number_of_digits_is_a_key() {
        for text in ["00ffA1b2", "00ffA1b2\n", " 00ffa1B2\r\n"] {
            assert_eq!(
                read_text(text, 0o600),
                Ok([0, 0xff, 0xa1, 0xb2]),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_group_may_read_a_key_of_root_s_and_others_may_read_none() {
        let users = |owner| move |mode: &u32| is_private(*mode, owner);
        let modes = [
            0o400, 0o600, 0o700, 0o440, 0o640, 0o660, 0o644, 0o604, 0o601,
        ];
        let private = |owner| modes.into_iter().filter(users(owner)).collect::<Vec<_>>();
        assert_eq!(private(1000), [0o400, 0o600, 0o700]);
        assert_eq!(private(0), [0o400, 0o600, 0o700, 0o440, 0o640]);
    }

    #[test]
    fn every_other_file_is_refused_with_a_way_out() {
        for mode in [0o604, 0o644, 0o620, 0o666] {
            let error = read_text("00ffa1b2", mode).unwrap_err();
            assert!(error.contains("chmod 600"), "{mode:o}: {error}");
        }
        let long_way = format!("00ffa1b2{}00", " ".repeat(200));
        for text in [
            "",
            "00ff",
            "00ffa1b2 00",
            "00ffa1bz",
            &"0".repeat(500),
            &long_way,
        ] {
            let error = read_text(text, 0o600).unwrap_err();
            assert!(error.contains("openssl rand -hex 4"), "{text:?}: {error}");
        }
        let absent = read::<4>(Path::new("/nonexistent/key"));
        assert!(matches!(absent, Err(KeyFileError::Unreadable(_))));
    }
}
