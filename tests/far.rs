//! Agents that are far from their server: paths that take time, which are ports of this host.

mod common;

use std::{thread, time::Duration};

use common::{
    Server,
    far::{path_that_can_be_cut, path_to},
};

#[test]
fn many_clients_of_a_far_agent_connect_in_time() {
    let server = Server::start(&["--workers", "1", "--max-clients", "2000"]);
    let _agent = server.agent("far");
    // On a path of 50 ms a way a client takes two round trips to connect; here the first one costs
    // nothing. 32 clients at a time would take 12 s.
    let target = path_to(&server.data(), Duration::from_millis(100));
    let flags = ["--clients", "2000", "--rate", "1", "--duration", "2s"];
    let (result, code) = server.run(&[&flags[..], &["--target", &target]].concat());
    assert!([0, 4, 99].contains(&code), "{code}: {}", result);
    assert_eq!(result["counts"]["received"], 4_000, "{}", result["verdict"]);
}

#[test]
fn an_agent_that_is_300_ms_away_starts_in_time() {
    let server = Server::start(&["--workers", "1"]);
    let mut command = common::command("metronome-agent");
    let address = path_to(&server.grpc(), Duration::from_millis(300));
    // 90 ms a way still prove one clock, so that the order names an instant of it.
    let nearer = path_to(&server.grpc(), Duration::from_millis(90));
    command.args(["--server", &address, "--name", "far"]);
    let _far = common::Running::start(command);
    let mut command = common::command("metronome-agent");
    command.args(["--server", &nearer, "--name", "nearer"]);
    let _nearer = common::Running::start(command);
    for agents in [&["far"][..], &["nearer"], &["far", "nearer"]] {
        let names = agents.iter().flat_map(|name| ["--agent", name]);
        let flags = ["--clients", "2", "--rate", "100", "--duration", "2s"];
        let flags: Vec<_> = flags.into_iter().chain(names).collect();
        let (result, _) = server.run(&flags);
        assert_eq!(result["verdict"]["status"], "valid", "{agents:?}: {result}");
        assert_eq!(result["counts"]["skipped"], 0, "{agents:?}");
        assert_eq!(result["counts"]["received"], 400, "{agents:?}");
    }
}

/// Cuts the agent's control connection `cuts` times, `every` so long, in a run of 4 s that nothing
/// of it may reach.
fn resets_cost_nothing(delay: Duration, every: Duration, cuts: usize) {
    let server = Server::start(&["--workers", "1"]);
    let (address, cut) = path_that_can_be_cut(&server.grpc(), delay);
    let mut command = common::command("metronome-agent");
    command.args(["--server", &address, "--name", "reset"]);
    let _agent = common::Running::start(command);
    let cuts = thread::spawn(move || {
        for _ in 0..cuts {
            thread::sleep(every);
            cut.send(()).expect("the path stands");
        }
        cut
    });
    let (result, _) = server.run(&["--clients", "2", "--rate", "100", "--duration", "4s"]);
    assert_eq!(result["verdict"]["status"], "valid", "{result}");
    assert_eq!(result["counts"]["sent"], 800, "{result}");
    assert_eq!(result["counts"]["received"], 800, "{result}");
    drop(cuts.join());
}

#[test]
fn a_connection_that_is_reset_costs_a_run_nothing_when_the_agent_is_back_in_time() {
    resets_cost_nothing(Duration::ZERO, Duration::from_millis(700), 4);
}

/// It starts after a delay instead of at an instant: an order that is over when it is back.
#[test]
fn nor_does_it_when_the_agents_clock_is_not_known_to_be_the_servers() {
    resets_cost_nothing(Duration::from_millis(300), Duration::from_millis(3_500), 1);
}
