//! Loads of every shape and of mixed groups, on real processes: what is planned is sent and counted
//! once, in the right group, whatever happens to the server meanwhile.
//!
//! Times are not judged here: a busy machine sends late. Counts, laws and causes are.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod upgrading;

use std::fs;

use common::{COUNTS_THAT_STAY_0, Server, json_of, wait_until};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use upgrading::{Upgradable, assert_undisturbed, packets};

/// Packets that are due before this are in the warm-up.
const WARM_UP: &str = "250ms";

/// A shape as the parts of a group, what each client plans in 1 s, and what of it is due within
/// [`WARM_UP`] when all clients are aligned. Of random arrivals and floods the plan has no number.
const SHAPES: [(&str, Option<[u64; 2]>); 11] = [
    ("rate=1k", Some([1_000, 250])),
    ("rate=1k batch=20", Some([1_000, 260])),
    ("rate=500 arrivals=poisson", None),
    ("burst=50 every=100ms", Some([500, 150])),
    ("burst=50 every=100ms batch=20", Some([500, 150])),
    // The area below the rate up to 250 ms is 31.25.
    ("rate=0..1k", Some([500, 32])),
    // It is 218.75.
    ("rate=1k..0", Some([500, 219])),
    ("rate=1k:100ms,0:300ms,500", Some([400, 100])),
    ("rate=1k on=200ms off=100ms", Some([700, 200])),
    ("rate=1k on=200ms off=100ms batch=7", Some([700, 203])),
    ("rate=max", None),
];

fn rows(rows: &Value) -> &Vec<Value> {
    rows.as_array().unwrap()
}

fn count(counts: &Value, name: &str) -> u64 {
    let value = counts[name].as_u64();
    value.unwrap_or_else(|| panic!("{name} is not known in {counts:#}"))
}

fn is_flood(result: &Value, group: usize) -> bool {
    result["plan"]["groups"][group]["profile"]["shape"] == "flood"
}

/// Everything that a report has agrees: the run with its groups, these with their clients, the
/// counts with the distributions, and every law holds that can be checked.
#[track_caller]
fn assert_agrees(result: &Value) {
    assert!(result["failure"].is_null(), "{result:#}");
    let (groups, clients) = (rows(&result["groups"]), rows(&result["clients"]));
    assert_eq!(groups.len(), rows(&result["plan"]["groups"]).len());
    for name in ["scheduled", "sent", "received", "warm_up"] {
        let sum: u64 = groups.iter().map(|row| count(&row["counts"], name)).sum();
        assert_eq!(count(&result["counts"], name), sum, "{name} in {result:#}");
    }
    for name in COUNTS_THAT_STAY_0 {
        assert_eq!(result["counts"][name], 0, "{name} in {result:#}");
    }
    let mut first = 0;
    for (index, group) in groups.iter().enumerate() {
        assert_group_agrees(group, is_flood(result, index));
        let size = result["plan"]["groups"][index]["clients"].as_u64().unwrap() as usize;
        let own = &clients[first..first + size];
        assert!(
            own.iter().all(|row| row["group"] == group["group"]),
            "{result:#}"
        );
        for name in ["scheduled", "sent", "received", "warm_up"] {
            let sum: u64 = own.iter().map(|row| count(&row["counts"], name)).sum();
            assert_eq!(count(&group["counts"], name), sum, "{name} in {group:#}");
        }
        first += size;
    }
    assert_eq!(first, clients.len());
    assert_undisturbed(result);
    assert_lawful(result);
}

/// The distributions have every packet that is not in the warm-up; of a flood no lateness is known.
#[track_caller]
fn assert_group_agrees(group: &Value, is_flood: bool) {
    let counts = &group["counts"];
    let received = count(counts, "received");
    assert_eq!(
        count(counts, "scheduled"),
        count(counts, "sent"),
        "{group:#}"
    );
    assert_eq!(count(counts, "sent"), received, "{group:#}");
    for name in ["off_schedule", "left_out"] {
        assert_eq!(
            counts[name].as_u64(),
            (!is_flood).then_some(0),
            "{name} in {group:#}"
        );
    }
    let timed = received - count(counts, "warm_up");
    for (name, is_known) in [
        ("lateness_us", !is_flood),
        ("transit_us", true),
        ("latency_us", true),
    ] {
        let expected = (is_known && timed > 0).then_some(timed);
        assert_eq!(
            group[name]["count"].as_u64(),
            expected,
            "{name} in {group:#}"
        );
    }
}

/// No law is broken, and one that cannot be checked is that of a plan without a number of packets.
#[track_caller]
fn assert_lawful(result: &Value) {
    let laws = rows(&result["verdict"]["laws"]);
    assert!(!laws.is_empty(), "{result:#}");
    let has_no_number = (0..rows(&result["groups"]).len()).all(|group| is_flood(result, group));
    for law in laws {
        let is_of_the_plan = has_no_number && law["code"] == "PLAN_NOT_SCHEDULED";
        let expected = if is_of_the_plan {
            "not_checkable"
        } else {
            "holds"
        };
        assert_eq!(law["status"], expected, "{law}");
    }
    for reason in rows(&result["verdict"]["reasons"]) {
        let is_of_time =
            ["LATENESS", "CLIENT_LATENESS"].contains(&reason["code"].as_str().unwrap());
        assert!(is_of_time, "{reason:#}");
    }
}

