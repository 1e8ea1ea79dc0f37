//! Results that the database does not take at first: locked by another process, beyond a limit on
//! the size of files, replaced. They are kept, tried again, and reported when they are lost.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use metronome_proto::v1::{self, FailureCode, RunState};
use metronome_server::History;
use rusqlite::Connection;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tonic_types::StatusExt as _;

use common::{Server, agent::Agent, by_id, code, ended, export, failure, plan, received, start};

/// Another process that holds SQLite's write lock for as long as this lives.
fn lock(database: &Path) -> Connection {
    let blocker = Connection::open(database).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    blocker
}

/// A run of one client and 10 packets in PREPARING, and what its agent was sent.
async fn prepare(server: &Server, agent: &mut Agent, request_id: &str) -> (String, v1::Prepare) {
    let request = start(plan(1, 1000, 10), request_id);
    let run_id = server.start_run(request).await.run_id;
    (run_id, agent.receive_prepare().await)
}

/// A run that has ended while the database was locked.
async fn unstored_run(server: &Server, agent: &mut Agent) -> (v1::Run, Connection) {
    let (run_id, prepared) = prepare(server, agent, "unstored").await;
    let blocker = lock(&server.database());
    agent.run_honestly(server, &prepared).await;
    let last = ended(server, &run_id).await;
    assert_eq!((last.state(), last.unstored), (RunState::Ended, true));
    (last, blocker)
}

/// Waits until a run is stored.
async fn stored(server: &Server, run_id: &str) -> v1::Run {
    loop {
        let run = server.get(run_id).await;
        assert_eq!(run.state(), RunState::Ended);
        if !run.unstored {
            return run;
        }
    }
}

/// The run as the database has it, and how many client rows there are.
fn in_database(database: &Path, run_id: &str) -> (Option<v1::Run>, usize) {
    let history = History::open(Some(database.into())).unwrap().unwrap();
    let id = run_id.parse().unwrap();
    (history.run(id).unwrap(), history.clients(id).unwrap().len())
}

fn is_stored(last: v1::Run) -> v1::Run {
    v1::Run {
        unstored: false,
        ..last
    }
}

#[tokio::test]
async fn a_result_that_a_locked_database_does_not_take_is_served_and_stored_once_it_does() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let (last, blocker) = unstored_run(&server, &mut agent).await;
    let run_id = last.run_id.clone();
    assert_eq!(received(&last), 10);
    // Everywhere, not only to those who watched.
    assert_eq!(server.get(&run_id).await, last);
    assert_eq!(ended(&server, &run_id).await, last);
    let again = start(plan(1, 1000, 10), "unstored");
    assert_eq!(server.start_run(again).await, last);
    let list = v1::ListRunsRequest {
        filter: "state = ENDED".into(),
        ..v1::ListRunsRequest::default()
    };
    let listed = server.runs().await.list_runs(list).await.unwrap();
    let listed = &listed.into_inner().runs[0];
    assert_eq!((&listed.run_id, listed.unstored), (&run_id, true));
    assert_eq!(export(&server, &run_id, 0).await.unwrap()[0].len(), 1);
    assert!(export(&server, &run_id, 1).await.unwrap().is_empty());

    drop(blocker);
    let run = stored(&server, &run_id).await;
    assert_eq!(run, is_stored(last));
    assert_eq!(export(&server, &run_id, 0).await.unwrap()[0].len(), 1);
    let database = server.database();
    assert_eq!(in_database(&database, &run_id), (Some(run), 1));
    assert_eq!(server.end(Signal::TERM).1.code(), Some(0));
}

/// Status and text of /readyz.
fn readiness(server: &Server) -> (bool, String) {
    let mut connection = TcpStream::connect(server.http()).unwrap();
    let request = "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n";
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    (answer.starts_with("HTTP/1.1 200"), answer)
}

#[tokio::test]
async fn a_server_that_cannot_write_its_history_is_not_ready_until_it_can() {
    let server = Server::start(&["--http", "127.0.0.1:0"]);
    let mut agent = Agent::register(&server, "a1").await;
    assert!(readiness(&server).0);
    let (last, blocker) = unstored_run(&server, &mut agent).await;
    let (is_ready, answer) = readiness(&server);
    assert!(!is_ready && answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("the history cannot be written"), "{answer}");
    assert!(answer.contains("is locked by another process"), "{answer}");
    drop(blocker);
    stored(&server, &last.run_id).await;
    assert!(readiness(&server).0);
}

