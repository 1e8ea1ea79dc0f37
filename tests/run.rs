//! A run from end to end, on real processes and real packets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use common::{Running, Server, assert_environments, assert_exact, command, json_of, wait_until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

/// The load of these tests: enough to mean something, little enough for a busy machine of 2 cores.
const LOAD: [&str; 6] = ["--clients", "10", "--rate", "2000", "--duration", "1s"];
const LOAD_PACKETS: u64 = 20_000;

#[test]
fn every_packet_of_a_run_is_counted_once_and_the_counters_agree() {
    let server = Server::start(&["--workers", "2"]);
    let _agent = server.agent("a1");
    for _ in 0..3 {
        let (result, code) = server.run(&LOAD);
        assert_exact(&result, LOAD_PACKETS);
        assert_environments(&result);
        // Sent late or read late on a busy machine, at the worst.
        assert!(
            [0, 4, 99].contains(&code)
                && (code == 4) != codes(&result).is_empty()
                && codes(&result).iter().all(|code| is_of_time(code)),
            "{result:#}"
        );
    }
}

#[test]
fn a_flood_is_stamped_checked_and_counted_packet_by_packet() {
    let server = Server::start(&["--workers", "2"]);
    let _agents = [server.agent("a1"), server.agent("a2")];
    let (result, code) = server.run(&["--clients", "5", "--rate", "max", "--duration", "300ms"]);
    let sent = result["counts"]["sent"].as_u64().unwrap();
    assert_exact(&result, sent);
    assert!(sent > 5 * 1024, "{result:#}");
    assert_eq!(
        (code, &result["plan"]["groups"][0]["profile"]),
        (0, &serde_json::json!({ "shape": "flood" })),
        "{result:#}"
    );
    assert!(result["rate"]["offered_hz"].is_null(), "{result:#}");
    assert!(
        result["lateness_us"].is_null() && result["spread_us"].is_null(),
        "a packet of a flood is due when it is written: {result:#}"
    );
}

#[test]
fn packets_that_gather_are_read_together_and_the_result_shows_it() {
    let server = Server::start(&["--workers", "1", "--rx-coalesce", "1000"]);
    let _agent = server.agent("a1");
    let (result, _) = server.run(&LOAD);
    assert_exact(&result, LOAD_PACKETS);
    assert!(
        result["receivers"][0]["workers"][0]["pauses"]
            .as_u64()
            .unwrap()
            > 0,
        "{result:#}"
    );
    assert!(
        result["receivers"][0]["workers"][0]["pause_mean_us"]
            .as_f64()
            .unwrap()
            >= 1_000.0,
        "{result:#}"
    );
    assert!(
        result["cpu"]["packets_per_read"].as_f64().unwrap() > 1.3,
        "{result:#}"
    );
    let notes = result["verdict"]["notes"].as_array().unwrap();
    assert!(
        notes.iter().any(|note| note["code"] == "PAUSES"),
        "{result:#}"
    );
}

