//! One run is one trace, over all processes and under its caller's; the manual shows what it looks
//! like.

use std::collections::{BTreeSet, HashMap};

use metronome_proto::{
    profile::Profile,
    v1::{self, run_service_client::RunServiceClient},
};
use serde_json::Value;

use crate::{
    common::{
        assert_exact,
        collector::{Collector, Span},
    },
    observed::{LOAD, LOAD_PACKETS, Observed},
};

/// A child's name, its service, and those of its parent; `None` above a root.
fn edges(spans: &[Span]) -> Vec<(String, Option<String>)> {
    let label = |span: &Span| format!("{} {}", span.service, span.name);
    let by_id: HashMap<_, _> = spans
        .iter()
        .map(|span| (span.id.clone(), label(span)))
        .collect();
    spans
        .iter()
        .map(|span| (label(span), by_id.get(&span.parent).cloned()))
        .collect()
}

#[test]
fn one_run_is_one_trace_over_all_processes() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[]);
    let (result, _) = observed.run(&LOAD);
    assert_exact(&result, LOAD_PACKETS);
    // Well before the five seconds after which a batch goes out by itself.
    observed.end();
    let spans = collector.spans();
    let run = spans
        .iter()
        .find(|span| span.name == "run")
        .expect("the run's span was sent on SIGTERM");
    let trace: Vec<Span> = spans
        .iter()
        .filter(|span| span.trace == run.trace)
        .cloned()
        .collect();
    let edges = edges(&trace);
    let call = "metronome.v1.RunService/StartRun";
    for (child, parent) in [
        (
            format!("benchctl {call}"),
            "benchctl benchctl start".to_owned(),
        ),
        (
            format!("metronome-server {call}"),
            format!("benchctl {call}"),
        ),
        (
            "metronome-server run".into(),
            format!("metronome-server {call}"),
        ),
        (
            "metronome-server preparing".into(),
            "metronome-server run".into(),
        ),
        (
            "metronome-server starting".into(),
            "metronome-server run".into(),
        ),
        (
            "metronome-server running".into(),
            "metronome-server run".into(),
        ),
        (
            "metronome-server draining".into(),
            "metronome-server run".into(),
        ),
        (
            "metronome-server merge".into(),
            "metronome-server run".into(),
        ),
        (
            "metronome-server store".into(),
            "metronome-server run".into(),
        ),
        (
            "metronome-server packet".into(),
            "metronome-server run".into(),
        ),
        (
            "metronome-agent agent a1".into(),
            "metronome-server run".into(),
        ),
        (
            "metronome-agent prepare".into(),
            "metronome-agent agent a1".into(),
        ),
        (
            "metronome-agent connect".into(),
            "metronome-agent prepare".into(),
        ),
        (
            "metronome-agent warm-up".into(),
            "metronome-agent agent a1".into(),
        ),
        (
            "metronome-agent measure".into(),
            "metronome-agent agent a1".into(),
        ),
        (
            "metronome-agent drain".into(),
            "metronome-agent agent a1".into(),
        ),
        (
            "metronome-agent report".into(),
            "metronome-agent agent a1".into(),
        ),
    ] {
        assert!(
            edges.contains(&(child.clone(), Some(parent.clone()))),
            "{child} below {parent} in {edges:#?}"
        );
    }
    let roots: Vec<_> = edges
        .iter()
        .filter(|(_, parent)| parent.is_none())
        .collect();
    assert_eq!(roots.len(), 1, "one root: {roots:?}");
    assert!(
        trace.len() < 60,
        "spans are steps of a run, never packets: {}",
        trace.len()
    );
    check_attributes(run, &trace, &result);
}

/// What a tree shows whatever happened: `step/step` for a span, `step · event` for what is within.
fn landmarks(lines: impl IntoIterator<Item = (Vec<String>, Vec<String>)>) -> BTreeSet<String> {
    let mut landmarks = BTreeSet::new();
    for (path, events) in lines {
        let path = path.join(" / ");
        // A busy machine's run may have another verdict, and slow clients.
        let usual =
            |event: &&String| !event.starts_with("verdict reason") && !event.starts_with("client ");
        let short = |event: &String| event.split(": ").next().unwrap().to_owned();
        let within = events.iter().filter(usual).map(short).collect::<Vec<_>>();
        landmarks.extend(within.iter().map(|event| format!("{path} · {event}")));
        landmarks.insert(path);
    }
    landmarks
}

