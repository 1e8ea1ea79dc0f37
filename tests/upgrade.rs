//! A server that is upgraded in mid-run, on real processes: nothing is lost, doubled or connected
//! again; and when the new one is no good the old one goes on as if nothing had been asked.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod upgrading;

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixDatagram},
    path::Path,
    time::{Duration, Instant},
};

use common::{DEADLINE, assert_exact, collector::Collector, json_of, wait_until};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};
use tempfile::TempDir;
use upgrading::{Upgradable, assert_undisturbed, install, install_as, packets};

#[test]
fn two_upgrades_in_mid_run_cost_no_packet_and_no_connection() {
    let mut system = Upgradable::start(&[]);
    let _agent = system.server.agent("a1");
    let child = system.run(&["--clients", "10", "--rate", "10000", "--duration", "4s"]);
    let before = system.server_status();
    let first = system.upgrade();
    kill_process(first, Signal::USR2).unwrap();
    let second = system.next();
    assert!(first != second && system.pid() == second);
    let after = system.server_status();
    assert!(packets(&after) >= packets(&before), "{after:#}");
    for field in ["started_at", "grpc_address", "data_address"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let (result, code) = json_of(child.wait_with_output().unwrap());
    assert_exact(&result, 400_000);
    assert_undisturbed(&result);
    assert!(
        [0, 4, 99].contains(&code),
        "sent or read late on a busy machine at the worst: {result:#}"
    );
    let after = system.server_status();
    assert_eq!(
        packets(&after) + after["recoveries"]["packets"].as_u64().unwrap(),
        400_000
    );
    assert_eq!(
        (
            &after["connections"]["accepted"],
            &after["recoveries"]["deaths"]
        ),
        (&10.into(), &0.into())
    );
}

#[test]
fn the_last_server_drains_and_the_next_run_works() {
    let mut system = Upgradable::start(&[]);
    let agent = system.server.agent("a1");
    let pids = [system.upgrade(), system.upgrade()];
    wait_until("the agent is back", || {
        let (agents, _) = system.server.json(&["agents"]);
        (agents["agents"].as_array().unwrap().len() == 1).then_some(())
    });
    let (result, _) = system
        .server
        .run(&["--clients", "4", "--rate", "500", "--duration", "1s"]);
    assert_exact(&result, 2_000);
    assert!(
        system.server.process.wait().success(),
        "the first one has ended in good order"
    );
    drop(agent);
    kill_process(pids[1], Signal::TERM).unwrap();
    for pid in pids {
        let (_, status) = wait_until("it ends", || {
            waitpid(Some(pid), WaitOptions::NOHANG).unwrap()
        });
        assert_eq!(status.exit_status(), Some(0));
    }
}

#[test]
fn a_server_that_is_a_link_to_benchctl_started_by_a_bare_name_stays_a_server() {
    let symbolic = |real: &Path, path: &Path| symlink(real, path).unwrap();
    let hard = |real: &Path, path: &Path| fs::hard_link(real, path).unwrap();
    let mut systems = [
        Upgradable::start_by_name(symbolic),
        Upgradable::start_by_name(hard),
    ];
    for system in &mut systems {
        let first = system.upgrade();
        // The next version lies elsewhere, as in a folder of its own, and the link leads there.
        let next = system.server.folder.path().join("benchctl-2");
        install_as("benchctl", &next);
        fs::remove_file(&system.executable).unwrap();
        symlink(&next, &system.executable).unwrap();
        let second = system.upgrade();
        assert_ne!(first, second);
        let serving = fs::read_link(format!("/proc/{}/exe", second.as_raw_nonzero())).unwrap();
        assert_eq!(serving, fs::canonicalize(next).unwrap());
    }
}

/// A new server that behaves well up to a point and then dies by kill -9, holding all that it was
/// given: after `steps` messages of the old one, having answered as `answers` prescribes (by the
/// number of messages).
fn mortal(answers: &str, steps: &str) -> String {
    format!(
        r#"#!/usr/bin/env python3
import os, signal, socket, time
channel, heard, held = socket.socket(fileno=0), 0, []
answers, steps = {answers}, {steps}
while heard < steps:
    message, descriptors, _, _ = socket.recv_fds(channel, 65536, 253)
    held += descriptors
    heard += 1
    if heard in answers:
        channel.send(answers[heard])
    if message[:1] == b"\x06":  # End: all has come
        break
if steps > 999:
    time.sleep(60)
os.kill(os.getpid(), signal.SIGKILL)
"#
    )
}

#[test]
fn a_new_server_that_is_no_good_costs_nothing_whatever_it_does() {
    let mut system = Upgradable::start(&["--upgrade-wait", "5s"]);
    let _agent = system.server.agent("a1");
    // Little enough for the sockets to hold it while a mute new process is waited for.
    let child = system.run(&["--clients", "10", "--rate", "500", "--duration", "10m"]);
    let healthy = r#"{1: b"\x02"}"#;
    for (new, sentence) in [
        ("#!/bin/sh\nexit 7\n".to_owned(), "exit status: 7"),
        ("#!/bin/sh\nexec sleep 60\n".to_owned(), "was silent for 5s"),
        ("no executable at all".to_owned(), "cannot be started"),
        (
            mortal("{1: b\"\\x03not on Mondays\"}", "1"),
            "refuses: not on Mondays",
        ),
        (mortal("{1: b\"\\xffwhat?\"}", "1"), "unexpected message"),
        (
            mortal("{}", "1"),
            "ended before it had taken over: signal: 9",
        ),
        (
            mortal(healthy, "1"),
            "ended before it had taken over: signal: 9",
        ),
        (
            mortal(healthy, "2"),
            "ended before it had taken over: signal: 9",
        ),
        (
            mortal(healthy, "3"),
            "ended before it had taken over: signal: 9",
        ),
        (
            mortal(healthy, "999"),
            "ended before it had taken over: signal: 9",
        ),
        (mortal(healthy, "1000"), "was silent for 3s"),
    ] {
        system.put(&new);
        let said = system.refused_upgrade();
        assert!(
            said.contains(sentence) && said.contains("goes on"),
            "{said} for {new}"
        );
        let before = packets(&system.server_status());
        wait_until("packets go on", || {
            (packets(&system.server_status()) > before).then_some(())
        });
    }
    fs::remove_file(&system.executable).unwrap();
    assert!(system.refused_upgrade().contains("no executable at"));
    // A good one at last.
    install(&system.executable);
    system.upgrade();
    let (_, code) = system.server.json(&["stop", "--all"]);
    assert_eq!(code, 0);
    let (result, _) = json_of(child.wait_with_output().unwrap());
    let sent = result["counts"]["sent"].as_u64().unwrap();
    assert!(sent > 1_000);
    assert_exact(&result, sent);
    assert_undisturbed(&result);
}

#[test]
fn an_agent_that_does_not_come_back_is_lost_to_its_run() {
    let mut system = Upgradable::start(&[]);
    let agents = [system.server.agent("a1"), system.server.agent("a2")];
    let child = system.run(&["--clients", "2", "--rate", "500", "--duration", "6s"]);
    agents[0].signal(Signal::STOP);
    system.upgrade();
    let upgraded = Instant::now();
    let (result, code) = json_of(child.wait_with_output().unwrap());
    assert!(
        upgraded.elapsed() < Duration::from_secs(30),
        "the run does not wait for it longer than its lease"
    );
    assert!(
        [3, 4].contains(&code),
        "partial, or late as well on a busy machine: {result:#}"
    );
    let reasons = &result["verdict"]["reasons"];
    let lost = reasons
        .as_array()
        .unwrap()
        .iter()
        .find(|reason| reason["code"] == "AGENT_LOST");
    let failure = &lost.unwrap_or_else(|| panic!("{reasons:#}"))["failure"]["code"];
    // On a busy machine it may have been missed before the upgrade was done.
    assert!(
        ["AGENT_LOST", "AGENT_SILENT"].contains(&failure.as_str().unwrap()),
        "{reasons:#}"
    );
    assert_eq!(
        result["clients"][1]["counts"]["received"], 3_000,
        "{result:#}"
    );
}

#[test]
fn a_run_that_is_not_running_is_waited_for_and_none_is_started_meanwhile() {
    let system = Upgradable::start(&["--upgrade-wait", "1s"]);
    let _agent = system.server.agent("a1");
    // A port that takes connections and sends nothing keeps the run PREPARING.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = silent.local_addr().unwrap().to_string();
    let flags = [
        "start",
        "-o",
        "json",
        "--clients",
        "1",
        "--duration",
        "1s",
        "--target",
        &target,
    ];
    let child = system.server.benchctl(&flags).spawn().unwrap();
    wait_until("the run is there", || {
        (system.server_status()["runs_active"] == 1).then_some(())
    });
    let said = system.refused_upgrade();
    assert!(
        said.contains("PREPARING") && said.contains("within 1s"),
        "{said}"
    );
    system.server.json(&["stop", "--all"]);
    json_of(child.wait_with_output().unwrap());
    assert_exact(
        &system
            .server
            .run(&["--clients", "1", "--rate", "100", "--duration", "1s"])
            .0,
        100,
    );
}

#[test]
fn a_worker_that_hangs_while_an_upgrade_waits_is_replaced_all_the_same() {
    let system = Upgradable::start(&["--upgrade-wait", "30s"]);
    let _agent = system.server.agent("a1");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = silent.local_addr().unwrap().to_string();
    let flags = [
        "start",
        "-o",
        "json",
        "--clients",
        "1",
        "--duration",
        "1s",
        "--target",
        &target,
    ];
    let run = system.server.benchctl(&flags).spawn().unwrap();
    wait_until("the run is there", || {
        (system.server_status()["runs_active"] == 1).then_some(())
    });
    let mut upgrade = system
        .server
        .benchctl(&["server", "upgrade"])
        .spawn()
        .unwrap();
    let pid = system.pid();
    let new_process = wait_until("the new server is there", || {
        child_named(pid, "metronome-serve")
    });
    wait_until("its workers are there", || {
        child_named(new_process, "metronome-worke")
    });
    let hung = system.server.workers()[0];
    kill_process(hung, Signal::STOP).unwrap();
    wait_until("it is replaced", || {
        (!system.server.workers().contains(&hung)).then_some(())
    });
    assert_eq!(
        upgrade.try_wait().unwrap(),
        None,
        "meanwhile the upgrade waits"
    );
    system.server.json(&["stop", "--all"]);
    json_of(run.wait_with_output().unwrap());
    upgrade.wait().unwrap();
    wait_until("the new server serves", || {
        (system.pid() == new_process).then_some(())
    });
    assert_exact(
        &system
            .server
            .run(&["--clients", "1", "--rate", "100", "--duration", "1s"])
            .0,
        100,
    );
    kill_process(new_process, Signal::KILL).unwrap();
}

/// A child of `parent` whose name, of which the kernel keeps 15 bytes, is this.
fn child_named(parent: Pid, name: &str) -> Option<Pid> {
    let tasks = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero())).ok()?;
    let lists = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<i32> = lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    let comm = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    children
        .into_iter()
        .find(|pid| comm(*pid).trim_end() == name)
        .and_then(Pid::from_raw)
}

