//! The HTTP port: metrics to scrape, and probes.

use crate::{
    common::{collector::Collector, wait_until},
    observed::{LOAD, LOAD_PACKETS, Observed},
};

#[test]
fn a_scrape_agrees_with_the_run_and_probes_follow_the_server() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[("OTEL_SDK_DISABLED", "true")]);
    observed.run(&LOAD);
    let answer = wait_until("a reading that is newer than the run", || {
        let answer = observed.get("/metrics", "*/*");
        answer
            .contains("metronome_runs_ended_total{verdict=\"invalid\"} 1")
            .then(|| answer.clone())
            .or_else(|| {
                answer
                    .contains("metronome_runs_ended_total{verdict=\"valid\"} 1")
                    .then_some(answer)
            })
    });
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0")
            && answer.ends_with("# EOF\n"),
        "{answer}"
    );
    let figure = |name: &str| {
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {answer}"))
            .parse::<f64>()
            .unwrap()
    };
    for name in [
        "metronome_packets_sent_total",
        "metronome_packets_received_total",
        "metronome_latency_seconds_count",
        "metronome_lateness_seconds_bucket{le=\"+Inf\"}",
        "metronome_agent_packets_sent_total{agent=\"a1\"}",
    ] {
        assert_eq!(figure(name), LOAD_PACKETS as f64, "{name}");
    }
    assert_eq!(figure("metronome_packets_lost_total"), 0.0);
    assert!(answer.contains(
        "{rpc_system_name=\"grpc\",rpc_method=\"metronome.v1.RunService/StartRun\",\
         rpc_response_status_code=\"OK\"}"
    ));
    assert!(!answer.contains(" # {"), "without traces no exemplar");
    assert!(observed.get("/healthz", "*/*").starts_with("HTTP/1.1 200"));
    assert!(observed.get("/readyz", "*/*").ends_with("ready\n"));
    assert!(
        observed
            .get("/no-such-page", "*/*")
            .starts_with("HTTP/1.1 404")
    );
    observed.end();
    assert!(
        collector.spans().is_empty() && collector.metrics().is_empty(),
        "OTEL_SDK_DISABLED is obeyed"
    );
}

/// Trace, span, value and bound of every exemplar of a distribution.
fn exemplars(scrape: &str, name: &str) -> Vec<(String, String, f64, f64)> {
    let prefix = format!("{name}_bucket{{");
    let of_line = |line: &str| {
        let (series, exemplar) = line.strip_prefix(&prefix)?.split_once(" # {")?;
        let bound = series.split("le=\"").nth(1)?.split('"').next()?;
        let (labels, value) = exemplar.split_once("} ")?;
        let label = |name: &str| {
            let of_name = labels.split(',').find_map(|label| label.strip_prefix(name));
            Some(of_name?.trim_matches(['=', '"']).to_owned())
        };
        let value = value.split(' ').next()?.parse().ok()?;
        let bound = bound.replace("+Inf", "inf").parse().ok()?;
        Some((label("trace_id")?, label("span_id")?, value, bound))
    };
    scrape.lines().filter_map(of_line).collect()
}

