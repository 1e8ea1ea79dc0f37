//! The two forms of a log line, each with the run and the trace that it belongs to.
//!
//! A line never holds a harmful character that came from outside: text lines
//! are escaped here; JSON escapes by itself.

use std::fmt;

use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{JsonFields, Writer},
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

use crate::sanitise::Escaped;

/// Lines for people: when, how grave, what; then the run and the trace.
pub(super) struct TextLines {
    pub(super) ansi: bool,
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
        write!(writer, "{}", Escaped(&what))?;
        if let Some(run) = run_of(context) {
            write!(writer, " {}", Escaped(&run))?;
        }
        if let Some((trace_id, _)) = trace_of(context, event) {
            write!(writer, " trace_id={trace_id}")?;
        }
        writeln!(writer)
    }
}

/// A level's colour, by the number that terminals give it.
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
pub(super) struct JsonLines;

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
        object.insert("timestamp".into(), now().into());
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

/// The text line that reports a number of dropped ones.
pub(super) fn dropped_text(dropped: usize) -> String {
    format!(
        "{} {:>5} {}\n",
        now(),
        Level::WARN,
        dropped_message(dropped)
    )
}

/// The JSON line that reports a number of dropped ones.
pub(super) fn dropped_json(dropped: usize) -> String {
    let line = serde_json::json!({
        "timestamp": now(),
        "level": Level::WARN.as_str(),
        "message": dropped_message(dropped),
        "dropped": dropped,
    });
    format!("{line}\n")
}

fn dropped_message(dropped: usize) -> String {
    format!("{dropped} log lines were dropped: the output did not take them in time")
}

fn now() -> String {
    let mut now = String::new();
    // Writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    now
}