#[test]
fn several_agents_share_a_run_and_batches_and_phases_count_the_same() {
    let server = Server::start(&["--max-clients", "50"]);
    let _agents = [server.agent("a1"), server.agent("a2"), server.agent("a3")];
    for flags in [
        ["--phase", "spread"],
        ["--phase", "aligned"],
        ["--batch", "7"],
        ["--threads", "2"],
    ] {
        let (result, _) = server.run(
            &[
                &["--clients", "25", "--rate", "400", "--duration", "1s"],
                &flags[..],
            ]
            .concat(),
        );
        assert_exact(&result, 10_000);
        assert_eq!(result["agents"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn without_a_server_start_brings_its_own_and_takes_it_along_when_it_goes() {
    let folder = tempfile::TempDir::new().unwrap();
    let database = folder.path().join("runs.sqlite");
    let mut benchctl = command("benchctl");
    benchctl
        .args(["start", "-o", "json"])
        .args(LOAD)
        .env("METRONOME_DATABASE", &database);
    let output = benchctl.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("server"),
        "it reports that it brought a server up: {said}"
    );
    let (result, _) = json_of(output);
    assert_exact(&result, LOAD_PACKETS);

    // The run outlives its server.
    let runs = command("benchctl")
        .args(["runs", "-o", "json"])
        .env("METRONOME_DATABASE", &database)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&runs.stdout).contains(result["run_id"].as_str().unwrap()));
    let show = command("benchctl")
        .args(["show", "last", "-o", "json"])
        .env("METRONOME_DATABASE", &database)
        .output();
    assert_exact(&json_of(show.unwrap()).0, LOAD_PACKETS);
}

#[test]
fn after_kill_9_of_benchctl_nothing_it_started_is_left() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut benchctl = command("benchctl");
    benchctl.args([
        "start",
        "--duration",
        "1h",
        "--clients",
        "2",
        "--rate",
        "100",
    ]);
    benchctl.env("METRONOME_DATABASE", folder.path().join("runs.sqlite"));
    let child = benchctl
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut benchctl = Running {
        child,
        ready: String::new(),
    };
    let children = wait_until("server, agent and a worker run", || {
        let family = descendants(benchctl.pid());
        (family.len() >= 3).then_some(family)
    });
    benchctl.child.kill().unwrap();
    benchctl.child.wait().unwrap();
    let killed = Instant::now();
    wait_until("all of them are gone", || {
        children.iter().all(|pid| !is_running(*pid)).then_some(())
    });
    assert!(killed.elapsed() < Duration::from_secs(5));
}