#[test]
fn the_trace_of_a_run_goes_on_in_the_new_server() {
    let collector = Collector::start();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str())];
    let mut system = Upgradable::start_in(TempDir::new().unwrap(), &[], &variables);
    let _agent = system.server.agent("a1");
    let child = system.run(&["--clients", "2", "--rate", "500", "--duration", "3s"]);
    let pid = system.upgrade();
    json_of(child.wait_with_output().unwrap());
    kill_process(pid, Signal::TERM).unwrap();
    let rest = collector.wait_for("the rest of the run", |span| {
        span.name == "run" && span.event_names().contains(&"server upgraded")
    });
    let begin = collector.wait_for("its beginning", |span| {
        span.name == "run" && span.id == rest.parent
    });
    assert_eq!(begin.trace, rest.trace);
}

#[test]
fn systemd_is_notified_which_process_is_the_main_one() {
    let folder = TempDir::new().unwrap();
    let notified = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    notified.set_read_timeout(Some(DEADLINE)).unwrap();
    let notification = || {
        let mut text = [0; 100];
        let length = notified.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    let mut system = Upgradable::start_in(folder, &[], &[]);
    assert_eq!(notification(), "READY=1");
    let pid = system.upgrade();
    let mut both = [notification(), notification()];
    both.sort();
    assert_eq!(
        both,
        [
            format!("MAINPID={}", pid.as_raw_nonzero()),
            "READY=1".into()
        ]
    );
}

#[test]
fn a_server_that_is_killed_after_an_upgrade_leaves_nothing_behind() {
    let mut system = Upgradable::start(&[]);
    let _agent = system.server.agent("a1");
    let mut child = system.run(&["--clients", "2", "--rate", "500", "--duration", "10m"]);
    let pid = system.upgrade();
    let workers = system.server.workers();
    kill_process(pid, Signal::KILL).unwrap();
    wait_until("its workers are gone", || {
        // Orphans of the server are this test's to reap.
        for worker in &workers {
            let _ = waitpid(Some(*worker), WaitOptions::NOHANG);
        }
        workers
            .iter()
            .all(|worker| test_kill_process(*worker).is_err())
            .then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_upgrade_during_a_restart_of_the_workers_waits_until_that_is_over() {
    let mut system = Upgradable::start(&[]);
    let _agent = system.server.agent("a1");
    let child = system.run(&["--clients", "4", "--rate", "500", "--duration", "6s"]);
    // A worker that hangs makes the restart last until it is killed.
    kill_process(system.server.workers()[0], Signal::STOP).unwrap();
    let restart = system
        .server
        .benchctl(&["-o", "json", "server", "restart-workers"])
        .spawn()
        .unwrap();
    let first = system.upgrade();
    let (answer, code) = json_of(restart.wait_with_output().unwrap());
    assert_eq!((&answer["restarted"], code), (&2.into(), 0), "{answer}");
    assert_eq!(system.pid(), first);
    let (result, _) = json_of(child.wait_with_output().unwrap());
    assert_exact(&result, 12_000);
    assert_undisturbed(&result);
}