fn landmarks_of_trace(trace: &[Span]) -> BTreeSet<String> {
    let by_id: HashMap<_, _> = trace.iter().map(|span| (&span.id, span)).collect();
    let path = |span: &Span| {
        let mut path = vec![format!("{} [{}]", span.name, span.service)];
        let mut above = by_id.get(&span.parent);
        while let Some(span) = above {
            path.insert(0, format!("{} [{}]", span.name, span.service));
            above = by_id.get(&span.parent);
        }
        path
    };
    let events = |span: &Span| match span.name.as_str() {
        // Each of the slowest packets has the same three.
        "packet" => Vec::new(),
        _ => span
            .event_names()
            .into_iter()
            .map(ToOwned::to_owned)
            .collect(),
    };
    landmarks(trace.iter().map(|span| (path(span), events(span))))
}

/// The landmarks of the tree in docs/tracing.md, whose lines are `name  [service]  12.34 ms`,
/// indented by two.
fn landmarks_of_manual() -> BTreeSet<String> {
    let page = include_str!("../../docs/tracing.md");
    let tree = page
        .split("```text\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let mut lines: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for line in tree
        .lines()
        .filter(|line| !line.trim_start().starts_with('…'))
    {
        if let Some(event) = line.trim_start().strip_prefix("· ") {
            lines.last_mut().unwrap().1.push(event.to_owned());
            continue;
        }
        let depth = (line.len() - line.trim_start().len()) / 2;
        let (name, behind) = line.trim_start().split_once("  [").unwrap();
        let mut path = lines.last().map_or_else(Vec::new, |(path, _)| path.clone());
        path.truncate(depth);
        path.push(format!("{name} [{}]", behind.split(']').next().unwrap()));
        lines.push((path, Vec::new()));
    }
    landmarks(lines)
}

#[test]
fn the_manual_shows_the_tree_that_a_run_makes_now() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[]);
    observed.run(&LOAD);
    observed.end();
    let spans = collector.spans();
    let run = spans.iter().find(|span| span.name == "run").unwrap();
    let trace: Vec<Span> = spans
        .iter()
        .filter(|span| span.trace == run.trace)
        .cloned()
        .collect();
    let (made, shown) = (landmarks_of_trace(&trace), landmarks_of_manual());
    assert!(shown.len() > 20, "{shown:#?}");
    let missing: Vec<_> = made.difference(&shown).collect();
    let gone: Vec<_> = shown.difference(&made).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/tracing.md does not show {missing:#?} and shows {gone:#?}"
    );
}

fn check_attributes(run: &Span, trace: &[Span], result: &Value) {
    let of = |span: &Span, name: &str| span.attributes.get(name).cloned().unwrap_or_default();
    assert_eq!(
        of(run, "metronome.run.id"),
        result["run_id"].as_str().unwrap()
    );
    assert_eq!(of(run, "metronome.clients"), "4");
    assert_eq!(
        of(run, "metronome.packets.received"),
        LOAD_PACKETS.to_string()
    );
    assert_eq!(
        of(run, "metronome.verdict"),
        result["verdict"]["status"].as_str().unwrap()
    );
    // Not known of so few packets: then the span has none.
    let p99_us = result["latency_us"]["percentiles"]["p99"].as_f64();
    assert_eq!(
        of(run, "metronome.latency.p99_us"),
        p99_us.map_or_else(String::new, |p99_us| p99_us.to_string())
    );
    let server_call = trace
        .iter()
        .find(|span| span.kind == 2 && span.name.ends_with("/StartRun"))
        .unwrap();
    let client_call = trace
        .iter()
        .find(|span| span.kind == 3 && span.name.ends_with("/StartRun"))
        .unwrap();
    for call in [server_call, client_call] {
        assert_eq!(of(call, "rpc.system.name"), "grpc");
        assert_eq!(of(call, "rpc.method"), "metronome.v1.RunService/StartRun");
        assert_eq!(of(call, "rpc.response.status_code"), "OK");
        assert_eq!(of(call, "server.address"), "127.0.0.1");
        assert_ne!(of(call, "server.port"), "");
    }
    let packets: Vec<&Span> = trace.iter().filter(|span| span.name == "packet").collect();
    assert_eq!(packets.len(), 10, "the ten slowest");
    let slowest = packets
        .iter()
        .map(|packet| of(packet, "metronome.latency_us").parse::<f64>().unwrap());
    let slowest_us = slowest.fold(0.0, f64::max);
    let max_us = result["latency_us"]["max"].as_f64().unwrap();
    assert!(
        (slowest_us - max_us).abs() <= max_us * 0.01,
        "{slowest_us} is the run's {max_us}"
    );
    for packet in packets {
        assert_eq!(packet.event_names(), ["due", "sent", "read"]);
        assert!(
            packet.from_ns >= run.from_ns && packet.until_ns <= run.until_ns,
            "{packet:?} lies in {run:?}"
        );
    }
}

