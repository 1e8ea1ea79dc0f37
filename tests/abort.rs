//! Runs that a threshold ends, by real processes: when they end, what they are, and that neither a
//! crash, an upgrade nor a second stop changes it.
//!
//! When a run has ended is taken from its own times: how long after its start its last packet was
//! due. A warm-up has no packet in a quantile, so that it is known from when on a limit of 1 ns is
//! certain to be missed. Where a busy machine was late with packets, less is certain, and the times
//! of the run are not compared.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod upgrading;

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use common::{Server, json_of, wait_until};
use rustix::{
    net::sockopt::set_socket_recv_buffer_size,
    process::{Signal, kill_process},
};
use serde_json::Value;
use upgrading::Upgradable;

/// From the moment of certainty to the end of a run.
const CERTAIN_TO_END_S: f64 = 2.0;

const MISSED: &str = "latency.max<=1ns";

/// A load with a warm-up of 1 s, of at most 40 s.
const LOAD: [&str; 8] = [
    "--clients",
    "20",
    "--rate",
    "10",
    "--duration",
    "40s",
    "--warm-up",
    "1s",
];

fn flags<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&LOAD[..], more].concat()
}

fn note(result: &Value) -> Option<&Value> {
    let notes = result["verdict"]["notes"].as_array().unwrap();
    notes.iter().find(|note| note["code"] == "ABORTED_ON_FAIL")
}

fn reasons(result: &Value) -> Vec<&str> {
    let reasons = result["verdict"]["reasons"].as_array().unwrap();
    reasons
        .iter()
        .map(|of| of["code"].as_str().unwrap())
        .collect()
}

/// Whether the generator was late with a packet, as it can be on a busy machine: then nothing, or
/// less, is certain, so that a run goes on.
fn was_late(result: &Value) -> bool {
    let groups = result["groups"].as_array().unwrap().iter();
    let mut late = groups.map(|group| group["punctuality"]["late"].as_u64());
    late.any(|late| late.is_some_and(|packets| packets > 0))
}

/// The run was ended by this threshold within 2 s of the instant from which it was certain, and is
/// what such a run has to be.
#[track_caller]
fn assert_ended_by(result: &Value, code: i32, threshold: &str, certain_at_s: f64) {
    if was_late(result) {
        let is_ended = result["stopped"]["cause"] == "threshold";
        assert_eq!(note(result).is_some(), is_ended, "{result:#}");
        // Where the records of the end do not show the miss, it is a run that was stopped.
        assert!([3, 4, 99].contains(&code), "{result:#}");
        return;
    }
    let elapsed_s = result["elapsed_s"].as_f64().unwrap();
    assert!(elapsed_s >= certain_at_s, "{elapsed_s} s: {result:#}");
    assert!(
        elapsed_s <= certain_at_s + CERTAIN_TO_END_S,
        "{elapsed_s} s: {result:#}"
    );
    assert_eq!(result["stopped"]["cause"], "threshold", "{result:#}");
    assert_eq!(reasons(result), [""; 0], "{result:#}");
    assert_eq!(
        [&result["verdict"]["status"], &result["outcome"]["status"]],
        ["valid", "not_held"],
        "{result:#}"
    );
    assert_eq!(code, 99);
    let note = note(result).unwrap();
    assert_eq!(note["figures"]["threshold"], threshold, "{note:#}");
    assert!(!note["remedy"].as_str().unwrap().is_empty());
    assert_eq!(result["counts"]["lost"], 0, "{result:#}");
}

#[test]
fn a_run_ends_within_2_s_of_certainty_and_is_valid_and_not_held() {
    let server = Server::start(&["--workers", "2", "--max-clients", "50"]);
    let _agent = server.agent("a1");
    let (result, code) = server.run(&flags(&["--threshold", MISSED, "--abort-on-fail"]));
    assert_ended_by(&result, code, MISSED, 1.0);
    assert_eq!(result["plan"]["abort_on_fail"], true);
    // As it is stored, and again by its plan.
    let (shown, code) = server.json(&["show", "last"]);
    assert_eq!((&shown["verdict"], code), (&result["verdict"], 99));
    let (again, code) = server.json(&["rerun", "last"]);
    assert_ended_by(&again, code, MISSED, 1.0);
}

