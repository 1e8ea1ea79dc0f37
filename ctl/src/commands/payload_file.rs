//! The file of a payload, read for a plan that brings it.

use std::{io, path::Path};

use metronome_os::regular_file;
use metronome_proto::limits::RECORDS_BYTES_MAX;

/// The file at `path`, which counts from `folder`: the working directory where that is empty.
///
/// # Errors
/// It cannot be a file of records: a phrase to follow its name, with the way out.
pub(super) fn read(folder: &Path, path: &str) -> Result<Vec<u8>, String> {
    let read = regular_file::read(&folder.join(path), RECORDS_BYTES_MAX as u64);
    read.map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => format!(
            "{error} for a plan; put it into the --payload-dir of each agent, and give agent:NAME \
             (agent_file in a plan file)"
        ),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => error.to_string(),
        _ => format!("it cannot be read: {error}; give the path of a file of records"),
    })
}
