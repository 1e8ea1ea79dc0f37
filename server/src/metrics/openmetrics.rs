//! Families as Prometheus reads them: OpenMetrics 1.0, as prometheus-client writes it.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text::encode},
    metrics::MetricType,
    registry::{self, Registry},
};

use super::{
    buckets::Buckets,
    family::{Family, Kind, Unit, Value},
};

/// For the `Content-Type` header.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The families as text.
pub(crate) fn write(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut text = String::new();
    // Writing to a string fails only when a family is malformed; what was written so far is still
    // true.
    let _ = encode(&mut text, &registry);
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

    use super::*;
    use crate::metrics::Sample;

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
    fn the_text_has_units_buckets_and_an_end() {
        let text = write(families());
        assert!(text.contains(
            "# TYPE metronome_worker_cpu_seconds counter\n\
                 # UNIT metronome_worker_cpu_seconds seconds\n"
        ));
        assert!(
            text.contains("metronome_worker_cpu_seconds_total{worker=\"a\\\"\\n\\\\\"} 1.5\n"),
            "{text}"
        );
        for bucket in ["{le=\"0.000005\"} 2\n", "{le=\"+Inf\"} 3\n"] {
            let line = format!("metronome_latency_seconds_bucket{bucket}");
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