#[test]
fn a_flood_ends_by_its_maximum_whatever_else_the_machine_does() {
    let server = Server::start(&["--workers", "1", "--max-clients", "50"]);
    let _agent = server.agent("a1");
    let load = [
        "--clients",
        "1",
        "--rate",
        "max",
        "--batch",
        "1",
        "--duration",
        "40s",
    ];
    let threshold = "transit.max<=1ns";
    let more = [
        "--warm-up",
        "500ms",
        "--threshold",
        threshold,
        "--abort-on-fail",
    ];
    let (result, code) = server.run(&[&load[..], &more[..]].concat());
    assert!(!was_late(&result));
    assert_ended_by(&result, code, threshold, 0.5);
}

#[test]
fn without_the_flag_or_with_a_threshold_that_holds_a_run_goes_to_its_end() {
    let server = Server::start(&["--workers", "1", "--max-clients", "50"]);
    let _agent = server.agent("a1");
    let short = [
        "--clients",
        "5",
        "--rate",
        "10",
        "--duration",
        "2s",
        "--no-default-objectives",
    ];
    let run = |more: &[&str]| server.run(&[&short[..], more].concat());
    for (more, expected) in [
        (&["--threshold", MISSED][..], 99),
        (
            &[
                "--threshold",
                "lost==0",
                "--threshold",
                "corrupt==0",
                "--abort-on-fail",
            ][..],
            0,
        ),
    ] {
        let (result, code) = run(more);
        // A busy machine can be late with more than 1 % of the packets.
        assert!(
            code == expected || (code == 4 && was_late(&result)),
            "{result:#}"
        );
        assert!(
            result["stopped"].is_null() && note(&result).is_none(),
            "{result:#}"
        );
        assert_eq!(result["counts"]["scheduled"], 100);
    }
}

#[test]
fn the_threshold_of_a_group_ends_the_run_by_the_packets_of_that_group() {
    let server = Server::start(&["--workers", "2", "--max-clients", "50"]);
    let _agent = server.agent("a1");
    let path = server.folder.path().join("plan.yaml");
    // Nothing of the second one is due before 1 s.
    let plan = "duration: 40s\n\
                abort_on_fail: true\n\
                groups:\n\
                - {name: early, clients: 5, rate: 10, thresholds: ['corrupt==0']}\n\
                - name: later\n\
                \x20 clients: 5\n\
                \x20 rate: \"0:1s,10\"\n\
                \x20 thresholds: [\"latency.max<=1ns\"]\n";
    fs::write(&path, plan).unwrap();
    let (result, code) = server.run(&["--plan", path.to_str().unwrap()]);
    if was_late(&result) {
        return assert_ended_by(&result, code, MISSED, 1.0);
    }
    assert_eq!(code, 99, "{result:#}");
    let of_note = note(&result).unwrap();
    assert_eq!(of_note["figures"]["group"], "later", "{of_note:#}");
    let objectives = result["outcome"]["objectives"].as_array().unwrap();
    let of = |group: &str| objectives.iter().find(|of| of["group"] == group).unwrap();
    assert_eq!(of("later")["status"], "not_held", "{result:#}");
    assert_eq!(of("early")["status"], "held", "{result:#}");
    let elapsed_s = of_note["figures"]["elapsed_ns"].as_f64().unwrap() / 1e9;
    assert!(
        (1.0..=1.0 + CERTAIN_TO_END_S).contains(&elapsed_s),
        "{elapsed_s}"
    );
}

#[test]
fn neither_the_death_of_the_workers_nor_an_upgrade_keeps_a_run_from_its_end() {
    let mut system = Upgradable::start(&["--max-clients", "50"]);
    let _agent = system.server.agent("a1");
    let load = [
        "--clients",
        "20",
        "--rate",
        "10",
        "--duration",
        "40s",
        "--warm-up",
        "8s",
    ];
    let more = ["--threshold", "default:latency.max<=1ns", "--abort-on-fail"];
    let start = [&["-o", "json", "start"], &load[..], &more[..]].concat();
    let child = system.server.benchctl(&start).spawn().unwrap();
    wait_until("the run is running", || {
        let (runs, _) = system.server.json(&["runs"]);
        let is_running = runs["runs"][0]["state"] == "running";
        is_running.then_some(())
    });
    for worker in system.server.workers() {
        kill_process(worker, Signal::KILL).unwrap();
    }
    system.upgrade();
    let (result, code) = json_of(child.wait_with_output().unwrap());
    // A worker that has died can have been slow to read what was due in the warm-up, but no more.
    assert_ended_by(&result, code, MISSED, 8.0);
    let of_note = note(&result);
    assert!(of_note.is_none_or(|note| note["figures"]["group"] == "default"));
}

