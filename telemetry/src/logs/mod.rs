//! Log lines: where they go, how they look, and which run and trace each belongs to.
//!
//! `text` is for people, `json` is one object a line: `timestamp`, `level`, `message`, the line's
//! own fields, those of the spans around it (`run_id` among them), and `trace_id` and `span_id`
//! when there is a trace. A line never holds a control character that came from outside.
//!
//! Standard error and files are written by a thread of its own, which drops lines rather than delay
//! a caller.

mod file;
mod lines;
mod output;

use std::{
    io,
    path::{Path, PathBuf},
};

use tracing::Subscriber;
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::{EnvFilter, Layer, fmt::format::JsonFields, registry::LookupSpan};

pub use self::file::Rotation;
use self::lines::{JsonLines, TextLines, dropped_json, dropped_text};
pub(crate) use self::output::LogGuard;
use crate::variables::read_variable;

/// A log file of this size is full.
pub(super) const FILE_MIB_DEFAULT: u64 = 64;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, how and where.
#[derive(Clone, Debug)]
pub struct Logs {
    /// The filter when `METRONOME_LOG` is not set: `info`, or `warn` for an interactive tool.
    pub filter: &'static str,
    /// How lines look.
    pub format: LogFormat,
    /// A file instead of standard error.
    pub file: Option<PathBuf>,
    /// When a new file is begun.
    pub rotation: Rotation,
    /// When the file is full.
    pub file_bytes_max: u64,
}

impl Default for Logs {
    fn default() -> Self {
        let (format, rotation) = (LogFormat::default(), Rotation::default());
        Self {
            filter: "",
            format,
            file: None,
            rotation,
            file_bytes_max: FILE_MIB_DEFAULT << 20,
        }
    }
}

type Lines<S> = Box<dyn Layer<S> + Send + Sync>;

impl Logs {
    /// The layer that writes the lines. An error is one sentence.
    pub(super) fn layer<S>(&self) -> Result<(Lines<S>, LogGuard), String>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let filter = EnvFilter::try_from_env("METRONOME_LOG").unwrap_or_else(|_| {
            // `traces` reports an unreachable collector in one line; the exporter's own lines
            // repeat it.
            EnvFilter::new(format!(
                "{},opentelemetry=off,opentelemetry_sdk=off,opentelemetry_otlp=off",
                self.filter
            ))
        });
        let Some(path) = &self.file else {
            // Colours only on a terminal.
            let ansi =
                io::IsTerminal::is_terminal(&io::stderr()) && read_variable("NO_COLOR").is_none();
            let (writer, guard) = self.start(io::stderr());
            return Ok((self.lines(writer, ansi, filter), guard));
        };
        let (writer, guard) = self.open(path).map_err(|problem| {
            format!(
                "--log-file {}: it cannot be written ({problem}); name a file in a directory \
                 that is yours",
                path.display()
            )
        })?;
        Ok((self.lines(writer, false, filter), guard))
    }

    fn open(&self, path: &Path) -> io::Result<(NonBlocking, LogGuard)> {
        let file = file::RotatingFile::open(path, self.rotation, self.file_bytes_max)?;
        Ok(self.start(file))
    }

    fn start(&self, output: impl io::Write + Send + 'static) -> (NonBlocking, LogGuard) {
        let note = match self.format {
            LogFormat::Text => dropped_text,
            LogFormat::Json => dropped_json,
        };
        output::start(output, note)
    }

    fn lines<S, W>(&self, writer: W, ansi: bool, filter: EnvFilter) -> Lines<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
    {
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(writer)
            .with_ansi(ansi);
        match self.format {
            LogFormat::Text => layer
                .event_format(TextLines { ansi })
                .with_filter(filter)
                .boxed(),
            LogFormat::Json => layer
                .fmt_fields(JsonFields::new())
                .event_format(JsonLines)
                .with_filter(filter)
                .boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What is logged inside, line by line.
    fn logged(format: LogFormat, inside: impl FnOnce()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let logs = Logs {
            format,
            ..Logs::default()
        };
        let layer = logs.lines(Shared(Arc::clone(&lines)), false, EnvFilter::new("info"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), inside);
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }

    #[derive(Clone)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl tracing_subscriber::fmt::MakeWriter<'_> for Shared {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    const EVIL: &str = "x\x1b[31m\r\n2026-01-01T00:00:00Z ERROR forged\u{202E}";

    #[test]
    fn a_json_line_is_one_object_with_the_run_it_belongs_to() {
        let lines = logged(LogFormat::Json, || {
            let _run = tracing::info_span!("run", run_id = "0199", otel.name = "hidden").entered();
            tracing::warn!(
                agent = EVIL,
                clients = 3,
                ratio = 0.5,
                late = true,
                "agent lost"
            );
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            (&line["level"], &line["message"]),
            (&"WARN".into(), &"agent lost".into())
        );
        assert_eq!(
            (&line["run_id"], &line["clients"], &line["late"]),
            (&"0199".into(), &3.into(), &true.into())
        );
        assert_eq!(
            (&line["agent"], line.get("otel.name")),
            (&EVIL.into(), None)
        );
    }

    #[test]
    fn a_text_line_stays_one_line_without_control_characters() {
        let lines = logged(LogFormat::Text, || {
            let _run = tracing::info_span!("run", run_id = "0199").entered();
            tracing::warn!(agent = EVIL, "agent {EVIL} lost");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains("run_id=0199") && lines[0].contains("forged"),
            "{lines:?}"
        );
        assert!(!lines[0].contains(['\x1b', '\r', '\u{202E}']), "{lines:?}");
    }

    #[test]
    fn a_file_gets_every_line_and_one_that_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        let (writer, guard) = Logs::default().open(&path).unwrap();
        io::Write::write_all(&mut writer.clone(), b"a line\n").unwrap();
        drop(guard);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "a line\n");

        let logs = Logs {
            file: Some("/proc/none/server.log".into()),
            ..Logs::default()
        };
        let error = logs.layer::<tracing_subscriber::Registry>().err().unwrap();
        assert!(
            error.contains("--log-file /proc/none/server.log"),
            "{error}"
        );
    }
}
