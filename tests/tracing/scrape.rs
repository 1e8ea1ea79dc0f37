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
    assert!(answer.contains("rpc_method=\"metronome.v1.RunService/StartRun\""));
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
