//! A plan file, read and checked.

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use metronome_os::files;
use metronome_proto::{
    plan::{FieldErrorKind, Plan},
    v1::FailureCode,
};

use super::payload_file;
use crate::{
    exit::{Failure, marked, usage},
    plans::{
        file::{BYTES_MAX, BadPart, PlanFile},
        parts::{BadPlan, PlanParts},
    },
};

/// Where a plan is read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Source {
    StandardInput,
    File(PathBuf),
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "-" => Self::StandardInput,
            path => Self::File(path.into()),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardInput => formatter.write_str("standard input"),
            Self::File(path) => write!(formatter, "{}", path.display()),
        }
    }
}

impl Source {
    /// The parts of its plan. `argument` is how the command line names the file.
    ///
    /// # Errors
    /// It cannot be read, or is no plan file: a sentence that begins with the place.
    pub(super) fn read(&self, argument: &str) -> Result<PlanFile, Failure> {
        let text = self.text().map_err(|error| {
            let cause = match error.kind() {
                io::ErrorKind::FileTooLarge => "it is larger than 1 MiB, and no plan is".into(),
                _ => error.to_string(),
            };
            usage(argument, format!("{self} cannot be read: {cause}"))
        })?;
        PlanFile::parse(&text).map_err(|bad| self.failure(argument, bad))
    }

    /// The plan that the parts of `file` make, some of which flags may have replaced.
    ///
    /// # Errors
    /// A part that is not allowed: a sentence that begins with its place.
    pub(super) fn plan(
        &self,
        argument: &str,
        file: &PlanFile,
        parts: &PlanParts,
    ) -> Result<Plan, Failure> {
        let explain = |bad: BadPlan| self.failure(argument, file.explain(bad));
        let folder = self.folder();
        let mut read = |path: &str| payload_file::read(folder, path);
        parts.plan(&mut read).map_err(explain)
    }

    fn failure(&self, argument: &str, bad: BadPart) -> Failure {
        let (line, column) = (bad.place.line, bad.place.column);
        let sentence = format!("{self}:{line}:{column}: {}", bad.sentence);
        let failure = match bad.kind {
            FieldErrorKind::OutOfRange => usage(argument, sentence),
            FieldErrorKind::Unsupported => {
                Failure::new(FailureCode::Unsupported, sentence).with("flag", argument)
            }
        };
        let failure = failure
            .with("file", self.to_string())
            .with("line", line as u64)
            .with("column", column as u64);
        let failure = match bad.feature {
            Some(feature) => failure.with("feature", feature),
            None => failure,
        };
        let failure = match bad.mark {
            Some(mark) => marked(failure, &mark.0, mark.1),
            None => failure,
        };
        match bad.field {
            Some(field) => failure.with("field", format!("plan.{field}")),
            None => failure,
        }
    }

    /// From where the paths in the plan count.
    fn folder(&self) -> &Path {
        match self {
            Self::StandardInput => Path::new(""),
            Self::File(path) => path.parent().unwrap_or(Path::new("")),
        }
    }

    fn text(&self) -> io::Result<String> {
        match self {
            Self::File(path) => file_text(path),
            Self::StandardInput => {
                let mut bytes = Vec::new();
                let mut input = io::stdin().lock().take(BYTES_MAX as u64 + 1);
                input.read_to_end(&mut bytes)?;
                if bytes.len() > BYTES_MAX {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                String::from_utf8(bytes).map_err(|_| {
                    io::Error::new(io::ErrorKind::InvalidData, "it is no text (UTF-8)")
                })
            }
        }
    }
}

fn file_text(path: &Path) -> io::Result<String> {
    // Reading it would fail, too, with less to go by.
    if fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    files::text(&files::open(path)?, BYTES_MAX)
}
