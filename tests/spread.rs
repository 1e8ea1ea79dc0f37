//! The connections of a server on all of its workers: also behind a restart and a death, on real
//! processes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Server, assert_exact, json_of, wait_until};
use rustix::process::{Signal, kill_process};

#[test]
fn connections_are_spread_over_all_workers_again_behind_a_restart_and_a_death() {
    let server = Server::start(&["--workers", "2"]);
    let _agent = server.agent("a1");
    let load = "start -o json --clients 10 --rate 500 --duration 10s";
    let load: Vec<&str> = load.split(' ').collect();
    let child = server.benchctl(&load).spawn().unwrap();
    let are_spread = |when: &str| {
        wait_until(when, || {
            let (status, _) = server.json(&["server"]);
            let workers = status["workers"].as_array().unwrap();
            let shares = workers.iter().map(|it| it["connections"].as_u64());
            shares.eq([Some(5), Some(5)]).then_some(())
        });
    };
    are_spread("all are connected");
    let (status, _) = server.json(&["server", "restart-workers"]);
    assert_eq!(status["restarted"], 2);
    are_spread("they are spread behind the restart");
    kill_process(server.workers()[0], Signal::KILL).unwrap();
    are_spread("they are spread behind the death");
    let (result, _) = json_of(child.wait_with_output().unwrap());
    assert_exact(&result, 50_000);
    let (status, _) = server.json(&["server"]);
    assert_eq!(status["recoveries"]["connections_lost"], 0);
}
