//! The event feed on real processes: all watchers see the same, in whatever way they watch; one
//! that comes back has missed nothing, and one that does not read holds up no other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod upgrading;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use common::{DEADLINE, Server, assert_exact, wait_until};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use upgrading::Upgradable;

/// Who watches: events by the order in which they came, from a process or a stream.
struct Watcher {
    events: mpsc::Receiver<Value>,
    /// Ends with this handle.
    process: Option<Child>,
}

impl Watcher {
    /// `benchctl watch … -o ndjson`.
    fn benchctl(server: &Server, arguments: &[&str]) -> Self {
        let mut command = server.benchctl(&["watch", "-o", "ndjson"]);
        let mut process = command
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let events = Self::events_of(lines.map_while(Result::ok));
        Self {
            events,
            process: Some(process),
        }
    }

    /// `/api/v1/events`, as a browser asks for it.
    fn sse(http: &str, query: &str, last: Option<u64>) -> Self {
        let lines = BufReader::new(sse(http, query, last)).lines();
        let data = |line: String| line.strip_prefix("data: ").map(str::to_owned);
        Self {
            events: Self::events_of(lines.map_while(Result::ok).filter_map(data)),
            process: None,
        }
    }

    fn events_of(lines: impl Iterator<Item = String> + Send + 'static) -> mpsc::Receiver<Value> {
        let (sender, events) = mpsc::channel();
        thread::spawn(move || {
            for line in lines {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        events
    }

    fn next(&self) -> Option<Value> {
        self.events.recv_timeout(DEADLINE).ok()
    }

    /// All events up to the first one like that.
    #[track_caller]
    fn until(&self, is_last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.next().unwrap_or_else(|| panic!("none: {events:#?}"));
            let is_last = is_last(&event);
            events.push(event);
            if is_last {
                return events;
            }
        }
    }

    /// Waits until the present state has come, and returns its events.
    fn state(&self) -> Vec<Value> {
        self.until(|event| !event["number"].is_null())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A request for events: the answer is one that ends with its connection.
fn sse(http: &str, query: &str, last: Option<u64>) -> TcpStream {
    let mut stream = TcpStream::connect(http).unwrap();
    let last = last.map(|last| format!("Last-Event-ID: {last}\r\n"));
    let last = last.unwrap_or_default();
    let request = format!("GET /api/v1/events{query} HTTP/1.0\r\nHost: {http}\r\n{last}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// The first line of an answer, and its body.
fn answer(mut stream: TcpStream) -> (String, String) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let first = head.lines().next().unwrap();
    (first.to_owned(), body.trim_end().to_owned())
}

fn server() -> Server {
    Server::start(&["--workers", "2", "--http", "127.0.0.1:0"])
}

/// Starts a run and returns its id.
fn begin(server: &Server, load: &[&str]) -> String {
    let (started, code) = server.json(&[&["start", "--detach"], load].concat());
    assert_eq!(code, 0, "{started:#}");
    started["run_id"].as_str().unwrap().to_owned()
}

fn is(kind: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == kind
}

/// What happened to a run, without its snapshots.
fn changes<'a>(events: &'a [Value], run_id: &str) -> Vec<&'a Value> {
    let of_run = |event: &&Value| {
        let is_change = !is("snapshot")(event) && !event["number"].is_null();
        is_change && (event["run"]["run_id"] == run_id || event["run_id"] == run_id)
    };
    events.iter().filter(of_run).collect()
}

/// Before the end there is an event for each objective that its report has as not held: none where
/// a busy host has made the run invalid, which is not judged.
#[track_caller]
fn assert_failed_are_not_held(changes: &[&Value]) {
    let failed = changes.iter().filter(|event| event["ended_run"] == false);
    let failed = Vec::from_iter(failed.map(|event| &event["objective"]));
    let objectives = &changes.last().unwrap()["run"]["outcome"]["objectives"];
    let objectives = objectives.as_array().unwrap().iter();
    let not_held = objectives.filter(|of| of["status"] == "not_held");
    assert_eq!(failed, Vec::from_iter(not_held));
}

#[track_caller]
fn assert_numbers_rise(events: &[Value]) {
    let numbers = Vec::from_iter(events.iter().filter_map(|event| event["number"].as_u64()));
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
}

#[test]
fn whoever_watches_over_grpc_or_http_all_or_one_run_sees_the_same() {
    let server = server();
    let _agent = server.agent("a1");
    let all = Watcher::benchctl(&server, &["--all"]);
    let browser = Watcher::sse(&server.process.ready_word("http"), "", None);
    assert_eq!(all.state()[0]["event"], "present");
    assert_eq!(browser.state()[0]["workers"], serde_json::json!([0, 1]));
    let load = ["--clients", "4", "--rate", "1000", "--duration", "3s"];
    let run_id = begin(
        &server,
        &[&load[..], &["--threshold", "latency.p50<1ns"]].concat(),
    );
    let one = Watcher::benchctl(&server, &[&run_id]);
    let [all, browser, one] = [all, browser, one].map(|of| of.until(is("run_ended")));
    for events in [&all, &browser, &one] {
        assert_numbers_rise(events);
    }
    let expected = changes(&all, &run_id);
    assert_eq!(changes(&browser, &run_id), expected);
    let states = expected.iter().map(|event| &event["run"]["state"]);
    let states = Vec::from_iter(states.filter_map(Value::as_str));
    assert_eq!(
        states,
        ["preparing", "starting", "running", "draining", "ended"]
    );
    assert_failed_are_not_held(&expected);
    // It came later, and has what came from then on.
    let later = changes(&one, &run_id);
    assert!(
        expected.ends_with(&later) && !later.is_empty(),
        "{later:#?}"
    );
    assert_eq!(one[0]["run_ids"], serde_json::json!([run_id]));
    let snapshots = all.iter().filter(|event| is("snapshot")(event));
    let snapshots = Vec::from_iter(snapshots.map(|event| &event["snapshot"]));
    let mut points = snapshots.iter().map(|of| &of["latest_point"]);
    let newest = points.rfind(|point| !point.is_null()).unwrap();
    assert!(
        newest["counts"]["received"].as_u64() > Some(0),
        "{newest:#}"
    );
    let hosts = &snapshots.last().unwrap()["latest_hosts"];
    assert_eq!(
        (&hosts[0]["role"], &hosts[0]["name"]),
        (&"server".into(), &"server".into())
    );
    assert_eq!(hosts[1]["name"], "a1", "{hosts:#}");
    let (mut shown, _) = server.json(&["show", &run_id]);
    assert_exact(&shown, 12_000);
    shown["clients"] = Value::Null;
    assert_eq!(all.last().unwrap()["run"], shown);
}

#[test]
fn who_was_killed_and_comes_back_after_its_last_number_gets_what_came_meanwhile_once() {
    let server = server();
    let _agent = server.agent("a1");
    let undisturbed = Watcher::benchctl(&server, &["--all"]);
    undisturbed.state();
    let killed = Watcher::benchctl(&server, &["--all"]);
    killed.state();
    let run_id = begin(
        &server,
        &["--clients", "2", "--rate", "100", "--duration", "1s"],
    );
    let mut seen = killed.until(|event| event["run"]["state"] == "running");
    drop(killed);
    let whole = undisturbed.until(is("run_ended"));
    let last = seen.last().unwrap()["number"].as_u64().unwrap();
    let http = server.process.ready_word("http");
    for again in [
        Watcher::benchctl(&server, &["--all", "--after", &last.to_string()]),
        Watcher::benchctl(&server, &[&run_id, "--after", &last.to_string()]),
        Watcher::benchctl(&server, &["--filter", "", "--after", &last.to_string()]),
        Watcher::sse(&http, "", Some(last)),
        Watcher::sse(&http, &format!("?after={last}"), None),
    ] {
        let rest = again.until(is("run_ended"));
        assert!(rest.iter().all(|event| !is("present")(event)), "{rest:#?}");
        let before = seen.len();
        seen.extend(rest);
        assert_numbers_rise(&seen);
        assert_eq!(changes(&seen, &run_id), changes(&whole, &run_id));
        seen.truncate(before);
    }
    // A browser that had its end gets no stream any more; one that begins gets the end.
    let query = format!("?run={run_id}");
    let end = whole.last().unwrap()["number"].as_u64();
    let (first, _) = answer(sse(&http, &query, end));
    assert!(first.contains("204"), "{first}");
    let ended = Watcher::sse(&http, &query, None).until(is("run_ended"));
    assert_eq!(ended.last().unwrap()["run"], whole.last().unwrap()["run"]);
}

#[test]
fn a_run_that_stops_matching_a_filter_is_watched_to_its_end_also_through_an_upgrade() {
    let mut system = Upgradable::start(&[]);
    let _agent = system.server.agent("a1");
    let filters = ["state = preparing", "state = running", "state = ended"];
    let watchers = filters.map(|of| Watcher::benchctl(&system.server, &["--filter", of]));
    watchers.iter().for_each(|of| drop(of.state()));
    let load = ["--clients", "2", "--rate", "100", "--duration", "5s"];
    let run_id = begin(&system.server, &load);
    let [preparing, running, ended] = watchers;
    let before = running.until(|event| event["run"]["state"] == "running");
    assert_eq!(changes(&before, &run_id).len(), 1, "{before:#?}");
    system.upgrade();
    for watcher in [&preparing, &running] {
        let events = watcher.until(is("run_ended"));
        let last = changes(&events, &run_id).pop().unwrap();
        assert_eq!(last["run"]["state"], "ended", "{events:#?}");
        assert!(events.iter().any(is("snapshot")), "{events:#?}");
    }
    let only_its_end = ended.until(is("run_ended"));
    assert_eq!(changes(&only_its_end, &run_id).len(), 1);
}

#[test]
fn a_run_that_a_threshold_ends_says_so_before_it_drains() {
    let server = server();
    let _agent = server.agent("a1");
    let all = Watcher::benchctl(&server, &["--all"]);
    all.state();
    let load = ["--clients", "2", "--rate", "1000", "--duration", "20s"];
    let threshold = ["--threshold", "latency.max<1ns", "--abort-on-fail"];
    let run_id = begin(&server, &[&load[..], &threshold].concat());
    let events = all.until(is("run_ended"));
    let changes = changes(&events, &run_id);
    assert_failed_are_not_held(&changes);
    let kinds = changes.iter().filter(|event| event["ended_run"] != false);
    let kinds = kinds.map(|event| {
        let state = event["run"]["state"].as_str();
        state.unwrap_or_else(|| event["event"].as_str().unwrap())
    });
    let expected = [
        "preparing",
        "starting",
        "running",
        "threshold_failed",
        "draining",
        "ended",
    ];
    assert_eq!(Vec::from_iter(kinds), expected);
    let failed = events.iter().find(|event| event["ended_run"] == true);
    let objective = &failed.unwrap()["objective"];
    assert_eq!(objective["status"], "not_held");
    assert_eq!(objective["observed"], Value::Null, "{objective:#}");
}

#[test]
fn an_agent_that_leaves_and_a_worker_that_dies_are_seen() {
    let server = server();
    let agent = server.agent("a1");
    let all = Watcher::benchctl(&server, &["--all"]);
    all.state();
    let worker = server.workers()[0];
    kill_process(worker, Signal::KILL).unwrap();
    let died = all.until(|event| event["change"] == "died").pop().unwrap();
    assert_ne!(died["worker"]["pid"], worker.as_raw_nonzero().get());
    drop(agent);
    let left = all.until(|event| event["change"] == "disconnected");
    assert_eq!(left.last().unwrap()["agent"]["name"], "a1");
    let _agent = server.agent("a2");
    let came = all.until(|event| event["change"] == "connected");
    assert_eq!(came.last().unwrap()["agent"]["name"], "a2");
}

#[test]
fn a_watch_goes_on_through_an_upgrade_with_the_present_state_and_numbers_that_rise() {
    let mut system = Upgradable::start(&[]);
    let _agent = system.server.agent("a1");
    let http = system.server.process.ready_word("http");
    let all = Watcher::benchctl(&system.server, &["--all"]);
    all.state();
    let run_id = begin(
        &system.server,
        &["--clients", "2", "--rate", "100", "--duration", "6s"],
    );
    let mut events = all.until(|event| event["run"]["state"] == "running");
    let browser = Watcher::sse(&http, "", None);
    browser.state();
    system.upgrade();
    // The stream of the old process ends, and the browser comes back to the new one.
    let mut seen = Vec::from_iter(browser.events.iter());
    assert_numbers_rise(&seen);
    let last = seen
        .iter()
        .filter_map(|event| event["number"].as_u64())
        .max();
    let again = Watcher::sse(&http, "", last.or(Some(1)));
    seen.extend(again.until(is("run_ended")));
    events.extend(all.until(is("run_ended")));
    for events in [&seen, &events] {
        assert_numbers_rise(events);
        let present = events.iter().rfind(|event| is("present")(event)).unwrap();
        assert_eq!(
            (&present["missed"], &present["run_ids"][0]),
            (&true.into(), &run_id.as_str().into())
        );
        let ends = events.iter().filter(|event| is("run_ended")(event));
        assert_eq!(ends.count(), 1);
    }
}

#[test]
fn a_server_that_is_started_again_goes_on_above_the_numbers_of_the_one_before() {
    let mut server = server();
    let before = Watcher::benchctl(&server, &["--all"]).state();
    let last = before.last().unwrap()["number"].as_u64().unwrap();
    server.process.signal(Signal::TERM);
    server.process.wait();
    let folder = std::mem::replace(&mut server.folder, tempfile::TempDir::new().unwrap());
    let server = Server::start_in(folder, &["--workers", "2"]);
    let state = Watcher::benchctl(&server, &["--all", "--after", &last.to_string()]).state();
    assert_eq!(state[0]["missed"], true, "{state:#?}");
    assert!(
        state.last().unwrap()["number"].as_u64() > Some(last),
        "{state:#?}"
    );
}

#[test]
fn who_does_not_read_holds_up_neither_the_run_nor_others() {
    let server = server();
    let _agent = server.agent("a1");
    let http = server.process.ready_word("http");
    // Nothing of theirs is read until the end.
    let streams = Vec::from_iter((0..8).map(|_| sse(&http, "", None)));
    let mut processes = Vec::from_iter((0..4).map(|_| {
        let mut watch = server.benchctl(&["watch", "--all", "-o", "ndjson"]);
        watch
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }));
    let reader = Watcher::benchctl(&server, &["--all"]);
    reader.state();
    let load = ["--clients", "2", "--rate", "200", "--duration", "3s"];
    let (run, _) = server.run(&load);
    assert_exact(&run, 1_200);
    let events = reader.until(is("run_ended"));
    let snapshots = events.iter().filter(|event| is("snapshot")(event));
    assert!(snapshots.count() >= 3, "{events:#?}");
    // Those who read only now have the changes, and the end.
    let late = BufReader::new(streams.into_iter().next().unwrap()).lines();
    let late = late.map_while(Result::ok);
    let late = late.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok());
    let late: Vec<Value> = late.take_while(|event| !is("run_ended")(event)).collect();
    let run_id = run["run_id"].as_str().unwrap();
    let expected = changes(&events, run_id);
    assert_eq!(changes(&late, run_id), expected[..expected.len() - 1]);
    for process in &mut processes {
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

#[test]
fn there_are_64_streams_and_the_next_one_learns_why_there_is_none_for_it() {
    let server = server();
    let http = server.process.ready_word("http");
    let mut streams = Vec::new();
    for _ in 0..64 {
        let mut stream = sse(&http, "", None);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first[9..], b"200");
        streams.push(stream);
    }
    let (first, sentence) = answer(sse(&http, "", None));
    assert!(first.contains("503"), "{first}");
    assert_eq!(sentence, "64 streams of events are open, which is the most");
    // Others are answered beside them, and a place that is given back is there again.
    let mut probe = TcpStream::connect(&http).unwrap();
    probe.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    assert!(answer(probe).0.contains("200"));
    streams.pop();
    wait_until("there is a place", || {
        let mut stream = sse(&http, "", None);
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        (&first[9..] == b"200").then_some(())
    });
}

#[test]
fn what_is_asked_for_wrongly_is_refused_with_a_sentence() {
    let server = server();
    let http = server.process.ready_word("http");
    for (query, code, words) in [
        ("?run=zz", "400", "a run id is 16 hexadecimal digits"),
        (
            "?run=0000000000000001",
            "404",
            "there is no run 0000000000000001",
        ),
        ("?after=x", "400", "after: the number of an event"),
        ("?all=1", "400", "run=ID and after=NUMBER"),
    ] {
        let (first, sentence) = answer(sse(&http, query, None));
        assert!(
            first.contains(code) && sentence.contains(words),
            "{first} {sentence}"
        );
    }
    let mut post = TcpStream::connect(&http).unwrap();
    let request = format!("POST /api/v1/events HTTP/1.0\r\nHost: {http}\r\n\r\n");
    post.write_all(request.as_bytes()).unwrap();
    assert!(answer(post).0.contains("405"));
    for (arguments, words) in [
        (
            &["runs", "-o", "ndjson"][..],
            "ndjson is a form of `watch` alone",
        ),
        (&["watch", "--after", "1"], "--after is for events"),
        (&["watch", "--all", "-o", "json"], "ndjson is one a line"),
        (&["watch", "--filter", "x"], "at byte 0"),
    ] {
        let output = server.benchctl(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(2) && said.contains(words),
            "{said}"
        );
    }
}
