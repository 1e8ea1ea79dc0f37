//! What a collector of traces gets to see of a run: on the three real executables, with a collector in
//! the test itself, and with collectors that refuse, hang or are not there.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    collections::HashMap,
    net::TcpListener,
    process::{Command, Output},
    time::{Duration, Instant},
};

use common::{
    Running, assert_exact,
    collector::{Collector, Span, total},
    command, json_of, wait_until,
};
use metronome_proto::v1::{self, operator_service_client::OperatorServiceClient};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const LOAD: [&str; 6] = ["--clients", "4", "--rate", "500", "--duration", "1s"];
const LOAD_PACKETS: u64 = 2_000;

/// What a dead collector may cost is less than 2 s; a busy machine of 2 cores may add as much.
const COST_MAX: Duration = Duration::from_secs(4);

/// Server and agent that send their traces to one collector.
struct Observed {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
    server: Running,
    agent: Running,
}

impl Observed {
    fn start(collector: &Collector, more: &[(&'static str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut variables = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.clone())];
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut server = command("metronome-server");
        server.args(["--port", "0", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--workers", "2"]);
        server.arg("--database").arg(folder.path().join("runs.sqlite")).envs(variables.clone());
        let server = Running::start(server);
        let mut agent = command("metronome-agent");
        agent.args(["--name", "a1", "--server", &server.told("grpc")]).envs(variables.clone());
        let agent = Running::start(agent);
        Self { folder, variables, server, agent }
    }

    fn benchctl(&self, arguments: &[&str]) -> Command {
        let mut command = command("benchctl");
        command.args(["-o", "json", "--server", &self.server.told("grpc")]).args(arguments);
        command.envs(self.variables.clone()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> (Value, i32) {
        json_of(self.benchctl(&[&["start"], arguments].concat()).output().unwrap())
    }

    /// What one GET to the HTTP port answers: status line, headers and body.
    fn get(&self, path: &str, accept: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.server.told("http")).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Ends both with SIGTERM, upon which they send what still waits.
    fn end(mut self) -> TempDir {
        for process in [&mut self.agent, &mut self.server] {
            process.signal(Signal::TERM);
            assert!(process.wait().success());
        }
        self.folder
    }
}

/// A child's name, its service, and those of its parent; `None` above a root.
fn edges(spans: &[Span]) -> Vec<(String, Option<String>)> {
    let label = |span: &Span| format!("{} {}", span.service, span.name);
    let by_id: HashMap<_, _> = spans.iter().map(|span| (span.id.clone(), label(span))).collect();
    spans.iter().map(|span| (label(span), by_id.get(&span.parent).cloned())).collect()
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
    let run = spans.iter().find(|span| span.name == "run").expect("the run's span was sent on SIGTERM");
    let trace: Vec<Span> = spans.iter().filter(|span| span.trace == run.trace).cloned().collect();
    let edges = edges(&trace);
    let call = "metronome.v1.OperatorService/StartRun";
    for (child, parent) in [
        (format!("benchctl {call}"), "benchctl benchctl start".to_owned()),
        (format!("metronome-server {call}"), format!("benchctl {call}")),
        ("metronome-server run".into(), format!("metronome-server {call}")),
        ("metronome-server preparing".into(), "metronome-server run".into()),
        ("metronome-server starting".into(), "metronome-server run".into()),
        ("metronome-server running".into(), "metronome-server run".into()),
        ("metronome-server draining".into(), "metronome-server run".into()),
        ("metronome-server merge".into(), "metronome-server run".into()),
        ("metronome-server store".into(), "metronome-server run".into()),
        ("metronome-server packet".into(), "metronome-server run".into()),
        ("metronome-agent agent a1".into(), "metronome-server run".into()),
        ("metronome-agent prepare".into(), "metronome-agent agent a1".into()),
        ("metronome-agent connect".into(), "metronome-agent prepare".into()),
        ("metronome-agent warm-up".into(), "metronome-agent agent a1".into()),
        ("metronome-agent measure".into(), "metronome-agent agent a1".into()),
        ("metronome-agent drain".into(), "metronome-agent agent a1".into()),
        ("metronome-agent report".into(), "metronome-agent agent a1".into()),
    ] {
        assert!(edges.contains(&(child.clone(), Some(parent.clone()))), "{child} below {parent} in {edges:#?}");
    }
    let roots: Vec<_> = edges.iter().filter(|(_, parent)| parent.is_none()).collect();
    assert_eq!(roots.len(), 1, "one root: {roots:?}");
    assert!(trace.len() < 60, "spans are steps of a run, never packets: {}", trace.len());
    check_attributes(run, &trace, &result);
}

fn check_attributes(run: &Span, trace: &[Span], result: &Value) {
    let of = |span: &Span, name: &str| span.attributes.get(name).cloned().unwrap_or_default();
    assert_eq!(of(run, "metronome.run.id"), result["run_id"].as_str().unwrap());
    assert_eq!(of(run, "metronome.clients"), "4");
    assert_eq!(of(run, "metronome.packets.received"), LOAD_PACKETS.to_string());
    assert_eq!(of(run, "metronome.verdict"), result["verdict"]["status"].as_str().unwrap());
    assert_eq!(of(run, "metronome.latency.p99_us"), result["latency_us"]["p99"].as_f64().unwrap().to_string());
    let server_call = trace.iter().find(|span| span.kind == 2 && span.name.ends_with("/StartRun")).unwrap();
    let client_call = trace.iter().find(|span| span.kind == 3 && span.name.ends_with("/StartRun")).unwrap();
    for call in [server_call, client_call] {
        assert_eq!(of(call, "rpc.system.name"), "grpc");
        assert_eq!(of(call, "rpc.method"), "metronome.v1.OperatorService/StartRun");
        assert_eq!(of(call, "rpc.status_code"), "OK");
    }
    assert_eq!(of(client_call, "server.address"), "127.0.0.1");
    let packets: Vec<&Span> = trace.iter().filter(|span| span.name == "packet").collect();
    assert_eq!(packets.len(), 10, "the ten slowest");
    let slowest = packets.iter().map(|packet| of(packet, "metronome.latency_us").parse::<f64>().unwrap());
    let slowest_us = slowest.fold(0.0, f64::max);
    let max_us = result["latency_us"]["max"].as_f64().unwrap();
    assert!((slowest_us - max_us).abs() <= max_us * 0.01, "{slowest_us} is the run's {max_us}");
    for packet in packets {
        assert_eq!(packet.events, ["due", "sent", "read"]);
        assert!(packet.from_ns >= run.from_ns && packet.until_ns <= run.until_ns, "{packet:?} lies in {run:?}");
    }
}

#[test]
fn a_callers_own_trace_is_continued_and_nonsense_begins_a_new_one() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[]);
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let baggage = "%".repeat(4_000);
    for traceparent in [format!("00-{trace}-{parent}-01"), "00-nonsense-%-01".into(), "00-\u{7f}".into()] {
        start_run(&observed.server.told("grpc"), &traceparent, &baggage);
    }
    observed.end();
    let calls: Vec<Span> = collector.spans().into_iter().filter(|span| span.name.ends_with("/StartRun")).collect();
    let continued: Vec<&Span> = calls.iter().filter(|call| call.trace == trace).collect();
    assert_eq!((continued.len(), continued[0].parent.as_str()), (1, parent));
    let runs = collector.spans().into_iter().filter(|span| span.name == "run").count();
    assert_eq!((calls.len(), runs), (2, 2), "the third is no header at all");
    assert!(collector.spans().iter().any(|span| span.name == "agent a1" && span.trace == trace));
}

/// Starts a short run as another service would, and waits for its end.
fn start_run(server: &str, traceparent: &str, baggage: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut operator = OperatorServiceClient::connect(format!("http://{server}")).await.unwrap();
        let duration = Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 });
        let plan = v1::Plan { clients: 1, rate_hz: 100.0, duration, ..v1::Plan::default() };
        let mut request = tonic::Request::new(v1::StartRunRequest { plan: Some(plan), ..Default::default() });
        let Ok(value) = traceparent.parse() else { return };
        request.metadata_mut().insert("traceparent", value);
        request.metadata_mut().insert("baggage", baggage.parse().unwrap());
        let run = operator.start_run(request).await.unwrap().into_inner().run.unwrap();
        let watch = v1::WatchRunRequest { run_id: run.run_id };
        let mut events = operator.watch_run(watch).await.unwrap().into_inner();
        while let Ok(Some(_)) = events.message().await {}
    });
}