#[test]
fn a_callers_own_trace_is_continued_and_nonsense_begins_a_new_one() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[]);
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let baggage = "%".repeat(4_000);
    let traceparent = format!("00-{trace}-{parent}-01");
    for parents in [
        &[traceparent.as_str()][..],
        &["00-nonsense-%-01"],
        &[&traceparent, &traceparent],
    ] {
        let mut headers: Vec<(&'static str, &str)> = vec![
            ("baggage", &baggage),
            ("tracestate", "one=1"),
            ("tracestate", "two=2,three=3"),
        ];
        headers.extend(parents.iter().map(|parent| ("traceparent", *parent)));
        start_run(&observed.server.ready_word("grpc"), &headers);
    }
    observed.end();
    let calls: Vec<Span> = collector
        .spans()
        .into_iter()
        .filter(|span| span.name.ends_with("/StartRun"))
        .collect();
    let continued: Vec<&Span> = calls.iter().filter(|call| call.trace == trace).collect();
    assert_eq!((continued.len(), continued[0].parent.as_str()), (1, parent));
    let runs = collector
        .spans()
        .into_iter()
        .filter(|span| span.name == "run")
        .count();
    assert_eq!((calls.len(), runs), (3, 3));
    for call in calls.iter().filter(|call| call.trace != trace) {
        assert_eq!((call.parent.as_str(), call.trace_state.as_str()), ("", ""));
    }
    // Agents get it inside an order; every span passes it on.
    let spans = collector.spans();
    let of_trace: Vec<&Span> = spans.iter().filter(|span| span.trace == trace).collect();
    assert!(of_trace.iter().any(|span| span.name == "agent a1"));
    for span in of_trace {
        assert_eq!(span.trace_state, "one=1,two=2,three=3", "{span:?}");
    }
}

#[test]
fn a_trace_shows_no_more_of_the_slowest_packets_than_were_asked_for() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[("METRONOME_TRACED_PACKETS", "3")]);
    let (result, _) = observed.run(&LOAD);
    observed.end();
    let packets = collector
        .spans()
        .into_iter()
        .filter(|span| span.name == "packet");
    let latencies = packets.map(|packet| {
        packet.attributes["metronome.latency_us"]
            .parse::<f64>()
            .unwrap()
    });
    let latencies: Vec<f64> = latencies.collect();
    assert_eq!(latencies.len(), 3);
    let (slowest_us, max_us) = (
        latencies.into_iter().fold(0.0, f64::max),
        result["latency_us"]["max"].as_f64().unwrap(),
    );
    assert!(
        (slowest_us - max_us).abs() <= max_us * 0.01,
        "the slowest is among them: {slowest_us} of {max_us}"
    );
}

#[test]
fn without_a_propagator_a_callers_trace_is_left_alone() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[("OTEL_PROPAGATORS", "none")]);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("00-{trace}-b7ad6b7169203331-01");
    let headers = [("traceparent", traceparent.as_str())];
    start_run(&observed.server.ready_word("grpc"), &headers);
    observed.end();
    let run = collector.wait_for("the run", |span| span.name == "run");
    assert_ne!(run.trace, trace);
}

/// Starts a short run as another service would, and waits for its end.
fn start_run(server: &str, headers: &[(&'static str, &str)]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut runs = RunServiceClient::connect(format!("http://{server}"))
            .await
            .unwrap();
        let duration = Some(prost_types::Duration {
            seconds: 0,
            nanos: 50_000_000,
        });
        let group = v1::Group {
            clients: 1,
            profile: Some(Profile::constant(100_000).to_proto()),
            ..v1::Group::default()
        };
        let plan = v1::Plan {
            groups: vec![group],
            duration,
            ..v1::Plan::default()
        };
        let mut request = tonic::Request::new(v1::StartRunRequest {
            plan: Some(plan),
            ..Default::default()
        });
        for (name, value) in headers {
            request.metadata_mut().append(*name, value.parse().unwrap());
        }
        let run = runs
            .start_run(request)
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap();
        let watch = v1::WatchEventsRequest {
            runs: Some(v1::watch_events_request::Runs::RunId(run.run_id)),
            ..v1::WatchEventsRequest::default()
        };
        let mut events = runs.watch_events(watch).await.unwrap().into_inner();
        while let Ok(Some(_)) = events.message().await {}
    });
}
