//! Families as an OTLP request. The SDK cannot be given histograms that were counted elsewhere, so
//! the messages are made here. Pure.
//!
//! Names are those of Prometheus with dots (`metronome.worker.cpu`), or those of the conventions
//! where they have one; units are as UCUM has them. Attributes that are not of the conventions lie
//! below `metronome.`.

use metronome_telemetry::conventions::{SCHEMA_URL, attribute};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric, number_data_point,
    },
    resource::v1::Resource,
};

use crate::metrics::{self, Buckets, Family, Kind, Sample, Unit, Value, bounds_s};

/// When the counters began and when they were read, ns since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) began_unix_ns: u64,
    pub(super) read_unix_ns: u64,
}

/// One request with all families.
pub(super) fn request(
    resource: Resource,
    families: Vec<Family>,
    times: Times,
) -> ExportMetricsServiceRequest {
    let scope = InstrumentationScope {
        name: "metronome".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let metrics = families
        .into_iter()
        .map(|family| metric(family, times))
        .collect();
    let scope_metrics = vec![ScopeMetrics {
        scope: Some(scope),
        metrics,
        schema_url: SCHEMA_URL.into(),
    }];
    let resource = ResourceMetrics {
        resource: Some(resource),
        scope_metrics,
        schema_url: SCHEMA_URL.into(),
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![resource],
    }
}

fn metric(family: Family, times: Times) -> Metric {
    let unit = match family.unit {
        Unit::Seconds => "s",
        Unit::Bytes => "By",
        Unit::Count(things) => things,
    };
    let numbers = || {
        family
            .samples
            .iter()
            .filter_map(|sample| number(sample, times))
            .collect()
    };
    let cumulative = AggregationTemporality::Cumulative as i32;
    let data = match family.kind {
        Kind::Counter | Kind::UpDownCounter => metric::Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: cumulative,
            is_monotonic: family.kind == Kind::Counter,
        }),
        Kind::Gauge => metric::Data::Gauge(Gauge {
            data_points: numbers(),
        }),
        Kind::Histogram => metric::Data::Histogram(Histogram {
            data_points: family
                .samples
                .iter()
                .filter_map(|sample| distribution(sample, times))
                .collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: name(family.name),
        description: family.help.into(),
        unit: unit.into(),
        data: Some(data),
        ..Metric::default()
    }
}

fn name(family: &str) -> String {
    match family {
        "process_cpu" => "process.cpu.time".into(),
        "process_resident_memory" => "process.memory.usage".into(),
        "process_open_fds" => "process.unix.file_descriptor.count".into(),
        // The conventions have none.
        "process_start_time" => "metronome.process.start.time".into(),
        name => name.replace('_', "."),
    }
}

fn number(sample: &Sample, times: Times) -> Option<NumberDataPoint> {
    let (number, counted) = match &sample.value {
        Value::Number(number) => (*number, None),
        Value::Counted(number, counted) => (*number, counted.as_ref()),
        Value::Times(_) => return None,
    };
    let exemplar = counted.and_then(|of| {
        let value = of.count as f64;
        exemplar(&of.trace_id, &of.span_id, value, of.at_unix_ns)
    });
    Some(NumberDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: times.began_unix_ns,
        time_unix_nano: times.read_unix_ns,
        value: Some(number_data_point::Value::AsDouble(number)),
        exemplars: exemplar.into_iter().collect(),
        ..NumberDataPoint::default()
    })
}

fn distribution(sample: &Sample, times: Times) -> Option<HistogramDataPoint> {
    let Value::Times(buckets) = &sample.value else {
        return None;
    };
    Some(HistogramDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: times.began_unix_ns,
        time_unix_nano: times.read_unix_ns,
        count: buckets.count,
        sum: Some(buckets.sum_s),
        bucket_counts: buckets.counts.clone(),
        explicit_bounds: bounds_s().collect(),
        exemplars: exemplars(buckets),
        ..HistogramDataPoint::default()
    })
}

fn exemplars(buckets: &Buckets) -> Vec<Exemplar> {
    let of_bucket = |(_, found): (usize, &metrics::Exemplar)| {
        let value_s = found.value_ns as f64 / 1e9;
        exemplar(&found.trace_id, &found.span_id, value_s, found.at_unix_ns)
    };
    buckets.exemplars.iter().filter_map(of_bucket).collect()
}

fn exemplar(trace_id: &str, span_id: &str, value: f64, at_unix_ns: u64) -> Option<Exemplar> {
    let span_id = u64::from_str_radix(span_id, 16).ok()?;
    let trace_id = u128::from_str_radix(trace_id, 16).ok()?;
    Some(Exemplar {
        filtered_attributes: Vec::new(),
        time_unix_nano: at_unix_ns,
        span_id: span_id.to_be_bytes().to_vec(),
        trace_id: trace_id.to_be_bytes().to_vec(),
        value: Some(exemplar::Value::AsDouble(value)),
    })
}

fn attributes(sample: &Sample) -> Vec<KeyValue> {
    let attribute = |(field, value): &(&'static str, String)| KeyValue {
        key: attribute(field).into_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.clone())),
        }),
        ..KeyValue::default()
    };
    sample.labels.iter().map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use metronome_proto::histogram::Histogram as Counts;

    use super::*;

    #[test]
    fn a_distribution_has_one_count_more_than_bounds_and_they_add_up() {
        let mut counts = Counts::default();
        [3_000, 700_000, 60_000_000_000]
            .into_iter()
            .for_each(|time_ns| counts.record(time_ns));
        let sample = Sample {
            labels: Vec::new(),
            value: Value::Times(Buckets::from(&counts)),
        };
        let family = Family {
            name: "metronome_latency",
            help: "Due to read",
            unit: Unit::Seconds,
            kind: Kind::Histogram,
            samples: vec![sample],
        };
        let times = Times {
            began_unix_ns: 1,
            read_unix_ns: 2,
        };
        let request = request(Resource::default(), vec![family], times);
        let metric = &request.resource_metrics[0].scope_metrics[0].metrics[0];
        assert_eq!(
            (metric.name.as_str(), metric.unit.as_str()),
            ("metronome.latency", "s")
        );
        let Some(metric::Data::Histogram(histogram)) = &metric.data else {
            panic!("no histogram: {metric:?}")
        };
        let point = &histogram.data_points[0];
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(
            (point.count, point.bucket_counts.iter().sum::<u64>()),
            (3, 3)
        );
        assert_eq!(point.bucket_counts.last(), Some(&1));
    }
}
