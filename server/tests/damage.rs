//! A history with bytes that are not what was written: what is read of it is true, or is refused
//! with the name of the file.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use std::{collections::BTreeMap, fs, path::Path, process::Stdio, sync::OnceLock};

use metronome_proto::{
    run_id::RunId,
    v1::{self, Failure, FailureCode},
};
use metronome_server::{History, ListQuery};
use proptest::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

use common::{Server, agent::Agent, command, ended, plan, start};

/// Runs in the history.
const RUNS: usize = 50;

/// A history as it was written.
struct Original {
    bytes: Vec<u8>,
    /// Each with its client rows, by id.
    runs: BTreeMap<String, (v1::Run, Vec<v1::ClientReport>)>,
}

/// The history of a real server.
fn original() -> &'static Original {
    static ORIGINAL: OnceLock<Original> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(written())
    })
}

async fn written() -> Original {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    for number in 0..RUNS {
        let request = start(plan(1, 1000, 10), &format!("request-{number}"));
        let run_id = server.start_run(request).await.run_id;
        let prepared = agent.receive_prepare().await;
        agent.run_honestly(&server, &prepared).await;
        ended(&server, &run_id).await;
    }
    let database = server.database();
    let (_folder, status) = server.end(Signal::TERM);
    assert_eq!(status.code(), Some(0));
    assert!(!database.with_extension("sqlite-wal").exists());
    let bytes = fs::read(&database).unwrap();
    let history = History::open(Some(database)).unwrap().unwrap();
    let listed = history.runs(&all()).unwrap();
    let whole = |run: v1::Run| {
        let clients = history.clients(run.run_id.parse().unwrap()).unwrap();
        assert_eq!(clients.len(), 1);
        (run.run_id.clone(), (run, clients))
    };
    let runs: BTreeMap<_, _> = listed.runs.into_iter().map(whole).collect();
    assert_eq!(runs.len(), RUNS);
    Original { bytes, runs }
}

fn all() -> ListQuery {
    ListQuery {
        limit: 2 * RUNS,
        full: true,
        ..ListQuery::default()
    }
}

/// Bytes to change: where, as a share of the file, and by which bits.
fn flips() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..60)
}

fn damaged(flips: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = original().bytes.clone();
    for (index, bits) in flips {
        let place = index.index(bytes.len());
        bytes[place] ^= bits;
    }
    bytes
}

fn check_failure(path: &Path, failure: &Failure) {
    let is_of_history = matches!(
        failure.code(),
        FailureCode::HistoryDamaged | FailureCode::HistoryFailed | FailureCode::HistoryLocked
    );
    let names_it = failure.sentence.contains(&path.display().to_string());
    assert!(is_of_history && names_it, "{failure:?}");
    assert!(!failure.sentence.contains("SELECT"), "{failure:?}");
}

/// Reads all there is to read, by every way.
fn check(path: &Path) {
    let original = &original().runs;
    let history = match History::open(Some(path.to_owned())) {
        Ok(history) => history.unwrap(),
        Err(failure) => return check_failure(path, &failure),
    };
    match history.runs(&all()) {
        Ok(page) => {
            for run in &page.runs {
                assert_eq!(Some(run), original.get(&run.run_id).map(|(run, _)| run));
            }
            // A damaged index may name a run that never was: that is damage too, and no figure.
            let is_listed = |id: &RunId| page.runs.iter().any(|run| run.run_id == id.to_string());
            assert!(page.runs.len() <= RUNS && !page.unreadable.iter().any(is_listed));
        }
        Err(failure) => check_failure(path, &failure),
    }
    for (run_id, (run, clients)) in original {
        let id = run_id.parse().unwrap();
        for found in [history.run(id), history.by_request_id(&run.request_id)] {
            match found {
                Ok(found) => assert!(found.is_none_or(|found| found == *run)),
                Err(failure) => check_failure(path, &failure),
            }
        }
        let is_unknown = matches!(history.run(id), Ok(None));
        match history.clients(id) {
            Ok(found) => assert!(found == *clients || (found.is_empty() && is_unknown)),
            Err(failure) => check_failure(path, &failure),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_is_read_of_a_damaged_history_is_what_was_written(flips in flips()) {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("runs.sqlite");
        fs::write(&path, damaged(&flips)).unwrap();
        check(&path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_server_starts_on_a_damaged_history_or_names_it(flips in flips(), in_header: bool) {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("runs.sqlite");
        let mut bytes = damaged(&flips);
        if in_header {
            bytes[..16].reverse();
        }
        fs::write(&path, bytes).unwrap();
        let flags = ["--port", "0", "--grpc", "127.0.0.1:0", "--http", "off", "--workers", "1"];
        let mut command = command(&flags);
        command.arg("--database").arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = Pid::from_child(&child);
        let mut child = child;
        let mut ready = [0; 1];
        let stdout = child.stdout.as_mut().unwrap();
        if std::io::Read::read(stdout, &mut ready).unwrap() > 0 {
            kill_process(pid, Signal::TERM).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        prop_assert!(!stderr.contains("panicked"), "{}", stderr);
        match output.status.code() {
            Some(0) => prop_assert!(!in_header),
            Some(1) => {
                prop_assert!(stderr.contains(&path.display().to_string()), "{}", stderr);
            }
            code => prop_assert!(false, "{code:?}: {stderr}"),
        }
    }
}
