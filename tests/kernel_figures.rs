//! What the kernels of both ends have seen of a run's connections, on real processes: each
//! connection is asked about, and on one host nothing is said to have been lost. A path that loses
//! is made by tests/path.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Server, json_of, wait_until};
use serde_json::{Value, json};

fn ends(result: &Value) -> [&Value; 2] {
    [&result["generator_tcp"], &result["receiver_tcp"]]
}

/// Whether a kernel has sent a segment again.
fn is_sent_again(result: &Value) -> bool {
    let sent_again = ends(result).map(|end| end["retransmitted"].as_u64());
    sent_again.iter().flatten().any(|segments| *segments > 0)
}

#[test]
fn both_kernels_are_asked_about_each_connection_and_on_one_host_no_loss_is_named() {
    let server = Server::start(&["--workers", "2"]);
    let _agent = server.agent("a1");
    let load = ["--clients", "4", "--rate", "500", "--duration", "1s"];
    let (result, _) = server.run(&load);
    for end in ends(&result) {
        assert_eq!(end["connections"], 4, "{result:#}");
        assert!(end["rtt_min_us"].as_f64().unwrap() > 0.0, "{result:#}");
        assert!(end["retransmitted"].is_u64(), "{result:#}");
    }
    for client in result["clients"].as_array().unwrap() {
        let end_is_known = |end: &str| client[end]["path_mtu"].is_u64();
        assert!(
            end_is_known("generator_tcp") && end_is_known("receiver_tcp"),
            "{client:#}"
        );
    }
    let notes = result["verdict"]["notes"].as_array().unwrap();
    let is_noted = notes.iter().any(|note| note["code"] == "RETRANSMITTED");
    // A kernel that a busy host has kept from an acknowledgement may send again, even there.
    assert_eq!(is_noted, is_sent_again(&result), "{result:#}");
    let run = result["run_id"].as_str().unwrap();
    let shown = server.benchctl(&["show", run, "--clients-table"]).output();
    let text = String::from_utf8(shown.unwrap().stdout).unwrap();
    let has_line = text.lines().any(|line| line.starts_with("network"));
    if !is_sent_again(&result) {
        assert!(!text.contains("SENT AGAIN"), "{text}");
    }
    let is_eventful = |end: &Value| {
        ["received_out_of_order", "reordering_seen"]
            .iter()
            .any(|name| end[name].as_u64() > Some(0))
            || end["window_limited_max_s"].as_f64() > Some(0.0)
    };
    let is_quiet = !is_sent_again(&result) && !ends(&result).into_iter().any(is_eventful);
    assert_eq!(has_line, !is_quiet, "{text}");
}

#[test]
fn of_an_agent_that_is_gone_the_servers_kernel_alone_is_known() {
    let server = Server::start(&["--workers", "1"]);
    let mut agent = server.agent("a1");
    let load = ["--clients", "2", "--rate", "200", "--duration", "3s"];
    let mut start = server.benchctl(&[&["start", "-o", "json"][..], &load].concat());
    let child = start.spawn().unwrap();
    wait_until("all clients are in", || {
        let (status, _) = server.json(&["server"]);
        (status["connections"]["admitted"] == 2).then_some(())
    });
    agent.child.kill().unwrap();
    let (result, code) = json_of(child.wait_with_output().unwrap());
    assert_eq!(code, 3, "{result:#}");
    assert_eq!(result["generator_tcp"], json!(null), "{result:#}");
    assert_eq!(result["receiver_tcp"]["connections"], 2, "{result:#}");
}
