//! The connections of agents' probes on a real server: answered whatever happens to the processes,
//! and no part of any run.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use metronome_proto::{
    handshake::{Key, Refusal},
    packet::{FRAME_BYTES, Packet, Probe},
    v1::{self, VerdictStatus, fleet_service_client::FleetServiceClient},
};
use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::Channel;

use common::{
    Server,
    agent::{Agent, unsent},
    codes, easy_plan, ended, plan,
    probes::{Exchange, Probes, hello},
    received, start, stop,
};

/// Between two probes: that of an agent.
const EVERY: Duration = Duration::from_millis(20);

/// Probes that are sent in a thread until they are stopped, or the server ends their connection.
struct Probing {
    is_stopped: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<(Probes, Vec<Exchange>)>,
}

impl Probing {
    fn begin(mut probes: Probes) -> Self {
        let (is_stopped, answered) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let (stopped, count) = (Arc::clone(&is_stopped), Arc::clone(&answered));
        let thread = thread::spawn(move || {
            let mut exchanges = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                let Ok(exchange) = probes.exchange() else {
                    break;
                };
                exchanges.push(exchange);
                count.fetch_add(1, Ordering::AcqRel);
                thread::sleep(EVERY);
            }
            (probes, exchanges)
        });
        Self {
            is_stopped,
            answered,
            thread,
        }
    }

    /// Waits until so many more are answered. False when the server has ended the connection.
    async fn go_on(&self, probes: u64) -> bool {
        let before = self.answered.load(Ordering::Acquire);
        while self.answered.load(Ordering::Acquire) < before + probes {
            if self.thread.is_finished() {
                return false;
            }
            tokio::time::sleep(EVERY).await;
        }
        true
    }

    fn end(self) -> (Probes, Vec<Exchange>) {
        self.is_stopped.store(true, Ordering::Release);
        self.thread.join().unwrap()
    }
}

/// An agent that was sent its order for a run of this plan.
async fn prepared(server: &Server, plan: v1::Plan) -> (Agent, v1::Prepare) {
    let mut agent = Agent::register(server, "a").await;
    server.start_run(start(plan, "")).await;
    let prepare = agent.receive_prepare().await;
    (agent, prepare)
}