#[test]
fn what_fails_is_marked_and_what_happened_is_an_event() {
    let collector = Collector::start();
    let mut observed = Observed::start(&collector, &[]);
    let mut start = observed.benchctl(&["start", "--clients", "2", "--rate", "200", "--duration", "10m"]);
    let child = start.spawn().unwrap();
    let server = |observed: &Observed| json_of(observed.benchctl(&["server"]).output().unwrap()).0;
    wait_until("all clients are in", || (server(&observed)["connections"]["admitted"] == 2).then_some(()));
    let worker = server(&observed)["workers"][0]["pid"].as_i64().unwrap() as i32;
    kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL).unwrap();
    wait_until("the death is noticed", || (server(&observed)["recoveries"]["deaths"] == 1).then_some(()));
    observed.agent.child.kill().unwrap();
    let (result, code) = json_of(child.wait_with_output().unwrap());
    assert!([3, 4].contains(&code), "{result:#}");
    // Nobody is left to start a run with.
    let refused = observed.benchctl(&["start"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    observed.server.signal(Signal::TERM);
    assert!(observed.server.wait().success());

    let run = collector.wait_for("the run", |span| span.name == "run");
    assert_eq!(run.status, 2, "{run:?}");
    for event in ["worker died", "agent lost", "verdict reason"] {
        assert!(run.events.iter().any(|told| told == event), "{event} in {:?}", run.events);
    }
    let call = collector.wait_for("the refused call", |span| {
        span.kind == 3 && span.attributes.get("rpc.status_code").is_some_and(|code| code == "FAILED_PRECONDITION")
    });
    assert_eq!((call.status, call.attributes["error.type"].as_str()), (2, "FAILED_PRECONDITION"));
    let root = collector.wait_for("the refused command", |span| span.id == call.parent);
    assert_eq!((root.name.as_str(), root.status), ("benchctl start", 2));
}

#[test]
fn headers_and_gzip_are_used_and_metrics_come_too() {
    let collector = Collector::start();
    let variables = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=bench%201"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ("OTEL_SERVICE_NAME", "mine"),
    ];
    let observed = Observed::start(&collector, &variables);
    observed.run(&LOAD);
    observed.end();
    let metadata = collector.metadata();
    assert!(!metadata.is_empty());
    for call in &metadata {
        assert_eq!(call.get("x-tenant").map(|value| value.as_bytes()), Some(&b"bench 1"[..]));
        assert_eq!(call.get("grpc-encoding").map(|value| value.as_bytes()), Some(&b"gzip"[..]));
    }
    assert!(collector.spans().iter().all(|span| span.service == "mine"));
    let metrics = collector.metrics();
    for name in ["metronome.packets.received", "metronome.packets.sent", "metronome.latency", "metronome.lateness"] {
        assert_eq!(total(&metrics, name), Some(LOAD_PACKETS as f64), "{name}");
    }
}