#[test]
fn ctrl_c_stops_the_run_and_still_prints_the_summary() {
    let server = Server::start(&[]);
    let _agent = server.agent("a1");
    let mut start = server.benchctl(&[
        "start",
        "-o",
        "json",
        "--clients",
        "4",
        "--rate",
        "500",
        "--duration",
        "10m",
    ]);
    let child = start.spawn().unwrap();
    let pid = Pid::from_child(&child);
    wait_until("packets arrive", || {
        let (runs, _) = server.json(&["server"]);
        let packets = runs["workers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|worker| worker["packets"].as_u64().unwrap());
        (packets.sum::<u64>() > 100).then_some(())
    });
    kill_process(pid, Signal::INT).unwrap();
    let (result, code) = json_of(child.wait_with_output().unwrap());
    assert_eq!(code, 130);
    assert!(
        result["verdict"]["reasons"].to_string().contains("STOPPED"),
        "{result:#}"
    );
    let sent = result["counts"]["sent"].as_u64().unwrap();
    assert!(sent > 100);
    assert_exact(&result, sent);
    // The next run works.
    assert_exact(&server.run(&LOAD).0, LOAD_PACKETS);
}

#[test]
fn a_worker_killed_in_mid_run_costs_nothing() {
    let server = Server::start(&["--workers", "3"]);
    let _agent = server.agent("a1");
    let mut start = server.benchctl(&[
        "start",
        "-o",
        "json",
        "--clients",
        "6",
        "--rate",
        "2000",
        "--duration",
        "3s",
    ]);
    let mut child = start.spawn().unwrap();
    let mut kills = 0;
    while child.try_wait().unwrap().is_none() {
        for pid in server.workers() {
            kills += u32::from(kill_process(pid, Signal::KILL).is_ok());
        }
    }
    let (result, _) = json_of(child.wait_with_output().unwrap());
    assert!(kills >= 3, "only {kills} kills");
    assert_exact(&result, 36_000);
}

#[test]
fn workers_restarted_one_by_one_in_mid_run_refuse_nothing_and_lose_nothing() {
    let server = Server::start(&["--workers", "3"]);
    let _agent = server.agent("a1");
    let mut start = server.benchctl(&[
        "start",
        "-o",
        "json",
        "--clients",
        "6",
        "--rate",
        "2000",
        "--duration",
        "3s",
    ]);
    let mut child = start.spawn().unwrap();
    let mut restarts = 0;
    while child.try_wait().unwrap().is_none() {
        let before = server.workers();
        let (status, code) = server.json(&["server", "restart-workers"]);
        assert_eq!((status["restarted"].as_u64(), code), (Some(3), 0));
        assert!(
            server.workers().iter().all(|pid| !before.contains(pid)),
            "each is a new process"
        );
        restarts += 1;
    }
    let (result, _) = json_of(child.wait_with_output().unwrap());
    assert!(restarts >= 2, "only {restarts} restarts");
    assert_exact(&result, 36_000);
    let (status, _) = server.json(&["server"]);
    assert_eq!(status["recoveries"]["deaths"], 0, "a restart is no death");
    assert_eq!(status["recoveries"]["connections_lost"], 0);

    if ignores_hang_up(server.process.child.id()) {
        // These tests run under nohup, which holds for the server as well: tests/terminal.rs.
        return;
    }
    let before = server.workers();
    server.process.signal(Signal::HUP);
    wait_until("SIGHUP does the same", || {
        server
            .workers()
            .iter()
            .all(|pid| !before.contains(pid))
            .then_some(())
    });
}

/// SIGHUP is signal 1, the lowest bit.
fn ignores_hang_up(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap() & 1 == 1
}

#[test]
fn a_worker_that_dies_again_and_again_is_reported_and_leaves_the_rest_alive() {
    let server = Server::start(&["--workers", "2"]);
    let _agent = server.agent("a1");
    let degraded = || {
        server.json(&["server"]).0["recoveries"]["crash_loops"]
            .as_array()
            .unwrap()
            .clone()
    };
    wait_until("worker 0 has died five times", || {
        let (status, _) = server.json(&["server"]);
        let pid = status["workers"][0]["pid"].as_i64();
        let pid = pid.and_then(|pid| Pid::from_raw(pid as i32));
        let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
        (!degraded().is_empty()).then_some(())
    });
    assert_eq!(degraded(), [0]);
    assert_exact(&server.run(&LOAD).0, LOAD_PACKETS);
    wait_until("it is forgotten", || degraded().is_empty().then_some(()));
}

#[test]
fn a_worker_that_is_stopped_is_found_out_killed_and_recovered() {
    let server = Server::start(&["--workers", "2"]);
    let _agent = server.agent("a1");
    let mut start = server.benchctl(&[
        "start",
        "-o",
        "json",
        "--clients",
        "4",
        "--rate",
        "500",
        "--duration",
        "5s",
    ]);
    let child = start.spawn().unwrap();
    wait_until("the workers have connections", || {
        let (status, _) = server.json(&["server"]);
        (status["connections"]["admitted"] == 4).then_some(())
    });
    let stopped = server.workers()[0];
    kill_process(stopped, Signal::STOP).unwrap();
    let at = Instant::now();
    wait_until("it is killed", || (!is_running(stopped)).then_some(()));
    assert!(at.elapsed() < Duration::from_secs(4), "{:?}", at.elapsed());
    assert_exact(&json_of(child.wait_with_output().unwrap()).0, 10_000);
}

#[test]
fn an_agent_killed_in_mid_run_makes_it_partial_and_the_next_run_works() {
    let server = Server::start(&[]);
    let mut agents = [server.agent("a1"), server.agent("a2")];
    let mut start = server.benchctl(&[
        "start",
        "-o",
        "json",
        "--clients",
        "4",
        "--rate",
        "500",
        "--duration",
        "2s",
    ]);
    let child = start.spawn().unwrap();
    wait_until("all clients are in", || {
        let (status, _) = server.json(&["server"]);
        (status["connections"]["admitted"] == 4).then_some(())
    });
    agents[0].child.kill().unwrap();
    let (result, code) = json_of(child.wait_with_output().unwrap());
    assert_partial(&result, code);
    let (result, _) = server.run(&LOAD);
    assert_exact(&result, LOAD_PACKETS);
}

#[test]
fn a_server_that_was_stopped_in_mid_run_names_itself_and_not_its_agent() {
    let server = Server::start(&["--workers", "1"]);
    let _agent = server.agent("a1");
    let flags = ["--clients", "2", "--rate", "100", "--duration", "8s"];
    let child = server
        .benchctl(&["start", "-o", "json"])
        .args(flags)
        .spawn()
        .unwrap();
    wait_until("packets come", || {
        let (list, _) = server.json(&["runs"]);
        list.to_string().contains("\"running\"").then_some(())
    });
    server.process.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(3_500));
    server.process.signal(Signal::CONT);
    let (result, code) = json_of(child.wait_with_output().unwrap());
    assert_partial(&result, code);
    let text = result.to_string();
    assert!(!text.contains("AGENT_SILENT"), "{result:#}");
    let failure = &result["agents"][0]["failure"];
    assert_eq!(failure["code"], "LEASE_OVER", "{result:#}");
    let sentence = failure["sentence"].as_str().unwrap();
    assert!(sentence.contains("the server did not renew"), "{sentence}");
    let notes = result["verdict"]["notes"].as_array().unwrap();
    let paused = notes.iter().find(|note| note["code"] == "SERVER_PAUSED");
    let pause_ns = paused.unwrap()["figures"]["pause_ns"].as_u64().unwrap();
    assert!((3_000_000_000..6_000_000_000).contains(&pause_ns));
}

