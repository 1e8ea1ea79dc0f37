//! Families as Prometheus reads them: OpenMetrics 1.0, written by prometheus-client, and the older
//! text format 0.0.4, which is made from it.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text::encode},
    metrics::MetricType,
    registry::{self, Registry},
};

use super::{Buckets, Family, Kind, Unit, Value};

/// What the request accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    OpenMetrics,
    Text,
}

impl Form {
    /// The form that an `Accept` header asks for.
    pub(crate) fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// For the `Content-Type` header.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The families in one form.
pub(crate) fn write(families: Vec<Family>, form: Form) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut text = String::new();
    // Writing to a string fails only when a family is malformed; what was written so far is still
    // true.
    let _ = encode(&mut text, &registry);
    match form {
        Form::OpenMetrics => text,
        Form::Text => as_text_0_0_4(&text),
    }
}

/// OpenMetrics names a counter without `_total` in its descriptions, knows units and marks the end.
fn as_text_0_0_4(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let is_counter = |name: &str| open_metrics.contains(&format!("# TYPE {name} counter\n"));
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => continue,
            (Some("#"), Some(what), Some(name), Some(rest)) if is_counter(name) => {
                text.push_str(&format!("# {what} {name}_total {rest}"));
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|family| family.encode(&mut encoder))
    }
}

impl Family {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let unit = self.unit.map(|unit| match unit {
            Unit::Seconds => registry::Unit::Seconds,
            Unit::Bytes => registry::Unit::Bytes,
        });
        let mut series = encoder.encode_descriptor(self.name, self.help, unit.as_ref(), kind)?;
        for sample in &self.samples {
            if sample.labels.is_empty() {
                sample.value.encode(&mut series, self.kind)?;
            } else {
                sample
                    .value
                    .encode(&mut series.encode_family(&sample.labels)?, self.kind)?;
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, series: &mut MetricEncoder<'_>, kind: Kind) -> std::fmt::Result {
        match self {
            Self::Number(number) if kind == Kind::Counter => {
                series.encode_counter::<NoLabelSet, _, f64>(number, None)
            }
            Self::Number(number) => series.encode_gauge(number),
            Self::Times(times) => {
                let bounds = Buckets::bounds_s().chain([f64::INFINITY]);
                let buckets: Vec<_> = bounds.zip(times.counts.iter().copied()).collect();
                series.encode_histogram::<NoLabelSet>(times.sum_s, times.count, &buckets, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::histogram::Histogram;

    use super::{super::Sample, *};

    fn families() -> Vec<Family> {
        let mut times = Histogram::default();
        [3_000, 3_000, 700_000]
            .into_iter()
            .for_each(|time_ns| times.record(time_ns));
        let sample = |labels, value| Sample { labels, value };
        vec![
            Family {
                name: "metronome_worker_cpu",
                help: "CPU time",
                unit: Some(Unit::Seconds),
                kind: Kind::Counter,
                samples: vec![sample(
                    vec![("worker", "a\"\n\\".into())],
                    Value::Number(1.5),
                )],
            },
            Family {
                name: "metronome_latency",
                help: "Due to read",
                unit: Some(Unit::Seconds),
                kind: Kind::Histogram,
                samples: vec![sample(Vec::new(), Value::Times(Buckets::from(&times)))],
            },
        ]
    }

    #[test]
    fn openmetrics_has_units_and_an_end() {
        let text = write(families(), Form::OpenMetrics);
        assert!(
            text.contains("# TYPE metronome_worker_cpu_seconds counter\n# UNIT metronome_worker_cpu_seconds seconds\n")
        );
        assert!(
            text.contains("metronome_worker_cpu_seconds_total{worker=\"a\\\"\\n\\\\\"} 1.5\n"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_older_text_names_a_counter_in_full_and_has_neither() {
        let text = write(families(), Form::Text);
        assert!(
            text.contains("# TYPE metronome_worker_cpu_seconds_total counter\n"),
            "{text}"
        );
        assert!(
            text.contains("# HELP metronome_worker_cpu_seconds_total CPU time"),
            "{text}"
        );
        assert!(
            text.contains("metronome_latency_seconds_bucket{le=\"0.000005\"} 2\n"),
            "{text}"
        );
        assert!(
            text.contains("metronome_latency_seconds_bucket{le=\"+Inf\"} 3\n"),
            "{text}"
        );
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"));
    }

    #[test]
    fn the_accept_header_decides_the_form() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Form::accepted(prometheus), Form::OpenMetrics);
        assert_eq!(Form::accepted("*/*"), Form::Text);
        assert_eq!(Form::accepted(""), Form::Text);
    }
}
