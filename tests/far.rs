//! Agents that are far from their server: paths that take time, which are ports of this host.

mod common;

use std::time::Duration;

use common::{Server, far::path_to};

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
