//! Log lines: where they go, how they look, and which run and trace each belongs to.
//!
//! `text` is for people, `json` is one object a line: `timestamp`, `level`, `message`, the line's
//! own fields, those of the spans around it (`run_id` among them), and `trace_id` and `span_id`
//! when there is a trace. A line never holds a control character that came from outside: text is
//! cleaned here, whoever wrote it.
//!
//! A file is written by a thread of its own, which drops lines rather than hold anybody up.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{JsonFields, Writer},
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

use clean::Cleaned;

mod clean;
mod file;

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

/// When a new log file is begun. There are seven at most.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Rotation {
    /// Never: something else, logrotate for example, looks after the file.
    Never,
    /// Every hour of UTC, and whenever the file is full.
    Hourly,
    /// Every day of UTC, and whenever the file is full.
    #[default]
    Daily,
}

/// What is logged, how and where.
#[derive(Clone, Debug)]
pub struct Logs {
    /// What `METRONOME_LOG` says when it is not set: `info`, or `warn` for a tool that talks to
    /// people.
    pub filter: &'static str,
    /// How lines look.
    pub format: LogFormat,
    /// A file instead of standard error.
    pub file: Option<PathBuf>,
    /// Of the file.
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

/// Writes the log file to its end when it is dropped.
pub(super) type FileGuard = WorkerGuard;

type Lines<S> = Box<dyn Layer<S> + Send + Sync>;

impl Logs {
    /// The layer that writes the lines. An error is one sentence.
    pub(super) fn layer<S>(&self) -> Result<(Lines<S>, Option<FileGuard>), String>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let filter = EnvFilter::try_from_env("METRONOME_LOG").unwrap_or_else(|_| {
            // What the exporter has to say of a collector that is away, `traces` says in one line.
            EnvFilter::new(format!(
                "{},opentelemetry=off,opentelemetry_sdk=off,opentelemetry_otlp=off",
                self.filter
            ))
        });
        let Some(path) = &self.file else {
            // Colours only where somebody sees them.
            let ansi = io::IsTerminal::is_terminal(&io::stderr())
                && super::read_variable("NO_COLOR").is_none();
            return Ok((self.lines(io::stderr, ansi, filter), None));
        };
        let (writer, guard) = self.open(path).map_err(|problem| {
            format!(
                "--log-file {}: it cannot be written ({problem}); name a file in a directory that is yours",
                path.display()
            )
        })?;
        Ok((self.lines(writer, false, filter), Some(guard)))
    }

    fn open(&self, path: &Path) -> io::Result<(NonBlocking, WorkerGuard)> {
        let file = file::RotatingFile::open(path, self.rotation, self.file_bytes_max)?;
        Ok(tracing_appender::non_blocking(file))
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

/// Lines for people: when, how grave, what; then the run and the trace.
struct TextLines {
    ansi: bool,
}

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let level = *event.metadata().level();
        match colour(level).filter(|_| self.ansi) {
            Some(colour) => write!(writer, " \x1b[{colour}m{level:>5}\x1b[0m ")?,
            None => write!(writer, " {level:>5} ")?,
        }
        let mut what = String::new();
        context.format_fields(Writer::new(&mut what), event)?;
        write!(writer, "{}", Cleaned(&what))?;
        if let Some(run) = run_of(context) {
            write!(writer, " {}", Cleaned(&run))?;
        }
        if let Some((trace_id, _)) = trace_of(context, event) {
            write!(writer, " trace_id={trace_id}")?;
        }
        writeln!(writer)
    }
}

/// As terminals number them.
fn colour(level: Level) -> Option<u8> {
    match level {
        Level::ERROR => Some(31),
        Level::WARN => Some(33),
        Level::INFO => Some(32),
        _ => None,
    }
}

/// `run_id=…` of the innermost span that has one.
fn run_of<S, N>(context: &FmtContext<'_, S, N>) -> Option<String>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    context.event_scope()?.find_map(|span| {
        let extensions = span.extensions();
        let fields = extensions.get::<FormattedFields<N>>()?;
        let run = fields
            .as_str()
            .split_whitespace()
            .find(|field| field.starts_with("run_id="));
        run.map(|run| run.replace('"', ""))
    })
}

/// Lines for programs.
struct JsonLines;

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut object = Map::new();
        let mut now = String::new();
        SystemTime.format_time(&mut Writer::new(&mut now))?;
        object.insert("timestamp".into(), now.into());
        object.insert("level".into(), event.metadata().level().as_str().into());
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            let fields =
                fields.and_then(|fields| serde_json::from_str::<Map<_, _>>(fields.as_str()).ok());
            // What only the trace needs to know.
            object.extend(
                fields
                    .into_iter()
                    .flatten()
                    .filter(|(name, _)| !name.starts_with("otel.")),
            );
        }
        event.record(&mut Fields(&mut object));
        if let Some((trace_id, span_id)) = trace_of(context, event) {
            object.insert("trace_id".into(), trace_id.into());
            object.insert("span_id".into(), span_id.into());
        }
        writeln!(writer, "{}", Value::Object(object))
    }
}

/// Trace and span of the event, as hexadecimal digits.
fn trace_of<S, N>(context: &FmtContext<'_, S, N>, event: &Event<'_>) -> Option<(String, String)>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let span = event
        .parent()
        .and_then(|id| context.span(id))
        .or_else(|| context.lookup_current())?;
    let context = tracing::dispatcher::get_default(|dispatch| {
        tracing_opentelemetry::get_otel_context(&span.id(), dispatch)
    })?;
    let context = context.span().span_context().clone();
    context.is_valid().then(|| {
        (
            context.trace_id().to_string(),
            context.span_id().to_string(),
        )
    })
}

/// An event's own fields, as JSON.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0
            .insert(field.name().into(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

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
    fn a_file_gets_every_line_and_one_that_cannot_be_written_is_told() {
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
