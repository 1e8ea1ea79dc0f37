//! An agent on another host than its server: what it cannot reach is said with its cause and its
//! cure, and soon.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::env;

use common::{
    network::{self, Host},
    pages,
};
use serde_json::Value;

/// A server on A whose gRPC port is open to B, with these other flags, and an agent on B.
fn server_and_agent(flags: &str) -> Vec<(Host, String)> {
    let server = format!(
        "metronome-server --grpc 10.77.0.1:50051 --insecure-no-tls {flags} > log 2>&1 &
        until grep -q ready log; do sleep 0.1; done
        cat log"
    );
    let agent = "export METRONOME_SERVER=10.77.0.1:50051
        metronome-agent --name b --allow-target 10.77.0.0/16 > log 2>&1 &
        until command benchctl agents | grep -q '^ *b '; do sleep 0.1; done
        # start NAME FLAG…: what it prints, with NAME before each line, and when it did, ms.
        start() {
            local name=$1 begun=$(date +%s%3N) code=0
            shift
            command benchctl start --clients 2 --rate 100 --duration 1s \"$@\" > out 2>&1 || code=$?
            sed \"s/^/$name: /\" out
            echo \"$name: exit $code\"
            echo \"$name: ended after $(($(date +%s%3N) - begun)) ms\"
        }";
    vec![(Host::A, server), (Host::B, agent.into())]
}

/// What the blocks print. `None` where this system has no two hosts.
fn output_of(blocks: &[(Host, String)]) -> Option<String> {
    output_of_script(&network::between_hosts(blocks))
}

fn output_of_script(script: &str) -> Option<String> {
    if let Some(reason) = network::missing(script) {
        assert!(env::var_os("CI_MANUAL").is_none(), "{reason}");
        eprintln!("not tested here: {reason}");
        return None;
    }
    Some(network::run(script).unwrap_or_else(|error| panic!("{error}")))
}

/// The lines of `name`, joined, since sentences are wrapped, and after how many ms it ended.
fn of(name: &str, output: &str) -> (String, u64) {
    let prefix = format!("{name}: ");
    let lines = output.lines().filter_map(|line| line.strip_prefix(&prefix));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let text = words.join(" ");
    let (_, ended) = text
        .rsplit_once("ended after ")
        .unwrap_or_else(|| panic!("{output}"));
    let ms = ended.trim_end_matches(" ms").parse().unwrap();
    (text, ms)
}

/// A definite failure ends a run within 2 s, on a busy machine within this, ms; ten tries take 6 s
/// at least.
const SOON_MS: u64 = 5_000;

#[test]
fn a_data_port_on_loopback_is_named_at_the_start_and_by_the_run_that_fails_at_it() {
    let mut blocks = server_and_agent("");
    let runs = "start refused
        start own --target 127.0.0.1:8888
        command benchctl server";
    blocks.push((Host::B, runs.into()));
    let Some(output) = output_of(&blocks) else {
        return;
    };
    let warning = "agents on other hosts reach gRPC on 10.77.0.1:50051, but not the data port on \
                   127.0.0.1:8888, which only this host reaches: start metronome-server with \
                   --host 10.77.0.1 or 0.0.0.0";
    assert!(output.contains(warning), "{output}");
    let (refused, ms) = of("refused", &output);
    let cause = "connection refused at 10.77.0.1:8888";
    let cure = "the server's data port is on 127.0.0.1, which only its own host reaches: start \
                metronome-server with --host 10.77.0.1 or 0.0.0.0";
    assert!(
        refused.contains(cause) && refused.contains(cure),
        "{refused}"
    );
    assert!(refused.contains("exit 1") && ms < SOON_MS, "{refused}");
    let (own, ms) = of("own", &output);
    let cure = "that is the agent's own host: leave --target out, and start metronome-server with \
                --host 0.0.0.0";
    assert!(own.contains(cure) && ms < SOON_MS, "{own}");
    let server = "127.0.0.1:8888: for this host only; --host 0.0.0.0 opens it to others";
    let words: Vec<&str> = output.split_whitespace().collect();
    assert!(words.join(" ").contains(server), "{output}");
}