async fn kill_worker(fleet: &mut FleetServiceClient<Channel>) {
    let status = fleet.get_server(v1::GetServerRequest {}).await;
    let status = status.unwrap().into_inner();
    let mut workers = status.workers.iter().filter(|worker| worker.pid > 0);
    if let Some(pid) = workers.next().map(|worker| worker.pid.cast_signed()) {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_beside_a_run_and_are_no_part_of_it() {
    let server = Server::start(&["--http", "127.0.0.1:0", "--max-clients", "2"]);
    let (mut agent, prepare) = prepared(&server, easy_plan(2)).await;
    let mut probes = Probes::connect(&server, &prepare, 1);
    for _ in 0..16 {
        probes.exchange().unwrap().is_between();
    }
    let connections = server.status().await.connections.unwrap();
    assert_eq!((connections.pending, connections.admitted), (0, 0));
    let probing = Probing::begin(probes);
    // All of --max-clients find their place beside it.
    agent.run_honestly(&server, &prepare).await;
    let run = ended(&server, &prepare.run_id).await;
    let verdict = run.report.as_ref().unwrap().verdict.as_ref().unwrap();
    assert_eq!(
        (verdict.status(), codes(&run)),
        (VerdictStatus::Valid, vec![])
    );
    assert_eq!(received(&run), 20);
    let (probes, exchanges) = probing.end();
    exchanges.iter().for_each(Exchange::is_between);
    assert!(
        probes.end().is_none(),
        "it ends with its run, without a word"
    );
    let connections = server.status().await.connections.unwrap();
    let counted = [connections.refused_hello, connections.refused_full];
    assert_eq!(counted, [0, 0]);
    assert_eq!(server.metric("metronome_packets_received_total"), 20.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_go_on_when_workers_are_killed_and_no_answer_has_a_false_time() {
    let server = Server::start(&["--workers", "2"]);
    let (mut agent, prepare) = prepared(&server, plan(2, 10, 2_000)).await;
    let probing = Probing::begin(Probes::connect(&server, &prepare, 1));
    let mut fleet = server.fleet().await;
    // Beside the load, whose clients are waited for in this thread.
    let killing = tokio::spawn(async move {
        let mut deaths = 0;
        while probing.go_on(10).await {
            kill_worker(&mut fleet).await;
            deaths += 1;
        }
        (probing, deaths)
    });
    agent.run_honestly(&server, &prepare).await;
    let (probing, deaths) = killing.await.unwrap();
    assert!(deaths > 1, "{deaths} deaths");
    let run = ended(&server, &prepare.run_id).await;
    assert_eq!((received(&run), codes(&run)), (40, vec![]));
    let (probes, exchanges) = probing.end();
    exchanges.iter().for_each(Exchange::is_between);
    let ends = exchanges.first().zip(exchanges.last()).unwrap();
    let lasted_ns = ends.1.answered_ns - ends.0.sent_ns;
    assert!(lasted_ns > 1_500_000_000, "as long as its run: {lasted_ns}");
    assert!(probes.end().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_go_on_when_the_server_is_upgraded_and_end_with_their_run() {
    let server = Server::start(&[]);
    let (mut agent, prepare) = prepared(&server, plan(1, 1, 3_600_000)).await;
    let probing = Probing::begin(Probes::connect(&server, &prepare, 1));
    agent.send_prepared(&prepare.run_id).await;
    agent.receive_start().await;
    server.running(&prepare.run_id).await;
    assert!(probing.go_on(5).await);
    let upgraded = server.admin().await.upgrade(v1::UpgradeRequest {}).await;
    let pid = Pid::from_raw(upgraded.unwrap().into_inner().pid.cast_signed()).unwrap();
    assert!(probing.go_on(5).await);
    // Its agent does not come back, so the run ends, and nothing waits for the probes.
    ended(&server, &prepare.run_id).await;
    let (probes, exchanges) = probing.end();
    exchanges.iter().for_each(Exchange::is_between);
    assert!(probes.end().is_none());
    let _ = kill_process(pid, Signal::KILL);
}

#[tokio::test]
async fn a_silent_connection_of_probes_keeps_no_run_and_no_server_from_ending() {
    let server = Server::start(&["--drain-timeout", "1s"]);
    let (mut agent, prepare) = prepared(&server, plan(1, 1, 3_600_000)).await;
    let silent = Probes::connect(&server, &prepare, 1);
    let stopped = server.runs().await.stop_run(stop(&prepare.run_id)).await;
    stopped.unwrap();
    agent.receive_stop().await;
    agent.send_records(&prepare.run_id, vec![unsent(0)]).await;
    let why = v1::Failure::new(v1::FailureCode::Stopped, "it was stopped");
    agent.send_failed(&prepare.run_id, why).await;
    ended(&server, &prepare.run_id).await;
    assert!(silent.end().is_none());

    let request = start(plan(1, 1, 3_600_000), "");
    server.start_run(request).await;
    let prepare = agent.receive_prepare().await;
    let silent = Probes::connect(&server, &prepare, 1);
    let (_folder, status) = server.end(Signal::TERM);
    assert!(status.success(), "{status}");
    assert!(silent.end().is_none());
}

#[tokio::test]
async fn an_agent_has_one_connection_of_probes_and_a_recorded_hello_is_worth_nothing() {
    let server = Server::start(&[]);
    let (_agent, prepare) = prepared(&server, plan(1, 1, 3_600_000)).await;
    let first = Probes::connect(&server, &prepare, 1);
    let (recorded, key) = hello(&prepare, 1);
    let refused = |bytes: &[u8]| Probes::begin_with(&server, bytes).end().unwrap().refusal();
    assert_eq!(refused(&recorded.encode(&key)), Some(Refusal::Hello));
    let mut second = Probes::connect(&server, &prepare, 2);
    assert!(first.end().is_none(), "the newer one has its place");
    second.exchange().unwrap().is_between();
    let forged = hello(&prepare, 3).0;
    let key = Key::from_bytes([1; 32]);
    assert_eq!(refused(&forged.encode(&key)), Some(Refusal::Hello));
    let probe = Probe { sequence: 0 }.encode();
    assert_eq!(refused(&probe), Some(Refusal::Protocol), "before a hello");
    second.exchange().unwrap().is_between();
}

#[tokio::test]
async fn garbage_and_floods_end_the_connection_of_probes_and_nothing_else() {
    let server = Server::start(&[]);
    let (mut agent, prepare) = prepared(&server, easy_plan(2)).await;
    let packet = Packet {
        flags: 0,
        client: 0,
        sequence: 0,
        due_ns: 0,
        lateness_ns: 0,
    };
    // In whichever second, of two at most, its parts are read.
    let flood: Vec<u8> = (0..2_002)
        .flat_map(|sequence| Probe { sequence }.encode())
        .collect();
    let garbage = [&packet.encode(&[])[..], &[0; FRAME_BYTES], &flood];
    for (attempt, bytes) in (1..).zip(garbage) {
        let mut probes = Probes::connect(&server, &prepare, attempt);
        probes.exchange().unwrap().is_between();
        probes.send(bytes);
        let refused = probes.end().unwrap();
        assert_eq!(refused.refusal(), Some(Refusal::Protocol));
    }
    let mut probes = Probes::connect(&server, &prepare, 9);
    probes.exchange().unwrap().is_between();
    agent.run_honestly(&server, &prepare).await;
    let run = ended(&server, &prepare.run_id).await;
    assert_eq!((received(&run), codes(&run)), (20, vec![]));
    let connections = server.status().await.connections.unwrap();
    assert_eq!(connections.refused_hello, 0, "each had a verified hello");
}
