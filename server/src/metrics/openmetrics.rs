//! Families as Prometheus reads them: OpenMetrics 1.0 text.
//!
//! Written here, because no library writes exemplars of distributions that were counted elsewhere.

use std::fmt::{self, Write as _};

use super::{
    bounds::bounds_s,
    buckets::Buckets,
    exemplar::{CountExemplar, Exemplar},
    family::{Family, Kind, Sample, Unit, Value},
};

/// For the `Content-Type` header.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The families as text.
pub(crate) fn write(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        // Writing to a string cannot fail.
        let _ = write_family(&mut text, family);
    }
    text.push_str("# EOF\n");
    text
}

fn write_family(text: &mut String, family: &Family) -> fmt::Result {
    let unit = match family.unit {
        Unit::Seconds => Some("seconds"),
        Unit::Bytes => Some("bytes"),
        Unit::Count(_) => None,
    };
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge | Kind::UpDownCounter => "gauge",
        Kind::Histogram => "histogram",
    };
    let suffix = unit.map_or_else(String::new, |unit| format!("_{unit}"));
    let name = format!("{}{suffix}", family.name);
    writeln!(text, "# HELP {name} {}.", escaped(family.help))?;
    writeln!(text, "# TYPE {name} {kind}")?;
    if let Some(unit) = unit {
        writeln!(text, "# UNIT {name} {unit}")?;
    }
    for sample in &family.samples {
        let total = if family.kind == Kind::Counter {
            "_total"
        } else {
            ""
        };
        match &sample.value {
            Value::Number(value) => {
                let labels = labels(sample, None);
                writeln!(text, "{name}{total}{labels} {}", number(*value))?;
            }
            Value::Counted(value, exemplar) => {
                let labels = labels(sample, None);
                write!(text, "{name}{total}{labels} {}", number(*value))?;
                if let Some(exemplar) = exemplar {
                    write_count_exemplar(text, exemplar)?;
                }
                text.push('\n');
            }
            Value::Times(times) => write_distribution(text, &name, sample, times)?,
        }
    }
    Ok(())
}

fn write_distribution(
    text: &mut String,
    name: &str,
    sample: &Sample,
    times: &Buckets,
) -> fmt::Result {
    let of_all = labels(sample, None);
    writeln!(text, "{name}_sum{of_all} {}", number(times.sum_s))?;
    writeln!(text, "{name}_count{of_all} {}", times.count)?;
    let mut exemplars = times.exemplars.iter().peekable();
    let bounds = bounds_s().map(number).chain(["+Inf".to_owned()]);
    let mut up_to: u64 = 0;
    for (index, (bound, count)) in bounds.zip(&times.counts).enumerate() {
        up_to = up_to.saturating_add(*count);
        let of_bucket = labels(sample, Some(&bound));
        write!(text, "{name}_bucket{of_bucket} {up_to}")?;
        if let Some((_, exemplar)) = exemplars.next_if(|(bucket, _)| *bucket == index) {
            write_exemplar(text, exemplar)?;
        }
        text.push('\n');
    }
    Ok(())
}

fn write_exemplar(text: &mut String, exemplar: &Exemplar) -> fmt::Result {
    let Exemplar {
        value_ns,
        at_unix_ns,
        trace_id,
        span_id,
    } = exemplar;
    let value_s = *value_ns as f64 / 1e9;
    write_traced(text, trace_id, span_id, value_s, *at_unix_ns)
}

fn write_count_exemplar(text: &mut String, exemplar: &CountExemplar) -> fmt::Result {
    let CountExemplar {
        count,
        at_unix_ns,
        trace_id,
        span_id,
    } = exemplar;
    write_traced(text, trace_id, span_id, *count as f64, *at_unix_ns)
}

/// Trace and span have 63 characters with their names, of the 128 that OpenMetrics allows.
fn write_traced(
    text: &mut String,
    trace_id: &str,
    span_id: &str,
    value: f64,
    at_unix_ns: u64,
) -> fmt::Result {
    let value = number(value);
    let (at_s, at_ms) = (at_unix_ns / 1_000_000_000, at_unix_ns / 1_000_000 % 1_000);
    write!(
        text,
        " # {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {value} {at_s}.{at_ms:03}"
    )
}

