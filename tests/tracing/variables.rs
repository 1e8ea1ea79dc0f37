//! What is wrong in a variable is named once with what is allowed; what is secret in one is never
//! shown.

use std::process::Output;

use crate::{
    common::{assert_exact, collector::Collector, json_of},
    observed::{LOAD, LOAD_PACKETS, Observed},
};

#[test]
fn nonsense_in_a_variable_is_named_once_with_what_is_allowed_and_the_default_holds() {
    let collector = Collector::start();
    let traces = [
        (
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            "parentbased_traceidratio",
        ),
        (("OTEL_BSP_SCHEDULE_DELAY", "soon"), "0 to 86400000"),
        (("OTEL_SPAN_EVENT_COUNT_LIMIT", "-1"), "0 to 4294967295"),
        (("OTEL_EXPORTER_OTLP_TIMEOUT", "0"), "1 to 86400000"),
        (("OTEL_SDK_DISABLED", "perhaps"), "true, false"),
        (("OTEL_RESOURCE_ATTRIBUTES", "nonsense"), "NAME=VALUE"),
        (("OTEL_PROPAGATORS", "b3"), "tracecontext, baggage, none"),
    ];
    let metrics = (("OTEL_METRIC_EXPORT_INTERVAL", "1"), "500 to 86400000");
    let all: Vec<_> = traces
        .iter()
        .chain([&metrics])
        .map(|(pair, _)| *pair)
        .collect();
    let observed = Observed::start(&collector, &all);
    let output = observed
        .benchctl(&[&["start"], &LOAD[..]].concat())
        .output()
        .unwrap();
    let of_benchctl = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_exact(&json_of(output).0, LOAD_PACKETS);
    let said = observed.said();
    observed.end();
    let count = |text: &str, name: &str, allowed: &str| {
        let is_it = |line: &&str| line.contains(name) && line.contains(allowed);
        text.lines().filter(is_it).count()
    };
    for ((name, _), allowed) in traces {
        assert_eq!(
            count(&of_benchctl, name, allowed),
            1,
            "{name}: {of_benchctl}"
        );
        // The server has metrics, too, and reports no variable twice.
        assert_eq!(count(&said, name, allowed), 2, "{name}: {said}");
    }
    let ((name, _), allowed) = metrics;
    assert_eq!(count(&said, name, allowed), 1, "{said}");
    let run = collector.wait_for("the run", |span| span.name == "run");
    assert!(
        collector
            .spans()
            .iter()
            .any(|span| span.name == "agent a1" && span.trace == run.trace),
        "the propagator is the default one"
    );
}

const SECRET: &str = "hunter2";

#[test]
fn a_password_of_a_collector_is_in_no_output_of_any_executable() {
    let collector = Collector::start();
    let (_, address) = collector.endpoint.split_once("://").unwrap();
    let headers = format!("authorization=Basic%20{SECRET},x-key={SECRET},{SECRET}");
    let variables: [(&'static str, &str); 2] = [
        ("METRONOME_LOG", "trace"),
        ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
    ];
    for (endpoint, protocol) in [
        (
            format!("http://user:{SECRET}@{address}?key={SECRET}"),
            "grpc",
        ),
        (format!("user:{SECRET}@127.0.0.1:1"), "grpc"),
        (format!("http://{SECRET}:{SECRET}@a b"), "grpc"),
        (format!("http://user:{SECRET}@{address}"), "http/protobuf"),
    ] {
        let more = [&variables[..], &[("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)]].concat();
        let observed = Observed::sending_to(&endpoint, &more);
        let mut outputs = String::new();
        for arguments in [
            &[&["start"], &LOAD[..]].concat()[..],
            &["config", "show"],
            &["config", "show", "--origin"],
            &["server"],
            &["show", "last"],
            &["start", "--clients", "0"],
            &["doctor", "--quick"],
        ] {
            let output = observed.benchctl(arguments).output().unwrap();
            let Output { stdout, stderr, .. } = output;
            outputs.push_str(&String::from_utf8_lossy(&[stdout, stderr].concat()));
        }
        let scrape = observed.get("/metrics", "*/*");
        let server_log = observed.said();
        observed.end();
        let all = format!("{outputs}{scrape}{server_log}");
        assert!(all.contains("127.0.0.1") && all.contains("TRACE"), "{all}");
        let shown = all.lines().find(|line| line.contains(SECRET));
        assert_eq!(shown, None, "{endpoint}");
    }
    // The one that could be followed was, without what it held before its host.
    let calls = collector.metadata();
    assert!(!calls.is_empty());
    for call in calls {
        let authorization = call.get("authorization").unwrap().to_str().unwrap();
        assert_eq!(authorization, format!("Basic {SECRET}"));
    }
}