#[test]
fn the_buckets_of_a_traced_run_name_packets_that_its_trace_shows() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[]);
    observed.run(&LOAD);
    let scrape = wait_until("a reading that is newer than the run", || {
        let scrape = observed.get("/metrics", "*/*");
        let is_new = scrape.contains("metronome_runs_active 0.0")
            && scrape.contains(&format!(
                "metronome_packets_received_total {LOAD_PACKETS}.0"
            ));
        (is_new && !exemplars(&scrape, "metronome_latency_seconds").is_empty()).then_some(scrape)
    });
    observed.end();
    let spans = collector.spans();
    for (name, attribute) in [
        ("metronome_latency_seconds", "metronome.latency_us"),
        ("metronome_transit_seconds", "metronome.transit_us"),
        ("metronome_lateness_seconds", "metronome.lateness_us"),
    ] {
        let found = exemplars(&scrape, name);
        assert!(!found.is_empty(), "{name} in {scrape}");
        for (trace, id, value, bound) in found {
            let span = spans.iter().find(|span| span.id == id).expect("its span");
            assert_eq!((&span.trace, span.name.as_str()), (&trace, "packet"));
            let us: f64 = span.attributes[attribute].parse().unwrap();
            assert!(
                (us / 1e6 - value).abs() < 1e-12 && value <= bound,
                "{value}"
            );
        }
    }
    let run = spans.iter().find(|span| span.name == "run").unwrap();
    for (name, label) in [
        ("metronome_runs_ended_total", "verdict"),
        ("metronome_runs_judged_total", "outcome"),
        ("metronome_objectives_total", "status"),
    ] {
        let mut lines = scrape.lines();
        let counted = lines.find(|line| line.starts_with(name) && line.contains(" # {"));
        let counted = counted.unwrap_or_else(|| panic!("no exemplar of {name} in {scrape}"));
        let (trace, id) = (&run.trace, &run.id);
        let traced = format!(" # {{trace_id=\"{trace}\",span_id=\"{id}\"}} ");
        assert!(
            counted.contains(&traced) && counted.contains(label),
            "{counted}"
        );
    }
    let calls = exemplars(&scrape, "rpc_server_call_duration_seconds");
    let of_call = |(trace, id, ..): &(String, String, f64, f64)| {
        spans
            .iter()
            .any(|span| span.id == *id && span.trace == *trace && span.kind == 2)
    };
    assert!(!calls.is_empty() && calls.iter().all(of_call), "{calls:?}");
    assert!(exemplars(&scrape, "metronome_spread_seconds").is_empty());
}

/// The first scrape that is newer than the end of as many runs.
fn scrape_after(observed: &Observed, runs: u64) -> String {
    wait_until("a reading that is newer than the run", || {
        let scrape = observed.get("/metrics", "*/*");
        let ended = scrape.lines().filter_map(|line| {
            let count = line.strip_prefix("metronome_runs_ended_total{")?;
            count.rsplit_once(' ')?.1.parse::<f64>().ok()
        });
        (ended.sum::<f64>() == runs as f64).then_some(scrape)
    })
}

#[test]
fn a_missed_objective_is_scraped_until_a_run_ends_that_does_not_have_it() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[("OTEL_SDK_DISABLED", "true")]);
    let idle = observed.get("/metrics", "*/*");
    assert!(!idle.contains("metronome_objective_status{"), "{idle}");
    assert!(!idle.contains("metronome_last_run_outcome{"), "{idle}");
    let missed = [&LOAD[..], &["--threshold", "latency.p50<1ns"]].concat();
    let (result, code) = observed.run(&missed);
    let scrape = scrape_after(&observed, 1);
    // A busy machine makes the run invalid: of such a one nothing is judged.
    let status = result["outcome"]["status"].as_str().unwrap();
    let expected = if code == 4 { "not_judged" } else { "not_held" };
    assert_eq!(status, expected, "{result}");
    let labels = "metric=\"latency\",quantile=\"0.5\",comparison=\"<\",source=\"user\"";
    for line in [
        format!("metronome_objective_status{{{labels},status=\"{status}\"}} 1.0"),
        format!("metronome_objective_limit_seconds{{{labels}}} 0.000000001"),
        format!("metronome_last_run_outcome{{outcome=\"{status}\"}} 1.0"),
        format!("metronome_runs_judged_total{{outcome=\"{status}\"}} 1.0"),
    ] {
        assert!(scrape.lines().any(|of| of == line), "{line} in {scrape}");
    }
    let observed_ns = format!("metronome_objective_observed_seconds{{{labels}}}");
    assert_eq!(scrape.contains(&observed_ns), code != 4, "{scrape}");
    observed.run(&LOAD);
    let scrape = scrape_after(&observed, 2);
    assert!(!scrape.contains(labels), "{scrape}");
    assert!(scrape.contains("metronome_objective_status{"), "{scrape}");
    observed.end();
}

#[test]
fn a_trace_that_is_not_sampled_is_no_exemplar() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[("OTEL_TRACES_SAMPLER", "always_off")]);
    observed.run(&LOAD);
    let scrape = wait_until("a reading that is newer than the run", || {
        let scrape = observed.get("/metrics", "*/*");
        let runs_ended = scrape.contains("metronome_runs_active 0.0")
            && scrape.contains(&format!(
                "metronome_packets_received_total {LOAD_PACKETS}.0"
            ));
        runs_ended.then_some(scrape)
    });
    assert!(!scrape.contains(" # {"), "{scrape}");
    observed.end();
    assert!(collector.spans().is_empty());
}
