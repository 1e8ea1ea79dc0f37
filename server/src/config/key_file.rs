//! The file of `--key-file`: 64 hexadecimal digits that only their owner can read.

use std::{fs, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context as _, bail};
use metronome_proto::handshake::KEY_BYTES;

/// Reads the key. An error is one sentence that names the flag.
pub(super) fn read(path: &Path) -> anyhow::Result<[u8; KEY_BYTES]> {
    let shown = path.display();
    let file =
        fs::File::open(path).with_context(|| format!("--key-file {shown} cannot be read"))?;
    let mode = file
        .metadata()
        .with_context(|| format!("--key-file {shown} cannot be read"))?
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "--key-file {shown} can be read by others (mode {mode:03o}); run chmod 600 on it and make a new key"
        );
    }
    let mut text = String::new();
    // One byte more than a key and its line end: enough to see that the file is too long.
    let limit = 2 * KEY_BYTES as u64 + 3;
    file.take(limit)
        .read_to_string(&mut text)
        .with_context(|| format!("--key-file {shown} cannot be read"))?;
    let mut key = [0; KEY_BYTES];
    hex::decode_to_slice(text.trim_end(), &mut key).ok().with_context(|| {
        format!("--key-file {shown} must hold 64 hexadecimal digits; make one with `openssl rand -hex 32`")
    })?;
    Ok(key)
}
