//! `benchctl man`: the manual pages of all three executables, from the same flags as their help.

use std::{env, fs, path::PathBuf, time::SystemTime};

use metronome_proto::json::values;
use prost_types::Timestamp;

use crate::{
    exit::{Exit, Failure, host_failed},
    manual::{self, Executable},
    terminal,
};

/// Write the manual pages of all three executables, one a subcommand.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder to write them to, made when missing. Not given: benchctl's own page, on standard
    /// output.
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Writes the pages; `benchctl` is the command line of this executable.
pub(crate) fn run(args: &Args, benchctl: &clap::Command) -> Result<Exit, Failure> {
    let date = date();
    let Some(folder) = &args.folder else {
        let pages = manual::pages(Executable::Benchctl, benchctl, &date)
            .map_err(|error| host_failed(format!("the manual page cannot be made: {error}")))?;
        for page in pages.into_iter().take(1) {
            terminal::print(&page.text)?;
        }
        return Ok(Exit::Done);
    };
    let in_words = |error| {
        host_failed(format!(
            "no manual pages can be written to {}: {error}",
            folder.display()
        ))
    };
    fs::create_dir_all(folder).map_err(in_words)?;
    for executable in Executable::ALL {
        for page in manual::pages(executable, benchctl, &date).map_err(in_words)? {
            fs::write(folder.join(page.file_name), page.text).map_err(in_words)?;
        }
    }
    Ok(Exit::Done)
}

/// Today, or the day of SOURCE_DATE_EPOCH, by which packages are built the same again.
fn date() -> String {
    let of_source = env::var("SOURCE_DATE_EPOCH").ok();
    let of_source = of_source.and_then(|seconds| seconds.parse().ok());
    let seconds = of_source.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs().cast_signed())
    });
    let instant = values::instant(Some(&Timestamp { seconds, nanos: 0 }));
    let day = instant.as_deref().and_then(|it| it.split('T').next());
    day.unwrap_or_default().to_owned()
}
