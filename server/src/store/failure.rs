//! Why the file could not be used, as a failure: it is locked, it is damaged, or something else.
//!
//! Each names the file. Which of the three follows from SQLite's codes and from the kind of the
//! error, never from its words.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use metronome_proto::{
    run_id::RunId,
    v1::{Failure, FailureCode},
};
use rusqlite::{Error, ErrorCode, ffi};
use rustix::io::Errno;

/// What was to be done with the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Use {
    Open,
    Read,
    Write,
}

/// What was read is not what was written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotAsWritten(&'static str);

/// The error of a row that is not as it was written.
pub(super) fn not_as_written(what: &'static str) -> Error {
    let kind = rusqlite::types::Type::Blob;
    Error::FromSqlConversionFailure(0, kind, NotAsWritten(what).into())
}

/// The file can only be read together with its log, and that cannot be done here.
#[derive(Debug, thiserror::Error)]
#[error(
    "the newest runs may be in its log {}, which is read only where the folder can be written",
    log.display()
)]
pub(super) struct LogUnread {
    pub(super) log: PathBuf,
}

/// The file was read as one that nothing changes, and something has.
#[derive(Debug, thiserror::Error)]
#[error("it was written while it was read")]
pub(super) struct WrittenMeanwhile;

/// Another file is to be used. A server has a flag, benchctl has none.
const ANOTHER_FILE: &str = "name another file with METRONOME_DATABASE (or --database of \
     metronome-server), or move this one away";
const NO_RIGHTS: &str = "give this user the rights to the file and its folder, on a file system \
     that is not read-only, or name another file with METRONOME_DATABASE";
const NO_ROOM: &str = "make room on the disk, or in the user's quota";
const AGAIN: &str = "try again, or read it as a user who can write its folder, as the server that \
     writes it can";
const COPY: &str = "copy the file with its -wal into a folder that you can write, and name the \
     copy with METRONOME_DATABASE";

/// The failure of a use of the file at `path`.
pub(super) fn failure(path: &Path, tried: Use, error: &anyhow::Error) -> Failure {
    let found = error
        .chain()
        .find_map(|error| error.downcast_ref::<Error>());
    let shown = path.display();
    match found {
        Some(error) if is_locked(error) => locked(path),
        Some(error) if is_no_database(error) => {
            let sentence = format!("the history {shown} is damaged, or no database at all");
            Failure::new(FailureCode::HistoryDamaged, sentence)
        }
        Some(error) if is_damage(error) => {
            let sentence = format!("the history {shown} is damaged: {}", words(error));
            Failure::new(FailureCode::HistoryDamaged, sentence)
        }
        found => {
            let cause = found.map_or_else(|| format!("{error:#}"), words);
            let tried = match tried {
                Use::Open => "used",
                Use::Read => "read",
                Use::Write => "written",
            };
            let sentence = format!("the history {shown} cannot be {tried}: {cause}");
            let failure = Failure::new(FailureCode::HistoryFailed, sentence);
            match remedy(error) {
                Some(remedy) => Failure {
                    remedy: remedy.into(),
                    ..failure
                },
                None => failure,
            }
        }
    }
}

/// What helps against this cause. `None` where that of the code is all there is.
fn remedy(error: &anyhow::Error) -> Option<&'static str> {
    if error.is::<LogUnread>() {
        return Some(COPY);
    }
    if error.is::<WrittenMeanwhile>() {
        return Some(AGAIN);
    }
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<Error>() {
            return match error.sqlite_error_code()? {
                ErrorCode::DiskFull => Some(NO_ROOM),
                ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
                    Some(NO_RIGHTS)
                }
                _ => None,
            };
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(NO_ROOM),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Some(NO_RIGHTS),
                ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                | ErrorKind::AlreadyExists
                | ErrorKind::InvalidFilename
                | ErrorKind::InvalidInput => Some(ANOTHER_FILE),
                // A chain of links without an end has no stable kind.
                _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Some(ANOTHER_FILE),
                _ => None,
            };
        }
    }
    // Our own sentence: what is there is no history of this version.
    Some(ANOTHER_FILE)
}

/// Whether SQLite would have had to write something, and could not.
pub(super) fn is_not_writable(error: &anyhow::Error) -> bool {
    let code = error
        .downcast_ref::<Error>()
        .and_then(Error::sqlite_error_code);
    matches!(code, Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen))
}

/// The failure of a use that another process does not allow.
pub(super) fn locked(path: &Path) -> Failure {
    let sentence = format!(
        "the history {} is locked by another process",
        path.display()
    );
    Failure::new(FailureCode::HistoryLocked, sentence)
}

