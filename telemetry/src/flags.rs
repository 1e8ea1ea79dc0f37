//! The flags of log lines, alike in server and agent.

use std::path::PathBuf;

use super::{
    logs::{FILE_MIB_DEFAULT, LogFormat, Logs, Rotation},
    whole_number::whole_number,
};

/// What becomes of log lines.
#[derive(Clone, Debug, clap::Args)]
pub struct LogFlags {
    /// How log lines look.
    #[arg(long, env = "METRONOME_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Write log lines to this file instead of standard error; its folder is made if need be.
    #[arg(long, env = "METRONOME_LOG_FILE", value_name = "PATH")]
    pub log_file: Option<PathBuf>,

    /// When a new log file is begun; the last six stay beside it, as PATH.1 to PATH.6.
    #[arg(
        long,
        env = "METRONOME_LOG_ROTATION",
        value_enum,
        default_value_t = Rotation::Daily,
        value_name = "WHEN"
    )]
    pub log_rotation: Rotation,

    /// A log file of this size, MiB, is full: 1 to 65536. With --log-rotation never there is no
    /// limit.
    #[arg(
        long,
        env = "METRONOME_LOG_FILE_MIB",
        default_value_t = FILE_MIB_DEFAULT,
        value_name = "MIB",
        allow_negative_numbers = true,
        value_parser = whole_number(1..=65_536_u64),
    )]
    pub log_file_mib: u64,
}

impl LogFlags {
    /// With what is logged when `METRONOME_LOG` is not set.
    #[must_use]
    pub fn decide(self, filter: &'static str) -> Logs {
        Logs {
            filter,
            format: self.log_format,
            file: self.log_file,
            rotation: self.log_rotation,
            file_bytes_max: self.log_file_mib << 20,
        }
    }
}