/// The labels of a sample, with the bound of a bucket.
fn labels(sample: &Sample, bound: Option<&str>) -> String {
    let of_sample = sample.labels.iter();
    let of_sample = of_sample.map(|(name, value)| (name.replace('.', "_"), escaped(value)));
    let of_bucket = bound.map(|bound| ("le".to_owned(), bound.to_owned()));
    let labels: Vec<_> = of_sample
        .chain(of_bucket)
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    if labels.is_empty() {
        return String::new();
    }
    format!("{{{}}}", labels.join(","))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// A number that is not counted in whole things; the text of a bound is part of a series' name.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let text = value.to_string();
    if value.is_finite() && !text.contains('.') {
        return text + ".0";
    }
    text
}

#[cfg(test)]
mod tests {
    use metronome_proto::histogram::Histogram;

    use super::*;
    use crate::metrics::Exemplars;

    #[test]
    fn a_number_has_the_form_of_the_format() {
        for (value, text) in [
            (1.0, "1.0"),
            (-0.25, "-0.25"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    fn families() -> Vec<Family> {
        let mut times = Histogram::default();
        [3_000, 3_000, 700_000]
            .into_iter()
            .for_each(|time_ns| times.record(time_ns));
        let mut exemplars = Exemplars::default();
        exemplars.note(Exemplar {
            value_ns: 3_000,
            at_unix_ns: 1_700_000_000_012_345_678,
            trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
            span_id: "b7ad6b7169203331".into(),
        });
        let sample = |labels, value| Sample { labels, value };
        vec![
            Family {
                name: "metronome_worker_cpu",
                help: "CPU time",
                unit: Unit::Seconds,
                kind: Kind::Counter,
                samples: vec![sample(
                    vec![("worker", "a\"\n\\".into()), ("rpc.method", "m".into())],
                    Value::Number(1.5),
                )],
            },
            Family {
                name: "metronome_latency",
                help: "Due to read",
                unit: Unit::Seconds,
                kind: Kind::Histogram,
                samples: vec![sample(
                    Vec::new(),
                    Value::Times(Buckets::from(&times).with_exemplars(exemplars)),
                )],
            },
            Family {
                name: "metronome_draining",
                help: "Whether",
                unit: Unit::Count("{server}"),
                kind: Kind::Gauge,
                samples: vec![sample(Vec::new(), Value::Number(1.0))],
            },
        ]
    }

    #[test]
    fn the_text_has_units_buckets_exemplars_and_an_end() {
        let text = write(&families());
        for lines in [
            "# HELP metronome_worker_cpu_seconds CPU time.\n\
             # TYPE metronome_worker_cpu_seconds counter\n\
             # UNIT metronome_worker_cpu_seconds seconds\n\
             metronome_worker_cpu_seconds_total{worker=\"a\\\"\\n\\\\\",rpc_method=\"m\"} 1.5\n",
            "metronome_latency_seconds_count 3\n\
             metronome_latency_seconds_bucket{le=\"0.000001\"} 0\n\
             metronome_latency_seconds_bucket{le=\"0.000002\"} 0\n\
             metronome_latency_seconds_bucket{le=\"0.000005\"} 2 \
             # {trace_id=\"0af7651916cd43dd8448eb211c80319c\",span_id=\"b7ad6b7169203331\"} \
             0.000003 1700000000.012\n\
             metronome_latency_seconds_bucket{le=\"0.00001\"} 2\n",
            "metronome_latency_seconds_bucket{le=\"1.0\"} 3\n",
            "metronome_latency_seconds_bucket{le=\"+Inf\"} 3\n",
            "# TYPE metronome_draining gauge\nmetronome_draining 1.0\n",
        ] {
            assert!(text.contains(lines), "{lines} in {text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn an_exemplar_s_labels_are_within_the_128_characters_of_the_specification() {
        let text = write(&families());
        let (_, exemplar) = text.split_once("# {").unwrap();
        let (labels, _) = exemplar.split_once('}').unwrap();
        let characters: usize = labels
            .split(',')
            .map(|label| label.chars().filter(|it| !"=\"".contains(*it)).count())
            .sum();
        assert_eq!(characters, 63);
    }
}