/// Packets received of each client, in their order.
fn counts_of_clients(result: &Value) -> Vec<u64> {
    let clients = rows(&result["clients"]).iter();
    clients
        .map(|client| count(&client["counts"], "received"))
        .collect()
}

#[test]
fn every_shape_sends_what_it_plans_and_counts_its_warm_up() {
    let server = Server::start(&["--workers", "2", "--max-clients", "50"]);
    let _agent = server.agent("a1");
    for (parts, numbers) in SHAPES {
        let group = format!("{parts} clients=3 phase=aligned");
        // Random arrivals lie anywhere by themselves.
        let group = match parts.contains("poisson") {
            true => format!("{parts} clients=3"),
            false => group,
        };
        let flags = ["--duration", "1s", "--warm-up", WARM_UP, "--group", &group];
        let (result, code) = server.run(&flags);
        assert!([0, 4, 99].contains(&code), "{code} of {parts}: {result:#}");
        assert_agrees(&result);
        let counts = [&result["counts"]["received"], &result["counts"]["warm_up"]];
        let counts = counts.map(|count| count.as_u64().unwrap());
        match numbers {
            Some(numbers) => assert_eq!(counts, numbers.map(|number| 3 * number), "{parts}"),
            None => assert!(
                counts[0] > counts[1] && counts[1] > 0,
                "{counts:?} of {parts}"
            ),
        }
    }
}

#[test]
fn mixed_groups_over_two_agents_are_counted_each_by_itself() {
    let server = Server::start(&["--workers", "2", "--max-clients", "50"]);
    let _agents = [server.agent("a"), server.agent("b")];
    let groups = [
        "name=sensors clients=5 rate=20 agents=a,b",
        "name=feeds clients=3 rate=200:400ms,0:200ms,500 batch=2 agents=a",
        "name=users clients=4 rate=50 arrivals=poisson",
        "name=alarms clients=3 burst=20 every=250ms agents=b",
        "name=fill clients=1 rate=max batch=16 agents=b",
    ];
    let groups = groups.iter().flat_map(|group| ["--group", group]);
    let flags = ["--duration", "1s", "--warm-up", "200ms", "--seed", "11"];
    let flags: Vec<_> = flags.into_iter().chain(groups).collect();
    let (result, code) = server.run(&flags);
    assert!([0, 4, 99].contains(&code), "{code}: {result:#}");
    assert_agrees(&result);
    let numbers = [Some(5 * 20), Some(3 * (80 + 200)), None, Some(3 * 80), None];
    for (group, number) in rows(&result["groups"]).iter().zip(numbers) {
        let received = count(&group["counts"], "received");
        assert_eq!(received, number.unwrap_or(received), "{group:#}");
        assert!(received > 0, "{group:#}");
    }
    let agents = |group: &str| -> Vec<&str> {
        let own = rows(&result["clients"])
            .iter()
            .filter(|row| row["group"] == group);
        let mut agents: Vec<_> = own.map(|row| row["agent"].as_str().unwrap()).collect();
        agents.dedup();
        agents
    };
    assert_eq!(agents("sensors"), ["a", "b"]);
    assert_eq!(agents("feeds"), ["a"]);
    assert_eq!(agents("users"), ["a", "b"]);
    assert_eq!(agents("alarms"), ["b"]);
    assert_eq!(agents("fill"), ["b"]);
    let sent = |row: &Value| count(&row["counts"], "sent");
    let agents: u64 = rows(&result["agents"]).iter().map(sent).sum();
    assert_eq!(agents, count(&result["counts"], "sent"));
}

#[test]
fn the_same_seed_gives_the_same_packets_and_another_one_others() {
    let server = Server::start(&["--workers", "1", "--max-clients", "50"]);
    let _agent = server.agent("a1");
    let group = ["--group", "clients=12 rate=100 arrivals=poisson"];
    let (drawn, _) = server.run(&[&group[..], &["--duration", "500ms"]].concat());
    assert_agrees(&drawn);
    let seed = drawn["plan"]["seed"].as_u64().unwrap();
    assert!((1..1 << 53).contains(&seed), "{seed}");
    for _ in 0..2 {
        let (again, _) = server.json(&["rerun"]);
        assert_agrees(&again);
        assert_eq!(again["plan"], drawn["plan"]);
        assert_eq!(counts_of_clients(&again), counts_of_clients(&drawn));
    }
    let (other, _) = server.run(&[&group[..], &["--duration", "500ms"]].concat());
    assert_ne!(other["plan"]["seed"], drawn["plan"]["seed"]);
    assert_ne!(counts_of_clients(&other), counts_of_clients(&drawn));
}

