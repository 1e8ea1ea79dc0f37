//! The series of a run, on real processes: all points together are the counts of the run, whatever
//! dies on the way and whichever server ends it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod upgrading;

use common::{Server, assert_exact, command, json_of, wait_until};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use upgrading::Upgradable;

/// The counters that every run has.
const COUNTERS: [&str; 8] = [
    "scheduled",
    "sent",
    "skipped",
    "received",
    "duplicated",
    "reordered",
    "gaps",
    "corrupt",
];

/// What all points have of a figure together. `None` where one does not have it.
fn sum(points: &[Value], figure: impl Fn(&Value) -> &Value) -> Option<u64> {
    points.iter().map(|point| figure(point).as_u64()).sum()
}

/// All points together are the counts and the times of the run, and follow each other.
#[track_caller]
fn assert_sums(result: &Value, series: &Value) {
    let points = series["points"].as_array().unwrap();
    assert!(!points.is_empty(), "{result:#}");
    for name in COUNTERS {
        let received = sum(points, |of| &of["counts"][name]);
        // What the agents report begins once each has reported.
        let is_late = ["scheduled", "sent", "skipped"].contains(&name);
        let begins = points.iter().position(|of| !of["counts"][name].is_null());
        let of_those = || sum(&points[begins.unwrap()..], |of| &of["counts"][name]);
        let sum = if is_late { of_those() } else { received };
        assert_eq!(
            sum,
            result["counts"][name].as_u64(),
            "{name} in {points:#?}"
        );
    }
    for (name, value) in result["counts"].as_object().unwrap() {
        let sum = sum(points, |of| &of["counts"][name]);
        assert!(
            sum.is_none() || sum == value.as_u64(),
            "{name}: {sum:?} and {value}"
        );
    }
    for time in ["lateness_us", "transit_us", "latency_us", "spread_us"] {
        let counts = points
            .iter()
            .map(|of| of[time]["count"].as_u64().unwrap_or(0));
        let of_run = result[time]["count"].as_u64().unwrap_or(0);
        assert_eq!(counts.sum::<u64>(), of_run, "{time} in {points:#?}");
    }
    let stretch = |of: &Value| {
        (
            of["from_s"].as_f64().unwrap(),
            of["span_s"].as_f64().unwrap(),
        )
    };
    for two in points.windows(2) {
        let ((from_s, span_s), (next_s, _)) = (stretch(&two[0]), stretch(&two[1]));
        assert!(
            span_s > 0.0 && (from_s + span_s - next_s).abs() < 1e-6,
            "{two:#?}"
        );
    }
    let hosts = series["hosts"].as_array().unwrap();
    let of_server = hosts.iter().find(|of| of["role"] == "server").unwrap();
    assert!(
        !of_server["points"].as_array().unwrap().is_empty(),
        "{hosts:#?}"
    );
}

fn series_of(server: &Server, run: &Value) -> Value {
    let run_id = run["run_id"].as_str().unwrap();
    let (series, _) = server.json(&["show", run_id, "--series"]);
    assert_eq!(series["run_id"], run["run_id"]);
    series
}

#[test]
fn all_points_together_are_the_counts_of_the_run_and_the_text_has_a_row_for_each() {
    let server = Server::start(&["--workers", "2"]);
    let _agents = [server.agent("a1"), server.agent("a2")];
    let load = [
        "--clients",
        "6",
        "--rate",
        "1000",
        "--duration",
        "4s",
        "--echo-every",
        "10",
    ];
    let (run, _) = server.run(&load);
    assert_exact(&run, 24_000);
    let series = series_of(&server, &run);
    assert_sums(&run, &series);
    let points = series["points"].as_array().unwrap();
    assert!((3..=5).contains(&points.len()), "one a second: {points:#?}");
    let trips = points
        .iter()
        .map(|of| of["rtt_from_due_us"]["count"].as_u64().unwrap_or(0));
    let of_run = run["rtt_from_due_us"]["count"].as_u64().unwrap();
    assert_eq!(trips.sum::<u64>(), of_run);
    let text = server
        .benchctl(&["show", "last", "--series"])
        .output()
        .unwrap()
        .stdout;
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 1 + points.len(), "{text}");
    // Without a server, from the database, it is the same.
    let mut stored = command("benchctl");
    stored.args(["show", "last", "--series", "-o", "json"]).env(
        "METRONOME_DATABASE",
        server.folder.path().join("runs.sqlite"),
    );
    let (stored, _) = json_of(stored.output().unwrap());
    assert_eq!(stored, series);
}

#[test]
fn workers_that_are_killed_in_mid_run_take_nothing_out_of_the_series() {
    let server = Server::start(&["--workers", "3"]);
    let _agent = server.agent("a1");
    let load = ["--clients", "6", "--rate", "2000", "--duration", "3s"];
    let mut start = server.benchctl(&[&["-o", "json", "start"][..], &load].concat());
    let mut child = start.spawn().unwrap();
    let mut kills = 0;
    while child.try_wait().unwrap().is_none() {
        for pid in server.workers() {
            kills += u32::from(kill_process(pid, Signal::KILL).is_ok());
        }
    }
    let (run, _) = json_of(child.wait_with_output().unwrap());
    assert!(kills >= 3, "only {kills} kills");
    assert_exact(&run, 36_000);
    assert_sums(&run, &series_of(&server, &run));
}

#[test]
fn the_series_of_a_run_goes_on_in_the_server_that_takes_over() {
    let mut system = Upgradable::start(&[]);
    let _agent = system.server.agent("a1");
    let child = system.run(&["--clients", "4", "--rate", "1000", "--duration", "6s"]);
    wait_until("the run is some seconds old", || {
        let (server, _) = system.server.json(&["server"]);
        let workers = server["workers"].as_array()?.iter();
        let packets = workers.filter_map(|worker| worker["packets"].as_u64());
        (packets.sum::<u64>() > 10_000).then_some(())
    });
    system.upgrade();
    let (run, _) = json_of(child.wait_with_output().unwrap());
    assert_exact(&run, 24_000);
    let series = series_of(&system.server, &run);
    assert_sums(&run, &series);
    let points = series["points"].as_array().unwrap();
    let first = points[0]["counts"]["received"].as_u64().unwrap();
    assert!(
        points.len() > 3 && first < 10_000,
        "it did not begin anew: {points:#?}"
    );
}

#[test]
fn a_run_that_goes_on_has_no_series_yet_and_one_that_was_stopped_has_its_own() {
    let server = Server::start(&[]);
    let _agent = server.agent("a1");
    let load = ["--clients", "2", "--rate", "500", "--duration", "10m"];
    let mut start = server.benchctl(&[&["-o", "json", "start"][..], &load].concat());
    let child = start.spawn().unwrap();
    wait_until("packets arrive", || {
        let (server, _) = server.json(&["server"]);
        let workers = server["workers"].as_array()?.iter();
        let packets = workers.filter_map(|worker| worker["packets"].as_u64());
        (packets.sum::<u64>() > 1_500).then_some(())
    });
    let (none, _) = server.json(&["show", "last", "--series"]);
    assert_eq!(none["points"], serde_json::json!([]), "{none:#}");
    let (stopped, _) = server.json(&["stop", "last"]);
    assert!(stopped["error"].is_null(), "{stopped:#}");
    let (run, _) = json_of(child.wait_with_output().unwrap());
    let sent = run["counts"]["sent"].as_u64().unwrap();
    assert_exact(&run, sent);
    assert_sums(&run, &series_of(&server, &run));
}
