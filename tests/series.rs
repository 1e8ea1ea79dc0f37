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
        if result["counts"][name].is_null() {
            let is_null = |of: &Value| of["counts"][name].is_null();
            assert!(points.iter().all(is_null), "{name} in {points:#?}");
            continue;
        }
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
    if let Some(elapsed_s) = result["elapsed_s"].as_f64() {
        let (from_s, span_s) = stretch(points.last().unwrap());
        assert!(
            (from_s + span_s - elapsed_s).abs() < 1e-5,
            "the last point ends with the run, at {elapsed_s}: {points:#?}"
        );
    }
    let hosts = series["hosts"].as_array().unwrap();
    let of_server = hosts.iter().find(|of| of["role"] == "server").unwrap();
    assert!(
        !of_server["points"].as_array().unwrap().is_empty(),
        "{hosts:#?}"
    );
}

/// What a point has of its clients.
fn rows(point: &Value) -> Vec<Option<f64>> {
    let rows = point["clients"]["p99_us"].as_array().unwrap().iter();
    rows.map(Value::as_f64).collect()
}

fn p99_us(result: &Value) -> Option<f64> {
    result["latency_us"]["percentiles"]["p99"].as_f64()
}

/// Where packets came, some client has a p99, and one of all is at least as long as the run's.
#[track_caller]
fn assert_clients(result: &Value, points: &[Value], (clients, rows_max): (u64, usize)) {
    let Some(p99_us) = p99_us(result) else {
        // The generator was late: what the run does not have no client has.
        assert!(
            points.iter().all(|of| of["clients"].is_null()),
            "{points:#?}"
        );
        return;
    };
    let mut longest_us = 0.0_f64;
    for point in points {
        let of = &point["clients"];
        assert_eq!(
            (&of["time"], &of["clients"]),
            (&"latency".into(), &clients.into())
        );
        let rows = rows(point);
        assert!(
            rows.len() <= rows_max && rows.len() >= rows_max / 2,
            "{point:#?}"
        );
        let timed = point["latency_us"]["count"].as_u64().unwrap_or(0);
        assert_eq!(rows.iter().any(Option::is_some), timed > 0, "{point:#?}");
        longest_us = rows
            .iter()
            .flatten()
            .fold(longest_us, |one, other| one.max(*other));
    }
    let max_us = result["latency_us"]["max"].as_f64().unwrap();
    assert!(
        (p99_us..=max_us * 1.07).contains(&longest_us),
        "{longest_us} of a run with {p99_us} and at most {max_us}"
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
    assert_clients(&run, points, (6, 6));
    for end in ["server_sockets", "agent_sockets"] {
        let seen: Vec<_> = points.iter().filter(|of| !of[end].is_null()).collect();
        assert!(seen.len() >= 2, "{end} in {points:#?}");
        for point in seen {
            let (sampled, all) = (&point[end]["sampled"], &point[end]["connections"]);
            assert!(
                sampled == all && (1..=6).contains(&all.as_u64().unwrap()),
                "{point:#?}"
            );
            assert!(point[end]["unread_bytes_max"].is_u64(), "{point:#?}");
        }
    }
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
    let series = series_of(&server, &run);
    assert_sums(&run, &series);
    assert_clients(&run, series["points"].as_array().unwrap(), (6, 6));
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
    // What each client needed is not known of the stretch in which the other server took over.
    let is_known = |of: &Value| !of["clients"].is_null();
    let known = points.iter().filter(|of| is_known(of)).count();
    if p99_us(&run).is_some() {
        assert!((1..=2).contains(&(points.len() - known)), "{points:#?}");
        assert!(
            is_known(&points[0]) && is_known(points.last().unwrap()),
            "{points:#?}"
        );
    }
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
    assert!(run["counts"]["in_time"].is_null(), "{run:#}");
    let series = series_of(&server, &run);
    assert_sums(&run, &series);
    let points = series["points"].as_array().unwrap();
    let has_in_time = |of: &Value| !of["counts"]["in_time"].is_null();
    assert!(!points.iter().any(has_in_time), "{points:#?}");
}

#[test]
fn what_an_agent_had_reported_before_it_was_lost_is_in_no_point() {
    let server = Server::start(&[]);
    let _agent = server.agent("a1");
    let lost = server.agent("a2");
    let load = ["--clients", "2", "--rate", "500", "--duration", "4s"];
    let mut start = server.benchctl(&[&["-o", "json", "start"][..], &load].concat());
    let child = start.spawn().unwrap();
    wait_until("packets arrive", || {
        let (server, _) = server.json(&["server"]);
        let workers = server["workers"].as_array()?.iter();
        let packets = workers.filter_map(|worker| worker["packets"].as_u64());
        (packets.sum::<u64>() > 1_000).then_some(())
    });
    lost.signal(Signal::KILL);
    let (run, _) = json_of(child.wait_with_output().unwrap());
    assert!(run["counts"]["sent"].is_null(), "{run:#}");
    let series = series_of(&server, &run);
    let points = series["points"].as_array().unwrap();
    let received = sum(points, |of| &of["counts"]["received"]);
    assert_eq!(received, run["counts"]["received"].as_u64(), "{points:#?}");
    for name in ["scheduled", "sent", "skipped", "blocked"] {
        let is_null = |of: &Value| of["counts"][name].is_null();
        assert!(points.iter().all(is_null), "{name} in {points:#?}");
    }
}

#[test]
fn a_run_of_many_clients_has_a_row_for_as_many_as_make_at_most_256() {
    let server = Server::start(&["--workers", "2", "--max-clients", "1000"]);
    let _agent = server.agent("a1");
    let (run, _) = server.run(&["--clients", "600", "--rate", "20", "--duration", "3s"]);
    assert_exact(&run, 36_000);
    let series = series_of(&server, &run);
    assert_sums(&run, &series);
    let points = series["points"].as_array().unwrap();
    assert_clients(&run, points, (600, 200));
    if p99_us(&run).is_some() {
        assert_eq!(points[1]["clients"]["clients_per_row"], 3);
        assert!(rows(&points[1]).iter().all(Option::is_some), "{points:#?}");
    }
    let sampled = |of: &Value| of["server_sockets"]["sampled"].as_u64();
    assert_eq!(sampled(&points[1]), Some(64), "{points:#?}");
}