#[test]
fn a_client_whose_random_arrivals_are_none_is_whole() {
    let server = Server::start(&["--workers", "1", "--max-clients", "50"]);
    let _agent = server.agent("a1");
    // One packet in the mean: with 20 clients some have none, by this seed.
    let group = "clients=20 rate=1 arrivals=poisson";
    let (result, code) = server.run(&["--duration", "1s", "--seed", "5", "--group", group]);
    assert!([0, 4, 99].contains(&code), "{code}: {result:#}");
    assert_agrees(&result);
    let counts = counts_of_clients(&result);
    assert!(
        counts.contains(&0) && counts.iter().sum::<u64>() > 0,
        "{counts:?}"
    );
}

/// Packets that a server has ever counted, those of workers that are gone included.
fn ever_counted(server: &Value) -> u64 {
    packets(server) + count(&server["recoveries"], "packets")
}

/// Kills the workers, restarts them and upgrades the server while a run of `groups` goes on, the
/// first of it in the warm-up, and returns the run's report.
fn disturbed(system: &mut Upgradable, groups: &[String], duration: &str) -> Value {
    let before = ever_counted(&system.server_status());
    let groups = groups.iter().flat_map(|group| ["--group", group]);
    let flags = ["start", "-o", "json", "--quiet", "--duration", duration];
    let flags = flags.into_iter().chain(["--warm-up", "1s", "--seed", "3"]);
    let flags: Vec<_> = flags.chain(groups).collect();
    let mut child = system.server.benchctl(&flags).spawn().unwrap();
    wait_until("packets arrive", || {
        (ever_counted(&system.server_status()) > before).then_some(())
    });
    for worker in system.server.workers() {
        kill_process(worker, Signal::KILL).unwrap();
    }
    let (restarts, code) = system.server.json(&["server", "restart-workers"]);
    assert_eq!(code, 0, "{restarts:#}");
    system.upgrade();
    assert!(
        child.try_wait().unwrap().is_none(),
        "the run outlasts all of it"
    );
    let (result, code) = json_of(child.wait_with_output().unwrap());
    assert!([0, 4, 99].contains(&code), "{code}: {result:#}");
    let after = ever_counted(&system.server_status());
    assert_eq!(after - before, count(&result["counts"], "received"));
    result
}

#[test]
fn kills_restarts_and_an_upgrade_in_mid_run_cost_no_shape_a_packet() {
    let mut system = Upgradable::start(&["--max-clients", "50"]);
    let _agent = system.server.agent("a1");
    let paced = SHAPES.iter().filter(|(parts, _)| !parts.contains("max"));
    let groups = paced.enumerate();
    let groups: Vec<_> = groups
        .map(|(index, (parts, _))| format!("name=g{index} clients=2 {parts}"))
        .collect();
    let result = disturbed(&mut system, &groups, "6s");
    assert_agrees(&result);
    let again = system.server.json(&["rerun"]).0;
    assert_eq!(counts_of_clients(&again), counts_of_clients(&result));
}

#[test]
fn nor_do_they_cost_a_flood_a_packet() {
    let mut system = Upgradable::start(&["--max-clients", "50"]);
    let _agent = system.server.agent("a1");
    let groups = ["clients=2 rate=max batch=8".to_owned()];
    assert_agrees(&disturbed(&mut system, &groups, "4s"));
}

#[test]
fn the_plan_of_a_run_as_a_file_starts_the_same_run_again() {
    let server = Server::start(&["--workers", "1", "--max-clients", "50"]);
    let _agent = server.agent("a1");
    let path = server.folder.path().join("plan.yaml");
    fs::write(
        &path,
        "duration: 500ms\n\
         warm_up: 100ms\n\
         thresholds: [\"lost==0\"]\n\
         groups:\n\
         - {name: users, clients: 5, rate: 60, arrivals: poisson}\n\
         - {name: feeds, clients: 2, rate: 100..400}\n\
         - {name: alarms, clients: 2, burst: 10, every: 100ms, batch: 5, phase: aligned}\n",
    )
    .unwrap();
    let start = |path: &std::path::Path| {
        let (result, code) = server.run(&["--plan", path.to_str().unwrap()]);
        assert!([0, 4, 99].contains(&code), "{code}: {result:#}");
        assert_agrees(&result);
        result
    };
    let shown = |format: &str| {
        let output = server.benchctl(&["plan", "show", "last"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let copy = server.folder.path().join(format);
        fs::write(&copy, &output.stdout).unwrap();
        (copy, String::from_utf8(output.stdout).unwrap())
    };
    let first = start(&path);
    let (copy, text) = shown("again.yaml");
    let second = start(&copy);
    assert_eq!(second["plan"], first["plan"]);
    assert_eq!(counts_of_clients(&second), counts_of_clients(&first));
    assert_eq!(shown("third.yaml").1, text);
}
