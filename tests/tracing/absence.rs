//! A collector that refuses, hangs, swallows or is not there costs its spans, which are counted,
//! and little time.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Command, Output},
    time::{Duration, Instant},
};

use rustix::{
    net::{AddressFamily, SocketType, bind, getsockname, listen, socket},
    process::Signal,
};
use tempfile::TempDir;

use crate::{
    common::{assert_exact, collector::Collector, command, json_of, wait_until},
    observed::{LOAD, LOAD_PACKETS, Observed},
};

/// What a dead collector may add to the end of a command, or of a process that is asked to end.
const COST_MAX: Duration = Duration::from_secs(2);

/// A busy machine adds what it likes; a cost of ours would be there every time.
const TRIES: usize = 5;

/// Server, agent and benchctl of one run, with a collector at `endpoint` or with none.
fn embedded_run(endpoint: Option<&str>, one_core: bool) -> (Output, Duration) {
    let folder = TempDir::new().unwrap();
    let mut benchctl = command("benchctl");
    if one_core {
        let program = benchctl.get_program().to_owned();
        let cleared: Vec<_> = benchctl
            .get_envs()
            .map(|(name, _)| name.to_owned())
            .collect();
        benchctl = Command::new("taskset");
        benchctl.args(["-c", "0"]).arg(program);
        for name in cleared {
            benchctl.env_remove(name);
        }
    }
    benchctl
        .args(["start", "-o", "json"])
        .args(LOAD)
        .env("METRONOME_DATABASE", folder.path().join("runs.sqlite"));
    if let Some(endpoint) = endpoint {
        benchctl.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    }
    let begun = Instant::now();
    let output = benchctl.output().unwrap();
    (output, begun.elapsed())
}

/// Whether `said` reports that spans of this process are lost.
fn is_reported(said: &str, who: &str) -> bool {
    said.lines().any(|line| {
        line.starts_with(&format!("{who}: ")) && line.contains(" spans were not delivered to ")
    })
}

/// A run with this collector loses no packet, reports its lost spans, and ends as soon as one
/// without.
#[track_caller]
fn costs_little(endpoint: &str, one_core: bool) {
    let mut costs = Vec::new();
    for _ in 0..TRIES {
        let (_, without) = embedded_run(None, one_core);
        let (output, with) = embedded_run(Some(endpoint), one_core);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for who in ["metronome-server", "metronome-agent", "benchctl"] {
            assert!(is_reported(&said, who), "nothing of {who} in {said}");
        }
        assert_exact(&json_of(output).0, LOAD_PACKETS);
        let cost = with.saturating_sub(without);
        if cost < COST_MAX {
            return;
        }
        costs.push(cost);
    }
    panic!("each time it cost too much: {costs:?}");
}

#[test]
fn a_collector_that_is_not_there_costs_little() {
    // A port that was just closed refuses.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    costs_little(&format!("http://{port}"), false);
}

#[test]
fn a_collector_that_refuses_costs_little() {
    costs_little(&Collector::that_refuses().endpoint, false);
}

#[test]
fn a_collector_that_never_answers_costs_little_also_on_one_core() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    costs_little(&endpoint, false);
    costs_little(&endpoint, true);
}

/// A port whose every SYN is lost, as behind a firewall that drops: its queue is full and stays so.
struct BlackHole {
    _listener: OwnedFd,
    _queued: Vec<TcpStream>,
    address: SocketAddr,
}

impl BlackHole {
    fn open() -> Self {
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        listen(&listener, 0).unwrap();
        let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
        let knock = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let queued: Vec<TcpStream> = std::iter::from_fn(|| knock().ok()).take(10).collect();
        assert!(
            queued.len() < 10,
            "this system queues more connections than it was asked to"
        );
        Self {
            _listener: listener,
            _queued: queued,
            address,
        }
    }
}

#[test]
fn a_collector_behind_a_black_hole_costs_little_also_on_one_core() {
    let hole = BlackHole::open();
    costs_little(&format!("http://{}", hole.address), false);
    costs_little(&format!("http://{}", hole.address), true);
}

#[test]
fn server_and_agent_that_are_asked_to_end_wait_for_no_collector() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut costs = Vec::new();
    for _ in 0..TRIES {
        let mut observed = Observed::sending_to(&endpoint, &[]);
        observed.run(&LOAD);
        let took = [&mut observed.agent, &mut observed.server].map(|process| {
            let asked = Instant::now();
            process.signal(Signal::TERM);
            assert!(process.wait().success());
            asked.elapsed()
        });
        let said = observed.said();
        for who in ["metronome-server", "metronome-agent"] {
            assert!(is_reported(&said, who), "nothing of {who} in {said}");
        }
        if took.iter().all(|took| *took < COST_MAX) {
            return;
        }
        costs.push(took);
    }
    panic!("each time it cost too much: {costs:?}");
}

/// The server reports lost spans while it goes on.
fn counts_lost_spans(endpoint: &str, variables: &[(&'static str, &str)]) {
    let observed = Observed::sending_to(endpoint, variables);
    observed.run(&LOAD);
    wait_until("the lost spans are reported", || {
        let answer = observed.get("/metrics", "*/*");
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix("metronome_spans_dropped_total "));
        // Those of the ten slowest packets are among them.
        line.is_some_and(|count| count.parse::<f64>().unwrap() >= 10.0)
            .then_some(())
    });
    observed.end();
}

#[test]
fn spans_that_a_collector_refuses_are_counted_at_once() {
    counts_lost_spans(
        &Collector::that_refuses().endpoint,
        &[("OTEL_BSP_SCHEDULE_DELAY", "50")],
    );
}

#[test]
fn spans_that_find_the_queue_full_are_counted_at_once() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    counts_lost_spans(
        &endpoint,
        &[
            ("OTEL_BSP_MAX_QUEUE_SIZE", "2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
        ],
    );
}

#[test]
fn on_one_core_every_span_arrives() {
    let collector = Collector::start();
    let (output, _) = embedded_run(Some(&collector.endpoint), true);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !said.contains("not delivered") && said.contains("is trace "),
        "{said}"
    );
    assert_exact(&json_of(output).0, LOAD_PACKETS);
    let services: std::collections::BTreeSet<_> = collector
        .spans()
        .into_iter()
        .map(|span| span.service)
        .collect();
    assert_eq!(
        services.into_iter().collect::<Vec<_>>(),
        ["benchctl", "metronome-agent", "metronome-server"]
    );
}
