//! Why the file could not be used, as a failure: it is locked, it is damaged, or something else.
//!
//! Each names the file. Which of the three follows from SQLite's codes and from the kind of the
//! error, never from its words.

use std::path::Path;

use metronome_proto::{
    run_id::RunId,
    v1::{Failure, FailureCode},
};
use rusqlite::{Error, ErrorCode, ffi};

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
                Use::Open => "used; give another file with --database, or move this one away",
                Use::Read => "read",
                Use::Write => "written",
            };
            let sentence = format!("the history {shown} cannot be {tried}: {cause}");
            Failure::new(FailureCode::HistoryFailed, sentence)
        }
    }
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
fn is_damage(error: &Error) -> bool {
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

/// SQLite's words, without the statement that they are about.
fn words(error: &Error) -> String {
    match error {
        Error::SqlInputError { msg, .. } => msg.clone(),
        Error::FromSqlConversionFailure(_, _, cause) => cause.to_string(),
        other => other.to_string(),
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
