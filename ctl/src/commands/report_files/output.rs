//! A file that is written beside what is printed, opened before anything is started.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::exit::{Failure, bad_flag, host_failed};

/// A file, and how it is named.
#[derive(Debug)]
pub(super) struct Output {
    flag: &'static str,
    path: PathBuf,
    file: File,
}

impl Output {
    pub(super) fn write(&self, text: &str) -> io::Result<()> {
        (&self.file).write_all(text.as_bytes())
    }

    pub(super) fn failure(&self, error: &io::Error) -> Failure {
        let (flag, path) = (self.flag, self.path.display());
        host_failed(format!("{flag}: {path} was not written: {error}")).with("flag", flag)
    }
}

/// The file of a flag, opened; `None` where the flag was not given.
pub(super) fn open(
    flag: &'static str,
    path: Option<&Path>,
    options: &OpenOptions,
) -> Result<Option<Output>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let name = path.display();
    if path == Path::new("-") {
        let problem = "- is no file, and standard output has the result; give a path";
        return Err(bad_flag(flag, problem));
    }
    let file = options.open(path).map_err(|error| {
        let problem = format!("{name} cannot be written: {error}; give the path of a file");
        bad_flag(flag, problem)
    })?;
    Ok(Some(Output {
        flag,
        path: path.to_owned(),
        file,
    }))
}