#[test]
fn what_refuses_ends_a_run_soon_and_what_is_silent_is_shown_soon() {
    let mut blocks = server_and_agent("--host 10.77.0.1");
    let runs = "start valid
        # Nothing takes what goes to 10.77.0.4, and nothing may go to 10.77.9.0.
        ip neigh add 10.77.0.4 lladdr 02:00:00:00:00:04 dev veth-b nud permanent
        ip route add unreachable 10.77.9.0/24
        start refused --target 10.77.0.1:9999
        start no-route --target 10.77.9.1:8888
        start program --target 10.77.0.1:50051
        start name --target host.invalid:8888
        # In the middle of the tries, not at the end, the cause is on the screen.
        command benchctl start --clients 2 --rate 100 --duration 1s --target 10.77.0.4:8888 \\
            > silent 2>&1 & pid=$!
        for i in $(seq 60); do
            grep -q CONNECTION_TIMED_OUT silent && break
            sleep 0.1
        done
        kill -0 $pid
        sed 's/^/silent: /' silent
        echo \"silent: ended after 0 ms\"
        wait $pid || true";
    blocks.push((Host::B, runs.into()));
    let Some(output) = output_of(&blocks) else {
        return;
    };
    let (valid, _) = of("valid", &output);
    assert!(!valid.contains("exit 1"), "{valid}");
    let (refused, ms) = of("refused", &output);
    assert!(
        refused.contains("connection refused at 10.77.0.1:9999"),
        "{refused}"
    );
    assert!(refused.contains("--target"), "{refused}");
    assert!(refused.contains("exit 1") && ms < SOON_MS, "{refused}");
    let (no_route, ms) = of("no-route", &output);
    let cure = "check the routes from the agent's host";
    assert!(no_route.contains(cure), "{no_route}");
    assert!(no_route.contains("exit 1") && ms < SOON_MS, "{no_route}");
    let (program, ms) = of("program", &output);
    let cure = "another program listens there";
    assert!(program.contains(cure), "{program}");
    assert!(program.contains("exit 1") && ms < SOON_MS, "{program}");
    let (name, ms) = of("name", &output);
    assert!(name.contains("host.invalid:8888 has no address"), "{name}");
    assert!(ms < SOON_MS, "{name}");
    let (silent, _) = of("silent", &output);
    let shown = "nothing has answered at 10.77.0.4:8888 for";
    assert!(
        silent.contains(shown) && silent.contains("firewalls"),
        "{silent}"
    );
}