#[tokio::test]
async fn a_result_that_waits_can_be_deleted_once_the_database_can_be_written() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let (last, blocker) = unstored_run(&server, &mut agent).await;
    let delete = v1::DeleteRunRequest {
        run_id: last.run_id.clone(),
    };
    let mut runs = server.runs().await;
    let refused = runs.delete_run(delete.clone()).await.unwrap_err();
    assert_eq!(code(&refused), FailureCode::HistoryLocked);
    assert_eq!(server.get(&last.run_id).await, last);
    drop(blocker);
    runs.delete_run(delete).await.unwrap();
    let gone = runs.get_run(by_id(&last.run_id)).await.unwrap_err();
    assert_eq!(code(&gone), FailureCode::RunUnknown);
}

#[tokio::test]
async fn a_drain_stores_what_waits() {
    let mut server = Server::start(&["--drain-timeout", "1h"]);
    let mut agent = Agent::register(&server, "a1").await;
    let (last, blocker) = unstored_run(&server, &mut agent).await;
    server.signal(Signal::TERM);
    while !server.status().await.draining {}
    assert_eq!(server.get(&last.run_id).await, last, "it still answers");
    drop(blocker);
    assert_eq!(server.wait().code(), Some(0));
    let database = server.database();
    let run = is_stored(last);
    let run_id = run.run_id.clone();
    assert_eq!(in_database(&database, &run_id), (Some(run), 1));
}

#[tokio::test]
async fn a_drain_that_cannot_store_a_result_names_the_run_and_has_an_exit_code_of_its_own() {
    let folder = tempfile::TempDir::new().unwrap();
    let log = folder.path().join("server.log");
    let flags = ["--drain-timeout", "10ms", "--log-file"];
    let flags = [&flags[..], &[log.to_str().unwrap()]].concat();
    let mut server = Server::start_in(folder, &flags);
    let mut agent = Agent::register(&server, "a1").await;
    let (last, _blocker) = unstored_run(&server, &mut agent).await;
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(3));
    let log = fs::read_to_string(log).unwrap();
    let lost = log.lines().filter(|line| line.contains("results are lost"));
    let lost: Vec<_> = lost.collect();
    let [line] = lost[..] else {
        panic!("not one line: {log}")
    };
    let verdict = last.report.as_ref().unwrap().verdict.as_ref().unwrap();
    let named = format!("{} ({})", last.run_id, verdict.status().word().unwrap());
    assert!(line.contains("ERROR") && line.contains(&named), "{line}");
    assert!(line.contains("is locked by another process"), "{line}");
    assert_aborted(&server.database(), &last.run_id);
}

/// What is known of a run whose server is gone: that no result is stored.
#[track_caller]
fn assert_aborted(database: &Path, run_id: &str) {
    let run = in_database(database, run_id).0.unwrap();
    let failure = run.failure.as_ref().unwrap();
    assert_eq!(run.state(), RunState::Aborted);
    assert_eq!(failure.code(), FailureCode::ServerDied);
    assert_eq!(
        failure.sentence,
        "the server ended, or stopped using this database, before it had stored the result"
    );
}

#[tokio::test]
async fn of_a_result_that_a_kill_takes_along_only_that_is_claimed() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let (last, blocker) = unstored_run(&server, &mut agent).await;
    let database = server.database();
    let (folder, _) = server.end(Signal::KILL);
    assert_aborted(&database, &last.run_id);
    drop(blocker);
    let server = Server::start_in(folder, &[]);
    let run = server.get(&last.run_id).await;
    assert_eq!(run.state(), RunState::Aborted);
}

async fn stay_alive(agent: &mut Agent) {
    loop {
        agent.receive_renewed_runs().await;
    }
}