#[test]
fn a_second_stop_at_the_same_time_is_fine() {
    let server = Server::start(&["--workers", "1", "--max-clients", "50"]);
    let _agent = server.agent("a1");
    let start = flags(&["--threshold", MISSED, "--abort-on-fail"]);
    let start = [&["-o", "json", "start"][..], &start].concat();
    let mut child = server.benchctl(&start).spawn().unwrap();
    // From the warm-up on, until one of the two has stopped it.
    wait_until("the first packets are read", || {
        let (runs, _) = server.json(&["runs"]);
        (runs["runs"][0]["state"] == "running").then_some(())
    });
    thread::sleep(Duration::from_millis(1_000));
    wait_until("it has ended", || {
        let _ = server.json(&["stop", "last"]);
        child.try_wait().unwrap()
    });
    let (result, code) = json_of(child.wait_with_output().unwrap());
    match result["stopped"]["cause"].as_str().unwrap() {
        "threshold" => assert_ended_by(&result, code, MISSED, 1.0),
        _ if was_late(&result) => {}
        cause => {
            assert_eq!((cause, code), ("operator", 3), "{result:#}");
            assert_eq!(reasons(&result), ["STOPPED"], "{result:#}");
            assert!(note(&result).is_none(), "{result:#}");
        }
    }
}

/// Carries connections to `server` until it is asked to break the first one.
struct Path {
    address: String,
    cut: mpsc::Sender<()>,
}

impl Path {
    fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (cut, cuts) = mpsc::channel();
        thread::spawn(move || {
            let mut cuts = Some(cuts);
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(&server).unwrap();
                carry(client.try_clone().unwrap(), server.try_clone().unwrap());
                carry(server.try_clone().unwrap(), client.try_clone().unwrap());
                if let Some(cuts) = cuts.take() {
                    thread::spawn(move || {
                        if cuts.recv().is_ok() {
                            let _ = client.shutdown(Shutdown::Both);
                            let _ = server.shutdown(Shutdown::Both);
                        }
                    });
                }
            }
        });
        Self { address, cut }
    }
}

/// Copies what one end sends to the other one.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || -> io::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            let count = from.read(&mut bytes)?;
            if count == 0 {
                return to.shutdown(Shutdown::Write);
            }
            to.write_all(&bytes[..count])?;
        }
    });
}

/// Carries connections to `server`, and while it `is_slow` 400 kB a second of each client.
fn slow_path(server: String, is_slow: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // What waits in here is soon full.
            set_socket_recv_buffer_size(&client, 65_536).unwrap();
            let server = TcpStream::connect(&server).unwrap();
            carry(server.try_clone().unwrap(), client.try_clone().unwrap());
            let is_slow = Arc::clone(&is_slow);
            let (mut from, mut to) = (client, server);
            thread::spawn(move || -> io::Result<()> {
                let mut bytes = [0; 4096];
                loop {
                    let count = from.read(&mut bytes)?;
                    if is_slow.load(Relaxed) {
                        thread::sleep(Duration::from_millis(10));
                    }
                    to.write_all(&bytes[..count])?;
                    if count == 0 {
                        return to.shutdown(Shutdown::Write);
                    }
                }
            });
        }
    });
    address
}

#[test]
fn packets_of_a_group_on_a_slow_path_end_the_run_beside_another_group_of_the_same_agent() {
    let server = Server::start(&["--workers", "1", "--max-clients", "50"]);
    let _agent = server.agent("a1");
    let is_slow = Arc::new(AtomicBool::new(false));
    let path = slow_path(server.data(), Arc::clone(&is_slow));
    let file = server.folder.path().join("plan.yaml");
    // 3 MB a second fill the buffers of that connection: its packets are blocked and skipped.
    let plan = format!(
        "duration: 60s\n\
         abort_on_fail: true\n\
         groups:\n\
         - {{name: free, clients: 5, rate: 10}}\n\
         - name: slow\n\
         \x20 clients: 1\n\
         \x20 rate: 2k\n\
         \x20 packet_size: 1472\n\
         \x20 target: {path}\n\
         \x20 thresholds: [\"skipped==0\"]\n"
    );
    fs::write(&file, plan).unwrap();
    let start = ["-o", "json", "start", "--plan", file.to_str().unwrap()];
    let child = server.benchctl(&start).spawn().unwrap();
    wait_until("the run is running", || {
        let (runs, _) = server.json(&["runs"]);
        (runs["runs"][0]["state"] == "running").then_some(())
    });
    is_slow.store(true, Relaxed);
    let (result, code) = json_of(child.wait_with_output().unwrap());
    let is_ended = result["stopped"]["cause"] == "threshold";
    // On a machine that was late with more than 1 % of the packets nothing is certain.
    if !is_ended && was_late(&result) {
        return;
    }
    assert!(is_ended, "{result:#}");
    let of_note = note(&result).unwrap();
    assert_eq!(of_note["figures"]["group"], "slow", "{of_note:#}");
    let elapsed_s = of_note["figures"]["elapsed_ns"].as_f64().unwrap() / 1e9;
    assert!(elapsed_s < 40.0, "{elapsed_s}");
    // Partial where the client behind that path could not end in time.
    assert!([3, 99].contains(&code), "{result:#}");
    let objectives = result["outcome"]["objectives"].as_array().unwrap();
    let of_group = objectives.iter().find(|of| of["group"] == "slow").unwrap();
    assert_eq!(of_group["status"], "not_held", "{result:#}");
}