/// The failure of one run; others may be read.
pub(super) fn unreadable_run(path: &Path, id: RunId, error: Error) -> Failure {
    let failure = failure(path, Use::Read, &error.into());
    if failure.code() != FailureCode::HistoryDamaged {
        return failure;
    }
    let shown = path.display();
    let sentence = format!("run {id} cannot be read: the history {shown} is damaged there");
    Failure::new(FailureCode::HistoryDamaged, sentence).with("run_id", id.to_string())
}

/// Damage apart from all other errors, for a reader that goes on without what is damaged.
pub(super) fn apart<T>(found: rusqlite::Result<T>) -> rusqlite::Result<Result<T, Error>> {
    match found {
        Err(error) if is_damage(&error) => Ok(Err(error)),
        found => found.map(Ok),
    }
}

/// Whether another process has locked the file for longer than was waited.
pub(super) fn is_locked(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                // Locks of the log that are held for longer than SQLite tries.
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}

/// Whether what was read is not what was written.
pub(super) fn is_damage(error: &Error) -> bool {
    match error {
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..)
        // Our statements are right where the tables are ours.
        | Error::SqlInputError { .. } => true,
        _ => error.sqlite_error().is_some_and(|error| {
            matches!(
                error.code,
                // Unknown is SQLITE_ERROR: a statement does not fit the tables.
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown
            ) || error.extended_code == ffi::SQLITE_IOERR_SHORT_READ
        }),
    }
}

fn is_no_database(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::NotADatabase)
}

/// Our words, or SQLite's without the statement that they are about.
fn words(error: &Error) -> String {
    match error {
        Error::SqlInputError { msg, .. } => format!("SQLite reports: {msg}"),
        Error::FromSqlConversionFailure(_, _, cause) if cause.is::<NotAsWritten>() => {
            cause.to_string()
        }
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..) => "a value is of another form than was written".into(),
        other => format!("SQLite reports: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::failure::is_phrase;

    use super::*;

    fn of_code(code: i32) -> Error {
        Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn each_failure_names_the_file_and_follows_from_the_code_of_the_error() {
        let path = Path::new("/x/runs.sqlite");
        for (error, code) in [
            (of_code(ffi::SQLITE_BUSY), FailureCode::HistoryLocked),
            (
                of_code(ffi::SQLITE_BUSY_RECOVERY),
                FailureCode::HistoryLocked,
            ),
            (of_code(ffi::SQLITE_LOCKED), FailureCode::HistoryLocked),
            (of_code(ffi::SQLITE_PROTOCOL), FailureCode::HistoryLocked),
            (of_code(ffi::SQLITE_CORRUPT), FailureCode::HistoryDamaged),
            (of_code(ffi::SQLITE_NOTADB), FailureCode::HistoryDamaged),
            (of_code(ffi::SQLITE_ERROR), FailureCode::HistoryDamaged),
            (
                of_code(ffi::SQLITE_IOERR_SHORT_READ),
                FailureCode::HistoryDamaged,
            ),
            (of_code(ffi::SQLITE_IOERR), FailureCode::HistoryFailed),
            (of_code(ffi::SQLITE_FULL), FailureCode::HistoryFailed),
            (of_code(ffi::SQLITE_CANTOPEN), FailureCode::HistoryFailed),
            (not_as_written("oh"), FailureCode::HistoryDamaged),
        ] {
            for tried in [Use::Open, Use::Read, Use::Write] {
                let wrapped = anyhow::Error::from(clone(&error)).context("in a context");
                let failure = failure(path, tried, &wrapped);
                assert_eq!(failure.code(), code, "{error:?}");
                let sentence = &failure.sentence;
                assert!(sentence.contains("/x/runs.sqlite"), "{sentence}");
                assert!(is_phrase(sentence), "{sentence}");
            }
        }
    }

    fn clone(error: &Error) -> Error {
        match error {
            Error::SqliteFailure(error, _) => Error::SqliteFailure(*error, None),
            _ => not_as_written("oh"),
        }
    }

    #[test]
    fn a_statement_of_ours_is_not_shown() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let error = connection.prepare("SELECT run FROM nowhere").unwrap_err();
        let failure = failure(Path::new("/x"), Use::Read, &error.into());
        assert_eq!(failure.code(), FailureCode::HistoryDamaged);
        assert!(!failure.sentence.contains("SELECT"), "{failure:?}");
    }
}