/// The line of `name`, which is JSON.
fn json_of(name: &str, output: &str) -> Value {
    let (text, _) = of(name, output);
    let (json, _) = text.split_once(" exit ").unwrap_or((&text, ""));
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

/// The clock of B is 100,000 s ahead of A's and runs at its rate, so the truth is known.
const OFFSET_US: f64 = -1e11;

fn assert_offset(clock: &Value) {
    assert_eq!(clock["relation"], "offset", "{clock}");
    let [offset_us, bound_us] = ["offset_us", "bound_us"].map(|of| clock[of].as_f64().unwrap());
    assert!((offset_us - OFFSET_US).abs() <= bound_us, "{clock}");
    assert!(bound_us < 100_000.0, "{clock}");
    assert_eq!(clock["bound_is"], "proved", "{clock}");
}

/// What doctor promises of the path is the bound of its own run, on a path of which all is known.
fn assert_promise(doctor: &Value) {
    assert_ne!(doctor["status"], "problem", "{doctor}");
    let path = &doctor["paths"][0];
    assert_offset(&path["clock"]);
    assert_eq!(path["one_way_bound_is"], "proved", "{path}");
    let is_near = path["one_way_bound_us"]
        .as_f64()
        .is_some_and(|us| us < 100_000.0);
    assert!(is_near, "{path}");
    assert_eq!(path["path_mtu"], 1_500, "{path}");
    assert_eq!(path["probes_lost"], 0, "{path}");
}

/// Only a busy machine, which sends late, may have made the run invalid: that changes no time from
/// the write on.
fn assert_not_wrong(run: &Value) {
    let verdict = &run["verdict"];
    let reasons = verdict["reasons"].as_array().unwrap();
    for reason in reasons {
        let code = reason["code"].as_str().unwrap();
        assert!(["LATENESS", "CLIENT_LATENESS"].contains(&code), "{reason}");
    }
    assert!(
        verdict["status"] == "valid" || !reasons.is_empty(),
        "{verdict}"
    );
}

/// A run of 3,200 packets has a time between the clocks of each, with a bound that the probes
/// prove, and a queueing, whose bound is an estimate.
fn assert_times_between_clocks(run: &Value) {
    assert_not_wrong(run);
    let agent = &run["agents"][0];
    assert_offset(&agent["clock"]);
    for (name, bound_is) in [("one_way_us", "proved"), ("queueing_us", "estimated")] {
        let times = &run[name];
        assert_eq!(times["count"], 3_200, "{name}: {times}");
        assert_eq!(times["bound_is"], bound_is, "{name}: {times}");
        for of in [&times["percentiles"]["p50"], &times["bound"]] {
            let is_near = of.as_f64().is_some_and(|us| us < 100_000.0);
            assert!(is_near, "{name}: {times}");
        }
    }
    assert_eq!(run["transit_us"], Value::Null, "no time of one clock");
    let answered = agent["path"]["probes_answered"].as_u64().unwrap();
    assert!(answered > 100, "{agent}");
    assert_eq!(agent["path"]["contradictions"], 0, "{agent}");
}

#[test]
fn times_between_two_hosts_are_shown_with_their_bound_also_over_an_upgrade_of_the_server() {
    let mut blocks = server_and_agent("--host 10.77.0.1");
    blocks.push((Host::A, "jobs -p > \"$ROOT/server.pid\"".into()));
    let runs = "show() {
            echo \"$1: $(jq -c . $1.json)\"
            echo \"$1: exit 0\"
            echo \"$1: ended after 0 ms\"
        }
        run=\"command benchctl -o json start --clients 4 --rate 200 --duration 4s\"
        command benchctl -o json agents > agents.json
        show agents
        command benchctl -o json doctor --agents --quick > doctor.json
        show doctor
        $run > run.json || true
        show run
        $run > upgraded.json &
        sleep 2
        kill -USR2 $(cat \"$ROOT/server.pid\")
        wait $! || true
        show upgraded";
    blocks.push((Host::B, runs.into()));
    let Some(output) = output_of(&blocks) else {
        return;
    };
    let agents = json_of("agents", &output);
    assert_offset(&agents["agents"][0]["clock"]);
    assert_promise(&json_of("doctor", &output));
    assert_times_between_clocks(&json_of("run", &output));
    assert_times_between_clocks(&json_of("upgraded", &output));
}

/// The time of one way and of the way there and back, without what hosts add, µs.
const ONE_WAY_US: f64 = 50_000.0;
const ROUND_TRIP_US: f64 = 100_000.0;
/// What two busy hosts may add to each.
const OF_HOSTS_US: f64 = 20_000.0;

#[test]
fn the_run_of_the_manual_over_a_far_path_shows_what_the_manual_promises() {
    let page = pages::root().join("docs/two-hosts.md");
    let mut blocks = pages::on_two_hosts(&pages::blocks(&page), true);
    assert!(blocks.len() >= 3, "the manual has a far path");
    let show = "echo \"far: $(jq -c . far.json) exit 0\"; echo 'far: ended after 0 ms'";
    blocks.push((Host::B, show.into()));
    let Some(output) = output_of_script(&network::between_far_hosts(&blocks)) else {
        return;
    };
    let run = json_of("far", &output);
    assert_not_wrong(&run);
    assert_eq!(run["counts"]["lost"], 0, "{}", run["counts"]);
    let us = |value: &Value| {
        let us = value.as_f64();
        us.unwrap_or_else(|| panic!("{value} in {run}"))
    };
    let probe_rtt_us = us(&run["probe_rtt_us"]["percentiles"]["p50"]);
    let most_us = ROUND_TRIP_US + OF_HOSTS_US;
    assert!(
        (ROUND_TRIP_US..most_us).contains(&probe_rtt_us),
        "{probe_rtt_us}"
    );
    let one_way = &run["one_way_us"];
    let (one_way_us, bound_us) = (us(&one_way["percentiles"]["p50"]), us(&one_way["bound"]));
    assert_eq!(one_way["bound_is"], "proved", "{one_way}");
    assert!((ONE_WAY_US..most_us / 2.0).contains(&bound_us), "{one_way}");
    // The path is symmetric, so the centre is the time itself.
    let off_us = (one_way_us - ONE_WAY_US).abs();
    assert!(off_us < OF_HOSTS_US && off_us < bound_us, "{one_way}");
    for name in ["generator_tcp", "receiver_tcp"] {
        assert_eq!(run[name]["retransmitted"], 0, "{name}: {}", run[name]);
    }
}