#[tokio::test]
async fn a_run_is_not_started_when_it_cannot_be_stored_and_leaves_nothing_behind() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let request = start(plan(1, 1000, 10), "not-yet");
    let mut runs = server.runs().await;
    let blocker = lock(&server.database());
    // Together they wait no longer than one.
    let begun = Instant::now();
    let mut others = (runs.clone(), runs.clone());
    let refused = tokio::select! {
        refused = async { tokio::join!(
            runs.start_run(request.clone()),
            others.0.start_run(start(plan(1, 1000, 10), "other")),
            others.1.start_run(start(plan(1, 1000, 10), "third")),
        ) } => [refused.0, refused.1, refused.2].map(Result::unwrap_err),
        () = stay_alive(&mut agent) => unreachable!("it has no end"),
    };
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    for status in refused {
        assert_eq!(status.code(), tonic::Code::Unavailable);
        let retry = status.get_details_retry_info().expect("when to repeat it");
        assert!(retry.retry_delay.is_some());
        let refused = failure(&status);
        assert_eq!(refused.code(), FailureCode::HistoryLocked);
        let database = server.database();
        assert_eq!(
            refused.sentence,
            format!(
                "the history {} is locked by another process",
                database.display()
            )
        );
    }
    drop(blocker);
    let list = v1::ListRunsRequest::default();
    let listed = runs.list_runs(list).await.unwrap().into_inner().runs;
    assert!(listed.is_empty(), "{listed:?}");
    // Its agent and its clients' places are free.
    let run_id = server.start_run(request).await.run_id;
    let prepared = agent.receive_prepare().await;
    assert_eq!(prepared.run_id, run_id);
    agent.run_honestly(&server, &prepared).await;
    let last = ended(&server, &run_id).await;
    assert_eq!((last.unstored, received(&last)), (false, 10));
}

#[tokio::test]
async fn a_file_that_cannot_grow_is_like_a_full_disk_and_ends_no_server() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let (run_id, prepared) = prepare(&server, &mut agent, "").await;
    let free = getrlimit(Resource::Fsize);
    let full = Rlimit {
        current: Some(0),
        ..free
    };
    prlimit(Some(server.pid()), Resource::Fsize, full).unwrap();
    agent.run_honestly(&server, &prepared).await;
    let last = ended(&server, &run_id).await;
    assert_eq!((last.state(), last.unstored), (RunState::Ended, true));
    let next = start(plan(1, 1000, 10), "");
    let refused = server.runs().await.start_run(next).await.unwrap_err();
    assert_eq!(code(&refused), FailureCode::HistoryFailed);
    assert_eq!(server.get(&run_id).await, last);
    prlimit(Some(server.pid()), Resource::Fsize, free).unwrap();
    assert_eq!(stored(&server, &run_id).await, is_stored(last));
}

#[tokio::test]
async fn the_result_goes_into_the_file_that_has_the_name_of_the_database_at_the_end() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let (run_id, prepared) = prepare(&server, &mut agent, "").await;
    let database = server.database();
    for suffix in ["", "-wal", "-shm"] {
        let name = |stem| database.with_file_name(format!("{stem}.sqlite{suffix}"));
        fs::rename(name("runs"), name("away")).unwrap();
    }
    agent.run_honestly(&server, &prepared).await;
    let last = ended(&server, &run_id).await;
    assert!(!last.unstored);
    assert_eq!(server.get(&run_id).await, last);
    assert_eq!(in_database(&database, &run_id), (Some(last), 1));
    let next = server.start_run(start(plan(1, 1000, 10), "")).await;
    assert_eq!(in_database(&database, &next.run_id).0, Some(next));
}

#[tokio::test]
async fn a_failure_is_stored_later_too() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let (run_id, prepared) = prepare(&server, &mut agent, "").await;
    let blocker = lock(&server.database());
    let failed = v1::Failure::new(FailureCode::AgentPortsFull, "no ports are free");
    agent.send_failed(&prepared.run_id, failed).await;
    let last = ended(&server, &run_id).await;
    assert_eq!((last.state(), last.unstored), (RunState::Failed, true));
    drop(blocker);
    while server.get(&run_id).await.unstored {}
    assert_eq!(
        in_database(&server.database(), &run_id).0,
        Some(is_stored(last))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_over_stores_what_the_old_one_could_not() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let (last, blocker) = unstored_run(&server, &mut agent).await;
    let response = server.admin().await.upgrade(v1::UpgradeRequest {}).await;
    let pid = response.unwrap().into_inner().pid;
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    let run_id = &last.run_id;
    // A connection that still goes to the old process breaks once.
    let mut seen = None;
    while seen.is_none() {
        let run = server.runs().await.get_run(by_id(run_id)).await;
        seen = run.ok().and_then(|response| response.into_inner().run);
    }
    drop(blocker);
    while seen.as_ref().is_none_or(|run| run.unstored) {
        let run = server.runs().await.get_run(by_id(run_id)).await;
        seen = run.ok().and_then(|response| response.into_inner().run);
    }
    let database = server.database();
    let run_id = run_id.clone();
    let run = is_stored(last);
    assert_eq!(in_database(&database, &run_id), (Some(run), 1));
    kill_process(pid, Signal::KILL).unwrap();
}