#[test]
fn a_server_killed_in_mid_run_is_reported_in_a_sentence_and_the_run_is_listed_as_aborted() {
    let mut server = Server::start(&[]);
    let _agent = server.agent("a1");
    let mut start = server.benchctl(&[
        "start",
        "--clients",
        "2",
        "--rate",
        "100",
        "--duration",
        "10m",
    ]);
    let child = start.spawn().unwrap();
    wait_until("the clients are in", || {
        let (status, _) = server.json(&["server"]);
        (status["connections"]["admitted"] == 2).then_some(())
    });
    let workers = server.workers();
    server.process.child.kill().unwrap();
    server.process.child.wait().unwrap();
    wait_until("its workers are gone", || {
        workers.iter().all(|pid| !is_running(*pid)).then_some(())
    });
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let Server { folder, .. } = server;
    let next = Server::start_in(folder, &[]);
    let (runs, _) = next.json(&["runs"]);
    assert_eq!(runs["runs"][0]["state"], "aborted", "{runs:#}");
    assert_eq!(runs["runs"][0]["failure"]["code"], "SERVER_DIED");
}

/// An agent is lost. On a busy machine the run may be late as well, which is worse than partial.
#[track_caller]
fn assert_partial(result: &Value, code: i32) {
    let codes = codes(result);
    let is_late = codes.iter().any(|code| is_of_time(code));
    assert_eq!(code, if is_late { 4 } else { 3 }, "{result:#}");
    assert!(codes.contains(&"AGENT_LOST".to_owned()), "{result:#}");
}

/// A busy machine sends late; that does not touch the counters.
fn is_of_time(code: &str) -> bool {
    ["LATENESS", "CLIENT_LATENESS"].contains(&code)
}

fn codes(result: &Value) -> Vec<String> {
    let reasons = result["verdict"]["reasons"].as_array().unwrap();
    reasons
        .iter()
        .map(|reason| reason["code"].as_str().unwrap().to_owned())
        .collect()
}

fn descendants(pid: Pid) -> Vec<Pid> {
    let parent_of = |child: &Pid| {
        stat(*child)
            .and_then(|fields| fields.get(1)?.parse().ok())
            .and_then(Pid::from_raw)
    };
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let children: Vec<Pid> = processes
        .filter_map(Pid::from_raw)
        .filter(|child| parent_of(child) == Some(pid))
        .collect();
    children
        .into_iter()
        .flat_map(|child| [vec![child], descendants(child)].concat())
        .collect()
}

/// The fields of /proc/PID/stat from the state on.
fn stat(pid: Pid) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    Some(
        stat.rsplit_once(')')?
            .1
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    )
}

fn is_running(pid: Pid) -> bool {
    test_kill_process(pid).is_ok() && stat(pid).is_some_and(|fields| fields[0] != "Z")
}