#[test]
fn a_rate_and_a_mean_are_judged_and_end_a_run_or_not() {
    let server = Server::start(&["--workers", "1", "--max-clients", "50"]);
    let _agent = server.agent("a1");
    let short = ["--clients", "5", "--rate", "100", "--duration", "2s"];
    let thresholds = [
        "--threshold",
        "rate>=90%",
        "--threshold",
        "rate>=450/s",
        "--threshold",
        "transit.mean<1s",
    ];
    let (result, code) = server.run(&[&short[..], &thresholds, &["--abort-on-fail"]].concat());
    let objectives = result["outcome"]["objectives"].as_array().unwrap();
    if code != 4 {
        for (objective, unit) in objectives.iter().zip(["percent", "packets_per_s", "us"]) {
            assert_eq!(objective["status"], "held", "{objective:#}");
            assert_eq!(objective["unit"], unit, "{objective:#}");
            assert!(objective["observed"].is_number(), "{objective:#}");
        }
        assert_eq!(objectives[0]["metric"], "rate");
        assert_eq!(objectives[2]["quantile"], "mean");
    }
    assert!(result["stopped"].is_null(), "{result:#}");
    // So long a first packet that the others cannot make up for it: none is 1 ns or less.
    let (result, code) = server.run(&flags(&[
        "--threshold",
        "transit.mean<=1ns",
        "--abort-on-fail",
    ]));
    if !was_late(&result) {
        assert_eq!(
            (&result["stopped"]["cause"], code),
            (&"threshold".into(), 99)
        );
        let figures = &note(&result).unwrap()["figures"];
        assert!(figures["observed_ns"].as_u64() > Some(1), "{figures:#}");
    }
    // Shapes for which packets per second are no figure.
    let refused = ["--rate", "1k..2k", "--threshold", "rate>=1k/s"];
    let (error, code) = server.json(&[&["start", "--duration", "1s"], &refused[..]].concat());
    assert_eq!(code, 2, "{error:#}");
    let sentence = error["error"]["sentence"].as_str().unwrap();
    assert!(sentence.contains("rate>=99%"), "{sentence}");
}

#[test]
fn a_broken_connection_ends_a_run_that_may_lose_nothing() {
    let server = Server::start(&["--workers", "1", "--max-clients", "50"]);
    let _agent = server.agent("a1");
    let path = Path::to(server.data());
    let load = [
        "--clients",
        "5",
        "--rate",
        "100",
        "--duration",
        "40s",
        "--target",
    ];
    let more = [&path.address, "--threshold", "lost==0", "--abort-on-fail"];
    let start = [&["-o", "json", "start"], &load[..], &more[..]].concat();
    let child = server.benchctl(&start).spawn().unwrap();
    wait_until("the run is running", || {
        let (runs, _) = server.json(&["runs"]);
        (runs["runs"][0]["state"] == "running").then_some(())
    });
    path.cut.send(()).unwrap();
    let (result, code) = json_of(child.wait_with_output().unwrap());
    if was_late(&result) {
        return;
    }
    // The rest of that client is missing, so that the run is partial.
    assert_eq!(code, 3, "{result:#}");
    assert_eq!(reasons(&result), ["CLIENT_LOST"], "{result:#}");
    assert_eq!(result["stopped"]["cause"], "threshold", "{result:#}");
    assert_ne!(result["outcome"]["status"], "held", "{result:#}");
    assert_eq!(note(&result).unwrap()["figures"]["observed"], 1);
    assert!(result["elapsed_s"].as_f64().unwrap() < 20.0, "{result:#}");
}