#[test]
fn a_scrape_tells_what_the_run_told_and_probes_follow_the_server() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[("OTEL_SDK_DISABLED", "true")]);
    observed.run(&LOAD);
    let answer = wait_until("a reading that is newer than the run", || {
        let answer = observed.get("/metrics", "*/*");
        answer
            .contains("metronome_runs_ended_total{verdict=\"invalid\"} 1")
            .then(|| answer.clone())
            .or_else(|| answer.contains("metronome_runs_ended_total{verdict=\"valid\"} 1").then_some(answer))
    });
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    let figure = |name: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {answer}")).parse::<f64>().unwrap()
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
    assert!(answer.contains("rpc_method=\"metronome.v1.OperatorService/StartRun\""));
    let open_metrics = observed.get("/metrics", "application/openmetrics-text");
    assert!(open_metrics.contains("application/openmetrics-text; version=1.0.0") && open_metrics.ends_with("# EOF\n"));
    assert!(observed.get("/healthz", "*/*").starts_with("HTTP/1.1 200"));
    assert!(observed.get("/readyz", "*/*").ends_with("ready\n"));
    assert!(observed.get("/no-such-page", "*/*").starts_with("HTTP/1.1 404"));
    observed.end();
    assert!(collector.spans().is_empty() && collector.metrics().is_empty(), "OTEL_SDK_DISABLED is obeyed");
}

/// Server, agent and benchctl of one run, with a collector at `endpoint` or with none.
fn embedded_run(endpoint: Option<&str>, one_core: bool) -> (Output, Duration) {
    let folder = TempDir::new().unwrap();
    let mut benchctl = command("benchctl");
    if one_core {
        let program = benchctl.get_program().to_owned();
        let cleared: Vec<_> = benchctl.get_envs().map(|(name, _)| name.to_owned()).collect();
        benchctl = Command::new("taskset");
        benchctl.args(["-c", "0"]).arg(program);
        for name in cleared {
            benchctl.env_remove(name);
        }
    }
    benchctl.args(["start", "-o", "json"]).args(LOAD).env("METRONOME_DATABASE", folder.path().join("runs.sqlite"));
    if let Some(endpoint) = endpoint {
        benchctl.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    }
    let begun = Instant::now();
    let output = benchctl.output().unwrap();
    (output, begun.elapsed())
}

#[track_caller]
fn costs_little(endpoint: &str, one_core: bool) {
    let (_, without) = embedded_run(None, one_core);
    let (output, with) = embedded_run(Some(endpoint), one_core);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(with < without + COST_MAX, "{with:?} instead of {without:?}; it said {said}");
    assert!(said.contains("spans were not delivered to the collector at"), "{said}");
    assert_exact(&json_of(output).0, LOAD_PACKETS);
}

#[test]
fn a_collector_that_is_not_there_costs_the_spans_and_little_time() {
    // A port that was just closed refuses.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    costs_little(&format!("http://{port}"), false);
}

#[test]
fn a_collector_that_refuses_costs_the_spans_and_little_time() {
    costs_little(&Collector::that_refuses().endpoint, false);
}

#[test]
fn a_collector_that_never_answers_costs_the_spans_and_little_time_also_on_one_core() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    costs_little(&endpoint, false);
    costs_little(&endpoint, true);
}

#[test]
fn on_one_core_every_span_arrives() {
    let collector = Collector::start();
    let (output, _) = embedded_run(Some(&collector.endpoint), true);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("not delivered") && said.contains("is trace "), "{said}");
    assert_exact(&json_of(output).0, LOAD_PACKETS);
    let services: std::collections::BTreeSet<_> = collector.spans().into_iter().map(|span| span.service).collect();
    assert_eq!(services.into_iter().collect::<Vec<_>>(), ["benchctl", "metronome-agent", "metronome-server"]);
}
