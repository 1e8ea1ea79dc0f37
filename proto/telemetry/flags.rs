//! The flags of log lines, alike in server and agent.

use std::path::PathBuf;

use super::logs::{LogFormat, Logs, Rotation};

/// What becomes of log lines.
#[derive(Clone, Debug, clap::Args)]
pub struct LogFlags {
    /// How log lines look.
    #[arg(long, env = "METRONOME_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Write log lines to this file instead of standard error; the day goes into its name.
    #[arg(long, env = "METRONOME_LOG_FILE", value_name = "PATH")]
    pub log_file: Option<PathBuf>,

    /// When a new log file is begun; the last seven are kept.
    #[arg(long, env = "METRONOME_LOG_ROTATION", value_enum, default_value_t = Rotation::Daily, value_name = "WHEN")]
    pub log_rotation: Rotation,
}

impl LogFlags {
    /// With what is logged when `METRONOME_LOG` is not set.
    #[must_use]
    pub fn decide(self, filter: &'static str) -> Logs {
        Logs { filter, format: self.log_format, file: self.log_file, rotation: self.log_rotation }
    }
}
